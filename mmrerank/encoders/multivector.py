"""Many descriptors a page, one a token, by checkpoints of the ColPali family; late interaction compares them (`late_interaction`).

    multivector//path/to/folder                        a saved checkpoint: config.json, weights, processor
    multivector/vidore/colqwen2-v1.0-hf                the same, on the hub
    multivector/vidore/colpali-v1.3-hf(budget=256)     at most 256 vectors a page, near ones pooled

Source: Faysse et al. 2024, "ColPali: Efficient Document Retrieval with Vision Language Models" (arXiv 2407.01449), by transformers'
own classes for `colpali` and `colqwen2`; adapters of colpali_engine without the base model are not read. Prompts, prefixes and the
tokens that lengthen a query are those of the checkpoint's processor, and the tokens of its prompt count as it counts them.

- `encode_tokens` gives (n_tokens, dimension) unit rows of each page or query; `encode` their mean, by which the ordinary index
  proposes candidates.
- Pages go through the model in batches of one length, so nothing is padded and no padding can score.
- Weights that miss a key are an error, no code from a checkpoint is run, and no pickle is read.

Cost per query: one pass through the language model.
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
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from PIL import Image

from mmrerank.encoders import _torch
from mmrerank.encoders._multivector_tiny import save_tiny
from mmrerank.encoders._token_pooling import pooled_to
from mmrerank.errors import BackendError, FormatError, InputError
from mmrerank.parts import printed, runtime_option
from mmrerank.types import Array, Modality

CLASSES = {"colpali": "ColPali", "colqwen2": "ColQwen2"}  # model_type -> what transformers' classes begin with
_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
_LONGEST = 100  # times the short side; processors refuse pictures of 200
_OFFLINE = "Without a network, name a local folder: multivector/PATH."


@dataclass(frozen=True, kw_only=True)
class Options:
    checkpoint: str
    budget: int | None = None  # vectors a page; None keeps all
    precision: _torch.Precision = "auto"
    batch_size: int = runtime_option(4)
    device: str = runtime_option("auto")

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
    """A checkpoint of the ColPali family."""

    takes: frozenset[Modality] = frozenset({"image", "text"})
    reads: Modality = "image"

    def __init__(self, options: Options) -> None:
        self.name = printed("multivector", options, argument=True)
        self.device = _torch.device_of(options.device)
        self.batch_size = _torch.batch_size_of(options.batch_size, self.device)
        self.folder = folder_of(options.checkpoint)
        self._dtype = _torch.DTYPES[_torch.precision_of(options.precision, self.device)]
        self._budget = options.budget
        self._model, self._processor = _load(self.folder, self.device, self._dtype)
        self._own = threading.local()
        self.dimension = int(self._model.config.embedding_dim)

    @cached_property
    def weights_hash(self) -> str:
        """16 hexadecimal digits of the SHA-256 over the names and hashes of the checkpoint's files."""
        digest = hashlib.sha256()
        for file in sorted(f for pattern in _FILES for f in self.folder.glob(pattern)):
            digest.update(f"{file.name} {_torch.file_hash(file)}\n".encode())
        return digest.hexdigest()[:16]

    def prepare(self, value: Any) -> Prepared:
        """What the processor makes of one picture or text; of a picture longer than 100 times its short side, the middle."""
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


def folder_of(checkpoint: str) -> Path:
    """The folder of a checkpoint, fetched from the hub where it is not there yet.

    Raises:
        InputError: a path that is no checkpoint, or a name that the hub cannot have.
        BackendError: the hub did not give it.
    """
    local = Path(checkpoint).expanduser()
    if local.exists() or checkpoint.startswith(("/", ".", "~")) or checkpoint.count("/") != 1:
        if not (local / "config.json").is_file():
            raise InputError(f"{local} is no checkpoint folder: it has no config.json", hint="Or name one on the hub: ORGANISATION/NAME.")
        return local
    try:
        return Path(snapshot_download(checkpoint, allow_patterns=list(_FILES)))
    except HFValidationError as error:
        raise InputError(f"the hub can have no checkpoint called {checkpoint!r}: {_torch.brief(error)}") from error
    except OSError as error:
        reachable = not isinstance(error, RepositoryNotFoundError)
        raise BackendError(f"the hub did not give {checkpoint!r}: {_torch.brief(error)}", retryable=reachable, hint=_OFFLINE) from error


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


def build(options: Options) -> Multivector:
    """The encoder that the options name."""
    return Multivector(options)


def tiny() -> Multivector:
    """A real but minute ColQwen2 (2 + 2 layers of width 32, 16 dimensions) with seeded random weights. A test double: it is
    written to a temporary folder and loaded as any checkpoint; its descriptors mean nothing."""
    return build(Options(checkpoint=str(_tiny_folder()), device="cpu"))


@cache
def _tiny_folder() -> Path:
    folder = _torch.temporary_folder()
    save_tiny(folder, "colqwen2", seed=0)
    return folder
