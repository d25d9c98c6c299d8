"""Descriptors of pictures and texts in one space, by any open_clip model.

    openclip/ViT-B-32.laion2b_s34b_b79k       architecture.tag: the weights come from the hub through open_clip, once
    openclip/ViT-B-32.laion2b_s34b_b79k@336   the same at 336 px a side (position embeddings interpolated by open_clip)
    openclip/ViT-B-32:/path/to/weights.pt     a known architecture with a local file: .pt .pth .bin .ckpt .safetensors
    openclip/local-dir:/path/to/folder        open_clip_config.json + open_clip_model.safetensors + tokenizer files
    openclip//path/to/folder                  the same; a relative path will do
    openclip/hf-hub:organisation/repository   the same folder, on the hub
    openclip/mini                             the small CLIP that ships with mmrerank

Sources: open_clip 3.0 to 3.3, whose `factory` and `pretrained` were read for what follows; tried with 3.3.

- Weights are loaded strictly: a missing or left-over key, or a wrong shape, is an error. open_clip by itself
  interpolates position embeddings of another size; for a local checkpoint that is an error unless `@side` asks for it.
- Where a tag says that its weights were trained with QuickGELU, the model is built so. (open_clip 3.3 only warns, and
  `ViT-B-32.openai` would run with the wrong activation.) A local file has no such tag: name `ViT-B-32-quickgelu:PATH`.
- Tokenizers cut a text at the model's context length (77 tokens in most); what follows is not read.

Cost per query: one pass through one tower. ViT-B-32 takes some 0.15 s a picture on one CPU core.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file

from mmrerank.encoders import _torch
from mmrerank.errors import BackendError, FormatError, InputError, UnknownName
from mmrerank.parts import printed, runtime_option
from mmrerank.types import Array, Download, Modality

MINI = Path(__file__).parents[1] / "mini" / "clip"  # mmrerank.mini.CLIP, which lies in a higher layer
CONFIG = "open_clip_config.json"
WEIGHTS = (  # in a folder, in open_clip's own order of preference
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")
_LONGEST = 32  # a picture longer than this many times its other side is cut at the ends before it is resized
_OFFLINE = "Without a network, name local weights, openclip/local-dir:PATH, or the embedded model, openclip/mini."


@dataclass(frozen=True, kw_only=True)
class Options:
    """`precision="auto"` moves entries of a row by less than 0.01 between machines and stays out of the name; the others
    go in."""

    checkpoint: str = "mini"  # by the grammar at the head of this file
    precision: _torch.Precision = "auto"
    batch_size: int | None = runtime_option(None)  # 32 on a CPU, 256 on a GPU
    device: str = runtime_option("auto")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a model comes from, in open_clip's words."""

    model: str  # an architecture, local-dir:PATH or hf-hub:NAME
    pretrained: str | None = None  # a tag or a file, with an architecture
    side_px: int | None = None

    @property
    def local(self) -> Path | None:
        """The folder or file of local weights."""
        if self.model.startswith("local-dir:"):
            return Path(self.model.removeprefix("local-dir:"))
        known_tag = open_clip.is_pretrained_cfg(self.model, self.pretrained or "")
        return Path(self.pretrained) if self.pretrained and not known_tag else None


