"""Pictures opened safely: upright, RGB, under limits, in worker threads.

What a decoder is given has no metadata (see `_headers.py`) and a size that was already accepted, so Pillow has nothing to
warn of. No global setting of it is changed: `Limits` stands in for its limit on pixels. A program that sets
`ImageFile.LOAD_TRUNCATED_IMAGES` gets what it asked for, pictures with grey ends.
libtiff, below Python, writes a line to stderr for some damaged TIFFs; the error is raised all the same.
TIFFs of depths that Pillow lacks (floats in colour, 10 or 14 bits) are decoded by tifffile, and lossless or 12-bit JPEGs by imagecodecs.
Cost: one decode; a picture of n pixels takes about 4 n bytes, twice that where colours are converted or it is turned. Over all threads
as many pixels are decoded at a time as the largest picture may have (see `_gate.py`): 1.4 GB at most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from mmrerank.errors import FormatError
from mmrerank.handles import as_rgb
from mmrerank.readers._files import MIB, Spare, content_key, hash_of, read_bytes
from mmrerank.readers._further import from_array, picture_of, refusal
from mmrerank.readers._gate import PixelGate
from mmrerank.readers._headers import Header, header, undecoded_kind
from mmrerank.readers._kinds import belongs
from mmrerank.readers._tiff import Damaged, Page, pages_at

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
GATE = PixelGate(LIMITS.max_pixels)
_WITHOUT_CODEC = "needs imagecodecs: pip install 'mmrerank[formats]'; or convert it to a TIFF of 8 or 16 bits"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePicture:
    """A picture file on disk."""

    path: Path
    mislabelled: Mislabelled = "refuse"
    limits: Limits = LIMITS
    page_number: int = 1  # of a TIFF
    spare: Spare | None = field(default=None, repr=False, compare=False)  # what was read just now

    def content_key(self) -> str:
        """Of the file's bytes, which of its pages, and what its name claims."""
        return content_key(self.path, "picture", self.path.suffix, self.page_number, self.mislabelled)

    def open(self) -> Image.Image:
        """The picture as RGB, upright; FormatError as `decode`."""
        data = self.spare.data if self.spare is not None else read_bytes(self.path, max_bytes=self.limits.max_bytes)
        start = page_at(data, self.page_number, path=self.path) if self.page_number > 1 else None
        return decode(data, path=self.path, suffix=self.path.suffix, mislabelled=self.mislabelled, limits=self.limits, start=start)


@dataclass(frozen=True, slots=True, kw_only=True)
class BytesPicture:
    """A picture in memory; `name` is what an error calls it, and its suffix counts where `suffix` is given."""

    data: bytes = field(repr=False)
    name: str = "picture"
    suffix: str = ""
    mislabelled: Mislabelled = "refuse"
    limits: Limits = LIMITS

    def content_key(self) -> str:
        """Of the bytes, and what their name claims."""
        return hash_of(hash_of(self.data), "picture", self.suffix, "1", self.mislabelled)

    def open(self) -> Image.Image:
        """The picture as RGB, upright; FormatError as `decode`."""
        return decode(self.data, path=self.name, suffix=self.suffix, mislabelled=self.mislabelled, limits=self.limits)


def page_at(data: bytes, number: int, *, path: str | Path) -> int:
    """Where the directory of a page of a TIFF stands; FormatError where it has none of that number."""
    try:
        places = pages_at(memoryview(data), number)
    except Damaged as error:
        raise FormatError(str(error), path=path) from error
    if len(places) < number:
        raise FormatError(f"has {len(places)} pages and no page {number}", path=path)
    return places[number - 1]


def inspect(
    data: bytes,
    *,
    path: str | Path,
    suffix: str = "",
    mislabelled: Mislabelled = "refuse",
    limits: Limits = LIMITS,
    start: int | None = None,
) -> Header:
    """The header of an acceptable picture; nothing is decoded.

    Args:
        data: the whole file.
        path: what an error calls it.
        suffix: what it is named, with the dot; "" or an unknown one makes no claim.
        mislabelled: whether a known format under the suffix of another is an error.
        start: where the directory of a page stands in a TIFF; its first page by default.

    Raises:
        FormatError: empty, not a picture, cut short within its header, above a limit, or mislabelled.
    """
    if not data:
        raise FormatError("0 bytes", path=path)
    if len(data) > limits.max_bytes:
        raise FormatError(f"{len(data) / MIB:.0f} MiB, above the limit of {limits.max_bytes / MIB:.0f}", path=path)
    try:
        info = header(data, suffix=suffix, start=start)
    except Damaged as error:
        raise FormatError(str(error), path=path) from error
    if info.width * info.height > limits.max_pixels:
        megapixels = info.width * info.height / 1e6
        reason = f"{info.width}x{info.height} = {megapixels:.0f} megapixels, above the limit of {limits.max_pixels / 1e6:.0f}"
        raise FormatError(reason, path=path)
    if mislabelled == "refuse" and not belongs(suffix, info.format):
        reason = f"holds a {info.format} but is named {suffix}; rename it, or read with mislabelled='accept' (--read-mislabelled)"
        raise FormatError(reason, path=path)
    return info


