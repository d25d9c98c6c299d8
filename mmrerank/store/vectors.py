"""The vectors of some rows, read at their places in the files of a table: what a search asks for last, of rows that lie in many files.

Lance plans and decodes each take, which costs it a third of a millisecond a file; a vector that it wrote plainly is so many bytes at a
place that can be computed. Whether a file is such a one is told once: each of its pages has one buffer of as many bytes as its rows have
numbers, with one byte before each row where some are null, and rows from the beginning, middle and end of each page are what Lance itself
reads there. Of other files, and of tables in object storage, Lance is asked.

Source: the layout "full zip" of Lance's file format 2.1 and 2.2 (lance.org/format/file/encoding); a definition level of 0 is a value.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmrerank.errors import DamagedData
from mmrerank.types import Array, Keys

logger = logging.getLogger(__name__)
FILE_BITS = 32  # a row id is the number of a file, and below these bits the row in it
NUMBER = 4  # bytes of a float32
_ROWS = re.compile(r"FullZipLayout \{.*num_items: (\d+),", re.DOTALL)
Vectors: TypeAlias = tuple[npt.NDArray[np.bool_], Array]  # (n,) whether there is one; (n, width) float32, of no meaning where there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the vectors of one file lie, page by page."""

    firsts: Keys  # (n_pages,) the first row of each, ascending
    places: Keys  # (n_pages,) where its bytes begin
    levels: Keys  # (n_pages,) how many bytes before each row tell whether it is null: 0 or 1


class StoredVectors:
    """The vectors in one column of one version of a table."""

    def __init__(self, dataset: Any, column: str) -> None:
        self._dataset, self._column = dataset, column
        self.width = int(dataset.schema.field(column).type.list_size)

    def take(self, row_ids: Keys) -> Vectors:
        """The vectors of (n,) ascending row ids.

        Raises:
            DamagedData: a file ends before its rows do.
        """
        valid, rows = np.empty(len(row_ids), np.bool_), np.empty((len(row_ids), self.width), np.float32)
        numbers, rest = row_ids >> FILE_BITS, [np.empty(0, np.int64)]
        for start, end in pairwise([*np.flatnonzero(np.diff(numbers, prepend=-1)).tolist(), len(row_ids)]):
            file = self._files.get(int(numbers[start]))
            layout = None if file is None else layout_of(*file, self._column, self.width)
            if file is None or layout is None:
                rest.append(np.arange(start, end))
            else:
                valid[start:end], rows[start:end] = _read(file[0], layout, row_ids[start:end] & ((1 << FILE_BITS) - 1), self.width)
        if len(some := np.concatenate(rest)):
            table = self._dataset._take_rows(row_ids[some].tolist(), columns=[self._column])
            valid[some], rows[some] = vectors_of(table[self._column])
        return valid, rows

    @cached_property
    def _files(self) -> dict[int, tuple[Path, int]]:
        """By number, where each file that has the column lies on this machine, and the number of the column in it."""
        if "://" in self._dataset.uri:
            return {}
        folder = Path(self._dataset.uri).absolute() / "data"  # whoever uses it may go elsewhere
        number = next(field.id() for field in self._dataset.lance_schema.fields() if field.name() == self._column)
        return {
            fragment.fragment_id: (folder / file.path, file.column_indices[file.fields.index(number)])
            for fragment in self._dataset.get_fragments()
            for file in fragment.metadata.files
            if number in file.fields
        }


@lru_cache(maxsize=65_536)  # a file never changes, and no other gets its name
def layout_of(path: Path, number: int, column: str, width: int) -> Layout | None:
    """How the vectors in a column of a file lie in it; None where it was not written plainly.

    Args:
        number: of the column in the file.
    """
    from lance.file import LanceFileReader

    try:
        reader = LanceFileReader(str(path), columns=[column])
        layout, rows = _layout(reader.metadata().columns[number].pages, width)
        some = np.unique(np.concatenate([layout.firsts, layout.firsts + (rows - 1) // 2, layout.firsts + rows - 1]))
        valid, vectors = _read(path, layout, some, width)
        wanted_valid, wanted = vectors_of(reader.take_rows(some.tolist()).to_table()[column])
    except (ImportError, AttributeError, LookupError, TypeError, ValueError, OSError, RuntimeError, DamagedData) as error:
        logger.debug("of %s Lance is asked: %s", path, error)
        return None
    is_plain = np.array_equal(valid, wanted_valid) and vectors[valid].tobytes() == wanted[valid].tobytes()
    return layout if is_plain else None


def _layout(pages: list[Any], width: int) -> tuple[Layout, Keys]:
    """The layout that the sizes of the pages of a column speak for, and the number of rows of each.

    Raises:
        ValueError: they speak for none.
    """
    matches = [_ROWS.search(page.encoding) for page in pages]
    rows = np.array([int(match[1]) if match else 0 for match in matches], np.int64)
    if not rows.all() or any(len(page.buffers) != 1 for page in pages):
        raise ValueError("it has pages of another layout")
    places, sizes = np.array([(page.buffers[0].position, page.buffers[0].size) for page in pages], np.int64).reshape(-1, 2).T
    levels = sizes // rows - NUMBER * width
    if (sizes % rows).any() or not np.isin(levels, (0, 1)).all():
        raise ValueError("its rows have other lengths")
    return Layout(firsts=np.cumsum(rows) - rows, places=places, levels=levels), rows


def _read(path: Path, layout: Layout, rows: Keys, width: int) -> Vectors:
    """The vectors of (n,) ascending rows of a file."""
    pages = np.searchsorted(layout.firsts, rows, side="right") - 1
    levels = layout.levels[pages]
    starts = layout.places[pages] + (rows - layout.firsts[pages]) * (levels + NUMBER * width)
    buffer = np.zeros((len(rows), 1 + NUMBER * width), np.uint8)  # the level of a row, and the row
    with path.open("rb", buffering=0) as file:
        _announce(file, starts, buffer.shape[1])
        view, missing = buffer.data.cast("B"), 0
        for n, (start, level) in enumerate(zip(starts.tolist(), levels.tolist(), strict=True)):
            piece = view[n * buffer.shape[1] + 1 - level : (n + 1) * buffer.shape[1]]
            file.seek(start)
            missing += len(piece) - (file.readinto(piece) or 0)
    if missing:
        raise DamagedData(f"{path} ends before its rows do", hint="Index the sources again into a new collection.")
    return buffer[:, 0] == 0, buffer[:, 1:].copy().view("<f4")


def _announce(file: IO[bytes], starts: Keys, length: int) -> None:
    """Has the system fetch these pieces of a file together, where it can be told: a disk is waited for once then, not once a row."""
    if sys.platform == "linux":
        for start in starts.tolist():
            os.posix_fadvise(file.fileno(), start, length, os.POSIX_FADV_WILLNEED)


def vectors_of(column: pa.ChunkedArray | pa.FixedSizeListArray) -> Vectors:
    """A column of vectors as Arrow has it."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
    width = array.type.list_size
    values = array.values.slice(array.offset * width, len(array) * width)  # unlike flatten(), keeps the place of null rows
    rows = np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float32).reshape(len(array), width)
    return array.is_valid().to_numpy(zero_copy_only=False), rows
