"""Vectors read at their places in the files of a table: what Lance itself reads, or Lance is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest

from mmrerank.errors import DamagedData
from mmrerank.store import vectors
from mmrerank.store.records import Record
from mmrerank.store.table import Table
from mmrerank.store.vectors import StoredVectors, layout_of

WIDTH = 64  # shorter rows are packed otherwise
ROWS = np.random.default_rng(1).standard_normal((40_000, WIDTH)).astype(np.float32)


def table_of(rows: Any, absent: Any = None) -> pa.Table:
    mask = None if absent is None else pa.array(absent)
    column = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1], mask=mask)
    return pa.table({"number": pa.array(np.arange(len(rows))), "v": column})


def written(path: Path, tables: list[pa.Table], **more: Any) -> Any:
    for table in tables:
        dataset = lance.write_dataset(table, str(path), mode="append" if path.exists() else "create", **more)
    return dataset


def row_ids(dataset: Any) -> Any:
    return dataset.to_table(columns=[], with_row_id=True)["_rowid"].to_numpy().astype(np.int64)


def without_lance(dataset: Any) -> StoredVectors:
    """A reader that fails where it has to ask Lance for a row."""

    class Refusing:
        uri, schema, lance_schema, get_fragments = dataset.uri, dataset.schema, dataset.lance_schema, dataset.get_fragments

    return StoredVectors(Refusing(), "v")


def test_rows_of_several_files_and_pages_are_read_as_they_were_written(tmp_path: Path) -> None:
    dataset = written(tmp_path / "t", [table_of(ROWS[:39_000]), table_of(ROWS[39_000:])], max_rows_per_file=30_000)
    some = np.sort(np.random.default_rng(2).choice(len(ROWS), 500, replace=False))
    valid, rows = without_lance(dataset).take(row_ids(dataset)[some])
    assert valid.all()
    assert np.array_equal(rows, ROWS[some])


def test_a_file_of_several_pages_some_of_which_have_nulls(tmp_path: Path) -> None:
    wide = np.random.default_rng(3).standard_normal((12_000, 512)).astype(np.float32)
    absent = np.zeros(len(wide), np.bool_)
    absent[[7_000, 7_001, 11_999]] = True
    table = table_of(wide, absent)
    batches = pa.RecordBatchReader.from_batches(table.schema, iter(table.to_batches(max_chunksize=2_000)))
    dataset = lance.write_dataset(batches, str(tmp_path / "t"))
    file = dataset.get_fragments()[0].metadata.files[0]
    layout = layout_of(Path(dataset.uri) / "data" / file.path, 1, "v", 512)
    assert layout is not None
    assert len(layout.firsts) > 1
    assert set(layout.levels.tolist()) == {0, 1}
    valid, rows = without_lance(dataset).take(row_ids(dataset))
    assert np.array_equal(valid, ~absent)
    assert np.array_equal(rows[valid], wide[~absent])


def test_deleted_rows_and_a_column_that_came_later_change_no_place(tmp_path: Path) -> None:
    dataset = lance.write_dataset(table_of(ROWS[:900]).select(["number"]), str(tmp_path / "t"), max_rows_per_file=400)
    dataset.delete("number % 7 = 3")
    dataset.add_columns(pa.field("v", pa.list_(pa.float32(), WIDTH)))
    left = np.array([n for n in range(900) if n % 7 != 3])
    dataset.merge_insert("number").when_matched_update_all().execute(table_of(ROWS[:900]).take(pa.array(left)))
    dataset = lance.dataset(dataset.uri)
    numbers = dataset.to_table(columns=["number"])["number"].to_numpy()
    valid, rows = without_lance(dataset).take(row_ids(dataset))
    assert (valid.all(), sorted(numbers.tolist())) == (True, left.tolist())
    assert np.array_equal(rows, ROWS[numbers])


def test_what_a_collection_writes_is_written_plainly(tmp_path: Path) -> None:
    """Appended, in place of others, with items that have no descriptor, and joined: no take of Lance's is needed for any file."""
    table = Table.create(tmp_path / "items.lance")
    table.add_encoder("e", WIDTH)
    for start in range(0, 200, 20):
        table.write([record(n, None if n % 9 == 0 else ROWS[n]) for n in range(start, start + 20)], new=True)
    table.write([record(n, ROWS[n]) for n in range(150, 210)])
    for _ in range(2):
        reader = StoredVectors(table._dataset, "descriptor:e")
        assert reader._files
        assert all(layout_of(*file, "descriptor:e", WIDTH) is not None for file in reader._files.values())
        table.compact()
    keys, rows = table.snapshot().some_described(table.snapshot().keys, "e")
    wanted = {record(n, None).key: ROWS[n] for n in range(210) if n >= 150 or n % 9}
    assert wanted.keys() == set(keys.tolist())
    assert all(np.array_equal(wanted[int(key)], row) for key, row in zip(keys, rows, strict=True))