def decode(
    data: bytes,
    *,
    path: str | Path,
    suffix: str = "",
    mislabelled: Mislabelled = "refuse",
    limits: Limits = LIMITS,
    start: int | None = None,
) -> Image.Image:
    """The first picture in these bytes, or the page at `start`, as RGB, upright, transparency on white; the arguments are those of
    `inspect`. Waits while other threads have too many pixels open.

    Raises:
        FormatError: as `inspect`, or the picture data is cut short, damaged or of a kind that is not decoded.
    """
    info = inspect(data, path=path, suffix=suffix, mislabelled=mislabelled, limits=limits, start=start)
    with GATE.room_for(info.width * info.height):
        try:
            picture = _loaded(info, data, limits)
            upright = as_rgb(picture, white=info.page.white if info.page else None)
            del picture  # the memory of one more picture
            return upright.transpose(_TURNS[info.orientation]) if info.orientation in _TURNS else upright
        except Exception as error:  # broken bytes make Pillow raise nearly any type: the reason is kept, the type is ours
            raise FormatError(_reason(error, info, data), path=path) from error


def _loaded(info: Header, data: bytes, limits: Limits) -> Image.Image:
    """The picture as its decoder gives it."""
    if info.format not in _PLUGINS:
        return picture_of(info.format, data)
    pieces = b"".join(info.pieces)
    try:
        picture = _PLUGINS[info.format](BytesIO(pieces))
    except (SyntaxError, KeyError, OSError, NotImplementedError) as error:  # the kinds that Pillow does not know
        if info.page is not None:
            return _by_tifffile(pieces, info.page)
        if info.format == "JPEG" and undecoded_kind(info.format, data) and find_spec("imagecodecs") is not None:
            return _by_imagecodecs(pieces)
        raise error
    _check_size(picture, limits)
    picture.load()
    return _without_sign(picture) if info.page is not None and info.page.unsigned and picture.mode == "I" else picture


def _without_sign(picture: Image.Image) -> Image.Image:
    """The picture of whole numbers without sign, of which Pillow takes those from 2**31 on for negative ones, since it has no others."""
    pixels = np.asarray(picture)
    if int(pixels.min()) >= 0:
        return picture
    pixels = pixels.view(np.uint32)
    return from_array(pixels, white=int(pixels.max()))


def _by_tifffile(data: bytes, page: Page) -> Image.Image:
    """Floats in colour, 10, 14 or 24 bits, wide integers: what Pillow has no mode for. What has more values a pixel than colours and
    alpha, or colours of another kind than grey and RGB, is not read.

    Raises:
        Damaged: it is of a kind that is not decoded; the message names it.
    """
    import tifffile

    kind = f"a TIFF of {page.bits} bits a value, photometric {page.photometric}, compression {page.compression}"
    if page.photometric not in (0, 1, 2):
        raise Damaged(f"{kind}, is not decoded; convert it to PNG")
    try:
        with tifffile.TiffFile(BytesIO(data)) as file:
            pixels = file.pages[0].asarray(maxworkers=1)
            planar = file.pages[0].axes.startswith("S")
    except Exception as error:
        missing = find_spec("imagecodecs") is None and "imagecodecs" in str(error)
        raise Damaged(f"{kind}, {_WITHOUT_CODEC}" if missing else f"{kind}, is not decoded ({_short(error)}); convert it to PNG") from error
    white = 2**page.bits - 1 if pixels.dtype.kind == "u" and page.bits < 8 * pixels.dtype.itemsize else page.white
    try:
        return from_array(np.moveaxis(pixels, 0, -1) if planar else pixels, white=white, inverted=page.photometric == 0)
    except ValueError as error:
        raise Damaged(f"{kind}, is not decoded ({error}); convert it to PNG") from error


def _by_imagecodecs(data: bytes) -> Image.Image:
    import imagecodecs

    pixels = imagecodecs.jpeg_decode(data)
    bits = 12 if pixels.dtype == np.uint16 and int(pixels.max(initial=0)) < 4096 else 16
    return from_array(pixels, white=2**bits - 1 if pixels.dtype == np.uint16 else None)


def _check_size(picture: Image.Image, limits: Limits) -> None:
    if picture.width * picture.height > limits.max_pixels:  # the decoder reads another size than our header walk did
        raise Damaged(f"damaged: gives its size as {picture.width}x{picture.height} and as another")


def _reason(error: Exception, info: Header, data: bytes) -> str:
    if isinstance(error, Damaged):
        return str(error)
    if isinstance(error, MemoryError):
        return "does not fit in memory"
    if kind := undecoded_kind(info.format, data):
        return f"{kind}, which is not decoded; convert it to PNG"
    if info.format not in _PLUGINS:
        return refusal(info.format, error)
    message = _short(error)
    if isinstance(error, NotImplementedError):
        return f"a {info.format} of a kind that is not decoded ({message}); convert it to PNG"
    early = isinstance(error, EOFError) or "truncated" in message.lower()
    return f"truncated: {message}" if early else f"damaged: {message}"


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
