"""Reads tables, a row an item: Parquet (as Hugging Face writes it), JSON lines, CSV and TSV.

The key comes from `key`, `id` or `item_id`, otherwise it is the row's number. The picture comes from `image` (bytes, a
`{"bytes", "path"}` record, base64, a data URI or a path) or `image_path`, from `jpg`, `images` and other names that data sets use, from
`file_name`, `filepath` and their like where that names a picture file, or from any column whose bytes or records are pictures. Paths are
relative to the table's folder and must stay below it; URLs are never fetched. The text comes from `text`, `caption`, `title` and other
names of captions; several are lines. All else is metadata. The options name other columns. A row is one item: where it has further
pictures, or its picture lies at a URL, `picture_note` in its metadata says so.
Cost: one pass. Opening pictures later lists the keys once a file; then a row of a Parquet file costs its row group, which is
kept for the next ones, and a row of another table its line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from PIL import Image

from mmrerank.errors import FormatError
from mmrerank.parts import as_tuple, printed
from mmrerank.readers._columns import SURE, Columns, PictureAt, columns_of
from mmrerank.readers._files import SPARE_BYTES, Recent, hash_of, hashed, spared
from mmrerank.readers._metadata import empty
from mmrerank.readers._parquet import Parquet
from mmrerank.readers._pictures import LIMITS, BytesPicture, FilePicture, Limits, Mislabelled
from mmrerank.readers._rows import Delimited, JsonLines, Row, Source
from mmrerank.types import Failure, ImageHandle, Item, ReadItem

_SOURCES: Mapping[str, type[Parquet | JsonLines | Delimited]] = {
    ".parquet": Parquet,
    ".pq": Parquet,
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
    ".csv": Delimited,
    ".tsv": Delimited,
}
_LOOKED_AT = 100  # rows of a table, to see whether it has pictures


@dataclass(frozen=True, kw_only=True)
class Options:
    id_column: str | None = None  # key of the item; None: key, id or item_id, else the row's number
    image_column: str | None = None  # None: image, image_path, jpg, ..., what names a picture file, or holds pictures
    text_column: str | tuple[str, ...] | None = None  # one or several; None: text, caption, title, ...
    mislabelled: Mislabelled = "refuse"  # a PNG in a file named .jpg; bytes in the table carry no name
    max_bytes: int = LIMITS.max_bytes  # of one picture


@dataclass(frozen=True, slots=True)
class _Table:
    """An open table and what its columns are."""

    source: Source
    columns: Columns


@dataclass(frozen=True, slots=True)
class _Index:
    """Where the rows of a table are, by key; `without` are the keys of those that have no picture."""

    table: _Table
    places: Mapping[str, tuple[int, int]]
    without: frozenset[str]


def _table(path: Path, options: Options) -> _Table:
    kind = _SOURCES.get(path.suffix.lower())
    if kind is None:
        raise FormatError(f"no table; expected one of {', '.join(sorted(_SOURCES))}", path=path)
    source: Source = kind(path)
    columns = columns_of(
        source.columns,
        path=path,
        key=options.id_column,
        picture=options.image_column,
        text=as_tuple(options.text_column) if options.text_column is not None else (),
        typed=source.typed,
        complete=not isinstance(source, JsonLines),
    )
    return _Table(source, columns)


def _index(path: Path, options: Options) -> _Index:
    table = _table(path, options)
    places: dict[str, tuple[int, int]] = {}
    without = set()
    for row, surely in _keyed(table):
        try:
            key = "" if row.problem else table.columns.key_of(row)
        except ValueError:  # its reason is told when the table is read; here it is no item
            continue
        if not key or key in places:
            continue
        places[key] = row.locator
        if not surely and not table.columns.has_picture(row.values):
            without.add(key)
    return _Index(table, places, frozenset(without))


def _keyed(table: _Table) -> Iterator[tuple[Row, bool]]:
    """The rows with their keys, and whether it is known without a look at the pictures that they have one."""
    source, columns = table.source, table.columns
    if not isinstance(source, Parquet):
        yield from ((row, False) for row in source.rows())
        return
    present = columns.may_hold_pictures(source.columns, source.nested)
    surely = bool(present) and source.never_null(present[0]) and (present[0] == columns.picture or present[0] in SURE)
    names = [name for name in (columns.key, *([] if surely else present)) if name]
    yield from ((row, surely) for row in (source.rows(names) if names else source.numbered()))


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPicture:
    """The picture of one row of a table."""

    path: Path
    key: str
    mislabelled: Mislabelled
    limits: Limits
    indexes: Recent[_Index] = field(repr=False, compare=False)

    def content_key(self) -> str:
        """Of the picture's bytes, which lie in the row or where it says."""
        return self._handle().content_key()

    def open(self) -> Image.Image:
        """The picture as RGB, upright.

        Raises:
            FormatError: the table cannot be read, has no such row, or its picture cannot be opened.
        """
        return self._handle().open()

    def _handle(self) -> FilePicture | BytesPicture:
        name = f"{self.path}::{self.key}"
        index = self.indexes.get(self.path)
        if self.key not in index.places:
            raise FormatError("the table has no row under this key", path=name)
        try:
            picture = index.table.columns.picture_of(index.table.source.values_at(index.places[self.key]))
        except ValueError as error:
            raise FormatError(str(error), path=name) from error
        if picture is None:
            raise FormatError("the row has no picture", path=name)
        return _opening(picture, name, self.mislabelled, self.limits)


