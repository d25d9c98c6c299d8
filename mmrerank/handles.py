"""Pictures that are opened when asked for: what a handle is, a check that one was given, and the RGB that opening promises; and pictures
of a prompt that are told by their content until a model has to look at them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from mmrerank.errors import InputError, ShapeError

if TYPE_CHECKING:
    from PIL.Image import Image

_STRIP_ROWS = 256  # of a picture of numbers, which take eight times the room of shades while they are scaled
_MAKE = "Make handles of them: mmrerank.picture(path, bytes or PIL picture)."


class ImageHandle(Protocol):
    """A picture that is opened when asked for."""

    def open(self) -> Image:
        """The picture as RGB, upright (EXIF orientation applied, alpha on white).

        Raises:
            FormatError: the picture is broken, too large, encrypted or not a picture.
        """
        ...


@runtime_checkable
class ContentHandle(ImageHandle, Protocol):
    """A handle that tells its picture from any other without decoding it."""

    def content_key(self) -> str:
        """Hex digits of the bytes that the picture is made of and of how it is read: the same key, the same pixels.

        Raises:
            FormatError: the bytes cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class LazyPicture:
    """A picture of a prompt that is opened when a model has to look at it, and not where what it makes of it is known by its content."""

    key: str  # of its content and of the size it is brought to
    source: Callable[[], Image] = field(repr=False, compare=False)

    def open(self) -> Image:
        """The picture as RGB, as the model is to see it.

        Raises:
            FormatError: it cannot be opened.
        """
        return self.source()


def check_handles(owner: str, pictures: Sequence[Any]) -> None:
    """Passes where every picture is a handle.

    Args:
        owner: whose pictures they are, for the message.

    Raises:
        InputError: one is a path, bytes or a PIL picture, or they come without a tuple around them.
    """
    if not isinstance(pictures, tuple | list):
        raise InputError(f"the pictures of {owner} come in a tuple; got {type(pictures).__name__}", hint=_MAKE)
    for picture in pictures:
        if isinstance(picture, Path) or not callable(getattr(picture, "open", None)):  # Path.open gives a file, not a picture
            value = f" {str(picture)[:60]!r}" if isinstance(picture, str | Path) else ""
            raise InputError(f"{owner} takes handles of pictures; got {type(picture).__name__}{value}", hint=_MAKE)


def as_rgb(picture: Image, *, white: int | None = None) -> Image:
    """The same picture as RGB, whatever its mode; transparent parts are white.

    16-bit grey is divided by 257, so that white stays white, or by what makes `white` so, such as 4095 where it has 12 bits. 32-bit
    integers and floats carry no scale of their own: values within 0..1 (floats), 0..255 or 0..65535 are taken as that range, any others
    are stretched from least to most.
    """
    if picture.mode.startswith("I") or picture.mode == "F":
        return _from_numbers(picture, white or 65535)
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        return _on_white(picture)
    return picture.convert("RGB")


def check_pixels(values: np.ndarray[Any, Any]) -> None:
    """Passes where an array holds a picture.

    Raises:
        ShapeError: it is no (height, width), (height, width, 3) or (height, width, 4), or holds no pixels.
        InputError: its values are no numbers.
    """
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (1, 3, 4)) or not values.size:
        expected = "(height, width), (height, width, 3) for RGB or (height, width, 4) for RGBA"
        hint = "Put the channels last: array.transpose(1, 2, 0)." if values.ndim == 3 and values.shape[0] in (1, 3, 4) else ""
        raise ShapeError(f"the array of a picture has the shape {expected}; got {values.shape}", hint=hint)
    if values.dtype.kind not in "buif":
        raise InputError(f"the array of a picture holds numbers; got {values.dtype}")


def of_pixels(values: np.ndarray[Any, Any]) -> Image:
    """An array as RGB, by the ranges of `as_rgb`: 8-bit as it is, 16-bit grey or colour divided by 257, floats within 0 and 1 as such."""
    import PIL.Image

    if values.dtype == np.bool_:
        values = values.astype(np.uint8) * np.uint8(255)
    elif values.dtype == np.uint16:
        values = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif values.dtype != np.uint8:
        values = _shades(values, *_range(values))
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    return as_rgb(PIL.Image.fromarray(np.ascontiguousarray(values)))


def _on_white(picture: Image) -> Image:
    import PIL.Image

    key = picture.info.get("transparency")
    if isinstance(key, tuple) and max(key) > 255:  # the key of a 16-bit PNG, whose pixels Pillow gives as 8-bit
        picture.info["transparency"] = tuple(value >> 8 for value in key)
    if picture.mode == "La":
        picture = picture.convert("LA")
    picture = picture if picture.mode == "RGBA" else picture.convert("RGBA")
    canvas = PIL.Image.new("RGB", picture.size, "white")
    canvas.paste(picture, mask=picture)
    return canvas


def _from_numbers(picture: Image, white: int) -> Image:
    import PIL.Image

    values = np.asarray(picture)
    key = picture.info.get("transparency")
    low, high = (0.0, float(white)) if values.dtype.kind == "u" else _range(values)
    grey = np.empty(values.shape, np.uint8)
    for row in range(0, len(values), _STRIP_ROWS):
        strip = values[row : row + _STRIP_ROWS]
        grey[row : row + _STRIP_ROWS] = _shades(strip, low, high)
        if isinstance(key, int):
            grey[row : row + _STRIP_ROWS][strip == key] = 255
    return PIL.Image.fromarray(grey).convert("RGB")


def _range(values: np.ndarray[Any, Any]) -> tuple[float, float]:
    """The numbers that become black and white."""
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        return 0.0, 1.0
    if low >= 0 and high <= 65535:
        return 0.0, 255.0 if high <= 255 else 65535.0
    return low, high


def _shades(values: np.ndarray[Any, Any], low: float, high: float) -> np.ndarray[Any, Any]:
    """(rows, columns) uint8: black at `low` and below, white at `high` and above; what is no number is as 0."""
    numbers = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    shades: np.ndarray[Any, Any] = np.rint(np.clip((numbers - low) * 255.0 / max(high - low, 1e-300), 0, 255)).astype(np.uint8)
    return shades
