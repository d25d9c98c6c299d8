"""What a collection already knows of the files that were listed, and whether that still holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from mmrerank.errors import FormatError
from mmrerank.sources import Listing, SourceFile
from mmrerank.store.table import Table
from mmrerank.types import Failure, Found, Reader

RACY_NS = 2_000_000_000  # a file changed this shortly before it was read may have changed again within one clock tick
FEW = 16  # scopes, each of which is a pass over the table

Row = Mapping[str, Any]


def known_by_file(table: Table, listing: Listing) -> dict[str, dict[str, Row]]:
    """File id -> item id -> bookkeeping fields, for everything known below the listed scopes."""
    known: dict[str, dict[str, Row]] = defaultdict(dict)
    if len(listing.scopes) > FEW:  # thousands of single files: one pass over the table instead of one for each
        folders = tuple(scope for scope in listing.scopes if not scope or scope.endswith("/"))
        files = frozenset(listing.scopes)
        found = (row for row in table.known() if row["file"] in files or row["file"].startswith(folders))
    else:
        found = (row for scope in listing.scopes for row in table.known(scope) if _in_scope(row["file"], scope))
    for row in found:
        known[row["file"]][row["item_id"]] = row
    return known


def is_current(file: SourceFile, rows: Mapping[str, Row], wanted: set[str]) -> bool:
    """Whether every item of the file is in the table, described by the wanted encoders, and file and reader are what they were."""
    try:
        stat = file.path.stat()
    except OSError:
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


def _outdated(reader: Reader, row: Row) -> bool:
    """Whether the reader has become able to read what it could not read then."""
    asked: Callable[[str], bool] | None = getattr(reader, "outdated", None)
    return bool(row.get("text_note")) and asked is not None and asked(str(row["text_note"]))


def _moved(file: SourceFile, row: Row) -> bool:
    """Whether the file has become another page, since its neighbours came or went."""
    asked: Callable[..., object] | None = getattr(file.reader, "place", None)
    return asked is not None and row["state"] == "ready" and asked(file.path, file.file_id) != (row["document_id"], row["page_number"])


def encoders_of(row: Row) -> set[str]:
    """The slugs of the encoders that have seen the item."""
    return set(row["encoders"].split(",")) - {""} if row["encoders"] else set()


def entries_once(file: SourceFile) -> Iterator[Found | Failure]:
    """The reader's entries; an error over the whole file becomes the last one, an id that comes again a failure of its own."""
    seen: set[str] = set()
    for entry in _entries(file):
        item_id = entry.path if isinstance(entry, Failure) else entry.item.item_id
        if item_id not in seen:
            seen.add(item_id)
            yield entry
            continue
        number = next(n for n in range(2, len(seen) + 3) if f"{item_id} ({n})" not in seen)
        again = f"{item_id} ({number})"
        seen.add(again)
        yield replace(entry, path=again) if isinstance(entry, Failure) else Failure(path=again, reason=f"the id {item_id!r} came before")


def _entries(file: SourceFile) -> Iterator[Found | Failure]:
    try:
        yield from file.reader.read(file.path, file.file_id)
    except FormatError as error:
        yield Failure(path=file.file_id, reason=error.reason)


def _in_scope(file_id: str, scope: str) -> bool:
    return file_id == scope or scope == "" or (scope.endswith("/") and file_id.startswith(scope))
