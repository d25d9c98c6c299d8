"""Pictures that are opened when asked for: what a handle is, and a check that one was given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mmrerank.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

_MAKE = "Make handles of them: mmrerank.picture(path, bytes or PIL picture)."


class ImageHandle(Protocol):
    """A picture that is opened when asked for."""

    def open(self) -> Image:
        """The picture as RGB, upright (EXIF orientation applied, alpha on white).

        Raises:
            FormatError: the picture is broken, too large, encrypted or not a picture.
        """
        ...


def check_handles(owner: str, pictures: Sequence[Any]) -> None:
    """Passes where every picture is a handle.

    Args:
        owner: whose pictures they are, for the message.

    Raises:
        InputError: one is a path, bytes or a PIL picture, or they come without a tuple around them.
    """
    if not isinstance(pictures, tuple | list):
        raise InputError(f"the pictures of {owner} come in a tuple; got {type(pictures).__name__}", hint=_MAKE)
    for given in pictures:
        if isinstance(given, Path) or not callable(getattr(given, "open", None)):  # Path.open gives a file, not a picture
            named = f" {str(given)[:60]!r}" if isinstance(given, str | Path) else ""
            raise InputError(f"{owner} takes handles of pictures; got {type(given).__name__}{named}", hint=_MAKE)
