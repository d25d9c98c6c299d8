"""Reads ready embeddings, a row an item: `.npy` files, described by Parquet files beside them, and Parquet files or Lance tables with a
column of vectors.

These are what clip-retrieval, embedding-reader and Hugging Face's data sets lay down; parts are paired by name or number. The key comes
from `key`, `id` or `item_id`, otherwise it is the row's number. The text comes from `caption`, `text` and other names of captions; all
else is metadata. The picture comes from `image`, `image_path` and their like, where the file lies below the folder of the embeddings, or
below the folder that the option `pictures` names; URLs are never fetched. `mmrerank index` takes the vectors as they are
(`mmrerank/ingest/embeddings.py`); here rows are items as any others, for their pictures, and to see whether they changed.
Cost: one pass. Opening a picture later reads the columns that name it, up to its row in its row group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from mmrerank.errors import FormatError
from mmrerank.parts import printed
from mmrerank.readers._columns import Columns, PictureAt
from mmrerank.readers._files import Recent, is_lance
from mmrerank.readers._layouts import texts_left_aside, vector_files
from mmrerank.readers._pictures import LIMITS, BytesPicture, FilePicture, Limits
from mmrerank.readers._vector_rows import roles_of, vector_rows
from mmrerank.readers._vectors import NPY, PICTURES, TEXTS, VectorPart, vector_part
from mmrerank.types import Failure, ImageHandle, Item, ReadItem, VectorRows


@dataclass(frozen=True, kw_only=True)
class Options:
    pictures: str | None = None  # folder that the paths of pictures are relative to; None: that of the embeddings
    vector_column: str | None = None  # of Parquet files and Lance tables; None: the one that is called so
    max_bytes: int = LIMITS.max_bytes  # of one picture


@dataclass(frozen=True, slots=True)
class _Open:
    """A part with what is looked up in it."""

    part: VectorPart
    key: str | None
    keys: pa.ChunkedArray | None
    picturing: tuple[str, ...]  # columns that a row's picture may come from

    def row_of(self, key: str) -> int:
        """The place of a key, from 0; -1 where there is none."""
        if self.keys is None:
            return int(key) - 1 if key.isdecimal() and 0 < int(key) <= self.part.count else -1
        return int(pc.index(self.keys, pa.scalar(key, pa.string())).as_py())


def _opened(path: Path, options: Options) -> _Open:
    part = vector_part(path, column=options.vector_column)
    key = roles_of(part).key
    keys = None if key is None else part.column_of(key).cast(pa.string())
    columns = Columns(folder=path, key=key)
    return _Open(part, key, keys, tuple(columns.may_hold_pictures(part.names, part.names)))


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorPicture:
    """The picture of one row."""

    path: Path
    key: str
    reader: EmbeddingsReader = field(repr=False, compare=False)

    def content_key(self) -> str:
        """Of the picture's bytes."""
        return self._handle().content_key()

    def open(self) -> Image.Image:
        """The picture as RGB, upright.

        Raises:
            FormatError: the files cannot be read, have no such row, or its picture cannot be opened.
        """
        return self._handle().open()

    def _handle(self) -> FilePicture | BytesPicture:
        picture = self.reader.picture_at(self.path, self.key)
        if picture is None:
            raise FormatError("the row has no picture", path=f"{self.path}::{self.key}")
        return self.reader.opening(picture, f"{self.path}::{self.key}")


