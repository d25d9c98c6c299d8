"""Rows on their way into the table, column by column: what a writer is given, whether it came as records or as columns already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import pyarrow as pa

from mmrerank.store.fields import Plain, Renamed, Values, metadata_columns
from mmrerank.store.records import FIXED, PREFIX, TOKENS, Record, key_of
from mmrerank.texts import clean
from mmrerank.types import Array

_WORDS = ("text", "document_id", "reason")  # what readers pass on; ids are looked at before


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows as columns; a column of the table that is not among them is null."""

    item_ids: Sequence[str]
    fixed: Mapping[str, pa.Array]  # each of `FIXED`
    metadata: Mapping[str, Values]  # by column
    renamed: Sequence[Renamed] = ()
    vectors: Mapping[str, pa.Array]  # by column: `descriptor:SLUG`, `tokens:SLUG`

    def __len__(self) -> int:
        return len(self.item_ids)

    def slice(self, start: int, count: int) -> Rows:
        """Some of the rows that follow one another."""
        end = start + count
        return Rows(
            item_ids=self.item_ids[start:end],
            fixed={name: column.slice(start, count) for name, column in self.fixed.items()},
            metadata={name: column[start:end] for name, column in self.metadata.items()},
            renamed=self.renamed,
            vectors={name: column.slice(start, count) for name, column in self.vectors.items()},
        )

    def take(self, places: Sequence[int]) -> Rows:
        """These of the rows."""
        chosen = pa.array(places, pa.int64())
        return Rows(
            item_ids=[self.item_ids[n] for n in places],
            fixed={name: column.take(chosen) for name, column in self.fixed.items()},
            metadata={name: _taken(column, places, chosen) for name, column in self.metadata.items()},
            renamed=self.renamed,
            vectors={name: column.take(chosen) for name, column in self.vectors.items()},
        )


def joined(parts: Sequence[Rows]) -> Rows:
    """The rows of all, in order; each has the same columns of vectors."""
    names = dict.fromkeys(name for part in parts for name in part.metadata)
    return Rows(
        item_ids=[item_id for part in parts for item_id in part.item_ids],
        fixed={name: pa.concat_arrays([part.fixed[name] for part in parts]) for name in FIXED.names},
        metadata={name: _joined([(part.metadata.get(name), len(part)) for part in parts]) for name in names},
        renamed=list(dict.fromkeys(change for part in parts for change in part.renamed)),
        vectors={name: pa.concat_arrays([part.vectors[name] for part in parts]) for name in parts[0].vectors},
    )


def _joined(columns: Sequence[tuple[Values | None, int]]) -> Values:
    arrays = [column for column, _ in columns if isinstance(column, pa.Array)]
    kinds = {array.type for array in arrays}
    if len(kinds) == 1 and all(column is None or isinstance(column, pa.Array) for column, _ in columns):
        kind = kinds.pop()
        return pa.concat_arrays([pa.nulls(count, kind) if column is None else column for column, count in columns])
    values: list[Plain | None] = []
    for column, count in columns:
        values += [None] * count if column is None else column.to_pylist() if isinstance(column, pa.Array) else column
    return values


def _taken(column: Values, places: Sequence[int], chosen: pa.Array) -> Values:
    return column.take(chosen) if isinstance(column, pa.Array) else [column[n] for n in places]


def rows_of(records: Sequence[Record], schema: pa.Schema, present: Mapping[str, pa.DataType]) -> Rows:
    """The records as columns.

    Args:
        schema: of the table as it is.
        present: its columns of metadata.
    """
    metadata, renamed = metadata_columns([record.metadata for record in records], present)
    vectors = {}
    for name in schema.names:
        if name.startswith(PREFIX):
            vectors[name] = vector_column([r.descriptors.get(name[len(PREFIX) :]) for r in records], schema.field(name).type)
        elif name.startswith(TOKENS):
            vectors[name] = token_column([r.tokens.get(name[len(TOKENS) :]) for r in records])
    return Rows(
        item_ids=[record.item_id for record in records],
        fixed={name: _fixed_column(records, name) for name in FIXED.names},
        metadata=metadata,
        renamed=renamed,
        vectors=vectors,
    )


def _fixed_column(records: Sequence[Record], name: str) -> pa.Array:
    if name == "encoders":
        return pa.array([",".join(sorted(r.descriptors)) for r in records], pa.string())
    if name == "key":
        return pa.array([key_of(r.item_id, r.content_hash) for r in records], pa.int64())
    values = [getattr(record, name) for record in records]
    if name in _WORDS:
        values = [value if value is None else clean(value) for value in values]
    return pa.array(values, FIXED.field(name).type)


def vector_column(rows: Sequence[Array | None], kind: pa.DataType) -> pa.Array:
    """A column of descriptors of rows of (dimension,) numbers, null where there is none."""
    width = kind.list_size
    flat = np.concatenate([np.zeros(width, np.float32) if row is None else row for row in rows]).astype(np.float32, copy=False)
    absent = pa.array([row is None for row in rows])
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), width, mask=absent)


def token_column(items: Sequence[Array | None]) -> pa.Array:
    """A column of token vectors of (n_tokens, dimension) numbers an item, null where there are none."""
    flat = [np.empty(0, np.float16) if tokens is None else tokens.astype(np.float16).ravel() for tokens in items]
    ends = np.cumsum([0, *(len(values) for values in flat)], dtype=np.int32)
    absent = pa.array([tokens is None for tokens in items])
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(np.concatenate(flat)), mask=absent)


def repeated(value: str | int | None, name: str, count: int) -> pa.Array:
    """One value of a fixed field in every row."""
    return pa.array(repeat(value, count), FIXED.field(name).type)
