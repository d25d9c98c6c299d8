"""Files of ready vectors: which they are, what describes their rows, and their rows in bounded batches.

Three kinds of part: a `.npy` matrix, described row for row by a Parquet file of its name or number; a Parquet file with a column of
vectors; a Lance table with one. The layouts are those of clip-retrieval (`img_emb/img_emb_0.npy`, `metadata/metadata_0.parquet`),
embedding-reader (npy, parquet, parquet_npy) and Hugging Face's data sets; numpy, pyarrow and Lance decode. Nothing is unpickled.
Cost: reading; a batch is held in memory, and the vectors of a `.npy` file are mapped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mmrerank.errors import FormatError
from mmrerank.readers._columns import Columns
from mmrerank.readers._files import Mismatched, is_lance, opened
from mmrerank.readers._kinds import looks_like
from mmrerank.types import VectorSource

Kind: TypeAlias = Literal["npy", "parquet", "lance"]
NPY, PARQUETS = ".npy", (".parquet", ".pq")
PICTURES, TEXTS, DESCRIBED = "img_emb", "text_emb", "metadata"  # clip-retrieval's folders
BATCH = 16_384  # rows
_FEW = 256  # rows at once where each may hold a picture
_NUMBER = re.compile(r"(\d+)(?:-of-\d+)?$")
_VECTORS = re.compile(r"(?:.*_)?(?:emb|embs|embedding|embeddings|vector|vectors|features)", re.IGNORECASE)
_OF_TEXTS = re.compile(r"(?:text|txt|caption|query)", re.IGNORECASE)
_BROKEN = (pa.ArrowException, OSError, ValueError, KeyError, NotImplementedError, RuntimeError)


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorPart(VectorSource):
    """One file of ready vectors, or one Lance table."""

    kind: Kind
    column: str = ""  # of the vectors, where the file has columns
    names: tuple[str, ...] = ()  # columns that describe the rows

    @property
    def described(self) -> Path | None:
        """The file in which the columns stand that describe the rows."""
        return self.path if self.kind != "npy" else self.described_by

    def batches(self, names: Sequence[str] | None = None) -> Iterator[tuple[npt.NDArray[Any], pa.RecordBatch]]:
        """The vectors as they came, (n, dimension) floats with NaN where there is none, and the columns that describe them.

        Raises:
            FormatError: something cannot be read.
        """
        wanted = list(self.names if names is None else names)
        try:
            if self.kind == "npy":
                yield from self._of_matrix(wanted)
            else:
                columns = list(dict.fromkeys([*wanted, self.column]))
                for batch in _scan(self.path, columns):
                    yield vectors_in(batch.column(self.column), self.dimension, self.path), batch.select(wanted)
        except _BROKEN as error:
            raise FormatError(f"cannot be read: {_short(error)}", path=self.path) from error

    def _of_matrix(self, names: list[str]) -> Iterator[tuple[npt.NDArray[Any], pa.RecordBatch]]:
        matrix = _matrix(self.path)
        if self.described_by is None:
            for start in range(0, self.count, BATCH):
                rows = matrix[start : start + BATCH]
                yield rows, pa.RecordBatch.from_pydict({"": pa.nulls(len(rows))}).select([])
            return
        start = 0
        for batch in _scan(self.described_by, names):
            yield matrix[start : start + batch.num_rows], batch
            start += batch.num_rows

    def values_at(self, row: int, names: Sequence[str]) -> dict[str, Any]:
        """Some of the columns that describe one row, counted from 0.

        Raises:
            FormatError: there is no such row any more.
        """
        if self.described is None or not names:
            return {}
        start = 0
        try:
            for batch in _scan(self.described, list(names), row):
                if row < start + batch.num_rows:
                    return dict(batch.slice(row - start, 1).to_pylist()[0])
                start += batch.num_rows
        except _BROKEN as error:
            raise FormatError(f"cannot be read: {_short(error)}", path=self.described) from error
        raise FormatError("has no such row any more", path=self.described)

    def described_rows(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Some of the columns that describe the rows, row by row: for those that hold pictures. Empty ones where nothing describes them.

        Raises:
            FormatError: something cannot be read.
        """
        if self.described is None or not names:
            yield from ({} for _ in range(self.count))
            return
        try:
            for batch in _scan(self.described, list(names), size=_FEW):
                yield from batch.to_pylist()
        except _BROKEN as error:
            raise FormatError(f"cannot be read: {_short(error)}", path=self.described) from error

    def column_of(self, name: str) -> pa.ChunkedArray:
        """One of the columns that describe the rows, whole; FormatError where it cannot be read."""
        assert self.described is not None
        try:
            return pa.Table.from_batches(list(_scan(self.described, [name])))[name]
        except _BROKEN as error:
            raise FormatError(f"cannot be read: {_short(error)}", path=self.described) from error