def _opening(picture: PictureAt, name: str, mislabelled: Mislabelled, limits: Limits) -> FilePicture | BytesPicture:
    if isinstance(picture, Path):
        return FilePicture(path=picture, mislabelled=mislabelled, limits=limits)
    return BytesPicture(data=picture, name=name, limits=limits)


class TableReader:
    """Tables -> items with the columns that are not key, picture or text as metadata."""

    suffixes = frozenset(_SOURCES)
    hashed_options = frozenset({"id_column", "image_column", "text_column", "mislabelled", "max_bytes"})

    def __init__(self, options: Options) -> None:
        self.name = printed("table", options)
        self._options = options
        self._limits = Limits(max_bytes=options.max_bytes)
        self._indexes = Recent(partial(_index, options=options), keep=4)

    def count(self, path: Path) -> int:
        """The number of rows, broken ones included; FormatError when the table cannot be read."""
        return _table(path, self._options).source.count()

    def read(self, path: Path, item_id: str) -> Iterator[ReadItem | Failure]:
        """The rows in order, ids `ITEM_ID::KEY`.

        A row that is broken, has no key, one that came before, or neither picture nor text is a Failure.

        Raises:
            FormatError: the table as a whole cannot be read, or has not the columns that the options name.
        """
        table = _table(path, self._options)
        keys: set[str] = set()
        for row in table.source.rows():
            try:
                if row.problem:
                    raise ValueError(row.problem)
                key = table.columns.key_of(row)
            except ValueError as error:
                yield Failure(path=f"{item_id}::{row.place}", reason=str(error))
                continue
            if key in keys:
                yield Failure(path=f"{item_id}::{key}", reason=f"its key came before in this table; see {row.place}")
                continue
            keys.add(key)
            yield self._entry(table.columns, row, f"{item_id}::{key}", f"{path}::{key}")

    def passes_over(self, path: Path) -> str:
        """Every table: beside pictures it mostly describes them."""
        return "tables are read when they are named"

    def has_texts(self, path: Path) -> bool:
        """Whether its first rows are items without pictures."""
        items = 0
        try:
            for row in islice(self.read(path, path.name), _LOOKED_AT):
                if isinstance(row, ReadItem):
                    if row.item.image is not None:
                        return False
                    items += 1
        except FormatError:
            return False
        return items > 0

    def handle(self, path: Path, fragment: str) -> ImageHandle | None:
        """The picture of the row that `::KEY` names; None where it has none. FormatError for any other fragment."""
        if not fragment.startswith("::") or len(fragment) < 3:
            raise FormatError(f"{fragment!r} names no row; expected '::KEY'", path=path)
        key = fragment[2:]
        picture = RowPicture(path=path, key=key, mislabelled=self._options.mislabelled, limits=self._limits, indexes=self._indexes)
        try:
            return None if key in self._indexes.get(path).without else picture
        except FormatError:
            return picture  # opening it says what is wrong with the table

    def _entry(self, columns: Columns, row: Row, row_id: str, name: str) -> ReadItem | Failure:
        try:
            picture = columns.picture_of(row.values)
            text, metadata = columns.described(row.values)
            content, image = self._picture(picture, name)
            item = Item(item_id=row_id, image=image, text=text, metadata=metadata)
            if empty(item):
                raise ValueError("neither a picture nor a text")
        except FormatError as error:
            return Failure(path=row_id, reason=f"its picture {Path(error.path).name}: {error.reason}")
        except ValueError as error:
            return Failure(path=row_id, reason=str(error))
        return ReadItem(item=item, content_hash=hash_of(json.dumps([text, metadata], sort_keys=True), content))

    def _picture(self, picture: PictureAt | None, name: str) -> tuple[str | bytes, ImageHandle | None]:
        """What the content hash of a row is made of its picture, and the picture; a file is read once for both."""
        if picture is None:
            return b"", None
        if not isinstance(picture, Path):
            return picture, _opening(picture, name, self._options.mislabelled, self._limits)
        file_hash, data = hashed(picture, whole_bytes=min(self._limits.max_bytes, SPARE_BYTES))
        spare = spared(data) if data is not None else None
        return file_hash, FilePicture(path=picture, mislabelled=self._options.mislabelled, limits=self._limits, spare=spare)


def build(options: Options) -> TableReader:
    return TableReader(options)


def tiny() -> TableReader:
    return TableReader(Options())
