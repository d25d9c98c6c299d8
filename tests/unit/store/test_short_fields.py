"""The short fields of a large table from a folder beside it: the same as read from the table itself, whatever was written since."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmrerank.errors import InputError
from mmrerank.store import short_fields
from mmrerank.store.records import Record
from mmrerank.store.table import Snapshot, Table


class CountingCache:
    """A folder for each time that the fields are written."""

    def __init__(self, place: Path) -> None:
        self.place, self.count = place, 0

    def newest(self) -> Path | None:
        return self.place / str(self.count) if self.count else None

    def renew(self, write: Callable[[Path], None], version: int) -> Path | None:
        self.count += 1
        write(self.place / str(self.count))
        return self.newest()


class NoCache(CountingCache):
    """A place where nothing can be written."""

    def renew(self, write: Callable[[Path], None], version: int) -> Path | None:
        return None


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CountingCache:
    monkeypatch.setattr(short_fields, "SMALL", 20)
    monkeypatch.setattr(short_fields, "BATCH", 16)  # several batches, and items on both sides of their ends
    (tmp_path / "fields").mkdir()
    return CountingCache(tmp_path / "fields")


@pytest.fixture
def table(tmp_path: Path) -> Table:
    table = Table.create(tmp_path / "items.lance")
    table.add_encoder("e", 4)
    write(table, range(200))
    return table


def write(table: Table, numbers: Sequence[int], *, content: str = "1", new: bool = True, **metadata: Any) -> None:
    table.write([record(n, content, metadata) for n in numbers], new=new)


def record(n: int, content: str, metadata: dict[str, Any]) -> Record:
    file, fragment = f"f{n:03}", "" if n % 3 else f"#page={n}"
    return Record(
        item_id=file + fragment,
        file=file,
        fragment=fragment,
        page_number=None if n % 3 else n,
        text=f"words of {n}" if n % 5 == 0 else None,
        reader="images",
        content_hash=content,
        file_size=1,
        file_mtime_ns=1,
        file_items=1,
        seen_ns=1,
        state="failed" if n % 7 == 0 else "ready",
        metadata={"number": n, **metadata},
        descriptors={"e": np.full(4, n, np.float32)},
    )


def assert_alike(one: Snapshot, other: Snapshot) -> None:
    """Both show the same items, with the same fields and descriptors, whichever are asked for and in whichever order."""
    assert one.keys.tolist() == other.keys.tolist()
    assert (len(one), one.repeats) == (len(other), other.repeats) == (len(one.keys), 0)
    keys = np.random.default_rng(0).permutation(one.keys)
    for some in (keys, keys[:1], keys[:0], one.keys[3:30]):
        assert one.records(some) == other.records(some)
        assert np.array_equal(one.descriptors(some, "e"), other.descriptors(some, "e"))


def test_what_is_beside_the_table_is_what_is_in_it(table: Table, cache: CountingCache) -> None:
    assert_alike(table.snapshot(cache), table.snapshot())
    assert_alike(table.snapshot(cache), table.snapshot())
    assert cache.count == 1
    with pytest.raises(InputError, match="not in this version"):
        table.snapshot(cache).records(np.array([12345]))


def test_what_came_went_or_changed_since_is_read_from_the_table(table: Table, cache: CountingCache) -> None:
    before = table.snapshot(cache)
    write(table, range(200, 210))
    assert_alike(table.snapshot(cache), table.snapshot())
    assert cache.count == 1, "few rows came"
    table.remove([record(n, "1", {}).item_id for n in (201, 202)])  # of the file that came since
    table.refresh()
    assert_alike(table.snapshot(cache), table.snapshot())
    assert cache.count == 1
    assert len(before) == len(before.keys) == sum(n % 7 > 0 for n in range(200)), "an open version stays what it was"
    table.remove([record(5, "1", {}).item_id])  # of the file with all the others
    table.refresh()
    write(table, [8, 9], content="2", new=False)
    assert_alike(table.snapshot(cache), table.snapshot())
    assert table.snapshot(cache).outside(before.data_files)[0].tolist() == np.setdiff1d(table.snapshot().keys, before.keys).tolist()
    assert cache.count == 1
    table.remove([record(n, "1", {}).item_id for n in range(20, 50)])
    table.refresh()
    assert_alike(table.snapshot(cache), table.snapshot())
    assert cache.count == 2, "many went"


def test_joined_files_are_read_anew(table: Table, cache: CountingCache) -> None:
    table.snapshot(cache)
    for start in range(200, 280, 10):
        write(table, range(start, start + 10))
        assert_alike(table.snapshot(cache), table.snapshot())
    count = cache.count
    table.compact()
    assert len(table.data_files) == 1
    assert_alike(table.snapshot(cache), table.snapshot())
    assert cache.count == count + 1


def test_a_field_that_came_since_is_shown(table: Table, cache: CountingCache) -> None:
    table.snapshot(cache)
    write(table, [200], colour="red")
    snapshot = table.snapshot(cache)
    assert_alike(snapshot, table.snapshot())
    assert "red" in [row["colour"] for row in snapshot.records(snapshot.keys)]


def test_texts_are_read_where_an_item_has_one(tmp_path: Path, cache: CountingCache) -> None:
    table = Table.create(tmp_path / "plain.lance")
    write(table, [n for n in range(100) if n % 5])
    snapshot = table.snapshot(cache)
    assert not snapshot._short.has_texts
    assert {row["text"] for row in snapshot.records(snapshot.keys)} == {None}
    write(table, [100])
    snapshot = table.snapshot(cache)
    assert {row["text"] for row in snapshot.records(snapshot.keys)} == {None, "words of 100"}
    assert cache.count == 1


def test_whether_a_field_has_a_value(table: Table, cache: CountingCache, tmp_path: Path) -> None:
    assert table.snapshot(cache).has("page_number")
    assert not table.snapshot(cache).has("document_id")


@pytest.mark.parametrize("name", ["fields.arrow", "keys.npy", "contents.json"])
def test_a_folder_that_cannot_be_opened_is_written_anew(table: Table, cache: CountingCache, name: str) -> None:
    table.snapshot(cache)
    file = cache.place / "1" / name
    file.write_bytes(file.read_bytes()[:20])
    assert_alike(table.snapshot(cache), table.snapshot())
    assert cache.count == 2


def test_where_nothing_can_be_written_all_is_read(table: Table, cache: CountingCache) -> None:
    assert_alike(table.snapshot(NoCache(cache.place)), table.snapshot())
    table.snapshot(cache)
    shutil.rmtree(cache.place / "1")
    assert_alike(table.snapshot(NoCache(cache.place)), table.snapshot())


def test_small_tables_have_no_folder(tmp_path: Path, cache: CountingCache) -> None:
    table = Table.create(tmp_path / "small.lance")
    table.add_encoder("e", 4)
    assert len(table.snapshot(cache)) == 0
    write(table, range(1, 20))
    assert_alike(table.snapshot(cache), table.snapshot())
    assert cache.count == 0


def test_rows_that_stand_twice_are_told(table: Table, cache: CountingCache) -> None:
    table.snapshot(cache)
    write(table, [1, 2])  # as a second writer without a lock would
    assert table.snapshot(cache).repeats == table.snapshot().repeats == 2
    assert table.drop_doubles() == 2
    assert_alike(table.snapshot(cache), table.snapshot())
    assert table.snapshot(NoCache(cache.place)).repeats == 0


def test_the_items_of_files_that_another_version_had_not(table: Table, cache: CountingCache) -> None:
    before = table.snapshot(cache)
    write(table, range(200, 206))
    for snapshot in (table.snapshot(cache), table.snapshot()):
        recent, count = snapshot.outside(before.data_files)
        assert recent.tolist() == np.setdiff1d(snapshot.keys, before.keys).tolist()
        assert count == len(before)
        assert snapshot.outside({})[0].tolist() == snapshot.keys.tolist()
        assert snapshot.outside(snapshot.data_files)[1] == len(snapshot)
