"""Many descriptors a page, one a token, by late-interaction checkpoints; late interaction compares them (`late_interaction`).

    multivector//path/to/folder                        a saved checkpoint: config.json, weights, processor
    multivector/vidore/colqwen2-v1.0-hf                the same, on the hub
    multivector/vidore/colpali-v1.3-hf(budget=256)     at most 256 vectors a page, near ones pooled
    multivector/http://localhost:8000/v1#MODEL         a server that gives a vector for each token (vLLM: /pooling, task token_embed)

Three ways, told apart by what the checkpoint is:

- `colpali` and `colqwen2` of transformers, by their own classes. Prompts, prefixes and the tokens that lengthen a query are those of the
  checkpoint's processor, and the tokens of its prompt count as it counts them. Pages go through the model in batches of one length, so
  nothing is padded and no padding can score.
- What sentence-transformers' `MultiVectorEncoder` saved or converts: a folder with modules.json (ColQwen2.5, ColQwen3, PyLate's ColBERTs
  and adapters among them), or the first ColBERT's. Prompts, lengths, query expansion and masks are those of its files; what is asked and
  what is found go different ways. A text ColBERT takes texts only. Any other folder is refused: it would get a random projection.
- A server, which renders the chat template; every token of its prompt has a vector, so instructions count too.

`encode_tokens` gives (n_tokens, dimension) unit rows of each page, `encode_query_tokens` of each query where that differs; `encode` their
mean, by which the ordinary index proposes candidates. Weights that miss a key are an error; no pickle is read, and code of a checkpoint is
run only with `remote_code=True`.

Source: Faysse et al. 2024, "ColPali: Efficient Document Retrieval with Vision Language Models" (arXiv 2407.01449); sentence-transformers
6.2; vLLM's protocol of pooling.  Cost per query: one pass through the language model, or one request.
"""

from __future__ import annotations

import copy
import hashlib
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from pydantic import Field

from mmrerank.encoders import _torch
from mmrerank.encoders._checkpoints import FILES, MODULES, fetches, folder_of, json_of
from mmrerank.encoders._multivector_models import PART, LibraryModel, ServedTokens, Sided, is_multi_vector_folder
from mmrerank.encoders._multivector_tiny import save_tiny
from mmrerank.encoders._served import is_server, opened
from mmrerank.encoders._token_pooling import pooled_to
from mmrerank.errors import FormatError, InputError
from mmrerank.parts import printed, runtime_option
from mmrerank.types import Array, Download, Modality

CLASSES = {"colpali": "ColPali", "colqwen2": "ColQwen2"}  # model_type -> what transformers' classes begin with
_LONGEST = 100  # times the short side; processors refuse pictures of 200