def _scan(path: Path, names: list[str], row: int = 0, size: int = BATCH) -> Iterator[Any]:
    """Batches of these columns; with a row, groups before it come as empty-handed batches of their length."""
    if is_lance(path):
        import lance  # a table of somebody else's: the reader that needs it pays for it

        yield from lance.dataset(str(path)).to_batches(columns=names, batch_size=size)
        return
    with pq.ParquetFile(path, pre_buffer=False) as parquet:
        for group in range(parquet.num_row_groups):
            rows = parquet.metadata.row_group(group).num_rows
            if row >= rows:
                row -= rows
                yield pa.RecordBatch.from_pydict({name: pa.nulls(rows) for name in names})
                continue
            row = -1
            yield from parquet.iter_batches(size, row_groups=[group], columns=names, use_threads=False)


def vector_part(path: Path, *, column: str | None = None) -> VectorPart:
    """What a file or Lance table of ready vectors holds.

    Args:
        column: of the vectors; None: the one that is called so.

    Raises:
        FormatError: it holds none, or its rows are not those of what describes it.
    """
    try:
        if path.suffix.lower() == NPY:
            return _npy_part(path)
        return _table_part(path, column)
    except FormatError:
        raise
    except _BROKEN as error:
        raise FormatError(f"cannot be read: {_short(error)}", path=path) from error


def _npy_part(path: Path) -> VectorPart:
    matrix = _matrix(path)
    described_by = describing(path)
    names: tuple[str, ...] = ()
    if described_by is not None:
        with opened(described_by):
            parquet = pq.ParquetFile(described_by, pre_buffer=False)
        names, rows = tuple(parquet.schema_arrow.names), parquet.metadata.num_rows
        if rows != len(matrix):
            reason = f"has {len(matrix)} rows and {described_by.parent.name}/{described_by.name}, which describes them, {rows}"
            raise Mismatched(reason, path=path)
    of_texts = _OF_TEXTS.match(path.stem) is not None
    height, width = matrix.shape
    facts = {"count": height, "dimension": width, "of_texts": of_texts, "pictured": _is_pictured(names)}
    return VectorPart(path=path, kind="npy", described_by=described_by, names=_described(names), **facts)


def _matrix(path: Path) -> npt.NDArray[Any]:
    with opened(path) as file:
        head = file.read(64)
    if not head.startswith(b"\x93NUMPY"):
        raise FormatError(f"not a .npy file: looks like {looks_like(head)}", path=path)
    try:
        matrix: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        raise FormatError(f"a broken .npy file: {_short(error)}", path=path) from error
    if matrix.ndim != 2 or matrix.dtype.kind != "f" or matrix.shape[1] < 2:
        raise FormatError(f"expected rows of fractions, as embeddings are; got {matrix.dtype} of shape {matrix.shape}", path=path)
    return matrix


def _table_part(path: Path, column: str | None) -> VectorPart:
    kind: Kind = "parquet"
    if is_lance(path):
        import lance

        dataset = lance.dataset(str(path))
        kind, schema, count = "lance", dataset.schema, dataset.count_rows()
    else:
        with opened(path) as file:
            head = file.read(512)
        if not head.startswith(b"PAR1"):
            raise FormatError(f"not a Parquet file: looks like {looks_like(head)}", path=path)
        with pq.ParquetFile(path, pre_buffer=False) as parquet:
            schema, count = parquet.schema_arrow, parquet.metadata.num_rows
    name = _vector_column(schema, column, path)
    dimension = _width(schema.field(name).type) or _first_width(path, name)
    names = _described(tuple(n for n in schema.names if n not in vector_columns(schema) and n != name))
    of_texts = _OF_TEXTS.match(name) is not None
    facts = {"count": count, "dimension": dimension, "of_texts": of_texts, "pictured": _is_pictured(names)}
    return VectorPart(path=path, kind=kind, column=name, names=names, **facts)


