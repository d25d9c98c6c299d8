"""What a PDF says of itself as a whole: title, table of contents, attached files, and whether its pages are only a form's shell.

Every call holds the lock of `pdf.py`. Cost: a millisecond a file; an XFA form's XML is parsed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pypdfium2.raw as pdfium

from mmrerank.readers._pdf_forms import string_of
from mmrerank.readers._pdf_xfa import NOTE, UNREAD, is_shell, words_of_form
from mmrerank.readers._titles import is_placeholder

_MOST_BOOKMARKS = 50_000
_MOST_ATTACHMENTS = 1_000
_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """A document but for its pages."""

    title: str
    sections: tuple[str, ...]  # of each page: its path in the table of contents
    attached: tuple[str, ...] = ()  # names of the files inside
    is_shell: bool = False  # its pages only ask for another viewer
    form_text: str = ""  # what a form says whose pages do not

    def metadata_of(self, number: int) -> dict[str, str]:
        """What the document says of its page `number`, from 1; what a program put in for want of a title is left out."""
        values = {"title": self.title, "section": self.sections[number - 1]}
        return {name: value for name, value in values.items() if not is_placeholder(value)}

    def note_of(self, number: int, pinned: tuple[str, ...]) -> str:
        """What of the page is not read: attached files, which are named on the first page or where they are pinned."""
        names = list(dict.fromkeys([*(self.attached if number == 1 else ()), *pinned]))
        notes = [NOTE if self.form_text else UNREAD] if self.is_shell else []
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            notes.append(f"attached files are not read: {', '.join(names[:_NAMED])}{more}")
        return "; ".join(notes)


def outline_of(document: Any, pages: int, first_text: str) -> Outline:
    """What the document says of itself.

    Args:
        first_text: of its first page.
    """
    shell = is_shell(document, first_text)
    return Outline(
        title=words(lambda: document.get_metadata_value("Title")),
        sections=tuple(_sections(document, pages)),
        attached=tuple(_attachments(document)),
        is_shell=shell,
        form_text=words_of_form(document) if shell else "",
    )


def words(call: Callable[[], str]) -> str:
    """A short text of the document's structure on one line; "" when its encoding is broken, as it is then no name."""
    try:
        return " ".join(call().replace("\0", "").split())[:300]
    except UnicodeDecodeError:
        return ""


def _attachments(document: Any) -> Iterator[str]:
    for n in range(min(pdfium.FPDFDoc_GetAttachmentCount(document.raw), _MOST_ATTACHMENTS)):
        attachment = pdfium.FPDFDoc_GetAttachment(document.raw, n)
        if attachment:
            yield string_of(lambda *buffer, a=attachment: pdfium.FPDFAttachment_GetName(a, *buffer)) or "without a name"


def _sections(document: Any, pages: int) -> list[str]:
    """For each page its path in the table of contents, such as "Methods > Sampling"; "" before the first entry.

    Where entries begin on the page it is the first of them and its first children there, otherwise the last one before.
    """
    first: dict[int, tuple[str, ...]] = {}
    last: dict[int, tuple[str, ...]] = {}
    for path, page in _bookmarks(document):
        if page not in first or path[:-1] == first[page]:
            first[page] = path
        last[page] = path
    sections, running = [], ""
    for page in range(pages):
        sections.append(" > ".join(first[page]) if page in first else running)
        running = " > ".join(last[page]) if page in last else running
    return sections


def _bookmarks(document: Any) -> Iterator[tuple[tuple[str, ...], int]]:
    """(titles from the top, page from 0) of each entry that leads to a page."""
    path: list[str] = []
    for bookmark in islice(document.get_toc(), _MOST_BOOKMARKS):
        title = words(bookmark.get_title)
        path[bookmark.level :] = [title]
        destination = bookmark.get_dest()
        page = destination.get_index() if destination is not None else None
        if page is not None and title:
            yield tuple(name for name in path if name), page
