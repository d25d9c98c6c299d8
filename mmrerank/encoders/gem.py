"""SuperGlobal descriptors of pictures: a landmark ResNet, pooled better at test time than it was trained.

    gem/weights/CVPR2022_CVNet_R101.pyth
    gem/weights/cvnet_r50.safetensors(scales=5, max_side_px=None)

Source: Shao et al. 2023 (SuperGlobal, ICCV), over the weights of Lee et al. 2022 (CVNet, CVPR). Read in the released code,
ShihaoShao-GH/SuperGlobal `8694696`: pictures in BGR order, not resized; per scale a bilinear resize to
(int(H * s), int(W * s)), ResNet with ReLUP, Regional-GeM, GeM+, unit length, whitening; over the scales Scale-GeM; unit
length. Constants are the defaults of `Options`.

- Inferred: `antialias=False`. The release is of 2023, when torchvision's resize of tensors did not antialias; since 0.17
  it does, which moves multi-scale descriptors slightly.
- Ours: `max_side_px=1024`, to which a larger picture is brought first. The landmark sets have no larger pictures; a photo
  of 12 megapixels would take 20 times the time. `None` is the released behaviour.
- Ours: a picture of which a side gets below 65 px at the smallest scale (92 px at 0.7071) is enlarged in the same
  proportion, because the release fails there (Regional-GeM needs a map of 3 x 3). A side that would pass the larger of
  its own length and `max_side_px` stays at that, so a very long picture is stretched.
- Ours: `relup=0.0` is an ordinary ReLU everywhere. Switched off in the release, it stays on inside stage 1.

Cost: ResNet-50 at 1024 x 768 and three scales takes 9 s of one CPU core a picture; ResNet-101 some 1.8 times that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn import functional

from mmrerank.encoders import _torch
from mmrerank.encoders._resnet import DEPTHS, Backbone, backbone_of
from mmrerank.errors import FormatError, InputError, ShapeError
from mmrerank.parts import printed, runtime_option
from mmrerank.types import Array, Modality

SCALES = {1: (1.0,), 3: (0.7071, 1.0, 1.4142), 5: (0.5, 0.7071, 1.0, 1.4142, 2.0)}
MEAN = np.array([0.406, 0.456, 0.485], dtype=np.float32).reshape(3, 1, 1)  # BGR
STD = np.array([0.225, 0.224, 0.229], dtype=np.float32).reshape(3, 1, 1)
SMALLEST_PX = 65  # 64 px give a stage-4 map of 2, which cannot be reflected by 2


@dataclass(frozen=True, kw_only=True)
class Options:
    """The published constants. The architecture is read from the checkpoint; `arch` says what it has to be."""

    checkpoint: str
    arch: Literal["auto", "resnet50", "resnet101"] = "auto"  # what the checkpoint has to be; auto takes what it is
    scales: Literal[1, 3, 5] = 3  # at how many sizes a picture is encoded
    relup: float = 0.014  # 0.0: ReLU
    regional: bool = True  # Regional-GeM before GeM+
    regional_p: float = 2.5  # its exponent
    regional_window: int = 5  # its window on the map, odd
    regional_mix: float = 0.5  # its share beside the map itself
    gem_plus: bool = True  # False: the GeM it was trained with, exponent from the checkpoint, eps 1e-6
    gem_p: float = 4.6  # exponent of GeM+
    gem_eps: float = 1e-8  # least value before the power
    scale_gem: Literal["max", "power", "mean"] = "max"  # how the scales become one descriptor
    scale_p: float = 10.0  # exponent of scale_gem='power'
    antialias: bool = False  # of the resize to a scale
    max_side_px: int | None = 1024  # a larger picture is brought to this first; None: as it is, as released
    precision: _torch.Precision = "fp32"  # half precision in the backbone only; pooling is always float32
    device: str = runtime_option("auto")

    def __post_init__(self) -> None:
        if self.regional_window < 1 or self.regional_window % 2 == 0:
            raise InputError(f"regional_window is odd; got {self.regional_window}")
        if min(self.regional_p, self.gem_p, self.scale_p, self.gem_eps) <= 0 or self.relup < 0:
            raise InputError("exponents and gem_eps are above zero, relup is not below")
        if self.max_side_px is not None and self.max_side_px < self.least_side_px:
            raise InputError(f"max_side_px is at least {self.least_side_px} at {self.scales} scales; got {self.max_side_px}")

    @property
    def least_side_px(self) -> int:
        """The side that a picture needs at scale 1."""
        smallest = max(SMALLEST_PX, 32 * ((self.regional_window - 1) // 2) + 1)
        return math.ceil(smallest / min(SCALES[self.scales]))


class Gem:
    """One picture at a time, as they differ in size: neighbours cannot matter."""

    takes: frozenset[Modality] = frozenset({"image"})
    reads: Modality = "image"

    def __init__(self, options: Options) -> None:
        self.name = printed("gem", options, argument=True)
        self.options = options
        self.weights = Path(options.checkpoint).expanduser()
        self.device = _torch.device_of(options.device)
        self.precision = _torch.precision_of(options.precision, self.device)
        self._model = _load(self.weights, options.arch).to(self.device)
        self.dimension = self._model.head.fc.out_features

    @cached_property
    def weights_hash(self) -> str:
        """16 hexadecimal digits of the SHA-256 of the weights file."""
        return _torch.file_hash(self.weights)

    def prepare(self, value: Image.Image | str) -> npt.NDArray[Any]:
        """(3, height, width) float32 of a picture, BGR, normalised, its sides within the bounds of the options.

        Raises:
            InputError: it is no picture.
        """
        if not isinstance(value, Image.Image):
            raise InputError(f"{self.name!r} takes pictures; got {type(value).__name__}")
        height, width = fitted(value.height, value.width, least=self.options.least_side_px, most=self.options.max_side_px)
        image = value if value.mode == "RGB" else value.convert("RGB")
        if (height, width) != (value.height, value.width):
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        pixels = np.asarray(image, dtype=np.float32)[:, :, ::-1].transpose(2, 0, 1)  # (3, height, width), BGR
        return np.ascontiguousarray((pixels / np.float32(255) - MEAN) / STD)

    def encode(self, values: Sequence[Any], *, normalise: bool = True) -> Array:
        """(n, dimension) float32 rows of pictures, or of what `prepare` made of them; unit rows, or as Scale-GeM leaves them.

        Raises:
            InputError: a value is not a picture, or a row is not finite.
        """
        if len(values) == 0:
            return np.zeros((0, self.dimension), dtype=np.float32)
        _torch.one_modality(values, self.takes, self.name)
        prepared = (value if isinstance(value, np.ndarray) else self.prepare(value) for value in values)
        return np.concatenate([self._row(pixels, normalise=normalise) for pixels in prepared])

    @torch.inference_mode()
    def _row(self, pixels: npt.NDArray[Any], *, normalise: bool) -> Array:
        picture = torch.from_numpy(pixels[np.newaxis]).to(self.device)  # (1, 3, H, W)
        height, width = picture.shape[-2:]
        rows = []
        for scale in SCALES[self.options.scales]:
            size = (int(height * scale), int(width * scale))
            rows.append(self._at_one_scale(resized(picture, size, antialias=self.options.antialias)))
        pooled = scale_gem(torch.stack(rows), self.options.scale_gem, p=self.options.scale_p)
        return _torch.finished_rows(pooled, self.name, normalise=normalise)

    def _at_one_scale(self, picture: torch.Tensor) -> torch.Tensor:
        options = self.options
        with torch.autocast(self.device.type, _torch.DTYPES[self.precision], enabled=self.precision != "fp32"):
            features = self._model(picture, options.relup)
        features = features.float()  # (1, C, h, w); powers of 4.6 leave half precision
        if options.regional:
            features = regional_gem(features, p=options.regional_p, window=options.regional_window, mix=options.regional_mix)
        exponent = float(self._model.head.pool["p"])
        pooled = gem(features, p=options.gem_p, eps=options.gem_eps) if options.gem_plus else gem(features, p=exponent, eps=1e-6)
        row: torch.Tensor = self._model.head.fc(functional.normalize(pooled, dim=-1))
        return row  # (1, dimension), not of unit length yet


def regional_gem(features: torch.Tensor, *, p: float = 2.5, window: int = 5, mix: float = 0.5) -> torch.Tensor:
    """Regional-GeM: each position mixed with the power mean of the window around it, reflected at the borders.

    Args:
        features: (n, channels, h, w), not negative.
        p: exponent of the mean.
        window: side of the window, odd.
        mix: share of the regional mean.

    Returns:
        The same shape.

    Raises:
        ShapeError: the map is too small to be reflected.

    Source: SuperGlobal, `modules/coarse_retrieval/rgem.py`.
    """
    margin = (window - 1) // 2
    if min(features.shape[-2:]) <= margin:
        raise ShapeError(f"regional_gem needs a map of {margin + 1} x {margin + 1}; got {tuple(features.shape[-2:])}")
    padded = functional.pad(features, (margin,) * 4, mode="reflect")
    regional = functional.avg_pool2d(padded.pow(p), window, stride=1).pow(1.0 / p)
    return mix * regional + (1.0 - mix) * features


def gem(features: torch.Tensor, *, p: float = 4.6, eps: float = 1e-8) -> torch.Tensor:
    """GeM+: (n, channels) power means over the positions of (n, channels, h, w), values raised to `eps` at least.

    Source: SuperGlobal, `modules/coarse_retrieval/gemp.py`.
    """
    return features.clamp(min=eps).pow(p).flatten(2).mean(dim=-1).pow(1.0 / p)


def scale_gem(rows: torch.Tensor, how: Literal["max", "power", "mean"] = "max", *, p: float = 10.0) -> torch.Tensor:
    """Scale-GeM: one row for each picture out of its rows at several scales; not of unit length.

    Args:
        rows: (scales, n, dimension), of any length.
        how: "max", the largest entries of the unit rows (p to infinity, as published); "power", the power mean above the
            smallest entry of the picture; "mean", the plain mean (Scale-GeM off).
        p: exponent of "power".

    Returns:
        (n, dimension).

    Source: SuperGlobal, `modules/coarse_retrieval/sgem.py`; there the smallest entry is taken over the batch, which is 1.
    """
    if how == "max":
        return functional.normalize(rows, dim=-1).amax(dim=0)
    if how == "mean":
        return rows.mean(dim=0)
    least = rows.amin(dim=(0, 2), keepdim=True)  # (1, n, 1)
    return (rows - least).pow(p).mean(dim=0).pow(1.0 / p) + least[0]


def resized(picture: torch.Tensor, size: tuple[int, int], *, antialias: bool) -> torch.Tensor:
    """A (n, 3, height, width) picture brought to a size by bilinear interpolation; the same one at its own size."""
    if tuple(picture.shape[-2:]) == size:
        return picture
    return functional.interpolate(picture, size=size, mode="bilinear", align_corners=False, antialias=antialias)


def fitted(height: int, width: int, *, least: int, most: int | None) -> tuple[int, int]:
    """The (height, width) at which a picture is encoded, by the rules at the head of this file.

    >>> fitted(3000, 4000, least=92, most=1024), fitted(60, 80, least=92, most=1024), fitted(600, 800, least=92, most=1024)
    ((768, 1024), (92, 123), (600, 800))
    """
    long, short = max(height, width), min(height, width)
    factor = most / long if most is not None and long > most else 1.0
    if short * factor < least:
        factor = least / short
    bound = most if most is not None else max(long, 1024)
    sides = [min(max(round(side * factor), least), max(bound, least)) for side in (height, width)]
    return sides[0], sides[1]


def _load(path: Path, arch: str) -> Backbone:
    model, depths = backbone_of(_torch.state_dict_of(path), path)
    if arch != "auto" and DEPTHS[arch] != depths:
        raise FormatError(f"expected {arch} with {DEPTHS[arch]} blocks a stage; it has {depths}", path=path)
    return model


def build(options: Options) -> Gem:
    """The encoder that the options name."""
    return Gem(options)


def tiny() -> Gem:
    """A real but minute ResNet (one block a stage, 4 to 32 channels) with seeded random weights. A test double: it is
    written to a temporary file and loaded as any checkpoint; its descriptors mean nothing."""
    return build(Options(checkpoint=str(_tiny_file()), device="cpu"))


@cache
def _tiny_file() -> Path:
    file = _torch.temporary_folder() / "tiny.pth"
    torch.save({"model_state": tiny_state(seed=0)}, file)
    return file


def tiny_state(*, seed: int) -> dict[str, torch.Tensor]:
    """The state dict of `tiny()` for a seed, in CVNet's layout."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, torch.Tensor] = {}
    for key, like in Backbone(4, [(1, 4, 8), (1, 4, 8), (1, 8, 16), (1, 8, 32)], 24).state_dict().items():
        values = torch.rand(like.shape, generator=generator, dtype=torch.float32)
        if like.ndim == 0:
            values = torch.zeros((), dtype=torch.int64)
        elif "bn." in key or key.endswith("pool.p"):  # scales, shifts, means and variances of batch norms
            values = values * 0.5 + (3.0 if key.endswith("pool.p") else 0.5)
        else:
            values = values - 0.5
        state[f"encoder_q.{key}"] = values
    return state
