"""The index of a collection as files: built once, completed by what came and went, never trusted blindly, never waited for."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index_rows import structured
from makers import ColourEncoder

from mmrerank.collection import Collection, recall, row_index
from mmrerank.collection.row_index import RowIndex, RowsState
from mmrerank.collection.stored_rows import StoredRows
from mmrerank.collection.verify import check, describe
from mmrerank.index import Questions, TailedIndex, _auto
from mmrerank.store.manifest import Root
from mmrerank.store.records import Record, slug_of
from mmrerank.types import Array

pytest.importorskip("faiss", reason="neither the extra `cpu` nor `gpu` is installed")

SLUG = slug_of("colour")
ROUGH = 'faiss_index(kind="ivf", storage="sq8", probes=1000)'
ROWS = structured(4000, 48, seed=1)


def record(n: int, row: Array | None) -> Record:
    return Record(
        item_id=f"{n:05}.png",
        file=f"{n:05}.png",
        reader="images",
        content_hash="1",
        file_size=1,
        file_mtime_ns=1,
        file_items=1,
        seen_ns=1,
        metadata={"number": n},
        descriptors={SLUG: row},
    )


def made(folder: Path, index: str = "auto") -> Collection:
    collection = Collection.create(folder, encoders=[ColourEncoder()], index=index)
    collection._write(roots=(Root(path=str(folder.parent)),))
    return collection


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    collection = made(tmp_path / "c", ROUGH)
    write(collection, range(1000))
    return collection


def write(collection: Collection, numbers: Sequence[int], *, undescribed: Sequence[int] = ()) -> None:
    """Rows of these numbers, as one commit, and what a writer does after it."""
    with collection._writing():
        collection.table.write([record(n, None if n in undescribed else ROWS[n]) for n in numbers], new=True)
        collection.table.compact()
        collection._indexes_brought_up()


def remove(collection: Collection, numbers: Sequence[int]) -> None:
    collection.remove(ids=[f"{n:05}.png" for n in numbers])


def rows_of(collection: Collection) -> RowIndex:
    return collection.version.row_index(collection.manifest.encoders[0])


def state_of(collection: Collection) -> RowsState:
    state = rows_of(collection).state()
    assert state is not None
    return state


def again(collection: Collection) -> Collection:
    other = Collection.open(collection.path)
    other._encoders.use(other.manifest.encoders[0], ColourEncoder())
    return other


def nearest(collection: Collection, n: int, k: int = 5, filter: str | None = None) -> list[int]:
    space = collection.version.space_of(collection.manifest.encoders[0])
    return [int(hit.item.item_id[:5]) for hit in space.nearest(ROWS[n], k, filter=filter)]


def plainly(n: int, numbers: Sequence[int], k: int = 5) -> list[int]:
    present = np.array(numbers)
    return [int(present[place]) for place in np.argsort(-(ROWS[present] @ ROWS[n]), kind="stable")[:k]]


def test_a_few_new_rows_leave_the_index_as_it_was_built(collection: Collection) -> None:
    built = state_of(collection).data
    write(collection, range(1000, 1040))
    remove(collection, range(5))
    collection.version.bring_up_indexes()
    state = state_of(collection)
    assert (state.data, state.rows, state.items) == (built, 1000, 1035)
    assert state.tail is not None
    for one in (collection, again(collection)):
        assert nearest(one, 1020) == plainly(1020, range(5, 1040))
        assert nearest(one, 2) == plainly(2, range(5, 1040))


def test_what_went_and_comes_again_is_found(collection: Collection) -> None:
    """With the same content it has the same key, which a tombstone in the index as it was built must not hide."""
    remove(collection, [7])
    write(collection, [1000])
    write(collection, [7])
    index = Collection.open(collection.path).version.index_of(collection.manifest.encoders[0])
    assert len(index.ids) == 1001
    assert check(collection)["ok"]


def test_a_twentieth_changed_is_built_anew_by_the_writer(collection: Collection) -> None:
    built = state_of(collection).data
    write(collection, range(1000, 1100))
    state = state_of(collection)
    assert state.data != built
    assert (state.rows, state.tail) == (1100, None)
    assert nearest(again(collection), 1050) == plainly(1050, range(1100))
    files = {path.name for path in (collection.path / "indexes" / SLUG).iterdir()}
    assert files == {".lock", "cache.json", state.data.name, *(s.name for s in (state.since, state.questions) if s is not None)}


def test_what_was_worn_by_searches_is_built_anew_at_the_next_run(collection: Collection) -> None:
    with collection._writing():
        collection.table.write([record(n, ROWS[n]) for n in range(1000, 1100)], new=True)
    assert nearest(collection, 1050) == plainly(1050, range(1100))
    assert state_of(collection).rows == 1000  # the search saved what came, and built nothing
    collection.version.bring_up_indexes()
    assert state_of(collection).rows == 1100


def test_a_search_builds_nothing_that_takes_long(
    collection: Collection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(row_index, "SMALL", 10)
    shutil.rmtree(collection.path / "indexes")
    other = again(collection)
    assert nearest(other, 7) == plainly(7, range(1000))
    assert nearest(other, 7, filter="number < 500") == plainly(7, range(500))
    assert isinstance(other.version.index_of(other.manifest.encoders[0]), StoredRows)
    assert "has no index of 1000 items yet" in caplog.text
    assert not (collection.path / "indexes" / SLUG).exists()
    other.version.bring_up_indexes()
    assert isinstance(again(collection).version.index_of(other.manifest.encoders[0]), TailedIndex)


def test_files_are_opened_where_they_lie(collection: Collection) -> None:
    index = again(collection).version.index_of(collection.manifest.encoders[0])
    assert isinstance(index, TailedIndex)
    assert index.base._file is not None  # type: ignore[attr-defined]
    assert not index.base._positions.keys.flags.writeable  # type: ignore[attr-defined]


def test_a_copy_of_a_collection_has_other_times_and_the_same_index(collection: Collection, tmp_path: Path) -> None:
    write(collection, range(1000, 1010))
    shutil.copytree(collection.path, tmp_path / "copy", copy_function=shutil.copyfile)
    copy = Collection.open(tmp_path / "copy")
    copy._encoders.use(copy.manifest.encoders[0], ColourEncoder())
    assert nearest(copy, 1005) == plainly(1005, range(1010))
    assert state_of(copy) == state_of(collection)


def test_the_cache_of_an_earlier_version_is_replaced_without_a_word(collection: Collection, caplog: pytest.LogCaptureFixture) -> None:
    """0.5.0 and before: one file whose name and checksum the state tells."""
    place = collection.path / "indexes" / SLUG
    shutil.rmtree(place)
    place.mkdir()
    (place / "data-3-abc").write_bytes(b"mmrerank index 1\n{}\n")
    (place / "cache.json").write_text(json.dumps({"index": "flat(engine='numpy')", "version": 3, "data": "data-3-abc", "checksum": "00"}))
    other = again(collection)
    assert nearest(other, 7) == plainly(7, range(1000))
    assert caplog.text == ""
    assert not (place / "data-3-abc").exists()
    assert state_of(other).items == 1000


@pytest.mark.parametrize("part", ["data", "tail", "since"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_what_was_changed_since_it_was_saved_is_made_anew(collection: Collection, part: str, damage: str) -> None:
    write(collection, range(1000, 1020))
    path = collection.path / "indexes" / SLUG / getattr(state_of(collection), part).name
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    else:
        content[len(content) // 2] ^= 255
        path.write_bytes(content if damage == "flipped" else content[:-9])
        os.utime(path, ns=(1, 1))
    other = again(collection)
    assert nearest(other, 1010) == plainly(1010, range(1020))
    assert check(other)["ok"]


def test_a_flip_that_kept_size_and_time_is_found_by_verify(collection: Collection) -> None:
    """Nothing is read to open a file, so only `verify` can see it."""
    path = collection.path / "indexes" / SLUG / state_of(collection).data.name
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    report = check(again(collection))
    assert report["rebuilt"] == ["the index of 'colour' did not match the table and was rebuilt"]
    assert check(again(collection))["rebuilt"] == []


def test_an_older_version_is_searched_by_a_newer_index(collection: Collection) -> None:
    old = again(collection)
    assert len(old) == 1000
    write(collection, range(1000, 1100))
    assert nearest(old, 1050) == plainly(1050, range(1000))
    assert state_of(collection).items == 1100  # and it saved nothing over it


def test_an_older_version_still_has_what_went_since(collection: Collection) -> None:
    old = again(collection)
    assert len(old) == 1000
    remove(collection, [50])
    assert nearest(again(collection), 50) == plainly(50, [n for n in range(1000) if n != 50])
    assert state_of(collection).items == 999
    assert nearest(old, 50) == plainly(50, range(1000))
    assert state_of(collection).items == 999


def test_an_index_of_another_version_that_was_saved_meanwhile_is_not_taken(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread builds and saves its own between two steps of this one."""
    old = again(collection)
    assert len(old) == 1000
    write(collection, range(1000, 1100))
    shutil.rmtree(collection.path / "indexes" / SLUG)
    save, others = RowIndex._save, [collection]

    def and_another(self: RowIndex, *given: Any, **more: Any) -> bool:
        is_saved = save(self, *given, **more)
        for other in others[:]:
            others.clear()
            rows_of(again(other)).opened()
        return is_saved

    monkeypatch.setattr(RowIndex, "_save", and_another)
    assert len(old.version.index_of(old.manifest.encoders[0]).ids) == 1000
    assert not others


