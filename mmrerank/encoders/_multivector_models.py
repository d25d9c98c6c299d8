"""What gives token vectors beside transformers' own classes: sentence-transformers' `MultiVectorEncoder`, and a server."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image

from mmrerank.encoders import _torch
from mmrerank.encoders._checkpoints import MODULES, hash_of, load
from mmrerank.encoders._collating import batched, collated, halving
from mmrerank.encoders._fused_values import control_tokens, plain, sized
from mmrerank.encoders._served import EmbeddingServer, messages_of
from mmrerank.encoders._token_pooling import pooled_to
from mmrerank.errors import BackendError, FormatError, InputError
from mmrerank.types import Array, EncodedPart, Modality

PART = "multivector"
SIDES = {True: ("query",), False: ("document", "passage", "corpus")}  # what checkpoints call the prompt of what is asked and found


class TokenModel(Protocol):
    """What makes the vectors of one value at a time or of many, for what is asked and what is found."""

    dimension: int
    takes: frozenset[Modality]

    @property
    def weights_hash(self) -> str: ...

    def prepare(self, value: EncodedPart, *, query: bool) -> Any: ...

    def tokens(self, values: Sequence[Any], *, query: bool) -> list[torch.Tensor]: ...


def is_multi_vector_folder(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether `MultiVectorEncoder` knows what to do with a folder: one it saved, PyLate's, or the first ColBERT's. Over any other it would
    put a projection with random weights."""
    return (folder / MODULES).is_file() or "HF_ColBERT" in (config.get("architectures") or ())