class EmbeddingsReader:
    """Ready embeddings -> items with the columns that describe them as metadata."""

    suffixes = frozenset({NPY})

    def __init__(self, options: Options) -> None:
        self.name = printed("embeddings", options)
        self.options = options
        self._limits = Limits(max_bytes=options.max_bytes)
        self._parts = Recent(partial(_opened, options=options), keep=16)

    def vector_files(self, path: Path) -> tuple[Path, ...]:
        """The files of ready vectors at a path, in the order of their numbers; none where something else is there."""
        return vector_files(path)

    def left_aside(self, path: Path) -> str:
        """What at that path is not taken: the vectors of the texts, where those of the pictures are there."""
        folder = texts_left_aside(path)
        return f"{folder.name} holds the vectors of the texts and was passed over: the items are the pictures" if folder else ""

    def source(self, path: Path) -> VectorPart:
        """What a file holds; FormatError where that is no ready vectors."""
        return vector_part(path, column=self.options.vector_column)

    def rows(self, path: Path) -> Iterator[VectorRows]:
        """The rows of a file, some thousand at a time; FormatError where they cannot be read."""
        return vector_rows(self.source(path))

    def count(self, path: Path) -> int:
        """The number of rows; FormatError when the file cannot be read."""
        return self.source(path).count

    def read(self, path: Path, item_id: str) -> Iterator[ReadItem | Failure]:
        """The rows in order, ids `ITEM_ID::KEY`. A row without a usable key or vector is a Failure.

        Raises:
            FormatError: the file cannot be read, or its rows are not those of what describes it.
        """
        opened = _opened(path, self.options)
        described = opened.part.described_rows(opened.picturing)
        for rows in vector_rows(opened.part):
            fields = {name: column.to_pylist() for name, column in rows.metadata.items()}
            for n, (key, text, digest) in enumerate(zip(rows.keys, rows.texts.to_pylist(), rows.hashes, strict=True)):
                picture = self._picture_in(next(described, {}), path)
                row_id = f"{item_id}::{key}"
                if n in rows.problems:
                    yield Failure(path=row_id, reason=rows.problems[n])
                    continue
                image = None if picture is None else VectorPicture(path=path, key=key, reader=self)
                metadata = {name: values[n] for name, values in fields.items() if values[n] is not None}
                item = Item(item_id=row_id, image=image, text=text, metadata=metadata)
                yield ReadItem(item=item, content_hash=digest)

    def passes_over(self, path: Path) -> str:
        """Every file: vectors beside pictures are mostly made of them."""
        return "embeddings are read when they, or their folder, are named"

    def handle(self, path: Path, fragment: str) -> ImageHandle | None:
        """The picture of the row that `::KEY` names; None where none lies within reach. FormatError for any other fragment."""
        if not fragment.startswith("::") or len(fragment) < 3:
            raise FormatError(f"{fragment!r} names no row; expected '::KEY'", path=path)
        picture = VectorPicture(path=path, key=fragment[2:], reader=self)
        try:
            return None if self.picture_at(path, picture.key) is None else picture
        except FormatError:
            return picture  # opening it says what is wrong

    def picture_at(self, path: Path, key: str) -> PictureAt | None:
        """Where the picture of a row is: its bytes, or a file that is there; None where there is none.

        Raises:
            FormatError: the part cannot be read, or has no such row.
        """
        opened = _opened(path, self.options) if is_lance(path) else self._parts.get(path)
        row = opened.row_of(key)
        if row < 0:
            raise FormatError("there is no row under this key", path=f"{path}::{key}")
        return self._picture_in(opened.part.values_at(row, opened.picturing), path)

    def _picture_in(self, values: Mapping[str, Any], path: Path) -> PictureAt | None:
        """Where the columns of a row say that its picture is, as far as that is within reach."""
        for folder in self._picture_folders(path):
            try:
                picture = Columns(folder=folder.resolve(), key=None).picture_of(values)
            except ValueError:  # a URL, or a path that leads elsewhere
                continue
            if isinstance(picture, bytes) or (picture is not None and picture.is_file()):
                return picture
        return None

    def _picture_folders(self, path: Path) -> list[Path]:
        """What the paths of pictures are relative to: the folder that was named, or those of the embeddings."""
        if self.options.pictures:
            return [Path(self.options.pictures)]
        return [path.parent, path.parent.parent] if path.parent.name in (PICTURES, TEXTS) else [path.parent]

    def opening(self, picture: PictureAt, name: str) -> FilePicture | BytesPicture:
        """The handle of a picture that `picture_at` found."""
        if isinstance(picture, Path):
            return FilePicture(path=picture, mislabelled="accept", limits=self._limits)
        return BytesPicture(data=picture, name=name, limits=self._limits)


def build(options: Options) -> EmbeddingsReader:
    return EmbeddingsReader(options)


def tiny() -> EmbeddingsReader:
    return EmbeddingsReader(Options())