def test_items_with_nothing_to_describe_are_remembered(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    write(collection, range(1000, 1010), undescribed=range(1000, 1005))
    assert state_of(collection).items == 1005
    assert rows_of(collection).count() == 1005
    assert nearest(again(collection), 1007) == plainly(1007, [*range(1000), *range(1005, 1010)])
    present = rows_of(collection)._open()
    assert present is not None
    assert [len(keys) for keys in rows_of(collection)._changes(present)] == [0, 0]
    assert check(again(collection))["rebuilt"] == []


def test_a_collection_without_a_descriptor_is_searched_and_verified(tmp_path: Path) -> None:
    collection = made(tmp_path / "c", ROUGH)
    for numbers in (range(0), range(30)):
        write(collection, numbers, undescribed=numbers)
        assert nearest(collection, 3) == []
        assert check(collection) | {"ok": True, "rebuilt": [], "recall": []} == check(collection)


def test_auto_says_what_it_takes_and_moves_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_auto, "STEPS", ((0, "flat"), (500, ROUGH)))
    collection = made(tmp_path / "c")
    write(collection, range(400))
    assert describe(collection)["indexes"][0] | {"kind": "flat", "recall@10": {}} == describe(collection)["indexes"][0]
    with collection._writing():
        collection.table.write([record(n, ROWS[n]) for n in range(400, 600)], new=True)
        notes = collection._indexes_brought_up()
    assert '600 items are searched by faiss_index(kind="ivf", storage="sq8"' in notes[0]
    assert "recall@10" in notes[1]
    assert describe(collection)["indexes"][0]["recall@10"]["items"] > 0.95
    assert collection.manifest.index == "auto"
    assert nearest(again(collection), 450) == plainly(450, range(600))


