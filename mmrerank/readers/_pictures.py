"""Pictures opened safely: upright, RGB, under limits, in worker threads.

What a decoder is given has no metadata (see `_headers.py`) and a size that was already accepted, so Pillow has nothing to
warn of. No global setting of it is changed: `Limits` stands in for its limit on pixels. A program that sets
`ImageFile.LOAD_TRUNCATED_IMAGES` gets what it asked for, pictures with grey ends.
libtiff, below Python, writes a line to stderr for some damaged TIFFs; the error is raised all the same.
Cost: one decode; a picture of n pixels takes about 4 n bytes, twice that where colours are converted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Literal, TypeAlias

from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from mmrerank.errors import FormatError
from mmrerank.handles import as_rgb
from mmrerank.readers._files import MIB, PICTURE_SUFFIXES, Spare, read_bytes
from mmrerank.readers._headers import Header, header
from mmrerank.readers._tiff import Damaged

Mislabelled: TypeAlias = Literal["refuse", "accept"]

# Called directly: `Image.open` would warn of every picture above half its own limit.
_PLUGINS: dict[str, Callable[[BytesIO], Image.Image]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a picture may cost."""

    max_pixels: int = 178_956_970  # where Pillow too stops by default; 0.7 GB once decoded
    max_bytes: int = 512 * MIB


LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePicture:
    """A picture file on disk."""

    path: Path
    mislabelled: Mislabelled = "refuse"
    limits: Limits = LIMITS
    spare: Spare | None = field(default=None, repr=False, compare=False)  # what was read just now

    def open(self) -> Image.Image:
        """The picture as RGB, upright; FormatError as `decode`."""
        data = self.spare.data if self.spare is not None else read_bytes(self.path, max_bytes=self.limits.max_bytes)
        return decode(data, path=self.path, suffix=self.path.suffix, mislabelled=self.mislabelled, limits=self.limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class BytesPicture:
    """A picture in memory; `name` is what an error calls it, and its suffix counts where `suffix` is given."""

    data: bytes = field(repr=False)
    name: str = "picture"
    suffix: str = ""
    mislabelled: Mislabelled = "refuse"
    limits: Limits = LIMITS

    def open(self) -> Image.Image:
        """The picture as RGB, upright; FormatError as `decode`."""
        return decode(self.data, path=self.name, suffix=self.suffix, mislabelled=self.mislabelled, limits=self.limits)


def inspect(data: bytes, *, path: str | Path, suffix: str = "", mislabelled: Mislabelled = "refuse", limits: Limits = LIMITS) -> Header:
    """The header of an acceptable picture; nothing is decoded.

    Args:
        data: the whole file.
        path: what an error calls it.
        suffix: what it is named, with the dot; "" or an unknown one makes no claim.
        mislabelled: whether a known format under the suffix of another is an error.

    Raises:
        FormatError: empty, not a picture, cut short within its header, above a limit, or mislabelled.
    """
    if not data:
        raise FormatError("0 bytes", path=path)
    if len(data) > limits.max_bytes:
        raise FormatError(f"{len(data) / MIB:.0f} MiB, above the limit of {limits.max_bytes / MIB:.0f}", path=path)
    try:
        info = header(data)
    except Damaged as error:
        raise FormatError(str(error), path=path) from error
    if info.width * info.height > limits.max_pixels:
        megapixels = info.width * info.height / 1e6
        reason = f"{info.width}x{info.height} = {megapixels:.0f} megapixels, above the limit of {limits.max_pixels / 1e6:.0f}"
        raise FormatError(reason, path=path)
    if mislabelled == "refuse" and PICTURE_SUFFIXES.get(suffix.lower(), info.format) != info.format:
        reason = f"holds a {info.format} but is named {suffix}; rename it, or read with mislabelled='accept' (--read-mislabelled)"
        raise FormatError(reason, path=path)
    return info


def decode(data: bytes, *, path: str | Path, suffix: str = "", mislabelled: Mislabelled = "refuse", limits: Limits = LIMITS) -> Image.Image:
    """The first picture in these bytes as RGB, upright, transparency on white; the arguments are those of `inspect`.

    Raises:
        FormatError: as `inspect`, or the picture data is cut short, damaged or of a kind that is not decoded.
    """
    info = inspect(data, path=path, suffix=suffix, mislabelled=mislabelled, limits=limits)
    try:
        picture = _PLUGINS[info.format](BytesIO(b"".join(info.pieces)))
        _check_size(picture, limits)
        picture.load()
        upright = as_rgb(picture)
    except Exception as error:  # broken bytes make Pillow raise nearly any type: the reason is kept, the type is ours
        raise FormatError(_reason(error), path=path) from error
    return upright.transpose(_TURNS[info.orientation]) if info.orientation in _TURNS else upright


def _check_size(picture: Image.Image, limits: Limits) -> None:
    if picture.width * picture.height > limits.max_pixels:  # the decoder reads another size than our header walk did
        raise Damaged(f"damaged: gives its size as {picture.width}x{picture.height} and as another")


def _reason(error: Exception) -> str:
    if isinstance(error, Damaged):
        return str(error)
    if isinstance(error, MemoryError):
        return "does not fit in memory"
    message = " ".join(str(error).split())[:200] or type(error).__name__
    early = isinstance(error, EOFError) or "truncated" in message.lower()
    return f"truncated: {message}" if early else f"damaged: {message}"
