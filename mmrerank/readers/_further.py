"""Picture formats that a library opens as a whole: HEIC, AVIF, JPEG XL, JPEG 2000, raw pictures of cameras, Photoshop and old ones.

Their containers are too rich to walk here, so the library is asked for the size before anything is decoded. Pillow reads all but three:
pi-heif (libheif and libde265, without an encoder: 1.5 MB, LGPL) HEIC; imagecodecs (28 MB, BSD) JPEG XL, and JPEGs of kinds that Pillow
lacks; rawpy (LibRaw: 3 MB, MIT and LGPL) raw pictures. The last two are the extra `formats`. The Pillow plugin for JPEG XL is under the
GPL and therefore not used. Of a raw picture the JPEG that the camera put into it is taken, which is what its maker meant it to look
like; it is developed only where that one is small.
Cost: one decode: 12 megapixels of HEIC take about 0.4 s on one core, developing as many of a raw picture 1 s.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from typing import Any

import numpy as np
from PIL import AvifImagePlugin, Image, ImageFile, Jpeg2KImagePlugin, JpegImagePlugin, UnidentifiedImageError

from mmrerank.readers._tiff import Damaged, orientation_of

PREVIEW_SIDE_PX = 1024  # a preview within a raw picture is taken from this size on
_FLIPS = {3: 3, 5: 8, 6: 6}  # as LibRaw counts -> as EXIF does
_LIBRARIES = {"HEIC": ("pi_heif", "pi-heif"), "JPEG XL": ("imagecodecs", "imagecodecs"), "camera raw": ("rawpy", "rawpy")}
_EXTRA = "pip install 'mmrerank[formats]'"
# format -> module and class of Pillow
_PLUGINS = {
    "PNM": ("PpmImagePlugin", "PpmImageFile"),
    "TGA": ("TgaImagePlugin", "TgaImageFile"),
    "PCX": ("PcxImagePlugin", "PcxImageFile"),
    "SGI": ("SgiImagePlugin", "SgiImageFile"),
    "DDS": ("DdsImagePlugin", "DdsImageFile"),
    "QOI": ("QoiImagePlugin", "QoiImageFile"),
    "Photoshop": ("PsdImagePlugin", "PsdImageFile"),
    "icon": ("IcoImagePlugin", "IcoImageFile"),
    "Mac icon": ("IcnsImagePlugin", "IcnsImageFile"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a library says of a picture before it decodes it."""

    width: int  # pixels as decoded, before the orientation is applied
    height: int
    orientation: int = 1
    animated: bool = False


def missing_library(format: str) -> str:
    """What to install for a format, or to convert to, where its library is not there; "" where it is.

    >>> missing_library("PNM")
    ''
    """
    module, package = _LIBRARIES.get(format, ("", ""))
    if not module or find_spec(module) is not None:
        return ""
    return f"reading {_named(format)} needs {package}: {_EXTRA}; or convert it to JPEG or PNG"


def shape_of(format: str, data: bytes) -> Shape:
    """Size and orientation of a picture that is not decoded for it.

    Raises:
        Damaged: the library cannot make sense of it, or is not there; the message says what to do.
    """
    if why := missing_library(format):
        raise Damaged(why)
    try:
        return _SHAPES.get(format, _plugin_shape)(format, data)
    except Exception as error:  # broken bytes make the libraries raise nearly any type
        raise Damaged(refusal(format, error)) from error


def picture_of(format: str, data: bytes) -> Image.Image:
    """The picture, not yet converted, in the orientation that `shape_of` tells; whatever the library raises is the caller's."""
    if format == "JPEG XL":
        return _jpeg_xl(data)
    if format == "camera raw":
        return _developed(data)
    picture = _opened(format, data)
    picture.load()
    return picture


def refusal(format: str, error: Exception) -> str:
    """Why a library could not read a picture, and what to do where other programs can."""
    message = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, UnidentifiedImageError | SyntaxError):  # their messages speak of buffers
        message = "its structure cannot be read"
    return f"{_named(format)} that cannot be decoded ({message}); where other programs open it, convert it to JPEG or PNG"


def _named(format: str) -> str:
    names = {"camera raw": "a camera's raw picture", "icon": "an icon", "Photoshop": "a Photoshop document", "AVIF": "an AVIF"}
    return names.get(format, f"a {format}")


def _opened(format: str, data: bytes) -> ImageFile.ImageFile:
    """The picture as its plugin opens it: header read, nothing decoded. Called directly, since `Image.open` would warn of large ones."""
    if format == "HEIC":
        from pi_heif.as_plugin import HeifImageFile

        picture: ImageFile.ImageFile = HeifImageFile(BytesIO(data))
        return picture
    if format == "AVIF":
        return AvifImagePlugin.AvifImageFile(BytesIO(data))
    if format == "JPEG 2000":
        return Jpeg2KImagePlugin.Jpeg2KImageFile(BytesIO(data))
    module, name = _PLUGINS[format]
    plugin: Callable[[BytesIO], ImageFile.ImageFile] = getattr(import_module(f"PIL.{module}"), name)
    return plugin(BytesIO(data))


def _plugin_shape(format: str, data: bytes) -> Shape:
    picture = _opened(format, data)
    exif = picture.info.get("exif") or b""
    turned = orientation_of(exif) if format == "AVIF" else None  # libheif turns a HEIC itself; the others say nothing
    sequence = format in ("AVIF", "HEIC") and picture.tell() == 0 and _has_second(picture)
    return Shape(width=picture.width, height=picture.height, orientation=turned or 1, animated=sequence)


