"""A collection's descriptors of one encoder as ready embeddings, in the layouts that `index` takes and other programs read.

    clip-retrieval   img_emb/img_emb_N.npy, metadata/metadata_N.parquet    also embedding-reader's npy and parquet_npy
    parquet          part-N-of-M.parquet with a column `embedding`         Hugging Face's data sets, embedding-reader's parquet
    lance            embeddings.lance with a column `embedding`            Lance, and what reads it

Rows come in the order in which they are stored, float32 of unit length; beside each stand its id (`item_id`), text (`caption`), the path of
its file (`image_path`) and its metadata. Items without a descriptor of the encoder are left out. Memory is bounded by a batch of rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmrerank.collection.version import CollectionVersion
from mmrerank.errors import InputError
from mmrerank.store.manifest import EncoderEntry
from mmrerank.store.vectors import vectors_of

Layout: TypeAlias = Literal["clip-retrieval", "parquet", "lance"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
VECTOR = "embedding"
PART_ROWS = 1_000_000  # 2 GB of 512 numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was written."""

    items: int
    dimension: int
    encoder: str
    files: tuple[str, ...]  # paths below the folder


def export(
    version: CollectionVersion,
    folder: Path,
    *,
    encoder: str | None = None,
    layout: Layout | str = "clip-retrieval",
    filter: str | None = None,
    part_rows: int = PART_ROWS,
    progress: Callable[[int, int], None] | None = None,
) -> ExportReport:
    """Writes the descriptors of one encoder into a new or empty folder.

    Args:
        encoder: its name; None: the collection's only one.
        filter: SQL over the fields, of the items to write.
        part_rows: rows in a file.

    Raises:
        InputError: the folder is not empty, there is nothing to write, or an argument cannot be used.
        ManifestError: the collection has no descriptors of the encoder.
    """
    entry = _entry(version, encoder)
    writer = _WRITERS.get(layout)
    if writer is None:
        raise InputError(f"expected one of the layouts {', '.join(LAYOUTS)}; got {layout!r}")
    if part_rows < 1:
        raise InputError(f"a part has at least one row; got {part_rows}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty", hint="Name a new folder.")
    total = version.snapshot.count_described(entry.slug, filter)
    if not total:
        raise InputError(f"no item has a descriptor of {entry.name!r}" + ("" if filter is None else f" among those of {filter!r}"))
    folder.mkdir(parents=True, exist_ok=True)
    batches = _with_progress(_batches(version, entry, filter), total, progress)
    files = writer(folder, batches, part_rows, -(-total // part_rows))
    card = {"encoder": entry.name, "weights": entry.weights, "dimension": entry.dimension, "items": total, "unit_rows": True}
    (folder / "embeddings.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return ExportReport(items=total, dimension=entry.dimension, encoder=entry.name, files=(*files, "embeddings.json"))


def _entry(version: CollectionVersion, encoder: str | None) -> EncoderEntry:
    if encoder is not None:
        return version.entry(encoder)
    entries = version.manifest.encoders
    if len(entries) != 1:
        have = ", ".join(repr(entry.name) for entry in entries) or "none"
        raise InputError(f"the collection has descriptors of {have}", hint="Name one as encoder=..., or index with one first.")
    return entries[0]


def _batches(version: CollectionVersion, entry: EncoderEntry, filter: str | None) -> Iterator[pa.RecordBatch]:
    """The rows with what stands beside them, the vectors in the column `embedding`."""
    snapshot = version.snapshot
    present = snapshot.metadata_fields
    metadata = [name for name in present if name not in ("caption", "image_path", VECTOR)]
    columns_read = ["item_id", "text", "file", "fragment", *metadata, *(["image_path"] if "image_path" in present else [])]
    for batch in snapshot.described_batches(entry.slug, columns_read, filter):
        paths = {file: str(version.reader.path({"file": file})) for file in set(batch["file"].to_pylist())}
        places = zip(_listed(batch["file"]), _listed(batch["fragment"]), strict=True)
        where = [None if fragment else paths[file] for file, fragment in places]
        own = batch["image_path"].to_pylist() if "image_path" in batch.schema.names else where
        columns = {
            "item_id": batch["item_id"],
            "caption": batch["text"],
            "image_path": pa.array([path or theirs for path, theirs in zip(where, own, strict=True)], pa.string()),
            **{name: batch[name] for name in metadata},
            VECTOR: batch[snapshot.vector_column(entry.slug)],
        }
        yield pa.RecordBatch.from_pydict(columns)


def _listed(column: pa.Array) -> list[Any]:
    values: list[Any] = column.to_pylist()
    return values


def _with_progress(batches: Iterator[pa.RecordBatch], total: int, progress: Callable[[int, int], None] | None) -> Iterator[pa.RecordBatch]:
    done = 0
    for batch in batches:
        yield batch
        done += batch.num_rows
        if progress is not None:
            progress(done, total)


def _parts(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[Iterator[pa.RecordBatch]]:
    """The batches in groups of so many rows; each group is to be read before the next is asked for."""
    rest: list[pa.RecordBatch] = []

    def group(first: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        room, batch = rows, first
        while batch is not None:
            yield batch.slice(0, room)
            if batch.num_rows > room:
                rest.append(batch.slice(room))
                return
            room -= batch.num_rows
            batch = next(batches, None) if room else None

    while (first := rest.pop() if rest else next(batches, None)) is not None:
        yield group(first)


def _clip_retrieval(folder: Path, batches: Iterator[pa.RecordBatch], part_rows: int, parts: int) -> list[str]:
    files: list[str] = []
    digits = len(str(parts - 1))
    for place in ("img_emb", "metadata"):
        (folder / place).mkdir()
    for number, part in enumerate(_parts(batches, part_rows)):
        names = (f"img_emb/img_emb_{number:0{digits}}.npy", f"metadata/metadata_{number:0{digits}}.parquet")
        _npy_and_parquet(folder / names[0], folder / names[1], part)
        files += names
    return files


def _npy_and_parquet(matrix: Path, table: Path, batches: Iterator[pa.RecordBatch]) -> None:
    """Writes the vectors as they come: the length of a `.npy` file stands in its head, which is written again at the end."""
    rows, width, writer = 0, 0, None
    with matrix.open("wb") as file:
        for batch in batches:
            _, vectors = vectors_of(batch[VECTOR])
            described = batch.drop_columns([VECTOR])
            if writer is None:
                width = vectors.shape[1]
                _head(file, 0, width)
                writer = pq.ParquetWriter(table, described.schema)
            file.write(vectors.astype("<f4", copy=False).tobytes())
            writer.write_batch(described)
            rows += len(vectors)
        file.seek(0)
        _head(file, rows, width)
    if writer is not None:
        writer.close()


def _head(file: Any, rows: int, width: int) -> None:
    """The head of a `.npy` file of float32 rows, as long for any number of rows: numpy leaves room for the first dimension to grow."""
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows, width)})


def _parquet(folder: Path, batches: Iterator[pa.RecordBatch], part_rows: int, parts: int) -> list[str]:
    files: list[str] = []
    for number, part in enumerate(_parts(batches, part_rows)):
        name = f"part-{number:05}-of-{parts:05}.parquet"
        writer = None
        for batch in part:
            writer = writer or pq.ParquetWriter(folder / name, batch.schema)
            writer.write_batch(batch)
        if writer is not None:
            writer.close()
        files.append(name)
    return files


def _lance(folder: Path, batches: Iterator[pa.RecordBatch], part_rows: int, parts: int) -> list[str]:
    first = next(batches)

    def every() -> Iterator[pa.RecordBatch]:
        yield first
        yield from batches

    reader = pa.RecordBatchReader.from_batches(first.schema, every())
    lance.write_dataset(reader, str(folder / "embeddings.lance"), mode="create", max_rows_per_file=part_rows)
    return ["embeddings.lance"]


_WRITERS: dict[str, Callable[[Path, Iterator[pa.RecordBatch], int, int], list[str]]] = {
    "clip-retrieval": _clip_retrieval,
    "parquet": _parquet,
    "lance": _lance,
}
