"""A collection that is large enough for the fields of its items to lie beside the table: additions look at what is new alone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index_rows import structured
from makers import ColourEncoder

from mmrerank.collection import Collection, unique_ids
from mmrerank.collection.field_cache import FolderFieldCache
from mmrerank.collection.folder import INDEXES
from mmrerank.collection.row_index import RowsState
from mmrerank.collection.verify import check
from mmrerank.store import short_fields
from mmrerank.store.manifest import Root
from mmrerank.store.records import Record, slug_of
from mmrerank.store.short_fields import ShortFields
from mmrerank.store.table import Table
from mmrerank.types import Array, Keys

SLUG = slug_of("colour")
ROWS = structured(1000, 48, seed=1)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_fields, "SMALL", 50)
    monkeypatch.setattr(unique_ids, "SMALL", 50)


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    collection = Collection.create(tmp_path / "c", encoders=[ColourEncoder()], index="flat")
    collection._write(roots=(Root(path=str(tmp_path)),))
    write(collection, range(400), undescribed=(7, 8))
    return collection


def record(n: int, row: Array | None, content: str = "1") -> Record:
    same = {"reader": "images", "file_size": 1, "file_mtime_ns": 1, "file_items": 1, "seen_ns": n + 1}
    return Record(item_id=f"{n:05}.png", file=f"{n:05}.png", content_hash=content, descriptors={SLUG: row}, **same)  # type: ignore[arg-type]


def write(collection: Collection, numbers: range, *, undescribed: tuple[int, ...] = ()) -> None:
    with collection._writing():
        collection.table.write([record(n, None if n in undescribed else ROWS[n]) for n in numbers], new=True)
        collection.table.compact()
        collection._indexes_brought_up()


def remove(collection: Collection, *numbers: int) -> None:
    collection.remove(ids=[f"{n:05}.png" for n in numbers])
    with collection._writing():
        collection._indexes_brought_up()


def state_of(collection: Collection) -> RowsState:
    state = collection.version.row_index(collection.manifest.encoders[0]).state()
    assert state is not None
    return state


def assert_right(collection: Collection, numbers: set[int], *, undescribed: tuple[int, ...] = (7, 8)) -> None:
    """The index holds the described items, and finds each by its own row."""
    collection.reopen()
    assert len(collection) == len(numbers)
    assert state_of(collection).items == len(numbers - set(undescribed))
    space = collection.version.space_of(collection.manifest.encoders[0])
    for n in sorted(numbers - set(undescribed))[:: len(numbers) // 20]:
        assert space.nearest(ROWS[n], 1)[0].item.item_id == f"{n:05}.png"
    report = check(collection)
    assert (report["ok"], report["rebuilt"]) == (True, [])


def test_an_addition_looks_at_no_key_of_what_was_there(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    built = state_of(collection).data

    def keys(self: ShortFields) -> Keys:
        raise AssertionError("all keys of the table are looked at")

    with monkeypatch.context() as patch:
        patch.setattr(ShortFields, "keys", property(keys))
        write(collection, range(400, 410), undescribed=(405,))
        assert collection.version.space_of(collection.manifest.encoders[0]).nearest(ROWS[403], 1)[0].item.item_id == "00403.png"
    assert state_of(collection).data == built
    assert_right(collection, set(range(410)), undescribed=(7, 8, 405))


def test_what_was_removed_leaves_the_index(collection: Collection) -> None:
    remove(collection, 3, 7)
    assert_right(collection, set(range(400)) - {3, 7})
    write(collection, range(400, 405))
    remove(collection, 401, 4)
    assert_right(collection, set(range(405)) - {3, 4, 7, 401})


def test_no_search_writes_the_fields_anew_after_many_went(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    collection.remove(ids=[f"{n:05}.png" for n in range(100, 200)])

    def renew(*_: Any) -> None:
        raise AssertionError("written anew in front of a search")

    monkeypatch.setattr(FolderFieldCache, "renew", renew)
    space = collection.version.space_of(collection.manifest.encoders[0])
    assert len(collection) == 300
    assert [space.nearest(ROWS[n], 1)[0].item.item_id == f"{n:05}.png" for n in (50, 150, 250)] == [True, False, True]


def test_what_the_encoder_found_nothing_in_may_go_and_come_again(collection: Collection) -> None:
    remove(collection, 7)
    with collection._writing():
        collection.table.write([record(7, ROWS[7])], new=True)
        collection._indexes_brought_up()
    assert_right(collection, set(range(400)), undescribed=(8,))


def test_joined_files_change_nothing(collection: Collection) -> None:
    for start in range(400, 410):
        write(collection, range(start, start + 1))
        assert_right(collection, set(range(start + 1)))


def test_fields_that_were_damaged_where_they_lie_are_made_anew_by_verify(collection: Collection) -> None:
    folder = next((collection.path / INDEXES / "fields").glob("data-*"))
    stat = (folder / "keys.npy").stat()
    content = bytearray((folder / "keys.npy").read_bytes())
    content[-3] ^= 1
    (folder / "keys.npy").write_bytes(bytes(content))
    os.utime(folder / "keys.npy", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    report = check(Collection.open(collection.path))
    assert report["ok"]
    assert [line.startswith("the fields beside the table") for line in report["rebuilt"]] == [True]
    assert_right(collection, set(range(400)))


def test_a_collection_that_cannot_be_written_is_searched_all_the_same(collection: Collection) -> None:
    place = collection.path / INDEXES / "fields"
    shutil.rmtree(place)
    place.write_text("no folder")
    collection.reopen()
    space = collection.version.space_of(collection.manifest.encoders[0])
    assert space.nearest(ROWS[11], 1)[0].item.item_id == "00011.png"


def test_ids_are_counted_only_where_another_may_have_written(
    collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    counts: list[int] = []
    drop_doubles = Table.drop_doubles

    def counting(table: Table) -> int:
        counts.append(drop_doubles(table))
        return counts[-1]

    monkeypatch.setattr(Table, "drop_doubles", counting)
    collection.add([tmp_path / "photos"])
    collection.add([tmp_path / "photos"])
    assert counts == [0], "nobody wrote between the two"
    remove(collection, 3)
    collection.add([tmp_path / "photos"])
    assert counts == [0]
    Table.open(collection.path / "items.lance").write([record(5, ROWS[5], content="2")], new=True)  # no lock
    report = collection.add([tmp_path / "photos"])
    assert counts == [0, 1]
    assert "1 rows that stood twice were dropped" in report.notes
    assert np.count_nonzero([item.item_id == "00005.png" for item in collection]) == 1
