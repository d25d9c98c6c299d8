"""Reads documents of words: plain text, Markdown, HTML, EPUB and mail, in parts of about a page, ids `FILE#part=N`.

A part stays below one heading, which its metadata call `section`; a document has its `title`, a mail its `subject`, `sender` and `date`.
Parts have no pictures. Nothing that a document refers to is fetched; attachments of a mail are named and not read. In folders a text, a
Markdown or an HTML file is passed over where pictures lie beside it, which it mostly describes, where a picture or document of its name
lies beside it or in the folder above, of which it is the caption or the source, and where it is a README or licence.
Text that is no UTF-8 and has no byte order mark is read as Windows-1252, and its metadata name that `encoding`.
Chosen: Python's own parsers, which read all of these. markitdown (30 packages) and unstructured (88 packages)
give no more of them than text, docling (122 packages) pages only of what LibreOffice renders here too.
Cost: about 0.2 s a megabyte.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mmrerank.errors import FormatError
from mmrerank.parts import printed
from mmrerank.readers._files import MIB, RACY_NS, hash_of, read_bytes
from mmrerank.readers._kinds import PICTURE_SUFFIXES, looks_like, picture_format
from mmrerank.readers._metadata import clean
from mmrerank.readers._parts_of_text import PAGE_CHARACTERS, Words, items_of
from mmrerank.types import Failure, ImageHandle, ReadItem

_CHARSET = re.compile(rb"charset\s*=\s*[\"']?\s*([\w-]{2,30})", re.ASCII | re.IGNORECASE)
_KINDS = {
    **dict.fromkeys((".txt", ".text"), "text"),
    **dict.fromkeys((".md", ".markdown"), "Markdown"),
    **dict.fromkeys((".html", ".htm", ".xhtml"), "HTML"),
    ".epub": "EPUB",
    ".eml": "mail",
}
_ABOUT_FILES = frozenset(("readme", "license", "licence", "copying", "notice", "changelog", "changes", "contributing", "requirements"))
_DESCRIBED = frozenset((*PICTURE_SUFFIXES, ".pdf", ".docx", ".pptx", ".odt", ".odp", ".doc", ".epub"))


@dataclass(frozen=True, kw_only=True)
class Options:
    part_characters: int = PAGE_CHARACTERS  # the longest part
    max_bytes: int = 32 * MIB  # a larger file is refused


class TextsReader:
    """Texts -> parts with `title`, `section` and what else the document says of itself as metadata."""

    suffixes = frozenset(_KINDS)

    def __init__(self, options: Options) -> None:
        self.name = printed("texts", options)
        self._options = options

    def passes_over(self, path: Path) -> str:
        """Why a text is left out of a folder: it describes what lies beside it."""
        if _KINDS[path.suffix.lower()] not in ("text", "Markdown", "HTML"):
            return ""
        here, above = _names(path.parent), _names(path.parent.parent)
        has_pictures = any(suffix in PICTURE_SUFFIXES for _, suffix in here)
        has_namesake = any(stem == path.stem and suffix in _DESCRIBED for stem, suffix in here | above)
        describes = path.stem.lower() in _ABOUT_FILES or has_pictures or has_namesake
        return "texts beside pictures or documents mostly describe them; read when they are named" if describes else ""

    def has_texts(self, path: Path) -> bool:
        """True: that is all it has."""
        return True

    def count(self, path: Path) -> int:
        """The number of parts; FormatError as `read`."""
        return sum(1 for _ in self.read(path, path.name))

    def read(self, path: Path, item_id: str) -> Iterator[ReadItem | Failure]:
        """The parts in order.

        Raises:
            FormatError: the file is not what its name says, too large, or has no words.
        """
        data = read_bytes(path, max_bytes=self._options.max_bytes)
        words = _words_of(_KINDS[path.suffix.lower()], data, path, self._options.max_bytes)
        if not words.blocks:
            raise FormatError("has no words", path=path)
        metadata = {name: clean(value)[:300] for name, value in words.metadata.items() if value.strip()}
        yield from items_of(words.blocks, item_id, hash_of(data), metadata, most=self._options.part_characters)

    def handle(self, path: Path, fragment: str) -> ImageHandle | None:
        """None: its parts have no pictures."""
        return None


def _names(folder: Path) -> frozenset[tuple[str, str]]:
    """Stem and suffix of what a folder holds; kept until it changes, but one that has just changed may do so again within one tick."""
    changed_ns = folder.stat().st_mtime_ns
    return _cached_names(folder, changed_ns) if time.time_ns() - changed_ns > RACY_NS else _names_in(folder)


def _names_in(folder: Path) -> frozenset[tuple[str, str]]:
    names = (os.path.splitext(name) for name in os.listdir(folder))
    return frozenset((stem, suffix.lower()) for stem, suffix in names)


@lru_cache(maxsize=16)
def _cached_names(folder: Path, changed_ns: int) -> frozenset[tuple[str, str]]:
    return _names_in(folder)


def _words_of(kind: str, data: bytes, path: Path, max_bytes: int) -> Words:
    """The parsers come in here: a search over texts makes this reader and parses nothing."""
    if kind == "EPUB":
        from mmrerank.readers._epub import book

        return book(path, max_bytes)
    if kind == "mail":
        from mmrerank.readers._mail import mail

        return mail(data)
    from mmrerank.readers._markup import html_blocks, markdown_blocks, plain_blocks

    text, encoding = _decoded(data, path)
    if kind == "HTML":
        title, blocks = html_blocks(text)
    else:
        title, blocks = "", list(markdown_blocks(text) if kind == "Markdown" else plain_blocks(text))
    return Words(blocks=blocks, metadata={"title": title, "encoding": encoding})


def _decoded(data: bytes, path: Path) -> tuple[str, str]:
    """The text, and its encoding where that was guessed or named by the document; FormatError for what is no text."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return clean(data.decode("utf-16", "replace")), ""
    if picture_format(data[:1024]) or b"\0" in data[:4096]:
        raise FormatError(f"not a text: looks like {looks_like(data[:1024])}", path=path)
    try:
        return clean(data.decode("utf-8-sig")), ""
    except UnicodeDecodeError:
        match = _CHARSET.search(data[:2048])
        name = match[1].decode("ascii") if match and match[1].lower() not in (b"utf-8", b"utf8") else "windows-1252"
    try:
        return clean(data.decode(name, "replace")), name
    except LookupError:  # a name of no encoding
        return clean(data.decode("windows-1252", "replace")), "windows-1252"


def build(options: Options) -> TextsReader:
    return TextsReader(options)


def tiny() -> TextsReader:
    return TextsReader(Options())