class OpenClip:
    """An open_clip model. Pictures are RGB; one of another mode is converted before it is resized."""

    takes: frozenset[Modality] = frozenset({"image", "text"})
    reads: Modality = "image"

    def __init__(self, options: Options) -> None:
        self.name = printed("openclip", options, argument=True)
        source = source_of(options.checkpoint)
        self.weights = weights_of(source)
        self.device = _torch.device_of(options.device)
        self.precision = _torch.precision_of(options.precision, self.device)
        self.batch_size = _torch.batch_size_of(options.batch_size, self.device)
        self._model, self._transform = load(source, self.weights, self.precision)
        self._model.to(self.device).eval()
        self._tokenizer = _tokenizer(source)
        self._one_at_a_time = threading.Lock()  # a fast tokenizer that truncates may not be shared between threads
        self.dimension = int(open_clip.get_model_config(source.model)["embed_dim"])
        self.prepare("a")  # a tokenizer that does not fit the model is found here

    @cached_property
    def weights_hash(self) -> str:
        """16 hexadecimal digits of the SHA-256 of the weights file."""
        return _torch.file_hash(self.weights)

    def prepare(self, value: Image.Image | str) -> npt.NDArray[Any]:
        """(3, height, width) float32 of a picture, resized and normalised; (context length,) int64 token ids of a text.

        Raises:
            InputError: it is neither.
        """
        if isinstance(value, str):
            return self._tokens(value)
        if not isinstance(value, Image.Image):
            raise InputError(f"{self.name!r} prepares PIL pictures and strings; got {type(value).__name__}")
        image = value if value.mode == "RGB" else value.convert("RGB")
        return _torch.prepared_array(self._transform(_bounded(image)))

    def encode(self, values: Sequence[Any], *, normalise: bool = True) -> Array:
        """(n, dimension) float32 rows of pictures, of texts, or of what `prepare` made of them; one modality a call.

        Raises:
            InputError: modalities are mixed, a value is neither, or a row is not finite.
        """
        if len(values) == 0:
            return np.zeros((0, self.dimension), dtype=np.float32)
        pictures = _torch.one_modality(values, self.takes, self.name) == "image"
        rows = partial(self._pictures if pictures else self._texts, normalise=normalise)
        return _torch.encoded(values, self.batch_size, self.dimension, rows)

    @torch.inference_mode()
    def _pictures(self, values: Sequence[Any], *, normalise: bool) -> Array:
        batch = self._stacked(values).to(_torch.DTYPES[self.precision])  # (n, 3, height, width)
        return _torch.finished_rows(self._model.encode_image(batch), self.name, normalise=normalise)

    @torch.inference_mode()
    def _texts(self, values: Sequence[Any], *, normalise: bool) -> Array:
        return _torch.finished_rows(self._model.encode_text(self._stacked(values)), self.name, normalise=normalise)

    def _stacked(self, values: Sequence[Any]) -> torch.Tensor:
        ready = [value if isinstance(value, np.ndarray) else self.prepare(value) for value in values]
        shapes = {array.shape for array in ready}
        if len(shapes) > 1:
            raise InputError(f"{self.name!r} got prepared inputs of different shapes: {sorted(shapes)}")
        return torch.from_numpy(np.stack(ready)).to(self.device)

    def _tokens(self, text: str) -> npt.NDArray[Any]:
        with self._one_at_a_time:
            ids = _torch.prepared_array(self._tokenizer([text])[0])
        vocabulary = getattr(self._model, "vocab_size", 0)  # 0: not every architecture tells
        if vocabulary and int(ids.max()) >= vocabulary:
            raise FormatError(f"its tokenizer gives token {ids.max()}, the model knows {vocabulary}", path=self.weights)
        return ids


def source_of(checkpoint: str) -> Source:
    """What the argument of a name says, by the grammar at the head of this file.

    Raises:
        UnknownName: no such architecture or tag.
        InputError: a path that is not there, or weights that are not named.

    >>> source_of("ViT-B-32.laion2b_s34b_b79k@224")
    Source(model='ViT-B-32', pretrained='laion2b_s34b_b79k', side_px=224)
    """
    match = re.fullmatch(r"(.+)@(\d+)", checkpoint)
    rest, side = (match[1], int(match[2])) if match else (checkpoint, None)
    if side == 0:
        raise InputError(f"a picture of 0 px a side has nothing to encode: {checkpoint!r}")
    if rest.startswith("hf-hub:"):
        return Source(model=rest, side_px=side)
    if rest == "mini" or rest.startswith("local-dir:") or (Path(rest) / CONFIG).is_file():
        return Source(model=f"local-dir:{_folder(rest)}", side_px=side)
    architecture, colon, file = rest.partition(":")
    if colon:
        return Source(model=_architecture(architecture), pretrained=str(_file(file)), side_px=side)
    architecture, _, tag = rest.partition(".")
    if open_clip.is_pretrained_cfg(architecture, tag):
        return Source(model=architecture, pretrained=tag, side_px=side)
    if "/" in rest or rest.startswith("~"):
        raise InputError(f"{rest} is no folder with {CONFIG}", hint="A file needs its architecture: openclip/ViT-B-32:PATH")
    known_tags = open_clip.list_pretrained_tags_by_model(_architecture(architecture))
    raise UnknownName.among(f"openclip checkpoint of {architecture}", tag, known_tags)


