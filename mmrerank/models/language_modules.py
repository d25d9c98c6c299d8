"""A multilingual cross-encoder out of parts: a frozen BERT, modules of languages that can be changed, and a module that ranks.

    [CLS] query [SEP] document [SEP] --BERT with modules--> pooled state of [CLS] --head--> one score

A module is either a stack of adapters or a mask, and the two do not mix in one network.

    adapters, after the feed-forward part of each layer, x0 its output and z what is added to it:
        h1 = LN(x0 + z)   x1 = A_language(h1) + x0   h2 = LN(x1 + z)   x2 = A_ranking(h2) + x1   out = LN(x2 + z)
    and at the embeddings, where a language has it, a coupling: o1 = e1 + F(e2), o2 = e2 + G(o1)
    masks, sparse differences of the weights: theta = theta_0 + phi_ranking + phi_language (+ phi_other)

The language of a query and that of a document may be two: then tokens of the query (the segment of type 0) go through the adapter of the
one and tokens of the document through that of the other; masks are added. The weights that masks were added to are kept beside, so that
another language gives back exactly what was.

Source: Modular CLIR (arXiv 2204.02292, code rlitschk/ModularCLIR), by its note; the order of residuals and norms as the adapter library
(adapter-hub/adapters) has it; sparse differences as cambridgeltl/composable-sft writes them. Ours: files of both are read without
unpickling anything but tensors, and what we write is safetensors.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from mmrerank.errors import FormatError, InputError, ShapeError

Mask: TypeAlias = dict[str, tuple[Tensor, Tensor]]  # name of a weight -> (k,) places in it, row by row, and (k,) what is added there
ADAPTER_FILES = ("adapter.safetensors", "pytorch_adapter.bin")
MASK_FILES = ("diff.safetensors", "pytorch_diff.bin")
HEAD_FILES = ("head.safetensors", "pytorch_model_head.bin")
_PLACE = re.compile(r"layer\.(\d+)\..*adapter_(down|up)(?:\.0)?\.(weight|bias)$")
_COUPLING = re.compile(r"invertible_adapters\..*?([FG])\.(0|2)\.(weight|bias)$")


class Adapter(nn.Module):
    """W_up relu(W_down h), without what is added to it."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, inner), nn.Linear(inner, width)
        nn.init.zeros_(self.up.weight)  # a new adapter changes nothing
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.up(torch.relu(self.down(x)))
        return result