def record(n: int, row: Any) -> Record:
    same = {"reader": "images", "content_hash": "1", "file_size": 1, "file_mtime_ns": 1, "file_items": 1, "seen_ns": 1}
    return Record(item_id=f"f{n}", file=f"f{n}", descriptors={"e": row}, **same)  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [8, 512])
@pytest.mark.parametrize("version", ["2.0", "2.1", "stable"])
def test_whatever_the_layout_the_rows_are_right(tmp_path: Path, width: int, version: str) -> None:
    """Short rows are packed otherwise, and earlier formats have other pages: Lance is asked for those."""
    wide = np.random.default_rng(4).standard_normal((300, width)).astype(np.float32)
    absent = np.arange(300) % 10 == 0
    dataset = written(tmp_path / "t", [table_of(wide), table_of(wide, absent), table_of(wide, absent | True)], data_storage_version=version)
    valid, rows = StoredVectors(dataset, "v").take(row_ids(dataset))
    assert np.array_equal(valid, np.concatenate([np.ones(300, np.bool_), ~absent, np.zeros(300, np.bool_)]))
    assert np.array_equal(rows[valid], np.concatenate([wide, wide[~absent]]))


def test_a_layout_that_sizes_alone_speak_for_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many bytes as the rows have numbers, in an order of its own: what Lance reads is compared."""
    dataset = written(tmp_path / "t", [table_of(ROWS[:300])])
    file = dataset.get_fragments()[0].metadata.files[0]
    place = Path(dataset.uri) / "data" / file.path
    assert layout_of(place, 1, "v", WIDTH) is not None
    layout_of.cache_clear()
    real = vectors._read

    def turned(*arguments: Any) -> Any:
        valid, rows = real(*arguments)
        return valid, rows[:, ::-1]

    monkeypatch.setattr(vectors, "_read", turned)
    assert layout_of(place, 1, "v", WIDTH) is None
    layout_of.cache_clear()


def test_a_table_that_was_opened_by_a_relative_path_is_read_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = written(Path("t"), [table_of(ROWS[:300]), table_of(ROWS[300:900])])
    used, unused, ids = without_lance(dataset), StoredVectors(dataset, "v"), row_ids(dataset)
    used.take(ids[:5])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for reader in (used, unused):
        assert np.array_equal(reader.take(ids)[1], ROWS[:900])


def test_a_file_that_ends_too_early_is_damaged(tmp_path: Path) -> None:
    dataset = written(tmp_path / "t", [table_of(ROWS[:300])])
    reader, ids = StoredVectors(dataset, "v"), row_ids(dataset)
    reader.take(ids)
    (place,) = (Path(dataset.uri) / "data").iterdir()
    place.write_bytes(place.read_bytes()[: 100 * WIDTH * 4])
    with pytest.raises(DamagedData, match="ends before its rows do"):
        reader.take(ids)