@dataclass(frozen=True, kw_only=True)
class Options:
    checkpoint: str
    budget: int | None = None  # vectors a page; None keeps all
    query_instruction: str | None = None  # of the latter two ways; None: as the checkpoint says, '': none
    document_instruction: str | None = None  # as above, of what is found
    revision: str | None = None  # branch, tag or commit on the hub
    remote_code: bool = False  # run the code that a checkpoint brings along
    generation_prompt: bool = False  # a server's prompt ends where an answer would begin
    precision: _torch.Precision = "auto"  # moves entries of a row by less than 0.01 between machines
    batch_size: int = runtime_option(4)
    device: str = runtime_option("auto")
    timeout_s: Annotated[float, Field(gt=0)] = runtime_option(120.0)  # without a byte from the server
    retries: Annotated[int, Field(ge=0)] = runtime_option(4)
    backoff_s: Annotated[float, Field(ge=0)] = runtime_option(0.5)  # before the first of them
    concurrency: Annotated[int, Field(ge=1)] = runtime_option(8)  # requests at once, over all threads

    def __post_init__(self) -> None:
        if self.budget is not None and self.budget < 1:
            raise InputError(f"budget is how many vectors a page keeps, 1 or more; got {self.budget}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """One picture or text as the model takes it."""

    modality: Modality
    inputs: Mapping[str, npt.NDArray[Any]]  # each with a first axis of 1

    @property
    def shapes(self) -> tuple[Any, ...]:
        """Equal for what can go through the model together without padding."""
        return tuple((name, array.shape) for name, array in sorted(self.inputs.items()))


class Multivector:
    """A checkpoint of the ColPali family, by transformers' own classes."""

    takes: frozenset[Modality] = frozenset({"image", "text"})
    reads: Modality = "image"

    def __init__(self, options: Options, folder: Path) -> None:
        self.name = printed(PART, options, argument=True)
        self.device = _torch.device_of(options.device)
        self.batch_size = _torch.batch_size_of(options.batch_size, self.device)
        self.folder = folder
        self._dtype = _torch.DTYPES[_torch.precision_of(options.precision, self.device)]
        self._budget = options.budget
        self._model, self._processor = _load(self.folder, self.device, self._dtype)
        self._own = threading.local()
        self.dimension = int(self._model.config.embedding_dim)

    @cached_property
    def weights_hash(self) -> str:
        """16 hexadecimal digits of the SHA-256 over the names and hashes of the checkpoint's files."""
        digest = hashlib.sha256()
        for file in sorted(f for pattern in FILES for f in self.folder.glob(pattern)):  # of the folder itself, as 0.2.0 took it
            digest.update(f"{file.name} {_torch.file_hash(file)}\n".encode())
        return digest.hexdigest()[:16]

    def prepare(self, value: Any) -> Prepared:
        """What the processor makes of one picture or text; of a picture longer than 100 times its short side, the middle.

        Raises:
            InputError: it is neither.
        """
        if isinstance(value, Prepared):
            return value
        if not isinstance(value, str | Image.Image):
            raise InputError(f"{self.name!r} takes a PIL picture, a string, or what its prepare() returned; got {type(value).__name__}")
        modality: Modality = "text" if isinstance(value, str) else "image"
        content = {"text": [value]} if isinstance(value, str) else {"images": [_bounded(value.convert("RGB"))]}
        features = self._processor_here()(**content, return_tensors="pt")
        inputs = {name: tensor.numpy() for name, tensor in features.items() if name != "labels"}  # labels are for training
        return Prepared(modality=modality, inputs=inputs)

    def encode(self, values: Sequence[Any], *, normalise: bool = True) -> Array:
        """(n, dimension) float32: the mean of each value's token vectors, at length 1 or as it comes.

        Raises:
            InputError: pictures and texts in one call, what is neither, or a row that is not finite.
        """
        return self.pooled(self.encode_tokens(values), normalise=normalise)

    def encode_tokens(self, values: Sequence[Any]) -> list[Array]:
        """(n_tokens, dimension) float32 unit rows of each value, without padding; of a picture no more than the budget.

        Raises:
            InputError: as in `encode`.
        """
        prepared = [self.prepare(value) for value in values]
        if len({one.modality for one in prepared}) > 1:
            raise InputError(f"{self.name!r} encodes one modality a call; got pictures and texts", hint="Encode them in two calls.")
        alike: dict[tuple[Any, ...], list[int]] = defaultdict(list)
        for place, one in enumerate(prepared):
            alike[one.shapes].append(place)
        rows: dict[int, Array] = {}
        for places in alike.values():
            for batch in _torch.batches(places, self.batch_size):
                rows.update(zip(batch, self._tokens([prepared[place] for place in batch]), strict=True))
        return [rows[place] for place in range(len(prepared))]

    def pooled(self, tokens: Sequence[Array], *, normalise: bool = True) -> Array:
        """(n, dimension) means of token vectors, as `encode` gives them."""
        return _torch.mean_rows(tokens, self.name, self.dimension, normalise=normalise)

    @torch.inference_mode()
    def _tokens(self, batch: Sequence[Prepared]) -> list[Array]:
        arrays = {name: np.concatenate([one.inputs[name] for one in batch]) for name in batch[0].inputs}
        tensors = {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}
        inputs = {name: tensor.to(self._dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
        embeddings = self._model(**inputs).embeddings  # (n, n_tokens, dimension)
        masks = inputs["attention_mask"].bool()
        rows = [_torch.finished_rows(one[mask], self.name, normalise=True) for one, mask in zip(embeddings, masks, strict=True)]
        budget = self._budget if batch[0].modality == "image" else None
        return [pooled_to(one, budget) for one in rows]

    def _processor_here(self) -> Any:
        """The processor of this thread: its tokenizer cannot be used by two at once."""
        if not hasattr(self._own, "processor"):
            self._own.processor = copy.deepcopy(self._processor)
        return self._own.processor


def _bounded(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    box_width, box_height = min(width, _LONGEST * height), min(height, _LONGEST * width)
    left, top = (width - box_width) // 2, (height - box_height) // 2
    whole = (box_width, box_height) == picture.size
    return picture if whole else picture.crop((left, top, left + box_width, top + box_height))


def download(options: Options) -> Download | None:
    """What is fetched from the hub for these options."""
    return None if is_server(options.checkpoint) else fetches(printed(PART, options, argument=True), options.checkpoint)


def _load(folder: Path, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    """The model in evaluation mode with all of its weights, and its processor."""
    import transformers

    try:
        kind = transformers.PretrainedConfig.get_config_dict(folder, local_files_only=True)[0].get("model_type")
        if kind not in CLASSES:
            raise ValueError(f"its model_type is {kind!r}; known are {', '.join(sorted(CLASSES))}")
        model_class = getattr(transformers, f"{CLASSES[kind]}ForRetrieval")
        processor = getattr(transformers, f"{CLASSES[kind]}Processor").from_pretrained(folder, local_files_only=True)
        model, report = model_class.from_pretrained(
            folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        if lacking := sorted(str(key) for kind in ("missing_keys", "mismatched_keys") for key in report.get(kind) or ()):
            raise ValueError(f"its weights lack {', '.join(lacking[:3])}{' and more' if len(lacking) > 3 else ''}")
    except (OSError, *_torch.BROKEN) as error:
        raise FormatError(f"no complete multi-vector checkpoint: {_torch.brief(error)}", path=folder) from error
    return model.to(device).eval(), processor


def build(options: Options, api_key: str | None = None) -> Multivector | Sided:
    """The encoder that the options name.

    Args:
        api_key: the key of a server.

    Raises:
        InputError: the folder is no checkpoint, or does not take the options.
        FormatError: its files do not say how long its vectors are.
        BackendError: the hub or the server cannot be reached.
    """
    if is_server(options.checkpoint):
        return served(options, api_key)
    folder = folder_of(options.checkpoint, part=PART, revision=options.revision, remote_code=options.remote_code)
    file = folder / "config.json"
    if not file.is_file() and not (folder / MODULES).is_file():
        raise InputError(f"{folder} is no checkpoint folder: it has no config.json", hint="Or name one on the hub: ORGANISATION/NAME.")
    config = json_of(file) if file.is_file() else {}
    if options.generation_prompt:
        raise InputError("generation_prompt is for servers", hint="A folder says in its own files how its prompt ends.")
    if is_multi_vector_folder(folder, config):
        return _by_library(options, folder)
    if options.query_instruction is not None or options.document_instruction is not None:
        raise InputError(f"the processor of {folder} has its own prompts and takes no instruction")
    return Multivector(options, folder)


def _by_library(options: Options, folder: Path) -> Sided:
    device = _torch.device_of(options.device)
    batch_size = _torch.batch_size_of(options.batch_size, device)
    precision = _torch.precision_of(options.precision, device)
    model = LibraryModel(folder, device, precision, _instructions(options), batch_size=batch_size, remote_code=options.remote_code)
    return Sided(printed(PART, options, argument=True), model, budget=options.budget, batch_size=batch_size)


def served(options: Options, api_key: str | None = None, *, transport: httpx.BaseTransport | None = None) -> Sided:
    """The encoder of a server, which is asked once for how long its vectors are.

    Args:
        transport: instead of the network, such as a double's.

    Raises:
        BackendError: it cannot be reached, or gives no vectors.
    """
    server, named = opened(options, PART, api_key, transport)
    model, batch_size = ServedTokens(server, _instructions(options)), max(options.batch_size, options.concurrency)
    return Sided(printed(PART, named, argument=True), model, budget=options.budget, batch_size=batch_size)


def _instructions(options: Options) -> dict[bool, str | None]:
    """By whether it is for what is asked."""
    return {True: options.query_instruction, False: options.document_instruction}


def tiny() -> Multivector | Sided:
    """A real but minute ColQwen2 (2 + 2 layers of width 32, 16 dimensions) with seeded random weights. A test double: it is
    written to a temporary folder and loaded as any checkpoint; its descriptors mean nothing."""
    return build(Options(checkpoint=str(_tiny_folder()), device="cpu"))


@cache
def _tiny_folder() -> Path:
    folder = _torch.temporary_folder()
    save_tiny(folder, "colqwen2", seed=0)
    return folder