def _architecture(name: str) -> str:
    architectures = open_clip.list_models()
    if name in architectures:
        return name
    nearest = get_close_matches(name, [*architectures, "mini"], n=6, cutoff=0.4)  # all 140 of them would hide the one that was meant
    near = f"; the nearest of {len(architectures)}: {', '.join(nearest)}" if nearest else ""
    hint = f"Did you mean {nearest[0]!r}?" if nearest else "open_clip.list_models() has them all."
    raise UnknownName(f"no openclip architecture is called {name!r}{near}.", hint=hint)


def _folder(text: str) -> Path:
    folder = MINI if text == "mini" else Path(text.removeprefix("local-dir:")).expanduser()
    if (folder / CONFIG).is_file():
        return folder
    if text == "mini":
        raise InputError(f"this installation has no embedded CLIP at {folder}", hint="Reinstall mmrerank, or name another checkpoint.")
    raise InputError(f"{folder} is no folder with {CONFIG}")


def _file(text: str) -> Path:
    file = Path(text).expanduser()
    if not file.is_file():
        raise InputError(f"there is no checkpoint at {text!r}")
    if file.suffix not in _SUFFIXES:
        raise InputError(f"{file} is no checkpoint of a known kind", hint=f"Known kinds: {', '.join(_SUFFIXES)}")
    return file


def weights_of(source: Source) -> Path:
    """The weights file, fetched from the hub where it is not there yet.

    Raises:
        FormatError: a local folder holds no weights, or several of which none is preferred.
        BackendError: the hub did not give them.
    """
    local = source.local
    if local is not None:
        return local if local.is_file() else _weights_in(local)
    try:
        if source.pretrained is not None:
            return Path(open_clip.download_pretrained(open_clip.get_pretrained_cfg(source.model, source.pretrained)))
        open_clip.get_model_config(source.model)
        return Path(open_clip.pretrained.download_pretrained_from_hf(source.model.removeprefix("hf-hub:")))
    except (OSError, RuntimeError) as error:
        raise _unreachable(source, error) from error


def _weights_in(folder: Path) -> Path:
    files = {file.name: file for file in sorted(folder.iterdir()) if file.suffix in (".safetensors", ".bin", ".pth")}
    candidates = [files[name] for name in WEIGHTS if name in files]
    if not candidates and len(files) != 1:
        raise FormatError(f"expected {WEIGHTS[0]}; found {', '.join(files) or 'no weights'}", path=folder)
    return candidates[0] if candidates else next(iter(files.values()))


def load(source: Source, weights: Path, precision: str) -> tuple[Any, Any]:
    """A model with all of its weights, on the CPU, and the transform of its pictures.

    Raises:
        FormatError: the weights do not fit the architecture exactly, or a file cannot be read.
        BackendError: the model names a text tower on the hub that cannot be had.
    """
    tag = open_clip.get_pretrained_cfg(source.model, source.pretrained or "") or {}
    try:
        model, transform = open_clip.create_model_from_pretrained(
            source.model,
            source.pretrained,
            precision=precision,
            force_quick_gelu=bool(tag.get("quick_gelu", False)),
            force_image_size=source.side_px,
        )
        if source.local is not None and source.side_px is None:
            _same_positions(model, weights)
    except OSError as error:  # first: some errors of the hub are also ValueErrors
        raise _unreachable(source, error) from error
    except _torch.BROKEN as error:
        raise FormatError(f"these are no weights of {source.model!r}: {_torch.brief(error)}", path=weights) from error
    return model, transform


