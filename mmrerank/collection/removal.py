"""Which rows of a collection are meant by those who want some removed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrerank.collection.version import CollectionVersion
from mmrerank.errors import InputError
from mmrerank.ingest.files import below, file_id_of, located

Row = Mapping[str, Any]
COLUMNS = ("item_id", "document_id", "file", "state")


def chosen(version: CollectionVersion, *, ids: Sequence[str], paths: Sequence[str | Path], filter: str | None) -> list[Row]:
    """The rows, failed ones included, of items or documents by id, of files and folders, and of what a filter holds for.

    Raises:
        InputError: an id or path has no row, or the filter cannot be used.
    """
    snapshot = version.snapshot
    gone: dict[str, Row] = {}
    named = snapshot.rows_of(list(ids), COLUMNS)
    for item_id in ids:
        gone |= _some(f"item or document {item_id!r}", [row for row in named if item_id in (row["item_id"], row["document_id"])])
    for path in map(Path, paths):
        file_id_of(path, version.manifest.roots)  # refuses what lies outside the indexed folders
        is_meant = below([located(path)], version.manifest.roots)
        gone |= _some(f"item of {path}", [row for rows in snapshot.each(COLUMNS) for row in rows if is_meant(row["file"])])
    if filter is not None:
        gone |= _by_id({**row, "state": "ready"} for row in snapshot.records(snapshot.where(filter)))
    return list(gone.values())


def _by_id(rows: Iterable[Row]) -> dict[str, Row]:
    return {row["item_id"]: row for row in rows}


def _some(what: str, rows: Sequence[Row]) -> dict[str, Row]:
    if not rows:
        raise InputError(f"the collection has no {what}")
    return _by_id(rows)
