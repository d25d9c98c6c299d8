"""Keys and values of beginnings as tensors: out of a model's cache, into one, and the positions and masks of what stands behind.

Written for transformers 5.24. Traps that were met there: without `position_ids` a pass behind a cached beginning gives an error in the
best case, else scores that are wrong without a sign, since a multimodal network counts on from another prompt; some networks count
positions over the padding; a forward pass grows the cache that it gets, whatever `use_cache` says; `crop` takes negative counts only; a
slice that is not copied keeps its whole batch in memory; `update` joins tensors anew for each layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch

from mmrerank.backends._inputs import PER_TOKEN, extended
from mmrerank.backends._prefix_store import Reuse

TOLERANCE = 1e-3  # of log-probabilities in the trial, in single precision
HALF_TOLERANCE = 0.2  # in half precision, whose rounding is as large
OF_PLACES = ("input_ids", "attention_mask", "mm_token_type_ids", "image_grid_thw")  # inputs that tell where pictures stand
UNEVEN = "its layers keep keys and values of different shapes or on different devices"


@runtime_checkable
class PlacesPictures(Protocol):
    """A network that says which positions it counts for a batch of whole prompts with pictures."""

    def get_rope_index(self, *args: Any, **inputs: Any) -> tuple[torch.Tensor, torch.Tensor]: ...


@runtime_checkable
class CountsPictures(Protocol):
    """A network whose positions run slower over pictures, and that says by how much after each pass."""

    rope_deltas: Any


def counts(model: Any, inputs: Mapping[str, Any]) -> bool:
    """Whether the network itself has to count the positions of these inputs, since pictures are among them."""
    return "image_grid_thw" in inputs and isinstance(model.base_model, CountsPictures)


def lag(model: Any) -> torch.Tensor:
    """(batch,) by how much positions lag behind tokens, after a pass whose positions the network counted."""
    return torch.as_tensor(model.base_model.rope_deltas).reshape(-1)


def positions(mask: torch.Tensor) -> torch.Tensor:
    """(batch, width) positions that count tokens from 0 and no padding."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


def places(model: Any, inputs: Mapping[str, Any]) -> torch.Tensor:
    """(batch, width), or (axes, batch, width), positions of whole prompts with pictures, as the network counts them itself."""
    if not counts(model, inputs):
        return positions(inputs["attention_mask"])
    return torch.as_tensor(model.base_model.get_rope_index(**{name: inputs[name] for name in OF_PLACES if name in inputs})[0])


def picture_tail_inputs(inputs: Mapping[str, Any], where: torch.Tensor, lengths: Sequence[int], reuses: Sequence[Reuse]) -> dict[str, Any]:
    """What stands behind known beginnings of text, pictures and all, as `tail_inputs` gives it.

    Args:
        inputs: of the whole prompts, padded on the left.
        where: the positions of their tokens, from `places`.
        lengths: tokens of each prompt.
    """
    tails = [length - reuse.length for length, reuse in zip(lengths, reuses, strict=True)]
    width, prefix = max(tails), max(reuse.length for reuse in reuses)
    mask = torch.zeros(len(tails), prefix + width, dtype=torch.long, device=where.device)
    for n, (tail, reuse) in enumerate(zip(tails, reuses, strict=True)):
        mask[n, prefix - reuse.length : prefix] = 1
        mask[n, prefix + width - tail :] = 1
    per_token = {name: inputs[name][:, -width:] for name in PER_TOKEN if inputs.get(name) is not None}
    return {**inputs, **per_token, "attention_mask": mask, "position_ids": where[..., -width:]}


