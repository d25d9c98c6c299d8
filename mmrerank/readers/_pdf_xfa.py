"""XFA forms: a PDF whose pages only ask for another viewer, the form itself being XML inside.

Its printed words (captions, fixed texts) stand in the packet "template", what was filled in in the packet "datasets". Both are read
as far as they are data; scripts, bindings that are computed and the layout are not, so this is the form's words in the order of its
XML, not its pages. Source: XML Forms Architecture 3.3, sections on template syntax and data.  Cost: parsing the XML, once a file.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pypdfium2.raw as pdfium
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

_MOST_BYTES = 16 << 20  # of a packet
_MOST_CHARACTERS = 200_000  # of a form
_WAIT = re.compile(r"please wait|if this message is not eventually replaced", re.IGNORECASE)
_HIDDEN = {"hidden", "invisible", "inactive"}
NOTE = "an XFA form, whose pages only ask for another viewer: its words are from the form's data, its pictures show the notice"
UNREAD = "an XFA form, whose pages only ask for another viewer: what it shows was not read"


def is_shell(document: Any, first_text: str) -> bool:
    """Whether the pages of the document only stand in for a form that is drawn by other viewers.

    Args:
        first_text: of its first page.
    """
    kind = pdfium.FPDF_GetFormType(document.raw)
    if kind == pdfium.FORMTYPE_XFA_FULL:
        return True
    return bool(kind == pdfium.FORMTYPE_XFA_FOREGROUND and len(document) == 1 and _WAIT.search(first_text))


def words_of_form(document: Any) -> str:
    """Its fixed texts, captions and values, a line each; "" where the form's XML has none or cannot be read."""
    packets = dict(_packets(document))
    lines = [*_template(packets.get("template", b"")), *_values(packets.get("datasets", b""))]
    return "\n".join(dict.fromkeys(line for line in lines if line))[:_MOST_CHARACTERS]


def _packets(document: Any) -> Iterator[tuple[str, bytes]]:
    """Name and XML of each part of the form; where it is in one piece, of the parts in that."""
    for n in range(max(0, pdfium.FPDF_GetXFAPacketCount(document.raw))):
        name = _buffer(lambda *b, n=n: pdfium.FPDF_GetXFAPacketName(document.raw, n, *b)).rstrip(b"\0").decode("utf-8", "replace")
        content = _content(document.raw, n)
        root = _root(content) if name not in ("template", "datasets") and b"xdp" in content[:4096] else None
        if root is None:
            yield name, content
        else:
            yield from ((_local(part), ElementTree.tostring(part)) for part in root)


def _content(document: Any, n: int) -> bytes:
    size = ctypes.c_ulong()
    if not pdfium.FPDF_GetXFAPacketContent(document, n, None, 0, size) or not 0 < size.value <= _MOST_BYTES:
        return b""
    buffer = ctypes.create_string_buffer(size.value)
    pdfium.FPDF_GetXFAPacketContent(document, n, buffer, size.value, size)
    return buffer.raw


def _buffer(call: Any) -> bytes:
    size = call(None, 0)
    buffer = ctypes.create_string_buffer(max(size, 1))
    call(buffer, size)
    return buffer.raw


def _root(content: bytes) -> ElementTree.Element | None:
    try:
        return fromstring(content) if content else None
    except (ElementTree.ParseError, DefusedXmlException, ValueError, LookupError):
        return None


def _local(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _template(content: bytes) -> Iterator[str]:
    """The texts of `draw` and `caption`, in order, without what is hidden."""
    root = _root(content)
    yield from _fixed_texts(root, False) if root is not None else ()


def _fixed_texts(element: ElementTree.Element, inside: bool, depth: int = 0) -> Iterator[str]:
    name = _local(element)
    if depth > 100 or element.get("presence") in _HIDDEN or name in ("script", "items", "event", "validate", "calculate"):
        return
    if inside and name in ("text", "exData"):
        yield _line(element)
        return
    for child in element:
        yield from _fixed_texts(child, inside or name in ("draw", "caption"), depth + 1)


def _values(content: bytes) -> Iterator[str]:
    """Each value of the data with the name of its field, as "name: value"."""
    root = _root(content)
    data = next((part for part in root.iter() if _local(part) == "data"), None) if root is not None else None
    for element in data.iter() if data is not None else ():
        if not len(element) and (value := _line(element)):
            yield f"{_local(element)}: {value}"


def _line(element: ElementTree.Element) -> str:
    return " ".join(" ".join(element.itertext()).split())
