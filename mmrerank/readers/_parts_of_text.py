"""Text in blocks -> parts of a size that can be found and quoted. Shared by the readers of documents without pages.

A part ends where it would become longer than a page, and where a heading begins once it has a quarter of that: sections of a few words
stay together, under the heading of the first. A block that is longer by itself is cut between its lines or words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from mmrerank.readers._files import hash_of
from mmrerank.types import Item, ReadItem

PAGE_CHARACTERS = 3000  # about a printed page


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, a row or a heading, and the heading that it stands under."""

    text: str
    section: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a document says: its blocks, and what holds for all of its parts."""

    blocks: list[Block]
    metadata: dict[str, str]


@dataclass(slots=True)
class _Part:
    section: str = ""
    lines: list[str] = field(default_factory=list)
    size: int = 0

    def add(self, text: str) -> None:
        self.lines.append(text)
        self.size += len(text) + 1


def parts_of(blocks: Iterable[Block], *, most: int = PAGE_CHARACTERS) -> Iterator[Block]:
    """The parts with the heading of each, none longer than `most` characters.

    >>> [part.text for part in parts_of([Block("a b", "x"), Block("c", "x"), Block("d", "y")], most=5)]
    ['a b\\nc', 'd']
    """
    part, section = _Part(), ""
    for block in blocks:
        for piece in _pieces(block.text, most):
            ends = block.section != section and part.size >= most // 4
            if part.lines and (ends or part.size + len(piece) > most):
                yield Block("\n".join(part.lines), part.section)
                part = _Part()
            section = block.section
            part.section = part.section or section
            part.add(piece)
    if part.lines:
        yield Block("\n".join(part.lines), part.section)


def _pieces(text: str, most: int) -> Iterator[str]:
    text = text.strip()
    while len(text) > most:
        cut = max(text.rfind("\n", most // 2, most), 0) or max(text.rfind(" ", most // 2, most), 0) or most
        yield text[:cut].rstrip()
        text = text[cut:].lstrip()
    if text:
        yield text


def items_of(blocks: Iterable[Block], item_id: str, file_hash: str, metadata: dict[str, str], *, most: int) -> Iterator[ReadItem]:
    """The parts as items of the document `item_id`, ids `ITEM_ID#part=N`; N is their page number too."""
    for number, part in enumerate(parts_of(blocks, most=most), 1):
        section = {"section": part.section[:300]} if part.section else {}
        item = Item(
            item_id=f"{item_id}#part={number}",
            document_id=item_id,
            page_number=number,
            text=part.text,
            metadata={**metadata, **section},
        )
        yield ReadItem(item=item, content_hash=hash_of(file_hash, str(number), part.text))