def tail_inputs(tails: Sequence[Sequence[int]], reuses: Sequence[Reuse], device: torch.device) -> dict[str, Any]:
    """What stands behind known beginnings, as a model takes it: ids and positions (batch, width), a mask over beginnings and tails.

    Both are padded on the left, so that the last column is the last token of every prompt.
    """
    width, prefix = max(map(len, tails)), max(reuse.length for reuse in reuses)
    ids = torch.zeros(len(tails), width, dtype=torch.long)
    mask = torch.zeros(len(tails), prefix + width, dtype=torch.long)
    places = torch.zeros(len(tails), width, dtype=torch.long)
    for n, (tail, reuse) in enumerate(zip(tails, reuses, strict=True)):
        ids[n, width - len(tail) :] = torch.tensor(tail)
        mask[n, prefix - reuse.length : prefix] = 1
        mask[n, prefix + width - len(tail) :] = 1
        places[n, width - len(tail) :] = torch.arange(reuse.position, reuse.position + len(tail))
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device), "position_ids": places.to(device)}


def cache_of(reuses: Sequence[Reuse], device: torch.device) -> Any:
    """Known beginnings side by side as a model's cache, padded on the left."""
    from transformers.cache_utils import Cache, DynamicLayer

    width = max(reuse.length for reuse in reuses)
    first = reuses[0].beginning.states
    kinds, layers, heads, _, dim = first.shape
    batch = torch.zeros(kinds, layers, len(reuses), heads, width, dim, dtype=first.dtype, device=device)
    for n, reuse in enumerate(reuses):
        batch[:, :, n, :, width - reuse.length :] = reuse.states
    rows = []
    for keys, values in zip(*batch, strict=True):  # of a layer: (batch, heads, width, dim)
        layer = DynamicLayer()
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values
        rows.append(layer)
    return Cache(layers=rows)


def states_of(cache: Any, n: int, columns: Sequence[slice]) -> torch.Tensor:
    """(2, layers, heads, length, dim): a copy of the keys and values of one prompt of a batch in these columns."""
    first: torch.Tensor = cache.layers[0].keys
    length = sum(column.stop - column.start for column in columns)
    states = first.new_empty(2, len(cache.layers), first.shape[1], length, first.shape[3])
    for place, layer in enumerate(cache.layers):
        start = 0
        for column in columns:
            stop = start + column.stop - column.start
            states[0, place, :, start:stop] = layer.keys[n, :, column]
            states[1, place, :, start:stop] = layer.values[n, :, column]
            start = stop
    return states


def token_bytes(cache: Any) -> int:
    """What one token's keys and values take in all layers, of the cache of one prompt."""
    return sum(layer.keys[0, :, 0].nbytes + layer.values[0, :, 0].nbytes for layer in cache.layers)


def obstacle(cache: Any) -> str:
    """Why the keys and values of this cache cannot be taken apart and put together again; "" where they can."""
    from transformers.cache_utils import DynamicLayer

    others = sorted({type(layer).__name__ for layer in cache.layers if type(layer) is not DynamicLayer})
    if others:
        return f"its cache has layers of the kind {', '.join(others)}"
    kinds = {(*part.shape[:2], part.shape[3], part.dtype, part.device) for layer in cache.layers for part in (layer.keys, layer.values)}
    return UNEVEN if len(kinds) > 1 else ""


def continued(inputs: Mapping[str, Any], tokens: Sequence[int]) -> dict[str, Any]:
    """The batch with the same further tokens behind each prompt; positions, where there are any, count on."""
    longer = extended(dict(inputs), tokens)
    if "position_ids" in inputs and tokens:
        last = inputs["position_ids"][..., -1:]
        more = last + torch.arange(1, len(tokens) + 1, device=last.device)
        longer["position_ids"] = torch.cat([inputs["position_ids"], more], dim=-1)
    return longer


def logprobs_of(logits: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
    """(batch, n_tokens) log-probabilities of the n-th token at the n-th of (batch, n_tokens, vocabulary) logits."""
    wanted = torch.tensor(list(tokens), device=logits.device).expand(len(logits), -1)
    return logits.gather(-1, wanted[..., None])[..., 0] - logits.logsumexp(-1)
