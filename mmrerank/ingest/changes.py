"""What a collection already knows of the files that were listed, and whether that still holds."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from mmrerank.errors import FormatError, MMRerankError
from mmrerank.ingest.files import Listing, SourceFile, beginnings, below, path_of
from mmrerank.parts import module, options_of, parse
from mmrerank.protocols import HashedOptionsReader, NeighbourReader, OneItemReader, PageReader, Reader
from mmrerank.readers import RACY_NS, Unopened, is_lance
from mmrerank.store.manifest import Root
from mmrerank.texts import printable
from mmrerank.types import Failure, ReadItem

FEW = 16  # beginnings of ids, each of which is a pass over the table
TICK_NS = 20_000_000  # no kernel's clock for files stands still longer

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread(Failure):
    """A file that could not be opened: the next run tries again, though its time and size may be the same."""


class KnowsRows(Protocol):
    """As much of a table as is asked here."""

    def known(self, under: str = "", is_wanted: Callable[[str], bool] | None = None) -> list[dict[str, Any]]: ...


def rows_by_file(table: KnowsRows, listing: Listing) -> dict[str, dict[str, Row]]:
    """File id -> item id -> bookkeeping fields, of everything that the table has at or below the listed places."""
    rows: dict[str, dict[str, Row]] = defaultdict(dict)
    starts = {start for place in listing.places for start in beginnings(place, listing.roots)}
    if "" in starts or len(starts) > FEW:  # thousands of single files: one pass over the table instead of one for each
        starts = {""}
    is_listed = below(listing.places, listing.roots)
    for start in sorted(starts):
        for row in table.known(start, is_listed):
            rows[row["file"]][row["item_id"]] = row
    return rows


def deleted_files(file_ids: Iterable[str], roots: Sequence[Root]) -> set[str]:
    """The ids whose files are no longer there. What is there and was passed over, such as a table or a hidden file, is not deleted;
    nor is what lies in a folder that cannot be listed."""
    names = lru_cache(maxsize=1024)(lambda folder: frozenset(os.listdir(folder)))

    def is_deleted(path: Path) -> bool:
        try:
            return path.name not in names(path.parent) or (path.is_dir() and not is_lance(path))
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False

    return {file_id for file_id in file_ids if is_deleted(path_of(file_id, roots))}


def shared_stamps(rows: Mapping[str, Mapping[str, Row]]) -> set[tuple[int, int]]:
    """The sizes and times that several files have in common: these could change places, and neither would tell."""
    files = (next(iter(of_file.values())) for of_file in rows.values() if of_file)
    stamps = Counter((row["file_size"], row["file_mtime_ns"]) for row in files)
    return {stamp for stamp, count in stamps.items() if count > 1}


def is_current(file: SourceFile, rows: Mapping[str, Row], wanted: set[str], shared: Container[tuple[int, int]] = ()) -> bool:
    """Whether every item of the file is in the table, described by the wanted encoders, and file and reader are what they were.

    A file that another took the place of has its size and time, where they were of one size and time, but was moved since it was looked
    at. That is asked of files of one item, which are read again in a millisecond, and of others that share size and time with one.

    Args:
        shared: sizes and times that several files have.
    """
    try:
        stat = file.path.stat()
    except OSError:
        return False
    is_one = isinstance(file.reader, OneItemReader) and file.reader.is_one_item(file.path)
    may_be_another = is_one or (stat.st_size, stat.st_mtime_ns) in shared
    if may_be_another and any(stat.st_ctime_ns > row["seen_ns"] - TICK_NS for row in rows.values()):
        return False
    return all(
        (row["file_size"], row["file_mtime_ns"], row["file_items"]) == (stat.st_size, stat.st_mtime_ns, len(rows))
        and row["reader"] == file.reader.name
        and row["seen_ns"] - row["file_mtime_ns"] > RACY_NS
        and (row["state"] == "failed" or wanted <= encoders_of(row))
        and not _outdated(file.reader, row)
        and not _moved(file, row)
        for row in rows.values()
    )


def shows_the_same(reader: Reader, name: str) -> bool:
    """Whether the picture of an item is what the reader of that name made of it, where both give it one content hash."""
    if name == reader.name:
        return True
    differing = _differing_options(name, reader.name)
    return differing is not None and isinstance(reader, HashedOptionsReader) and differing <= reader.hashed_options


@lru_cache(maxsize=64)
def _differing_options(name: str, other: str) -> frozenset[str] | None:
    """The options in which two readers differ, those that came later with their defaults; None for readers of two kinds."""
    try:
        if parse(name).part != parse(other).part:
            return None
        record = module(other, station="readers").Options
        one, two = (asdict(options_of(printed, record)) for printed in (name, other))
    except MMRerankError:  # an option that is no more, or a part that is gone
        return None
    return frozenset(option for option in one if one[option] != two[option])


def _outdated(reader: Reader, row: Row) -> bool:
    """Whether the reader has become able to read what it could not read then."""
    return bool(row.get("text_note")) and isinstance(reader, PageReader) and reader.outdated(str(row["text_note"]))


def _moved(file: SourceFile, row: Row) -> bool:
    """Whether the file has become another page, since its neighbours came or went."""
    if row["state"] != "ready" or not isinstance(file.reader, NeighbourReader):
        return False
    return file.reader.place(file.path, file.file_id) != (row["document_id"], row["page_number"])


def encoders_of(row: Row) -> set[str]:
    """The slugs of the encoders that have seen the item."""
    return set(row["encoders"].split(",")) - {""} if row["encoders"] else set()


def entries_once(file: SourceFile) -> Iterator[ReadItem | Failure]:
    """The reader's entries; an error over the whole file becomes the last one, an id that comes again a failure of its own."""
    ids: set[str] = set()
    for entry in _entries(file):
        item_id = printable(entry.path) if isinstance(entry, Failure) else entry.item.item_id
        entry = replace(entry, path=item_id) if isinstance(entry, Failure) and entry.path != item_id else entry
        if item_id not in ids:
            ids.add(item_id)
            yield entry
            continue
        number = next(n for n in range(2, len(ids) + 3) if f"{item_id} ({n})" not in ids)
        again = f"{item_id} ({number})"
        ids.add(again)
        yield replace(entry, path=again) if isinstance(entry, Failure) else Failure(path=again, reason=f"the id {item_id!r} came before")


def _entries(file: SourceFile) -> Iterator[ReadItem | Failure]:
    try:
        yield from file.reader.read(file.path, file.file_id)
    except Unopened as error:
        yield Unread(path=file.file_id, reason=error.reason)
    except FormatError as error:
        yield Failure(path=file.file_id, reason=error.reason)