def _is_pictured(names: tuple[str, ...]) -> bool:
    """Whether one of the columns says where a row's picture is."""
    return bool(Columns(folder=Path(), key=None).may_hold_pictures(names, ())) or any("url" in name.lower() for name in names)


def _vector_column(schema: pa.Schema, column: str | None, path: Path) -> str:
    present = vector_columns(schema)
    if column is not None:
        if column not in schema.names or not _is_vector(schema.field(column).type):
            raise FormatError(f"has no column {column!r} of vectors; it has {', '.join(present) or 'none'}", path=path)
        return column
    if not present:
        raise FormatError("has no column of vectors", path=path)
    if len(present) > 1 and _OF_TEXTS.match(present[1]) is None:
        raise FormatError(f"has several columns of vectors: {', '.join(present)}; name one as vector_column", path=path)
    return present[0]


def vector_columns(schema: pa.Schema) -> list[str]:
    """The columns that hold vectors by type and name, those of texts last."""
    names = [f.name for f in schema if _is_vector(f.type) and (_width(f.type) or _VECTORS.fullmatch(f.name))]
    return sorted(names, key=lambda name: (_OF_TEXTS.match(name) is not None, _VECTORS.fullmatch(name) is None))


def _is_vector(kind: pa.DataType) -> bool:
    of = pa.types
    is_list = of.is_fixed_size_list(kind) or of.is_list(kind) or of.is_large_list(kind)
    return bool(is_list and of.is_floating(kind.value_type) and (not of.is_fixed_size_list(kind) or kind.list_size > 1))


def _width(kind: pa.DataType) -> int:
    return int(kind.list_size) if pa.types.is_fixed_size_list(kind) else 0


def _first_width(path: Path, name: str) -> int:
    for batch in _scan(path, [name]):
        for value in batch.column(0):
            if value.is_valid:
                return len(value)
    raise FormatError(f"its column {name!r} has no vector", path=path)


def _described(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if not name.startswith("__index_level"))  # what pandas leaves behind


def vectors_in(column: pa.Array, dimension: int, path: Path) -> npt.NDArray[Any]:
    """(n, dimension) of a column of vectors, NaN where a row has none.

    Raises:
        FormatError: a row is of another length.
    """
    if pa.types.is_fixed_size_list(column.type) and not column.null_count:
        values = column.values.slice(column.offset * dimension, len(column) * dimension)
        return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(len(column), dimension)
    valid = np.asarray(column.is_valid())
    lengths = np.asarray(column.drop_null().value_lengths())
    if (lengths != dimension).any():
        raise FormatError(f"rows of {dimension} numbers stand beside rows of {lengths[lengths != dimension][0]}", path=path)
    rows = np.full((len(column), dimension), np.nan, np.float32)
    rows[valid] = np.asarray(column.drop_null().flatten().to_numpy(zero_copy_only=False)).reshape(-1, dimension)
    return rows


def describing(path: Path) -> Path | None:
    """The Parquet file that describes the rows of a `.npy` file: of its name beside it, or of its number there or in a folder `metadata`.

    Raises:
        Mismatched: there are such files, and none has its number.
    """
    for suffix in PARQUETS:
        if (beside := path.with_suffix(suffix)).exists():
            return beside
    for folder in (path.parent.parent / DESCRIBED, path.parent / DESCRIBED, path.parent):
        files = parquet_files(folder)
        if not files:
            continue
        same = [file for file in files if number(file) == number(path)]
        if len(same) == 1:
            return same[0]
        what = "several have" if same else "none has"
        raise Mismatched(f"the files in {folder.name}/ describe rows, and {what} the number of {path.name}", path=path)
    return None


def number(path: Path) -> int | None:
    """The number that the name of a part ends with."""
    match = _NUMBER.search(path.stem)
    return int(match[1]) if match else None


def parquet_files(folder: Path) -> list[Path]:
    """The Parquet files right in a folder, sorted."""
    return sorted(file for suffix in PARQUETS for file in folder.glob(f"*{suffix}") if not file.name.startswith("."))


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
