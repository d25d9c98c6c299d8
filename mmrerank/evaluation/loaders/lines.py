"""Queries as JSON lines over pictures of a table or pages of PDFs that `Collection.add` reads: the layout of what ships.

A line is `{"query_id", "text", "relevant": [item ids], "split"}`, with `image` (the item id of a reference picture, which is no answer to
its own query) and `answerable` (false: no item answers, and the line is passed over) where the set has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmrerank.errors import FormatError
from mmrerank.evaluation.loaders._loaded import Loaded, id_of, lines_of, needed, options_from, unique, value_of, words
from mmrerank.parts import make
from mmrerank.types import ImageHandle, Query

OPTIONS: Mapping[str, Any] = {
    "queries": "queries.jsonl",
    "sources": [...],  # files or folders below the data, as a collection is to index them
    "pictures": "",  # the table that `image` names rows of
}


def load(data: Path, split: str, options: Mapping[str, Any]) -> Loaded:
    """Queries and judgements of one split.

    Raises:
        InputError: a file is not there, or the card's options do not fit.
        FormatError: a line lacks a field, or an id comes twice.
    """
    options = options_from(options, OPTIONS, "lines")
    path = needed(data, options["queries"])
    rows = [row for n, row in lines_of(path) if value_of(row, "split", str, path, n) == split and row.get("answerable", True)]
    ids = [id_of(row, "query_id", "query", path) for row in rows]
    unique(ids, "query", path)
    pictures = Pictures(needed(data, options["pictures"]) if options["pictures"] else None)
    return Loaded(
        queries=tuple(
            Query(query_id=query_id, text=value_of(row, "text", str, path), images=pictures.of(row, path))
            for query_id, row in zip(ids, rows, strict=True)
        ),
        qrels={
            query_id: dict.fromkeys(words(value_of(row, "relevant", list, path), "item", path), 1)
            for query_id, row in zip(ids, rows, strict=True)
        },
        removed={query_id: frozenset({row["image"]}) for query_id, row in zip(ids, rows, strict=True) if row.get("image")},
        sources=tuple(needed(data, name) for name in options["sources"]),
    )


class Pictures:
    """The reference pictures of queries, by their item ids; one reader, which looks through the table once."""

    def __init__(self, table: Path | None) -> None:
        self._table = table
        self._reader = make("table", station="readers")

    def of(self, row: Mapping[str, Any], path: Path) -> tuple[ImageHandle, ...]:
        """The picture that a line names, if it names one.

        Raises:
            FormatError: it is of another table than the card names.
        """
        if not row.get("image"):
            return ()
        name, mark, key = value_of(row, "image", str, path).partition("::")
        if self._table is None or name != self._table.name or not mark:
            raise FormatError(f"the picture {row['image']!r} is of no table that the card names in `pictures`", path=path)
        handle: ImageHandle | None = self._reader.handle(self._table, f"::{key}")
        return (handle,) if handle is not None else ()
