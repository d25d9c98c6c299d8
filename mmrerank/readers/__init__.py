"""Files -> items. One file per kind of source; its name is the reader's name. Here is what other rooms share of this one."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmrerank.readers._boxes import boxes
    from mmrerank.readers._files import MIB, RACY_NS, Mismatched, Unopened, is_lance
    from mmrerank.readers._kinds import PICTURE_SUFFIXES
    from mmrerank.readers._ocr import why_not
    from mmrerank.readers._page_pictures import is_page
    from mmrerank.readers._passwords import known_passwords, use_passwords
    from mmrerank.readers._pictures import GATE, LIMITS, BytesPicture, FilePicture, Limits, inspect
    from mmrerank.readers._running_lines import body_of
    from mmrerank.readers._titles import is_placeholder

_SHARED = {  # name -> its file, opened when asked for: some pull in Pillow's formats or pdfium, which a search over texts has no use for
    "BytesPicture": "_pictures",
    "FilePicture": "_pictures",
    "GATE": "_pictures",
    "LIMITS": "_pictures",
    "Limits": "_pictures",
    "MIB": "_files",
    "Mismatched": "_files",
    "PICTURE_SUFFIXES": "_kinds",
    "RACY_NS": "_files",
    "Unopened": "_files",
    "body_of": "_running_lines",
    "boxes": "_boxes",
    "inspect": "_pictures",
    "is_lance": "_files",
    "is_page": "_page_pictures",
    "is_placeholder": "_titles",
    "known_passwords": "_passwords",
    "use_passwords": "_passwords",
    "why_not": "_ocr",
}
__all__ = [
    "GATE",
    "LIMITS",
    "MIB",
    "PICTURE_SUFFIXES",
    "RACY_NS",
    "BytesPicture",
    "FilePicture",
    "Limits",
    "Mismatched",
    "Unopened",
    "body_of",
    "boxes",
    "inspect",
    "is_lance",
    "is_page",
    "is_placeholder",
    "known_passwords",
    "use_passwords",
    "why_not",
]


def __getattr__(name: str) -> Any:
    if name in _SHARED:
        return getattr(import_module(f"mmrerank.readers.{_SHARED[name]}"), name)
    raise AttributeError(f"module 'mmrerank.readers' has no attribute {name!r}")
