"""Values that a processor prepared one by one -> batches for the model.

What goes through the model together is as alike as it can be: the same inputs, sorted by length, shorter ones padded where the
checkpoint's tokenizer pads and masked there. When a device runs out of memory, a batch is halved until it fits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from mmrerank.encoders._torch import batches

PER_TOKEN = (
    "input_ids",
    "attention_mask",
    "mm_token_type_ids",
    "token_type_ids",
    "query_expansion_positions",
)  # inputs that grow with the text
Features = Mapping[str, Any]  # of one value: tensors with a first axis of their own, and a few plain values


def batched(features: Sequence[Features], size: int) -> Iterator[list[int]]:
    """The places of values that go through the model together, at most `size` of them, the longest first."""
    alike: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for place, one in enumerate(features):
        alike[_kind(one)].append(place)
    for places in alike.values():
        yield from (list(batch) for batch in batches(sorted(places, key=lambda place: -_length(features[place])), size))


def _kind(features: Features) -> tuple[Any, ...]:
    """Equal for what can stand in one batch."""
    tensors = {name: value for name, value in features.items() if isinstance(value, torch.Tensor) and name not in PER_TOKEN}
    plain = {name: repr(value) for name, value in features.items() if not isinstance(value, torch.Tensor)}
    return (tuple(sorted(features)), tuple(sorted((name, t.shape[1:]) for name, t in tensors.items())), tuple(sorted(plain.items())))


def _length(features: Features) -> int:
    return int(features["input_ids"].shape[1]) if "input_ids" in features else 0


def collated(features: Sequence[Features], *, pad_token: int, pad_left: bool) -> dict[str, Any]:
    """One batch of values of one kind."""
    longest = max(map(_length, features))
    batch: dict[str, Any] = {}
    for name, value in features[0].items():
        if not isinstance(value, torch.Tensor):
            batch[name] = value
        elif name in PER_TOKEN:
            fill = pad_token if name == "input_ids" else 0
            batch[name] = torch.cat([_padded(one[name], longest, fill, pad_left) for one in features])
        else:
            batch[name] = torch.cat([one[name] for one in features])
    return batch


def _padded(tokens: torch.Tensor, length: int, fill: int, left: bool) -> torch.Tensor:
    missing = length - tokens.shape[1]
    return torch.nn.functional.pad(tokens, (missing, 0) if left else (0, missing), value=fill) if missing else tokens


def halving(run: Callable[[Sequence[int]], list[Any]], places: Sequence[int]) -> list[Any]:
    """What `run` makes of these places, in their order; in halves where memory runs out, as long as there is one to halve."""
    try:
        return run(places)
    except torch.OutOfMemoryError:
        if len(places) == 1:
            raise
    torch.cuda.empty_cache()
    middle = len(places) // 2
    return [*halving(run, places[:middle]), *halving(run, places[middle:])]
