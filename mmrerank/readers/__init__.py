"""Files -> items. One file per kind of source; its name is the reader's name. Here is what other rooms share of this one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmrerank.readers._files import MIB, RACY_NS, Unopened
from mmrerank.readers._kinds import PICTURE_SUFFIXES
from mmrerank.readers._ocr import why_not
from mmrerank.readers._page_pictures import is_page
from mmrerank.readers._passwords import use_passwords
from mmrerank.readers._pictures import GATE, LIMITS, BytesPicture, FilePicture, Limits, inspect
from mmrerank.readers._running_lines import body_of
from mmrerank.readers._titles import is_placeholder

if TYPE_CHECKING:
    from mmrerank.readers._boxes import boxes

__all__ = [
    "GATE",
    "LIMITS",
    "MIB",
    "PICTURE_SUFFIXES",
    "RACY_NS",
    "BytesPicture",
    "FilePicture",
    "Limits",
    "Unopened",
    "body_of",
    "boxes",
    "inspect",
    "is_page",
    "is_placeholder",
    "use_passwords",
    "why_not",
]


def __getattr__(name: str) -> Any:
    if name == "boxes":  # pulls in pdfium
        from mmrerank.readers._boxes import boxes

        return boxes
    raise AttributeError(f"module 'mmrerank.readers' has no attribute {name!r}")
