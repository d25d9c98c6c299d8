"""Pictures as text on their way to a server."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from mmrerank.types import LazyPicture

if TYPE_CHECKING:
    from PIL.Image import Image


def data_uri(picture: Image | LazyPicture) -> str:
    """The picture as PNG in a data URI: no pixel is changed.

    Raises:
        FormatError: it was not open yet, and does not open.
    """
    if isinstance(picture, LazyPicture):
        picture = picture.open()
    buffer = io.BytesIO()
    (picture if picture.mode == "RGB" else picture.convert("RGB")).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
