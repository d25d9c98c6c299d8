"""What every index over rows promises, asked of each file in mmrerank/index; those over text have their own tests."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index_rows import corners, plainly, same, shuffled_ids, structured

from mmrerank import parts
from mmrerank.errors import DamagedData, InputError, ManifestError, ShapeError
from mmrerank.types import Index

NAMES = parts.names("index")
OVER_ROWS = [name for name in NAMES if parts.module(name, station="index").SEARCHES == "rows"]
ROWS = structured(60, 8, seed=1)
IDS = shuffled_ids(60, seed=1)
QUERIES = structured(5, 8, seed=2)


@pytest.fixture(params=OVER_ROWS)
def index(request: pytest.FixtureRequest) -> Any:
    return parts.module(request.param, station="index").tiny()


@pytest.fixture
def full(index: Any) -> Any:
    index.add(IDS, ROWS)
    return index


def again(index: Any) -> Any:
    """Another empty index of the same make."""
    return parts.make(index.name, station="index", dimension=8)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_has_its_parts_and_says_what_it_searches(name: str) -> None:
    module = parts.module(name, station="index")
    assert dataclasses.is_dataclass(module.Options)
    assert module.SEARCHES in ("rows", "text")
    made = module.tiny()
    assert parts.parse(made.name).part == name
    assert parts.options_of(made.name, module.Options) == module.Options()


def test_there_are_indexes_to_ask() -> None:
    assert {"flat", "faiss_index"} <= set(OVER_ROWS)


def test_an_empty_index_finds_nothing(index: Index) -> None:
    assert len(index) == 0
    assert index.ids.shape == (0,)
    assert [len(one.ids) for one in index.search(QUERIES, 3)] == [0] * 5
    assert not index.needs_rebuild
    index.remove(np.array([4]))


def test_no_rows_and_no_queries_are_fine(full: Index) -> None:
    full.add(np.empty(0, np.int64), np.empty((0, 8), np.float32))
    assert full.search(np.empty((0, 8), np.float32), 3) == []
    assert len(full) == 60


@pytest.mark.parametrize("k", [1, 3, 59, 60, 61, 1000])
def test_the_neighbours_are_the_nearest_rows(full: Index, k: int) -> None:
    for query, found in zip(QUERIES, full.search(QUERIES, k), strict=True):
        assert found.ids.tolist() == plainly(IDS, ROWS, query, k)
        assert found.ids.dtype == np.int64
        assert found.scores.dtype == np.float32
        assert found.scores == pytest.approx([float(ROWS[i == IDS][0] @ query) for i in found.ids], abs=1e-6)


@pytest.mark.parametrize("count", [0, 1, 6, 30, 60])
def test_a_filter_shows_the_nearest_of_what_it_allows(full: Index, count: int) -> None:
    allowed = np.concatenate([IDS[:count], IDS[:count], np.array([-5, 10**9])])  # repeats and unknown ids are left aside
    for query, found in zip(QUERIES, full.search(QUERIES, 10, allowed=allowed), strict=True):
        assert found.ids.tolist() == plainly(IDS, ROWS, query, 10, allowed)


def test_ties_go_by_id(index: Index) -> None:
    ids = shuffled_ids(160, seed=3)
    index.add(ids, np.tile(corners(8), (10, 1)))
    for k in (1, 4, 10, 15, 30):
        for axis, found in zip(np.eye(8, dtype=np.float32), index.search(np.eye(8, dtype=np.float32), k), strict=True):
            assert found.ids.tolist() == plainly(ids, np.tile(corners(8), (10, 1)), axis, k)


def test_what_differs_by_rounding_only_is_a_tie(index: Index) -> None:
    """Equal pictures came out 6e-8 apart when they were encoded in batches of other sizes."""
    ids, turned = shuffled_ids(80, seed=4), np.random.default_rng(4).uniform(-3e-7, 3e-7, 80).astype(np.float32)
    rows = np.stack([np.eye(8, dtype=np.float32)[0] * np.float32(0.8) + np.eye(8, dtype=np.float32)[1] * np.float32(0.6)] * 80)
    rows[:, 1] += turned
    index.add(ids, rows)
    for k in (1, 7, 40, 80):
        found = index.search(np.eye(8, dtype=np.float32)[1:2], k)[0]
        assert found.ids.tolist() == sorted(ids.tolist())[:k]
        assert len(set(found.scores.tolist())) == 1


def test_one_query_is_answered_as_many_are(full: Index) -> None:
    together = full.search(np.tile(QUERIES, (9, 1)), 7)
    for number, query in enumerate(QUERIES):
        assert same(full.search(query[None], 7)[0], together[number])


def test_what_was_removed_is_gone_until_it_is_added_again(full: Index) -> None:
    full.remove(IDS[:5])
    full.remove(np.array([IDS[0], 10**9]))  # again, or never there: nothing happens
    assert full.ids.tolist() == sorted(IDS[5:].tolist())
    assert len(full) == 55
    assert IDS[0] not in full.search(ROWS[:1], 60)[0].ids
    assert len(full.search(ROWS[:1], 60, allowed=IDS[:5])[0].ids) == 0
    full.add(IDS[:1], QUERIES[:1])
    assert full.search(QUERIES[:1], 1)[0].ids.tolist() == [IDS[0]]
    assert len(full) == 56


def test_everything_removed_is_an_empty_index(full: Index) -> None:
    full.remove(IDS)
    assert len(full) == 0
    assert len(full.search(QUERIES, 4)[0].ids) == 0


def test_saved_and_loaded_is_the_same(full: Any, tmp_path: Path) -> None:
    full.remove(IDS[10:20])
    full.save(tmp_path / "index")
    loaded = again(full)
    loaded.load(tmp_path / "index")
    assert loaded.ids.tolist() == full.ids.tolist()
    for one, other in zip(loaded.search(QUERIES, 60), full.search(QUERIES, 60), strict=True):
        assert one.ids.tolist() == other.ids.tolist()
        assert one.scores.tolist() == other.scores.tolist()
    loaded.add(IDS[10:12], ROWS[10:12])
    assert len(loaded) == 52
    assert [file.name for file in tmp_path.iterdir()] == ["index"]


def test_an_empty_index_is_saved_and_loaded(index: Any, tmp_path: Path) -> None:
    index.save(tmp_path / "index")
    loaded = again(index)
    loaded.load(tmp_path / "index")
    assert len(loaded) == 0
    loaded.add(IDS, ROWS)
    assert len(loaded.search(QUERIES, 3)[0].ids) == 3


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "longer", "flipped", "other"])
def test_a_damaged_file_is_noticed_and_changes_nothing(full: Any, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "index"
    full.save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4 if damage == "flipped" else 0
    written = {"empty": b"", "cut": data[: len(data) * 2 // 3], "longer": data + b"\0", "flipped": data, "other": b"\x93NUMPY" * 99}
    path.unlink() if damage == "missing" else path.write_bytes(written[damage])
    with pytest.raises(DamagedData, match="index"):
        full.load(path)
    assert full.search(ROWS[:1], 1)[0].ids.tolist() == [IDS[0]]


def test_a_failed_save_leaves_the_former_file(full: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "index"
    full.save(path)
    before = path.read_bytes()

    def fails(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fails)
    full.remove(IDS[:3])
    with pytest.raises(OSError, match="disk full"):
        full.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["index"]


def test_a_file_of_another_dimension_is_refused(full: Any, tmp_path: Path) -> None:
    full.save(tmp_path / "index")
    other = parts.make(full.name, station="index", dimension=9)
    with pytest.raises(ManifestError, match="dimension"):
        other.load(tmp_path / "index")


@pytest.mark.parametrize("k", [0, -1, 2.5, True, None])
def test_k_is_at_least_one(full: Any, k: Any) -> None:
    with pytest.raises(InputError, match="k of at least 1"):
        full.search(QUERIES, k)


def test_rows_that_cannot_be_used_are_refused_and_nothing_is_added(full: Any) -> None:
    new = np.array([10**6])
    wrong_shapes = (np.zeros((1, 7)), np.zeros(8), np.zeros((1, 8, 1)), np.zeros((2, 8)) + 8**-0.5)
    for rows in wrong_shapes:
        with pytest.raises(ShapeError):
            full.add(new, rows)
    for rows in (np.zeros((1, 8)), np.full((1, 8), np.nan), np.full((1, 8), 1e300), 2 * ROWS[:1], np.ones((1, 8), np.int64)):
        with pytest.raises(InputError, match="rows of"):
            full.add(new, rows)
        with pytest.raises(InputError, match="rows of"):
            full.search(rows, 3)
    assert len(full) == 60


def test_ids_that_cannot_be_used_are_refused_and_nothing_is_added(full: Any) -> None:
    for ids in (IDS[:2], np.array([10**6, 10**6]), np.array([10**6, IDS[7]]), np.array([0.5, 1.5]), np.array([2**63, 1], np.uint64)):
        with pytest.raises(InputError):
            full.add(ids, QUERIES[:2])
    with pytest.raises(ShapeError):
        full.add(np.array([[10**6, 10**6 + 1]]), QUERIES[:2])
    assert len(full) == 60
    assert len(full.search(QUERIES, 99)[0].ids) == 60


def test_inputs_are_read_and_never_kept_or_changed(index: Any) -> None:
    ids, rows, queries, allowed = IDS.copy(), ROWS.astype(np.float64), QUERIES.copy(), IDS[:9].copy()
    for array in (ids, rows, queries, allowed):
        array.setflags(write=False)
    index.add(ids, rows)
    kept = ROWS.copy()
    other = again(index)
    other.add(IDS, kept)
    kept[:] = 0
    assert same(index.search(queries, 5, allowed=allowed)[0], other.search(queries, 5, allowed=allowed)[0])
    index.ids[:] = 0
    assert index.ids.tolist() == sorted(IDS.tolist())


def test_awkward_layouts_are_taken(full: Any) -> None:
    expected = full.search(QUERIES, 4)
    for queries in (np.asfortranarray(QUERIES), np.repeat(QUERIES, 2, axis=0)[::2], QUERIES.astype(np.float64)):
        assert all(same(one, other) for one, other in zip(full.search(queries, 4), expected, strict=True))
