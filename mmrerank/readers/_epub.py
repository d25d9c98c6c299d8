"""What an EPUB says: its chapters in their order, its title and author. Source: EPUB 3.3, container and package documents."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree
from zipfile import ZipFile

from mmrerank.errors import FormatError
from mmrerank.readers._archives import archive_of
from mmrerank.readers._markup import html_blocks
from mmrerank.readers._metadata import clean
from mmrerank.readers._parts_of_text import Block, Words


def book(path: Path, max_bytes: int) -> Words:
    """The chapters of an EPUB in their order.

    Raises:
        FormatError: it is no EPUB, broken, longer than `max_bytes`, or claims to hold more than documents do.
    """
    with archive_of(path, max_bytes=max_bytes) as archive:
        container = _xml(archive, "META-INF/container.xml", path)
        root = next((e.get("full-path", "") for e in container.iter() if _tag(e) == "rootfile"), "")
        package = _xml(archive, root, path)
        places = {e.get("id"): e.get("href", "") for e in package.iter() if _tag(e) == "item"}
        spine = [places[e.get("idref")] for e in package.iter() if _tag(e) == "itemref" and e.get("idref") in places]
        title = next((e.text or "" for e in package.iter() if _tag(e) == "title"), "")
        creator = next((e.text or "" for e in package.iter() if _tag(e) == "creator"), "")
        blocks = [block for href in spine for block in _chapter(archive, root, href)]
    return Words(blocks=blocks, metadata={"title": title, "author": creator})


def _chapter(archive: ZipFile, root: str, href: str) -> list[Block]:
    place = str(PurePosixPath(root).parent / unquote(href.partition("#")[0]))
    if place not in archive.NameToInfo:  # a chapter that the package lists and has not
        return []
    return html_blocks(clean(archive.read(place).decode("utf-8-sig", "replace")))[1]


def _xml(archive: ZipFile, name: str, path: Path) -> Any:
    if name not in archive.NameToInfo:
        raise FormatError(f"not an EPUB: it has no {name or 'package document'}", path=path)
    data = archive.read(name)
    if b"<!ENTITY" in data:
        raise FormatError(f"its {name} defines entities, which no EPUB needs", path=path)
    try:
        return ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise FormatError(f"its {name} is no XML: {error}", path=path) from error


def _tag(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]
