"""One descriptor of any mix of pictures and texts, by checkpoints that fuse them: Qwen3-VL-Embedding, GME and their like.

    universal//path/to/folder                                          a saved sentence-transformers checkpoint
    universal/Qwen/Qwen3-VL-Embedding-2B                               the same, on the hub
    universal/Qwen/Qwen3-VL-Embedding-2B(width=512, revision='abc123')
    universal/http://localhost:8000/v1#Qwen/Qwen3-VL-Embedding-2B      a server: vLLM, or another that takes messages

A composed query (a picture and what should be different) is one input of such a model, so the retriever `composed` asks it for one row
where it sums two vectors of a CLIP. Of an item, `reads` says what its descriptor is made of: picture and text together, or one of them.

- What is asked and what is found may have instructions of their own. Left out, they are those of the checkpoint (`prompts` in
  `config_sentence_transformers.json`); a server applies none of these by itself, so give them. An instruction that ends without a mark
  gets a full stop.
- `width` takes the first numbers of each vector and brings them to unit length again, for checkpoints that were trained so (Matryoshka:
  Kusupati et al. 2022, arXiv 2205.13147). It is part of the name, and vectors of two widths never meet in one collection.
- Pictures come before texts. Control tokens in texts are read as letters, and a text that looks like an address is never opened.
- A checkpoint that makes no one vector of both is refused, with the part that reads it; so are weights that miss a key. Code of a
  checkpoint is run only with `remote_code=True`. No pickle is read.
- Whether a server gives what the checkpoint gives here is measured by `mmrerank.encoders.agreement`.

Source: sentence-transformers 6.2 (`SentenceTransformer`, inputs of several modalities); vLLM's embeddings with messages; the layout of
Qwen3-VL-Embedding is that of its own files.  Cost per query: one pass through the model, or one request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import httpx
import numpy as np
import torch
from PIL import Image
from pydantic import Field

from mmrerank.encoders import _torch
from mmrerank.encoders._checkpoints import fetches, folder_of
from mmrerank.encoders._fused_values import Kind, as_sentence, kind_of, parts_of, sized
from mmrerank.encoders._served import is_server, opened
from mmrerank.errors import InputError
from mmrerank.parts import printed, runtime_option
from mmrerank.types import Array, Download, EncodedPart, Modality

PART = "universal"


@dataclass(frozen=True, kw_only=True)
class Options:
    checkpoint: str  # a folder, ORGANISATION/NAME on the hub, or URL#MODEL of a server
    reads: Literal["both", "image", "text"] = "both"  # what of an item goes into its descriptor; both: together, or the one it has
    query_instruction: str | None = None  # what is asked is for this; None: as the checkpoint says, '': none
    document_instruction: str | None = None  # what is found is described for this; None and '' as above
    width: Annotated[int, Field(ge=1)] | None = None  # numbers of a descriptor, the model's first; None: all of them
    max_pixels: Annotated[int, Field(ge=1)] | None = None  # a larger picture is made smaller before the processor sees it
    revision: str | None = None  # branch, tag or commit on the hub
    remote_code: bool = False  # run the code that a checkpoint brings along
    generation_prompt: bool = False  # a server's prompt ends where an answer would begin; a folder says this itself
    precision: _torch.Precision = "auto"  # moves entries of a row by less than 0.01 between machines
    batch_size: int = runtime_option(8)
    device: str = runtime_option("auto")
    timeout_s: Annotated[float, Field(gt=0)] = runtime_option(120.0)  # without a byte from the server
    retries: Annotated[int, Field(ge=0)] = runtime_option(4)
    backoff_s: Annotated[float, Field(ge=0)] = runtime_option(0.5)  # before the first of them
    concurrency: Annotated[int, Field(ge=1)] = runtime_option(8)  # requests at once, over all threads


class Model(Protocol):
    """What makes the rows, here or on a server."""

    dimension: int

    @property
    def weights_hash(self) -> str: ...

    def prepare(self, parts: Sequence[EncodedPart], instruction: str | None, *, query: bool) -> Any: ...

    def rows(self, values: Sequence[Any], *, query: bool) -> Array: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """One value of what is found, as the model takes it."""

    kind: Kind
    inputs: Any


class Universal:
    """A model that fuses. Safe in threads."""

    takes: frozenset[Modality] = frozenset({"image", "text"})

    def __init__(self, options: Options, model: Model, batch_size: int) -> None:
        self.name = printed(PART, options, argument=True)
        self.batch_size = batch_size
        self.reads: Modality = "text" if options.reads == "text" else "image"
        self.reads_both = options.reads == "both"
        if options.width is not None and options.width > model.dimension:
            raise InputError(
                f"width is how many of the {model.dimension} numbers of a vector are kept; got {options.width}",
                hint=f"Leave it out, or say a width that the checkpoint was trained for, at most {model.dimension}.",
            )
        self.dimension = options.width or model.dimension
        self._options, self._model = options, model

    @cached_property
    def weights_hash(self) -> str:
        """16 hexadecimal digits of the SHA-256 over the checkpoint's files; "" of a server, which does not tell."""
        return self._model.weights_hash

    # ------------------------------------------------------------------ what is found

    def prepare(self, value: Any) -> Prepared:
        """What the processor makes of one picture or one text of what is found.

        Raises:
            InputError: it is neither, or the processor does not take it.
        """
        if isinstance(value, Prepared):
            return value
        if not isinstance(value, str | Image.Image):
            raise InputError(f"{self.name!r} prepares PIL pictures and strings; got {type(value).__name__}", hint="Both: prepare_fused.")
        return self.prepare_fused((value,))

    def prepare_fused(self, parts: Any) -> Prepared:
        """What the processor makes of pictures and texts that are one value.

        Raises:
            InputError: there are none, or the processor does not take them.
        """
        if isinstance(parts, Prepared):
            return parts
        values = parts_of(parts, self.name)
        return Prepared(kind=kind_of(values), inputs=self._inputs(values, self._options.document_instruction, query=False))

    def encode(self, values: Sequence[Any], *, normalise: bool = True) -> Array:
        """(n, dimension) float32 rows of pictures, of texts, or of what `prepare` made of them; one modality a call.

        Raises:
            InputError: pictures and texts in one call, what is neither, or a row that is not finite.
            BackendError: a server does not give them.
        """
        prepared = [self.prepare(value) for value in values]
        if len({one.kind for one in prepared}) > 1:
            raise InputError(f"{self.name!r} encodes one modality a call", hint="encode_fused takes any mix.")
        return self._rows([one.inputs for one in prepared], query=False, normalise=normalise)

    def encode_fused(self, values: Sequence[Any], *, normalise: bool = True) -> Array:
        """(n, dimension) float32 rows of values of any mix, each pictures and texts in their order; errors as in `encode`."""
        prepared = [self.prepare_fused(value) for value in values]
        return self._rows([one.inputs for one in prepared], query=False, normalise=normalise)

    # ------------------------------------------------------------------ what is asked

    def encode_queries(self, values: Sequence[Any], *, normalise: bool = True) -> Array:
        """(n, dimension) float32 rows of pictures and of texts that are asked; errors as in `encode`."""
        return self.encode_fused_queries([(value,) for value in values], normalise=normalise)

    def encode_fused_queries(
        self, values: Sequence[Sequence[EncodedPart]], *, instruction: str | None = None, normalise: bool = True
    ) -> Array:
        """(n, dimension) float32 rows of what is asked, each pictures and texts in their order; errors as in `encode`."""
        wish = self._options.query_instruction if instruction is None else instruction
        inputs = [self._inputs(parts_of(value, self.name), wish, query=True) for value in values]
        return self._rows(inputs, query=True, normalise=normalise)

    # ------------------------------------------------------------------

    def _inputs(self, parts: Sequence[EncodedPart], instruction: str | None, *, query: bool) -> Any:
        shapely = [part if isinstance(part, str) else sized(part, self._options.max_pixels) for part in parts]
        return self._model.prepare(shapely, None if instruction is None else as_sentence(instruction), query=query)

    def _rows(self, inputs: Sequence[Any], *, query: bool, normalise: bool) -> Array:
        if not inputs:
            return np.zeros((0, self.dimension), dtype=np.float32)
        rows = torch.from_numpy(self._model.rows(inputs, query=query)[:, : self.dimension])
        return _torch.finished_rows(rows, self.name, normalise=normalise)