class LibraryModel:
    """A checkpoint of `MultiVectorEncoder`; prompts, lengths, expansion and masks are its own."""

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        precision: str,
        instructions: Mapping[bool, str | None],
        *,
        batch_size: int,
        remote_code: bool,
    ) -> None:
        self.folder, self._device, self._batch_size, self._instructions = folder, device, batch_size, instructions
        self._model = load("MultiVectorEncoder", folder, device, precision, part=PART, remote_code=remote_code)
        modalities: tuple[Modality, ...] = ("image", "text")
        self.takes = frozenset(one for one in modalities if self._model.supports(one))
        dimension = self._model.get_embedding_dimension()
        if dimension is None or not self.takes:
            raise FormatError("it does not say how long its vectors are, or takes neither pictures nor texts", path=folder)
        self.dimension = int(dimension)
        self._control = control_tokens(self._model.tokenizer)
        self._lock = threading.Lock()  # a tokenizer that pads changes its own state

    @property
    def weights_hash(self) -> str:
        return hash_of(self.folder)

    def prepare(self, value: EncodedPart, *, query: bool) -> dict[str, Any]:
        wish = self._instructions[query]
        names = [name for name in SIDES[query] if name in self._model.prompts]
        prompt = wish if wish is not None else self._model.prompts[names[0]] if names else None
        content = {"text": plain(value, self._control)} if isinstance(value, str) else {"image": value}
        try:
            with self._lock:
                return dict(self._model.preprocess([content], prompt=prompt, task=_task(query)))
        except (ValueError, TypeError, IndexError, RuntimeError) as error:
            raise InputError(f"the processor of {self.folder.name} does not take the value: {_torch.brief(error)}") from error

    def tokens(self, values: Sequence[Any], *, query: bool) -> list[torch.Tensor]:
        rows: dict[int, torch.Tensor] = {}

        def run(places: Sequence[int]) -> list[torch.Tensor]:
            return self._forward([values[place] for place in places], query=query)

        for places in batched(values, self._batch_size):
            rows.update(zip(places, halving(run, places), strict=True))
        return [rows[place] for place in range(len(values))]

    @torch.inference_mode()
    def _forward(self, values: Sequence[Any], *, query: bool) -> list[torch.Tensor]:
        tokenizer = self._model.tokenizer
        batch = collated(values, pad_token=tokenizer.pad_token_id or 0, pad_left=tokenizer.padding_side == "left")
        inputs = {name: value.to(self._device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
        features = self._model(inputs, task=_task(query))
        pairs = zip(features["token_embeddings"], features["attention_mask"].bool(), strict=True)
        return [rows[mask] for rows, mask in pairs]


def _task(query: bool) -> str:
    return "query" if query else "document"


class ServedTokens:
    """A served model; every token of its prompt has a vector, as the server gives them."""

    takes: frozenset[Modality] = frozenset({"image", "text"})
    weights_hash = ""  # a server does not say what it has loaded

    def __init__(self, server: EmbeddingServer, instructions: Mapping[bool, str | None]) -> None:
        self._server, self._instructions = server, instructions
        self.dimension = server.token_vectors([messages_of(("a",), None)])[0].shape[1]

    def prepare(self, value: EncodedPart, *, query: bool) -> Any:
        return messages_of((value,), self._instructions[query])

    def tokens(self, values: Sequence[Any], *, query: bool) -> list[torch.Tensor]:
        arrays = self._server.token_vectors(values)
        if strangers := {array.shape[1] for array in arrays} - {self.dimension}:
            raise BackendError(f"{self._server.name} gave vectors of {strangers.pop()} numbers; before, they had {self.dimension}")
        return [torch.from_numpy(array) for array in arrays]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """One picture or text of what is found, as the model takes it."""

    modality: Modality
    inputs: Any


class Sided:
    """An encoder over such a model: many vectors a value, of what is found and of what is asked. Safe in threads."""

    def __init__(self, name: str, model: TokenModel, *, budget: int | None, batch_size: int) -> None:
        self.name, self.batch_size, self.dimension, self.takes = name, batch_size, model.dimension, model.takes
        self.reads: Modality = "image" if "image" in model.takes else "text"
        self._model, self._budget = model, budget

    @property
    def weights_hash(self) -> str:
        """16 hexadecimal digits of the SHA-256 over the checkpoint's files; "" of a server, which does not tell."""
        return self._model.weights_hash

    def prepare(self, value: Any) -> Prepared:
        """What the processor makes of one picture or text of what is found."""
        return value if isinstance(value, Prepared) else self._prepared(value, query=False)

    def encode(self, values: Sequence[Any], *, normalise: bool = True) -> Array:
        """(n, dimension) float32: the mean of each value's token vectors, at length 1 or as it comes.

        Raises:
            InputError: pictures and texts in one call, what is neither, or a row that is not finite.
            BackendError: a server does not give them.
        """
        return self.pooled(self.encode_tokens(values), normalise=normalise)

    def encode_tokens(self, values: Sequence[Any]) -> list[Array]:
        """(n_tokens, dimension) float32 unit rows of each value that is found, no more than the budget; errors as in `encode`."""
        return [pooled_to(rows, self._budget) for rows in self._tokens([self.prepare(value) for value in values], query=False)]

    def encode_query_tokens(self, values: Sequence[Any]) -> list[Array]:
        """(n_tokens, dimension) float32 unit rows of each value that is asked; errors as in `encode`."""
        return self._tokens([self._prepared(value, query=True) for value in values], query=True)

    def pooled(self, tokens: Sequence[Array], *, normalise: bool = True) -> Array:
        """(n, dimension) means of token vectors, as `encode` gives them."""
        return _torch.mean_rows(tokens, self.name, self.dimension, normalise=normalise)

    def _prepared(self, value: Any, *, query: bool) -> Prepared:
        if not isinstance(value, str | Image.Image):
            raise InputError(f"{self.name!r} takes a PIL picture, a string, or what its prepare() returned; got {type(value).__name__}")
        modality: Modality = "text" if isinstance(value, str) else "image"
        if modality not in self.takes:
            raise InputError(f"{self.name!r} takes {' and '.join(sorted(self.takes))}, not {modality}")
        shapely = value if isinstance(value, str) else sized(value, None)
        return Prepared(modality=modality, inputs=self._model.prepare(shapely, query=query))

    def _tokens(self, prepared: Sequence[Prepared], *, query: bool) -> list[Array]:
        if len({one.modality for one in prepared}) > 1:
            raise InputError(f"{self.name!r} encodes one modality a call; got pictures and texts", hint="Encode them in two calls.")
        rows = self._model.tokens([one.inputs for one in prepared], query=query) if prepared else []
        return [_torch.finished_rows(one, self.name, normalise=True) for one in rows]
