"""What a worker made of some files, kept aside until all are done: the rows, and what else is to be written.

    COLLECTION/staging/ID/rows.arrow     rows of new, changed and read again items
    COLLECTION/staging/ID/fill-N.arrow   columns for rows that are there
    COLLECTION/staging/ID/result.json    the report, and ids that go; written last, in one step: without it nothing is there

The name says of which files, readers and encoders it is, so that the next run takes up what a killed one had staged.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pyarrow as pa

from mmrerank.ingest.changes import Row
from mmrerank.ingest.run import IngestReport
from mmrerank.store.fields import Misfit, Renamed, metadata_columns, plain_value
from mmrerank.store.records import FIXED, PREFIX, TOKENS, Record
from mmrerank.store.rows import Rows, rows_of, token_column, vector_column
from mmrerank.types import Failure

RESULT = "result.json"
Way: TypeAlias = Literal["new", "changed", "reread"]  # appended; in place of a row; in place of all but the vectors of one
_MORE = [("metadata", pa.string()), ("way", pa.string())]


class StagedTable:
    """Stands where an ingest writes to a table, and keeps what it writes aside.

    Args:
        folder: where it is kept.
        schema: of the table.
        rows: the bookkeeping fields of the rows that the table has of the files.
    """

    def __init__(self, folder: Path, schema: pa.Schema, rows: Sequence[Row]) -> None:
        self._folder, self._schema, self._rows = folder, schema, rows
        self._ids = {row["item_id"] for row in rows}
        self._parts: list[pa.Table] = []
        self._fills: list[pa.Table] = []
        self._removed: list[str] = []

    def known(self, under: str = "", is_wanted: Callable[[str], bool] | None = None) -> list[dict[str, Any]]:
        """The rows; as of long ago, since whoever shared out the files has found each to have changed."""
        rows = [row for row in self._rows if row["file"].startswith(under)]
        return [{**row, "seen_ns": 0} for row in rows if is_wanted is None or is_wanted(row["file"])]

    def write(self, records: Sequence[Record], *, with_vectors: bool = True, new: bool = False) -> tuple[list[Renamed], list[Misfit]]:
        """Keeps rows; the fields are fitted to the columns when all workers are done, so that nothing is to be said of them yet."""
        if records:
            ways = ["reread" if not with_vectors else "changed" if record.item_id in self._ids else "new" for record in records]
            self._parts.append(self._as_arrow(records, ways))
        return [], []

    def _as_arrow(self, records: Sequence[Record], ways: Sequence[str]) -> pa.Table:
        rows = rows_of([replace(record, metadata={}) for record in records], self._schema, {})
        metadata = [json.dumps({str(key): plain_value(value) for key, value in record.metadata.items()}) for record in records]
        columns = {**rows.fixed, **rows.vectors, "metadata": pa.array(metadata), "way": pa.array(ways)}
        return pa.table(columns, schema=_staged_schema(self._schema))

    def fill(self, item_ids: Sequence[str], updates: Mapping[str, Sequence[Any]]) -> None:
        """Keeps columns of rows that are there."""
        if item_ids:
            columns = {name: _column(name, values, self._schema.field(name).type) for name, values in updates.items()}
            self._fills.append(pa.table({"item_id": pa.array(item_ids, pa.string()), **columns}))

    def remove(self, item_ids: Sequence[str]) -> None:
        """Keeps ids of rows that go."""
        self._removed += item_ids

    def refresh(self) -> None:
        """Nothing: nobody else writes here."""

    def save(self, report: IngestReport) -> None:
        """Writes all of it, the result last."""
        shutil.rmtree(self._folder, ignore_errors=True)  # what a killed worker left
        self._folder.mkdir(parents=True)
        if self._parts:
            _write(self._folder / "rows.arrow", pa.concat_tables(self._parts))
        for number, table in enumerate(self._fills):
            _write(self._folder / f"fill-{number}.arrow", table)
        result = {"report": asdict(report), "removed": self._removed}
        draft = self._folder / f"{RESULT}.new"
        draft.write_text(json.dumps(result), encoding="utf-8")
        draft.replace(self._folder / RESULT)


class Staged:
    """What was kept aside of some files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        self.removed: list[str] = result["removed"]
        self.report = _report(result["report"])

    def rows(self, ways: Sequence[Way], columns: Sequence[str] | None = None) -> pa.Table | None:
        """The rows that go these ways; None where there are none."""
        file = self.folder / "rows.arrow"
        if not file.exists():
            return None
        table = _read(file)
        chosen = table.filter(pa.compute.is_in(table["way"], pa.array(ways)))
        return (chosen if columns is None else chosen.select(list(columns))) if chosen.num_rows else None

    def fills(self) -> Iterator[tuple[list[str], dict[str, list[Any]]]]:
        """Ids with the columns that their rows get."""
        for file in sorted(self.folder.glob("fill-*.arrow")):
            table = _read(file)
            values = {name: _values(name, table[name]) for name in table.column_names if name != "item_id"}
            yield table["item_id"].to_pylist(), values


def is_staged(folder: Path) -> bool:
    """Whether a worker has come to its end there."""
    return (folder / RESULT).is_file()


def as_rows(table: pa.Table, present: Mapping[str, pa.DataType]) -> Rows:
    """Staged rows as the table takes them.

    Args:
        present: its columns of metadata.
    """
    table = table.combine_chunks()
    metadata, renamed = metadata_columns(list(map(json.loads, table["metadata"].to_pylist())), present)
    columns = {name: _whole(table[name]) for name in table.column_names}
    return Rows(
        item_ids=table["item_id"].to_pylist(),
        fixed={name: columns[name] for name in FIXED.names},
        metadata=metadata,
        renamed=renamed,
        vectors={name: column for name, column in columns.items() if name.startswith((PREFIX, TOKENS))},
    )


def _staged_schema(schema: pa.Schema) -> pa.Schema:
    return pa.schema([*FIXED, *(field for field in schema if field.name.startswith((PREFIX, TOKENS))), *(pa.field(*one) for one in _MORE)])


def _column(name: str, values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if name.startswith(TOKENS):
        return token_column(values)
    return vector_column(values, kind) if name.startswith(PREFIX) else pa.array(values, kind)


def _values(name: str, column: pa.ChunkedArray) -> list[Any]:
    """A column as `Table.fill` takes it: vectors as arrays."""
    if not name.startswith((PREFIX, TOKENS)):
        return list(column.to_pylist())
    return [value.values.to_numpy() if value.is_valid else None for value in column]


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _write(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _read(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def _report(raw: dict[str, Any]) -> IngestReport:
    sequences = {field.name for field in fields(IngestReport)} & {"ignored", "linked_folders", "notes"}
    failed = tuple(Failure(**failure) for failure in raw["failed"])
    return IngestReport(**{**raw, "failed": failed, **{name: tuple(raw[name]) for name in sequences}})
