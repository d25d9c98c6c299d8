"""Rows of a Parquet file in bounded batches, and single rows again from row groups that are kept for a while.

pyarrow decodes. What it lacks: one row group or one value that is broken is an error of the whole file there, and here of its rows.
Cost: decoding what is read. A row read again costs its row group once, up to `_CACHE_BYTES` of them stay; a larger row group
is decoded up to the row each time.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmrerank.errors import FormatError
from mmrerank.readers._files import MIB, opened
from mmrerank.readers._kinds import looks_like
from mmrerank.readers._rows import Row

_BATCH_BYTES = 16 * MIB
_CACHE_BYTES = 256 * MIB
_ERRORS = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError, NotImplementedError, KeyError)


@contextmanager
def _file(path: Path) -> Iterator[Any]:
    """The open Parquet file; FormatError for anything that goes wrong with it."""
    with opened(path) as file:
        head = file.read(512)
    if not head.startswith(b"PAR1"):
        raise FormatError(f"not a Parquet file: looks like {looks_like(head)}", path=path)
    try:
        with pq.ParquetFile(path, pre_buffer=False) as parquet:
            yield parquet
    except _ERRORS as error:
        raise FormatError(f"a broken Parquet file: {_short(error)}", path=path) from error


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


class Parquet:
    """A Parquet file as rows."""

    typed = True

    def __init__(self, path: Path) -> None:
        self._path = path
        with _file(path) as parquet:
            schema = parquet.schema_arrow
            self.columns: tuple[str, ...] = tuple(schema.names)
            self.nested = tuple(field.name for field in schema if _is_nested(field.type))  # bytes, records and lists
            self._sizes = [_size(parquet, group) for group in range(parquet.num_row_groups)]  # (rows, bytes) of each row group

    def count(self) -> int:
        return sum(rows for rows, _ in self._sizes)

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[Row]:
        """Every row, with these columns or all; a row group that cannot be read is one broken row, and the rest goes on.

        Raises:
            FormatError: nothing can be read.
        """
        first, delivered = 1, False
        broken: list[Row] = []  # held back until something can be read
        for group, (rows, _) in enumerate(self._sizes):
            number = first
            try:
                for row in self._group_rows(group, first, columns):
                    yield from broken
                    broken.clear()
                    number, delivered = row.number + 1, True
                    yield row
                if number != first + rows:  # the file contradicts itself
                    raise FormatError(f"{number - first} rows where {rows} are announced", path=self._path)
            except FormatError as error:
                problem = f"rows {number} to {first + rows - 1} cannot be read: {error.reason}"
                broken.append(Row(number=number, place=f"row={number}", locator=(group, number - first), values={}, problem=problem))
            first += rows
        if broken and not delivered:
            raise FormatError(broken[0].problem, path=self._path)
        yield from broken

    def _group_rows(self, group: int, first: int, columns: Sequence[str] | None) -> Iterator[Row]:
        begin = first
        with _file(self._path) as parquet:
            for batch in parquet.iter_batches(self._batch_rows(group), row_groups=[group], columns=columns, use_threads=False):
                for values, problem in _values(batch):
                    yield Row(number=first, place=f"row={first}", locator=(group, first - begin), values=values, problem=problem)
                    first += 1

    def _batch_rows(self, group: int) -> int:
        rows, size = self._sizes[group]
        return min(4096, max(16, _BATCH_BYTES * rows // max(size, 1)))

    def numbered(self) -> Iterator[Row]:
        """Every row without its values."""
        number = 0
        for group, (rows, _) in enumerate(self._sizes):
            for place in range(rows):
                number += 1
                yield Row(number=number, place=f"row={number}", locator=(group, place), values={})

    def never_null(self, column: str) -> bool:
        """Whether the file's own statistics say that every row has a value in this column."""
        with _file(self._path) as parquet:
            metadata = parquet.metadata
            leaves = [i for i in range(metadata.num_columns) if metadata.schema.column(i).path.split(".")[0] == column]
            return bool(leaves) and all(_nulls(metadata, group, leaves[0]) == 0 for group in range(metadata.num_row_groups))

    def values_at(self, locator: tuple[int, int]) -> Mapping[str, Any]:
        group, place = locator
        if not (0 <= group < len(self._sizes) and 0 <= place < self._sizes[group][0]):
            raise FormatError("has no such row any more", path=self._path)
        if self._sizes[group][1] <= _CACHE_BYTES:
            values, problem = next(_values(_GROUPS.get(self._path, group).slice(place, 1)))
        else:
            row = next(row for row in self._group_rows(group, 0, None) if row.number == place)
            values, problem = dict(row.values), row.problem
        if problem:
            raise FormatError(problem, path=self._path)
        return values


def _is_nested(kind: Any) -> bool:
    of = pa.types
    return bool(of.is_nested(kind) or of.is_binary(kind) or of.is_large_binary(kind) or of.is_fixed_size_binary(kind))


def _size(parquet: Any, group: int) -> tuple[int, int]:
    row_group = parquet.metadata.row_group(group)
    return int(row_group.num_rows), int(row_group.total_byte_size)


def _nulls(metadata: Any, group: int, leaf: int) -> int | None:
    statistics = metadata.row_group(group).column(leaf).statistics
    return statistics.null_count if statistics is not None and statistics.has_null_count else None


def _values(batch: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Each row's values, or why it has none: text that is not UTF-8, dates beyond the calendar."""
    try:
        rows = batch.to_pylist()
    except _ERRORS:
        for place in range(batch.num_rows):
            try:
                yield batch.slice(place, 1).to_pylist()[0], ""
            except _ERRORS as error:
                yield {}, f"a value cannot be read: {_short(error)}"
        return
    for row in rows:
        yield row, ""


class _Groups:
    """Row groups as Arrow tables, the last ones used, within `_CACHE_BYTES`. Safe in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tables: OrderedDict[tuple[Path, int, int, int], Any] = OrderedDict()

    def get(self, path: Path, group: int) -> Any:
        with self._lock:
            with opened(path) as file:
                status = os.fstat(file.fileno())
            key = (path, status.st_mtime_ns, status.st_size, group)
            if key not in self._tables:
                with _file(path) as parquet:
                    self._tables[key] = parquet.read_row_group(group, use_threads=False)
            self._tables.move_to_end(key)
            while len(self._tables) > 1 and sum(table.nbytes for table in self._tables.values()) > _CACHE_BYTES:
                self._tables.popitem(last=False)
            return self._tables[key]


_GROUPS = _Groups()
