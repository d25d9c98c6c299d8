"""Files -> items, or ready vectors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from mmrerank.handles import ImageHandle
from mmrerank.types import Failure, ReadItem, VectorRows, VectorSource


class Reader(Protocol):
    """Files -> items."""

    name: str
    suffixes: frozenset[str]  # lower case, with the dot

    def count(self, path: Path) -> int:
        """How many items the file holds, without decoding them. FormatError when it cannot be listed."""
        ...

    def read(self, path: Path, item_id: str) -> Iterator[ReadItem | Failure]:
        """The items of one file, whose ids begin with `item_id`. A broken part is a Failure and the rest goes on;
        FormatError when the file as a whole cannot be read."""
        ...

    def handle(self, path: Path, fragment: str) -> ImageHandle | None:
        """The picture of one item again; `fragment` is what its id has beyond the file's: "", "#page=N" or "::KEY"."""
        ...


@runtime_checkable
class OneItemReader(Reader, Protocol):
    """A reader most of whose files are one item: those are not opened to be counted, and several are read side by side."""

    def is_one_item(self, path: Path) -> bool:
        """Whether the file is one item, whatever is in it."""
        ...


@runtime_checkable
class SelectiveReader(Reader, Protocol):
    """A reader that passes over some of its files where only their folder is named."""

    def passes_over(self, path: Path) -> str:
        """Why the file is left out of a folder, as a sentence that ends a note; "" where it is read."""
        ...


@runtime_checkable
class TextReader(Reader, Protocol):
    """A reader of files that can be searched by their text, without a picture encoder."""

    def has_texts(self, path: Path) -> bool:
        """Whether the items of this file, or those it begins with, have text to be searched by."""
        ...


@runtime_checkable
class HashedOptionsReader(Reader, Protocol):
    """A reader some of whose options leave the picture of an item as it is wherever they leave its content hash as it is."""

    hashed_options: frozenset[str]


@runtime_checkable
class PageReader(Reader, Protocol):
    """A reader of pages, whose text may be readable one day and whose place may depend on other files."""

    def outdated(self, note: str) -> bool:
        """Whether a page that got this note for its missing text would be read otherwise now."""
        ...


@runtime_checkable
class NeighbourReader(Reader, Protocol):
    """A reader for which the other files of a folder decide what page of which document a file is."""

    def place(self, path: Path, item_id: str) -> tuple[str | None, int | None]:
        """Document id and page number of the file now; (None, None) for one that is no page."""
        ...


@runtime_checkable
class VectorReader(Reader, Protocol):
    """A reader of ready vectors, which come by the column."""

    def vector_files(self, path: Path) -> tuple[Path, ...]:
        """The files of ready vectors at a path that is named, in order; none where something else is there."""
        ...

    def left_aside(self, path: Path) -> str:
        """What at that path is not taken, in a sentence; "" where that is nothing."""
        ...

    def source(self, path: Path) -> VectorSource:
        """What one of the files holds. FormatError where it cannot be read, `Mismatched` where it contradicts what describes it."""
        ...

    def rows(self, path: Path) -> Iterator[VectorRows]:
        """The rows of one file, some thousand at a time. FormatError where they cannot be read."""
        ...