def _same_positions(model: Any, weights: Path) -> None:
    """Refuses position embeddings of another size, which open_clip would interpolate without a word."""
    weights_in_file = open_clip.factory.load_state_dict(str(weights))
    mine = model.state_dict()
    for key in ("visual.positional_embedding", "positional_embedding", "text.positional_embedding"):
        if key in weights_in_file and key in mine and weights_in_file[key].shape != mine[key].shape:
            raise ValueError(
                f"{key} is {tuple(weights_in_file[key].shape)} in the file, {tuple(mine[key].shape)} in the model (@side resizes it)"
            )


def _tokenizer(source: Source) -> Any:
    try:
        return open_clip.get_tokenizer(source.model)
    except (OSError, ValueError, RuntimeError) as error:
        if source.model.startswith("local-dir:"):
            raise FormatError(f"its tokenizer cannot be read: {_torch.brief(error)}", path=source.model[10:]) from error
        raise _unreachable(source, error) from error


def _unreachable(source: Source, error: BaseException) -> BackendError:
    what = f"{source.model}.{source.pretrained}" if source.pretrained else source.model
    return BackendError(f"the hub did not give {what!r}: {_torch.brief(error)}", retryable=True, hint=_OFFLINE)


def _bounded(image: Image.Image) -> Image.Image:
    """The picture, its long side cut around the middle to 32 times the short one: resized by its short side, a
    picture of 1 x 100,000 px would fill the memory. The central square that models see stays the same."""
    width, height = image.size
    box_width, box_height = min(width, _LONGEST * height), min(height, _LONGEST * width)
    if (box_width, box_height) == (width, height):
        return image
    left, top = (width - box_width) // 2, (height - box_height) // 2
    return image.crop((left, top, left + box_width, top + box_height))


def download(options: Options) -> Download | None:
    """What is fetched from the hub for these options; the size is that of the architecture's weights in float32."""
    source = source_of(options.checkpoint)
    if source.local is not None:
        return None
    name = printed("openclip", options, argument=True)
    if source.pretrained is None:
        return _torch.fetched(name, source.model.removeprefix("hf-hub:"), WEIGHTS)
    tag = open_clip.get_pretrained_cfg(source.model, source.pretrained)
    repository, _, file = tag.get("hf_hub", "").rpartition("/")
    if not repository:
        return None  # from an address of its own, of which open_clip knows what is there
    return _torch.fetched(name, repository, (file,) if file else WEIGHTS, _mib(source.model))


def _mib(architecture: str) -> float | None:
    """The size of an architecture's weights, from its shapes alone; None where it takes a tower from elsewhere."""
    config = open_clip.get_model_config(architecture)
    if set(config) - {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"} or "hf_model_name" in config["text_cfg"]:
        return None
    with torch.device("meta"):
        model = open_clip.CLIP(**config)
    return float(sum(parameter.numel() for parameter in model.parameters()) * 4 / 2**20)


def build(options: Options) -> OpenClip:
    """The encoder that the options name."""
    return OpenClip(options)


def tiny() -> OpenClip:
    """A real but minute CLIP (32 px, 2 layers of width 32) with seeded random weights. A test double: it is written to
    a temporary folder and loaded as any checkpoint; its descriptors mean nothing."""
    return build(Options(checkpoint=f"local-dir:{_tiny_folder()}", device="cpu"))


@cache
def _tiny_folder() -> Path:
    folder = _torch.temporary_folder()
    save_tiny(folder, seed=0)
    return folder


def save_tiny(folder: Path, *, seed: int) -> None:
    """Writes the checkpoint folder of `tiny()` with the weights of a seed."""
    tower = {"width": 32, "layers": 2}
    vision = {**tower, "image_size": 32, "patch_size": 8, "head_width": 16}
    text = {**tower, "context_length": 16, "vocab_size": 49408, "heads": 2}
    config = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.CLIP(**config)
    save_file(model.state_dict(), folder / WEIGHTS[0])
    (folder / CONFIG).write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {"size": 32}}), encoding="utf-8")