class Coupling(nn.Module):
    """Embeddings to embeddings, and back again without loss."""

    def __init__(self, width: int, reduction: int = 2) -> None:
        super().__init__()
        half = width // 2
        self.F, self.G = (nn.Sequential(nn.Linear(half, half // reduction), nn.ReLU(), nn.Linear(half // reduction, half)) for _ in "FG")
        for weight in (*self.F[2].parameters(), *self.G[2].parameters()):  # a new coupling changes nothing
            nn.init.zeros_(weight)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) coupled."""
        one, two = x.chunk(2, dim=-1)
        one = one + self.F(two)
        return torch.cat([one, two + self.G(one)], dim=-1)

    def inverse(self, x: Tensor) -> Tensor:
        """(..., D) as it was before `forward`."""
        one, two = x.chunk(2, dim=-1)
        two = two - self.G(one)
        return torch.cat([one - self.F(two), two], dim=-1)


class Stack(nn.Module):
    """The adapters of one module, a layer each, and its coupling where it has one."""

    def __init__(self, width: int, inner: int, layers: int, *, coupled: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Adapter(width, inner) for _ in range(layers))
        self.coupling = Coupling(width) if coupled else None

    @property
    def is_new(self) -> bool:
        """Whether it changes nothing yet in any layer."""
        return not any(bool(value.any()) for name, value in self.layers.named_parameters() if name.endswith("up.weight"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Through which modules a batch goes; None: through none of that kind."""

    query: str | None = None  # language of the tokens of the query
    document: str | None = None  # language of the tokens of the document
    ranked: bool = True  # whether the module that ranks is on
    coupled: bool = False  # whether couplings are used where a language has one; better left out, by the released code
    first: int = 0  # layers below have no adapters


class ModularEncoder(nn.Module):
    """A BERT with modules."""

    def __init__(self, encoder: Any, head: nn.Linear) -> None:
        """
        Args:
            encoder: transformers' BertModel with its pooler; it is changed in place.
            head: D -> 1.
        """
        super().__init__()
        self.encoder, self.head = encoder, head
        self.languages: Any = nn.ModuleDict()  # language -> Stack
        self.ranking: Any = nn.ModuleDict()  # "ranking" -> Stack, where there is one
        self.masks: dict[str, Mask] = {}
        self.ranking_mask: Mask = {}
        self._pristine: dict[str, Tensor] = {}
        self._route, self._types = Route(), torch.zeros(0)
        for place, layer in enumerate(encoder.encoder.layer):
            layer.output.forward = partial(self._output, place, layer.output)
        encoder.embeddings.register_forward_hook(self._embedded)

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor, route: Route) -> Tensor:
        """(n,) scores of (n, L) pairs; `types` is 0 for the query and 1 for the document.

        Raises:
            InputError: the route names a language that there is no module of.
        """
        self.check(route)
        self._add(route)
        scores: Tensor = self.head(self.states(ids, mask, types, route).pooler_output)[:, 0]
        return scores

    def states(self, ids: Tensor, mask: Tensor, types: Tensor, route: Route, weights: Mapping[str, Tensor] | None = None) -> Any:
        """What the encoder makes of (n, L) tokens, as transformers gives it, through the adapters of a route.

        Args:
            weights: in place of the encoder's own of these names; gradients reach what they were made of.
        """
        self._route, self._types = route, types
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        return torch.func.functional_call(self.encoder, dict(weights or {}), kwargs=inputs)

    @property
    def known(self) -> frozenset[str]:
        """Languages that there is a module of."""
        return frozenset({*self.languages, *self.masks})

    def check(self, route: Route) -> None:
        """InputError where a language has no module."""
        known = self.known
        for language in (route.query, route.document):
            if language is not None and language not in known:
                raise InputError(
                    f"there is no module of the language {language!r}", hint=f"There are: {', '.join(sorted(known)) or 'none'}."
                )

    # ------------------------------------------------------------------ adapters

    def _output(self, place: int, output: Any, hidden: Tensor, beside: Tensor) -> Tensor:
        """In place of the end of a layer: the modules between its feed-forward part and its norm."""
        x: Tensor = output.dropout(output.dense(hidden))
        if place >= self._route.first:
            x = x + self._language(place, output.LayerNorm(x + beside))
            if self._route.ranked and "ranking" in self.ranking:
                x = x + self.ranking["ranking"].layers[place](output.LayerNorm(x + beside))
        result: Tensor = output.LayerNorm(x + beside)
        return result

    def _language(self, place: int, x: Tensor) -> Tensor:
        """What the adapters of the languages add; zeros where there are none."""
        query, document = (self._adapter(language, place) for language in (self._route.query, self._route.document))
        if query is document:
            return torch.zeros_like(x) if query is None else query(x)
        zeros = torch.zeros_like(x)
        of_query, of_document = (zeros if one is None else one(x) for one in (query, document))
        return torch.where(self._types[..., None] == 0, of_query, of_document)

    def _adapter(self, language: str | None, place: int) -> Any:
        return self.languages[language].layers[place] if language in self.languages else None

    def _embedded(self, module: Any, inputs: Any, embedded: Tensor) -> Tensor:
        """Couplings, token by token."""
        if not self._route.coupled:
            return embedded
        results = []
        for language in (self._route.query, self._route.document):
            coupling = self.languages[language].coupling if language in self.languages else None
            results.append(embedded if coupling is None else coupling(embedded))
        result: Tensor = torch.where(self._types[..., None] == 0, results[0], results[1])
        return result

    def uncoupled(self, states: Tensor, route: Route) -> Tensor:
        """(..., D) states of a document as they were before the coupling of its language, where it has one."""
        coupling = self.languages[route.document].coupling if route.document in self.languages else None
        result: Tensor = states if coupling is None else coupling.inverse(states)
        return result

    # ------------------------------------------------------------------ masks

    def _add(self, route: Route) -> None:
        """Brings the weights to what the masks of this route make of them, from what they were at first."""
        wanted = [self.masks[language] for language in dict.fromkeys((route.query, route.document)) if language in self.masks]
        wanted += [self.ranking_mask] if route.ranked and self.ranking_mask else []
        weights = dict(self.encoder.named_parameters())
        with torch.no_grad():
            for name, weight in self._pristine.items():
                weights[name].copy_(weight)
            for mask in wanted:
                for name, (places, values) in mask.items():
                    self._pristine.setdefault(name, weights[name].detach().clone())
                    weights[name].view(-1).index_add_(0, places, values.to(weights[name]))

    def add_mask(self, mask: Mask, *, language: str | None = None) -> None:
        """Takes in the mask of a language, or of the ranking.

        Raises:
            ShapeError: it names a weight that the encoder does not have, or places beyond it.
        """
        weights = dict(self.encoder.named_parameters())
        for name, (places, _) in mask.items():
            if name not in weights or (len(places) and int(places.max()) >= weights[name].numel()):
                raise ShapeError(f"the mask is of another network: {name} has no such places here")
        if language is None:
            self.ranking_mask = mask
        else:
            self.masks[language] = mask


def read_module(folder: Path, network: ModularEncoder, *, language: str | None = None) -> None:
    """Reads the adapters or the mask of a folder into the network, as the module of a language or, without one, as that which ranks.

    Raises:
        FormatError: the folder holds neither, or one that does not fit the network.
    """
    adapter = next((folder / name for name in ADAPTER_FILES if (folder / name).is_file()), None)
    mask = next((folder / name for name in MASK_FILES if (folder / name).is_file()), None)
    try:
        if adapter is not None:
            target = network.ranking if language is None else network.languages
            target[language or "ranking"] = _stack(_tensors(adapter), network.encoder.config).eval()
        elif mask is not None:
            network.add_mask(_mask(mask), language=language)
        else:
            raise FormatError(f"neither adapters ({', '.join(ADAPTER_FILES)}) nor a mask ({', '.join(MASK_FILES)})", path=folder)
        head = next((folder / name for name in HEAD_FILES if (folder / name).is_file()), None)
        if language is None and head is not None:
            _read_head(_tensors(head), network.head)
    except (ValueError, RuntimeError, KeyError, TypeError, OSError, pickle.UnpicklingError, SafetensorError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"no module for this network: {' '.join(str(error).split())[:300]}", path=adapter or mask or folder) from error


def _tensors(path: Path) -> Mapping[str, Any]:
    """What a file of weights holds; of a pickled one tensors, texts and numbers alone are unpickled."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        tensors: dict[str, Tensor] = load_file(path)
        return tensors
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Validating sparse tensor invariants", UserWarning)  # that it does so is as it should be
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(loaded, dict):
        raise ValueError(f"expected a dictionary of weights; got {type(loaded).__name__}")
    return loaded


def _stack(tensors: Mapping[str, Tensor], config: Any) -> Stack:
    """The adapters that a file holds, under whatever name they have there."""
    adapters = {match.groups(): value for name, value in tensors.items() if (match := _PLACE.search(name))}
    coupling = {".".join(match.groups()): value for name, value in tensors.items() if (match := _COUPLING.search(name))}
    layers = range(config.num_hidden_layers)
    wanted = {(str(n), side, kind) for n in layers for side in ("down", "up") for kind in ("weight", "bias")}
    if set(adapters) != wanted:
        raise ValueError(f"expected adapters in {len(layers)} layers; got weights {len(adapters)} of {len(wanted)}")
    stack = Stack(config.hidden_size, adapters["0", "down", "weight"].shape[0], len(layers), coupled=bool(coupling))
    state = {f"layers.{n}.{side}.{kind}": value for (n, side, kind), value in adapters.items()}
    stack.load_state_dict(state | {f"coupling.{name}": value for name, value in coupling.items()})
    return stack


def _read_head(tensors: Mapping[str, Tensor], head: nn.Linear) -> None:
    """Takes the one matrix of 1 x D and the one number of a file, whatever their names."""
    by_shape = {tuple(value.shape): value for value in tensors.values()}
    shapes = (tuple(head.weight.shape), tuple(head.bias.shape))
    if len(tensors) != 2 or not all(shape in by_shape for shape in shapes):
        raise ValueError(f"expected a head of {shapes[0]} and {shapes[1]}; got {sorted(by_shape)}")
    with torch.no_grad():
        head.weight.copy_(by_shape[shapes[0]])
        head.bias.copy_(by_shape[shapes[1]])


# ---------------------------------------------------------------------- masks


def _mask(path: Path) -> Mask:
    tensors = _tensors(path)
    if path.suffix == ".safetensors":
        names = [name.removesuffix(".places") for name in tensors if name.endswith(".places")]
        return {name: (tensors[f"{name}.places"], tensors[f"{name}.values"]) for name in names}
    body = tensors.get("body", tensors.get("diffs"))
    if not isinstance(body, dict):
        raise ValueError(f"expected body or diffs in it; got {', '.join(map(str, tensors)) or 'nothing'}")
    return {name.removeprefix("bert."): _decoded(one) for name, one in body.items()}


def _decoded(encoded: Any) -> tuple[Tensor, Tensor]:
    """Places, row by row, and values of one difference: a sparse tensor, or steps between places that count the first axis fastest."""
    if isinstance(encoded, Tensor):
        sparse = encoded.to_sparse().coalesce()
        size, at, values = tuple(sparse.shape), sparse.indices().numpy(), sparse.values()
    else:
        size, values = tuple(encoded["size"]), torch.as_tensor(encoded["values"])
        at = np.stack(np.unravel_index(np.cumsum(np.asarray(encoded["index_steps"]), dtype=np.int64), size, order="F"))
    places = np.ravel_multi_index(tuple(at), size) if len(size) else np.zeros(at.shape[-1], dtype=np.int64)
    return torch.from_numpy(np.asarray(places, dtype=np.int64)), values.float()


def mask_of(before: Mapping[str, Tensor], after: Mapping[str, Tensor], *, least: float = 1e-7) -> Mask:
    """What was added to weights, where that is more than `least`."""
    mask: Mask = {}
    for name, weight in after.items():
        difference = (weight.detach() - before[name]).flatten()
        places = torch.nonzero(difference.abs() > least)[:, 0]
        if len(places):
            mask[name] = (places, difference[places].clone())
    return mask


def largest(before: Mapping[str, Tensor], after: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """Which `count` of all weights moved the farthest, as a boolean of each weight's shape: the ticket that is trained again."""
    moved = {name: (weight.detach() - before[name]).abs() for name, weight in after.items()}
    everything = torch.cat([one.flatten() for one in moved.values()])
    if count >= len(everything):
        return {name: torch.ones_like(one, dtype=torch.bool) for name, one in moved.items()}
    chosen = torch.zeros(len(everything), dtype=torch.bool)
    chosen[torch.topk(everything, count).indices] = True
    ends = np.cumsum([one.numel() for one in moved.values()]).tolist()
    return {name: chosen[end - one.numel() : end].reshape(one.shape) for (name, one), end in zip(moved.items(), ends, strict=True)}


def save_mask(mask: Mask, folder: Path) -> None:
    """Writes diff.safetensors."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {f"{name}.{kind}": one for name, pair in mask.items() for kind, one in zip(("places", "values"), pair, strict=True)},
        folder / MASK_FILES[0],
    )


def save_stack(stack: Stack, folder: Path, *, head: nn.Linear | None = None) -> None:
    """Writes adapter.safetensors and, of a module that ranks, head.safetensors."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, value in stack.state_dict().items():
        place, _, rest = name.partition(".")
        key = f"invertible_adapters.{rest}" if place == "coupling" else "layer.{}.adapter_{}.{}".format(*rest.split("."))
        tensors[key] = value.contiguous()
    save_file(tensors, folder / ADAPTER_FILES[0])
    if head is not None:
        save_head(head, folder)


def save_head(head: nn.Linear, folder: Path) -> None:
    """Writes head.safetensors."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in head.state_dict().items()}, folder / HEAD_FILES[0])


def parameters_of(parts: Sequence[nn.Module]) -> int:
    """How many weights these have."""
    return sum(weight.numel() for part in parts for weight in part.parameters())