def download(options: Options) -> Download | None:
    """What is fetched from the hub for these options."""
    return None if is_server(options.checkpoint) else fetches(printed(PART, options, argument=True), options.checkpoint)


def build(options: Options, api_key: str | None = None) -> Universal:
    """The encoder that the options name.

    Args:
        api_key: the key of a server.
    """
    if is_server(options.checkpoint):
        return served(options, api_key)
    return _local(options)


def _local(options: Options) -> Universal:
    from mmrerank.encoders._universal_local import LocalModel

    if options.generation_prompt:
        raise InputError("generation_prompt is for servers", hint="A folder says it in sentence_bert_config.json: processing_kwargs.")
    device = _torch.device_of(options.device)
    batch_size = _torch.batch_size_of(options.batch_size, device)
    folder = folder_of(options.checkpoint, part=PART, revision=options.revision, remote_code=options.remote_code)
    precision = _torch.precision_of(options.precision, device)
    model = LocalModel(folder, device, precision, batch_size=batch_size, remote_code=options.remote_code)
    return Universal(options, model, batch_size)


def served(options: Options, api_key: str | None = None, *, transport: httpx.BaseTransport | None = None) -> Universal:
    """The encoder of a server, which is asked once for how long its vectors are.

    Args:
        transport: instead of the network, such as a double's.

    Raises:
        BackendError: it cannot be reached, or gives no vectors.
    """
    from mmrerank.encoders._universal_served import ServedModel

    server, named = opened(options, PART, api_key, transport)
    return Universal(named, ServedModel(server), max(options.batch_size, options.concurrency))


def tiny() -> Universal:
    """A real but minute Qwen3-VL (2 + 2 layers of width 32) with seeded random weights. A test double: it is written to a temporary
    folder and loaded as any checkpoint; its descriptors mean nothing."""
    return build(Options(checkpoint=str(_tiny_folder()), device="cpu"))


@cache
def _tiny_folder() -> Path:
    from mmrerank.encoders._universal_tiny import save_tiny

    folder = _torch.temporary_folder()
    save_tiny(folder, "qwen3_vl", seed=0)
    return folder