NARROW = 'faiss_index(kind="ivf", storage="sq8", probes=4, lists=25)'


@pytest.mark.parametrize(("aim", "width"), [(0.5, 4), (0.85, 8), (2.0, 16)])
def test_auto_searches_as_wide_as_half_of_the_test_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aim: float, width: int
) -> None:
    """Wider only for what is missing, never beyond four times the width of the recipe, and after it is opened again too."""
    monkeypatch.setattr(_auto, "STEPS", ((0, NARROW),))
    monkeypatch.setattr(recall, "AIM", aim)
    monkeypatch.setattr(recall, "SLIGHT", 0.0)
    collection = made(tmp_path / "c")
    with collection._writing():
        collection.table.write([record(n, ROWS[n]) for n in range(1500)], new=True)
        notes = collection._indexes_brought_up()
    state = state_of(again(collection))
    assert (state.width, describe(collection)["indexes"][0]["width"]) == (width, width)
    assert f"searching {width} wide" in notes[1]
    index = again(collection).version.index_of(collection.manifest.encoders[0])
    assert index.base._options.probes == width  # type: ignore[attr-defined]
    collection.use_index(NARROW)
    index = again(collection).version.index_of(collection.manifest.encoders[0])
    assert index.base._options.probes == 4  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("shares", "width"), [({1: 0.5, 2: 0.93, 4: 0.932}, 2), ({1: 0.5, 2: 0.6, 4: 0.96}, 4), ({1: 0.96, 2: 0.975, 4: 1.0}, 2)]
)
def test_what_more_width_does_not_find_is_not_searched_wider_for(shares: dict[int, float], width: int) -> None:
    """A row of shares for each width: the narrowest that finds nearly what the widest does."""

    class Index:
        widths, width = (1, 2, 4), 0

        def widen(self, width: int) -> None:
            self.width = width

    class Test(recall.RecallTest):
        def _shares(self, index: Any) -> dict[str, Array]:
            return {"items": np.ones(8), "texts": np.full(8, shares[index.width])}

    index = Index()
    test = Test({"items": Questions(rows=ROWS[:1])}, None, "")  # type: ignore[arg-type]
    assert (test.widen(index), index.width) == (width, width)  # type: ignore[arg-type]