def _has_second(picture: ImageFile.ImageFile) -> bool:
    """Whether another picture follows the first; none is decoded for it."""
    try:
        picture.seek(1)
    except EOFError:
        return False
    picture.seek(0)
    return True


# ---------------------------------------------------------------- JPEG XL


class _Bits:
    """Numbers of some bits from the start of bytes, lowest bit first."""

    def __init__(self, data: bytes) -> None:
        self._number = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        value = self._number & ((1 << count) - 1)
        self._number >>= count
        return value


def _jpeg_xl_shape(format: str, data: bytes) -> Shape:
    """Source: ISO/IEC 18181-1, SizeHeader; the decoder turns the picture upright itself."""
    bits = _Bits(_codestream(data)[2:32])
    small = bits.take(1)

    def side() -> int:
        return 8 * (bits.take(5) + 1) if small else bits.take((9, 13, 18, 30)[bits.take(2)]) + 1

    height = side()
    ratio = bits.take(3)
    above, below = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio]
    width = height * above // below if ratio else side()
    return Shape(width=width, height=height)


def _codestream(data: bytes) -> bytes:
    """The first bytes of the pictures' own stream, which may stand in a container of boxes."""
    if data.startswith(b"\xff\x0a"):
        return data[:64]
    position = 0
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">L4s", data, position)
        head = 8
        if length == 1:
            length, head = struct.unpack_from(">Q", data, position + 8)[0], 16
        if name in (b"jxlc", b"jxlp"):
            start = position + head + 4 * (name == b"jxlp")
            return data[start : start + 64]
        if length < head:
            break
        position += length
    raise ValueError("it has no codestream")


def _jpeg_xl(data: bytes) -> Image.Image:
    import imagecodecs

    return from_array(imagecodecs.jpegxl_decode(data, index=0))  # of an animation the first frame


# ---------------------------------------------------------------- raw pictures of cameras


def _raw_shape(format: str, data: bytes) -> Shape:
    import rawpy

    with rawpy.imread(BytesIO(data)) as raw:
        preview = _preview(raw)
        if preview is None:
            sizes = raw.sizes
            sideways = sizes.flip in (5, 6)
            return Shape(width=sizes.height if sideways else sizes.width, height=sizes.width if sideways else sizes.height)
        turned = orientation_of(preview.info.get("exif") or b"") or _FLIPS.get(raw.sizes.flip, 1)
        return Shape(width=preview.width, height=preview.height, orientation=turned)


def _preview(raw: Any) -> ImageFile.ImageFile | None:
    """The JPEG that the camera put into the raw picture, not yet decoded; None where it is small or missing."""
    import rawpy

    try:
        thumbnail = raw.extract_thumb()
        preview = JpegImagePlugin.JpegImageFile(BytesIO(thumbnail.data)) if thumbnail.format == rawpy.ThumbFormat.JPEG else None
    except (rawpy.LibRawError, SyntaxError, OSError):  # none, or one of a kind that LibRaw does not give
        return None
    return preview if preview is not None and max(preview.size) >= PREVIEW_SIDE_PX else None


def _developed(data: bytes) -> Image.Image:
    import rawpy

    with rawpy.imread(BytesIO(data)) as raw:
        preview = _preview(raw)
        if preview is not None:
            preview.load()
            return preview
        return Image.fromarray(raw.postprocess())


_SHAPES: dict[str, Callable[[str, bytes], Shape]] = {"JPEG XL": _jpeg_xl_shape, "camera raw": _raw_shape}


# ---------------------------------------------------------------- pixels as arrays


def from_array(pixels: np.ndarray[Any, Any], *, white: int | None = None, inverted: bool = False) -> Image.Image:
    """The picture that (height, width) or (height, width, values) pixels make, as L, LA, RGB or RGBA of 8 bits.

    Integers without sign go from 0 to `white`, by default the largest of their type; those with a sign and floats beyond 0..1 carry no
    scale of their own and are stretched from least to most.

    Raises:
        ValueError: another number of values a pixel than 1 to 4.
    """
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and not 2 <= pixels.shape[-1] <= 4):
        raise ValueError(f"pixels of shape {'x'.join(map(str, pixels.shape))}")
    low, high = _range(pixels, white)
    shades = np.empty(pixels.shape, np.uint8)
    for row in range(0, len(pixels), 256):  # in strips, since numbers of 64 bits take eight times the room
        numbers = np.nan_to_num(pixels[row : row + 256].astype(np.float64), posinf=high, neginf=low)
        shades[row : row + 256] = np.rint(np.clip((numbers - low) * 255.0 / max(high - low, 1e-300), 0, 255))
    if inverted:
        shades = 255 - shades
    return Image.fromarray(shades)


def _range(pixels: np.ndarray[Any, Any], white: int | None) -> tuple[float, float]:
    """The values that become black and white."""
    if pixels.dtype.kind == "b":
        return 0.0, 1.0
    if pixels.dtype.kind == "u":
        return 0.0, float(white or np.iinfo(pixels.dtype).max)
    finite = pixels[np.isfinite(pixels)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return (0.0, 1.0) if pixels.dtype.kind == "f" and low >= 0 and high <= 1 else (low, high)