def test_an_index_below_its_promise_says_so(collection: Collection) -> None:
    collection.use_index('faiss_index(kind="ivf", probes=1, lists=25)')
    notes = collection.version.bring_up_indexes()
    share = state_of(collection).recall["items"]
    assert share < 0.95
    assert f"recall@10 {share:.3f}".replace("0.", ".") in notes[0]
    assert "below the 0.95" in notes[1]
    assert check(collection)["recall"][0] | {"promise": 0.95} == check(collection)["recall"][0]


def test_a_filter_that_leaves_few_is_answered_from_the_stored_rows(collection: Collection) -> None:
    collection.use_index('faiss_index(kind="ivf", storage="rabitq", bits=1, probes=1)')
    collection.version.bring_up_indexes()
    assert nearest(collection, 7, filter="number >= 900") == plainly(7, range(900, 1000))


def test_other_widths_of_a_search_leave_the_index_as_it_was_built(collection: Collection) -> None:
    built = state_of(collection).data
    collection.use_index('faiss_index(kind="ivf", storage="sq8", probes=3)')
    collection.version.bring_up_indexes()
    assert state_of(collection).data == built
    collection.use_index('faiss_index(kind="ivf", storage="fp16", probes=3)')
    collection.version.bring_up_indexes()
    assert state_of(collection).data != built


def test_two_thousand_searches_beside_a_writer_meet_no_error(collection: Collection) -> None:
    done = threading.Event()

    def search(seed: int) -> int:
        other, generator, count = again(collection), np.random.default_rng(seed), 0
        while count < 500:
            if count % 5 == 0:
                other.refresh()
            n = int(generator.integers(100, 900))  # these stay
            assert nearest(other, n, k=1) == [n]
            count += 1
        return count

    def writes() -> int:
        writer, rounds = again(collection), 0
        while not done.is_set():
            first = 1000 + 30 * (rounds % 90)
            write(writer, range(first, first + 30))
            remove(writer, range(first, first + 20) if rounds % 3 else range(first, first + 30))
            rounds += 1
        return rounds

    with ThreadPoolExecutor(5) as pool:
        writer = pool.submit(writes)
        try:
            counts = list(pool.map(search, range(4)))
        finally:
            done.set()
    assert sum(counts) == 2000
    assert writer.result() > 2
    assert check(again(collection))["ok"]
