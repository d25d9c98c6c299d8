"""What every index keeps, over rows and over text: the nearest ones and no others, ties by id, nothing padded."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmrerank.errors import InputError, ShapeError
from mmrerank.testing import samples
from mmrerank.testing.contracts._part import NamedOptionsContract, refused, untouched
from mmrerank.types import Array, Keys, Neighbours

DIMENSION, COUNT = 8, 60
ROWS = samples.structured(COUNT, DIMENSION, seed=1)
IDS = samples.shuffled_ids(COUNT, seed=1)
QUERIES = samples.structured(5, DIMENSION, seed=2)
ROUNDING = 1e-5  # of scores, between queries that are searched together and alone
TEXTS = ("the red door of a house", "a blue boat", "a green bird on the red boat", "", "white lamp", "a blue boat", "door door door")


class RowIndexContract(NamedOptionsContract):
    """Descriptors -> neighbours, by cosine; the module says `SEARCHES = "rows"`. `tiny()` is empty, holds rows of 8 numbers, and is
    exact for some hundred rows; an approximate index measures its recall elsewhere."""

    station = "index"

    def empty(self) -> Any:
        """An index of this make without rows, for rows of 8 numbers."""
        return self.build(self.options())

    def full(self) -> Any:
        """One with 60 rows."""
        index = self.tiny()
        index.add(IDS, ROWS)
        return index

    # ------------------------------------------------------------------

    def test_it_says_what_it_searches(self) -> None:
        assert self.module.SEARCHES == "rows", f"SEARCHES is 'rows'; got {self.module.SEARCHES!r}"

    def test_an_empty_index_finds_nothing(self) -> None:
        index = self.tiny()
        assert len(index) == 0, f"tiny() is empty; got {len(index)} rows"
        assert index.ids.shape == (0,), f"the ids of an empty index have the shape (0,); got {index.ids.shape}"
        _are(index.search(QUERIES, 3), [[]] * len(QUERIES), "an empty index")
        assert not index.needs_rebuild, "an empty index needs no rebuild"
        index.remove(np.array([4]))

    def test_no_rows_and_no_queries_are_fine(self) -> None:
        index = self.full()
        index.add(np.empty(0, np.int64), np.empty((0, DIMENSION), np.float32))
        assert index.search(np.empty((0, DIMENSION), np.float32), 3) == [], "no queries have no neighbours"
        assert len(index) == COUNT, f"adding nothing changes nothing: {COUNT} rows before, {len(index)} after"

    def test_the_neighbours_are_the_nearest_rows(self) -> None:
        index = self.full()
        for k in (1, 3, COUNT - 1, COUNT, COUNT + 1, 1000):
            hits = index.search(QUERIES, k)
            _are(hits, [samples.plainly(IDS, ROWS, query, k) for query in QUERIES], f"k={k}")
            for query, neighbours in zip(QUERIES, hits, strict=True):
                cosines = [float(ROWS[i == IDS][0] @ query) for i in neighbours.ids]
                assert np.allclose(neighbours.scores, cosines, atol=1e-6), f"scores are cosines: {neighbours.scores} for {cosines}"

    def test_a_filter_shows_the_nearest_of_what_it_allows(self) -> None:
        index = self.full()
        for count in (0, 1, 6, 30, COUNT):
            allowed = np.concatenate([IDS[:count], IDS[:count], np.array([-5, 10**9])])  # repeats and unknown ids are left aside
            expected = [samples.plainly(IDS, ROWS, query, 10, allowed) for query in QUERIES]
            _are(index.search(QUERIES, 10, allowed=allowed), expected, f"{count} ids allowed")

    def test_ties_go_by_id(self) -> None:
        ids, rows = samples.shuffled_ids(160, seed=3), np.tile(samples.corners(DIMENSION), (10, 1))
        index, axes = self.tiny(), np.eye(DIMENSION, dtype=np.float32)
        index.add(ids, rows)
        for k in (1, 4, 10, 15, 30):
            _are(index.search(axes, k), [samples.plainly(ids, rows, axis, k) for axis in axes], f"ties, k={k}")

    def test_what_differs_by_rounding_only_is_a_tie(self) -> None:
        """Equal pictures come out 6e-8 apart where they are encoded in batches of other sizes."""
        ids, axes = samples.shuffled_ids(80, seed=4), np.eye(DIMENSION, dtype=np.float32)
        rows = np.stack([axes[0] * np.float32(0.8) + axes[1] * np.float32(0.6)] * 80)
        rows[:, 1] += np.random.default_rng(4).uniform(-3e-7, 3e-7, 80).astype(np.float32)
        index = self.tiny()
        index.add(ids, rows)
        for k in (1, 7, 40, 80):
            hits = index.search(axes[1:2], k)
            _are(hits, [sorted(ids.tolist())[:k]], f"scores within rounding, k={k}")
            assert len(set(hits[0].scores.tolist())) == 1, f"scores within rounding are one score; got {set(hits[0].scores.tolist())}"

    def test_one_query_is_answered_as_many_are(self) -> None:
        index = self.full()
        together = index.search(np.tile(QUERIES, (9, 1)), 7)
        for number, query in enumerate(QUERIES):
            alike(index.search(query[None], 7)[0], together[number], "a query alone and among others")

    def test_what_was_removed_is_gone_until_it_is_added_again(self) -> None:
        index = self.full()
        index.remove(IDS[:5])
        index.remove(np.array([IDS[0], 10**9]))  # again, or never there: nothing happens
        assert index.ids.tolist() == sorted(IDS[5:].tolist()), "the ids are those that were not removed, ascending"
        assert len(index) == COUNT - 5, f"{COUNT - 5} rows are left; got {len(index)}"
        assert IDS[0] not in index.search(ROWS[:1], COUNT)[0].ids, "a removed row is still found"
        _are(index.search(ROWS[:1], COUNT, allowed=IDS[:5]), [[]], "removed ids allowed")
        index.add(IDS[:1], QUERIES[:1])
        _are(index.search(QUERIES[:1], 1), [[int(IDS[0])]], "a row that was added again")
        assert len(index) == COUNT - 4, f"{COUNT - 4} rows with the one that came back; got {len(index)}"

    def test_everything_removed_is_an_empty_index(self) -> None:
        index = self.full()
        index.remove(IDS)
        assert len(index) == 0, f"everything was removed; got {len(index)} rows"
        _are(index.search(QUERIES, 4), [[]] * len(QUERIES), "everything removed")

    def test_saved_and_loaded_is_the_same(self) -> None:
        index, loaded = self.full(), self.empty()
        index.remove(IDS[10:20])
        _moved(index, loaded)
        assert loaded.ids.tolist() == index.ids.tolist(), "the loaded index has other ids"
        for one, other in zip(loaded.search(QUERIES, COUNT), index.search(QUERIES, COUNT), strict=True):
            assert one.ids.tolist() == other.ids.tolist(), "the loaded index finds other rows"
            assert one.scores.tolist() == other.scores.tolist(), "the loaded index gives other scores"
        loaded.add(IDS[10:12], ROWS[10:12])
        assert len(loaded) == COUNT - 8, f"{COUNT - 8} rows after two were added; got {len(loaded)}"

    def test_an_empty_index_is_saved_and_loaded(self) -> None:
        loaded = self.empty()
        _moved(self.tiny(), loaded)
        assert len(loaded) == 0, f"an empty index was saved; got {len(loaded)} rows"
        loaded.add(IDS, ROWS)
        assert len(loaded.search(QUERIES, 3)[0].ids) == 3, "what is added to a loaded index is not found"

    def test_k_is_at_least_one(self) -> None:
        index = self.full()
        for k in (0, -1, 2.5, True, None):
            with refused(InputError, what=f"k={k}"):
                index.search(QUERIES, k)

    def test_rows_that_cannot_be_used_are_refused_and_nothing_is_added(self) -> None:
        index, new = self.full(), np.array([10**6])
        for rows in (np.zeros((1, 7)), np.zeros(8), np.zeros((1, 8, 1)), np.zeros((2, 8)) + 8**-0.5):
            with refused(ShapeError, what=f"rows of shape {rows.shape} under one id"):
                index.add(new, rows)
        unusable: list[Any] = [np.zeros((1, 8)), np.full((1, 8), np.nan), np.full((1, 8), 1e300), 2 * ROWS[:1], np.ones((1, 8), np.int64)]
        for rows in unusable:
            with refused(InputError, what=f"a row that is no unit row of floats: {rows.tolist()}"):
                index.add(new, rows)
            with refused(InputError, what=f"a query that is no unit row of floats: {rows.tolist()}"):
                index.search(rows, 3)
        assert len(index) == COUNT, f"nothing was added: {COUNT} rows before, {len(index)} after"

    def test_ids_that_cannot_be_used_are_refused_and_nothing_is_added(self) -> None:
        index = self.full()
        for ids in (IDS[:2], np.array([10**6, 10**6]), np.array([10**6, IDS[7]]), np.array([0.5, 1.5]), np.array([2**63, 1], np.uint64)):
            with refused(InputError, what=f"ids that are held, repeated or no integers: {ids.tolist()}"):
                index.add(ids, QUERIES[:2])
        with refused(ShapeError, what="ids of shape (1, 2)"):
            index.add(np.array([[10**6, 10**6 + 1]]), QUERIES[:2])
        assert len(index) == COUNT, f"nothing was added: {COUNT} rows before, {len(index)} after"
        assert len(index.search(QUERIES, 99)[0].ids) == COUNT, "a refused row is found"

    def test_inputs_are_copied_and_never_changed(self) -> None:
        ids, rows, queries, allowed = IDS.copy(), ROWS.astype(np.float64), QUERIES.copy(), IDS[:9].copy()
        for array in (ids, rows, queries, allowed):
            array.setflags(write=False)
        index, other, own = self.tiny(), self.empty(), ROWS.copy()
        index.add(ids, rows)
        other.add(IDS, own)
        own[:] = 0
        one = index.search(queries, 5, allowed=allowed)[0]
        alike(other.search(queries, 5, allowed=allowed)[0], one, "an index whose rows the caller changed afterwards")
        index.ids[:] = 0
        assert index.ids.tolist() == sorted(IDS.tolist()), "whoever changes the ids that came out changes the index"

    def test_awkward_layouts_are_taken(self) -> None:
        index = self.full()
        expected = index.search(QUERIES, 4)
        for queries in (np.asfortranarray(QUERIES), np.repeat(QUERIES, 2, axis=0)[::2], QUERIES.astype(np.float64)):
            for one, other in zip(index.search(queries, 4), expected, strict=True):
                alike(one, other, f"queries as {queries.dtype}, strides {queries.strides}")


class TextIndexContract(NamedOptionsContract):
    """Texts under ids -> those that match a query; the module says `SEARCHES = "text"`. `tiny()` is empty."""

    station = "index"

    def full(self) -> Any:
        """One with seven texts, of which one is empty and two are alike."""
        index = self.tiny()
        index.fit(IDS[: len(TEXTS)], TEXTS)
        return index

    def hits(self, text: str, k: int = 10, **filters: Any) -> list[int]:
        """Positions of the texts that match, best first; what comes back is checked."""
        neighbours = self.full().search(text, k, **filters)
        _well_formed(neighbours)
        return [IDS.tolist().index(i) for i in neighbours.ids.tolist()]

    # ------------------------------------------------------------------

    def test_it_says_what_it_searches(self) -> None:
        assert self.module.SEARCHES == "text", f"SEARCHES is 'text'; got {self.module.SEARCHES!r}"

    def test_an_empty_index_finds_nothing(self) -> None:
        index = self.tiny()
        assert len(index) == 0, f"tiny() is empty; got {len(index)} texts"
        assert len(index.search("red door", 3).ids) == 0, "an empty index finds something"

    def test_all_texts_are_there_and_what_is_fitted_anew_takes_their_place(self) -> None:
        index = self.full()
        assert index.ids.tolist() == sorted(IDS[: len(TEXTS)].tolist()), "the ids are ascending, those of empty texts among them"
        index.fit(np.array([3]), ["red door"])
        assert index.ids.tolist() == [3], f"fit takes the place of what was there; got {index.ids.tolist()}"

    def test_texts_that_share_a_word_are_neighbours_and_no_others(self) -> None:
        assert sorted(self.hits("red")) == [0, 2], f"'red' stands in texts 0 and 2; got {sorted(self.hits('red'))}"
        for text in ("zebra", "", "?!"):
            assert self.hits(text) == [], f"{text!r} shares no word with any text; got {self.hits(text)}"

    def test_more_words_in_common_come_first(self) -> None:
        assert self.hits("red boat")[0] == 2, "the one text with both words is not the first"

    def test_less_is_the_head_of_more_and_ties_go_by_id(self) -> None:
        order = self.hits("blue boat")
        twins = [n for n in order if n in (1, 5)]
        assert twins == sorted(twins, key=lambda n: int(IDS[n])), "two texts that are alike do not stand by id"
        for k in (1, 2, 3):
            assert self.hits("blue boat", k) == order[:k], f"k={k} is not the head of k=10"

    def test_a_filter_shows_what_it_allows(self) -> None:
        allowed = np.array([IDS[2], IDS[2], IDS[4], -5, 10**9])  # repeats and unknown ids are left aside
        assert self.hits("red", allowed=allowed) == [2], "of texts 2 and 4, the one with the word is found"
        assert self.hits("red", allowed=np.empty(0, np.int64)) == [], "nothing is allowed, and something is found"

    def test_saved_and_loaded_is_the_same(self) -> None:
        index, loaded = self.full(), self.build(self.options())
        _moved(index, loaded)
        assert loaded.ids.tolist() == index.ids.tolist(), "the loaded index has other ids"
        for text in ("red door", "blue boat"):
            one, other = loaded.search(text, 9), index.search(text, 9)
            assert one.ids.tolist() == other.ids.tolist(), "the loaded index finds other texts"
            assert one.scores.tolist() == other.scores.tolist(), "the loaded index gives other scores"

    def test_k_is_at_least_one(self) -> None:
        for k in (0, -1):
            with refused(InputError, what=f"k={k}"):
                self.full().search("red", k)

    def test_ids_that_do_not_fit_are_refused(self) -> None:
        with refused(InputError, what="an id twice"):
            self.tiny().fit(np.array([1, 1]), ["red", "blue"])
        with refused(ShapeError, what="two ids and one text"):
            self.tiny().fit(np.array([1, 2]), ["red"])

    def test_inputs_are_left_as_they_were(self) -> None:
        ids, texts, allowed, index = IDS[: len(TEXTS)].copy(), list(TEXTS), IDS[:3].copy(), self.tiny()
        with untouched(ids, texts, allowed):
            index.fit(ids, texts)
            index.search("red", 3, allowed=allowed)
            index.ids[:] = 0
        assert index.ids.tolist() == sorted(ids.tolist()), "whoever changes the ids that came out changes the index"


def _moved(index: Any, loaded: Any) -> None:
    """Saves one index and loads the other from it; nothing else may be left beside the file.

    Raises:
        AssertionError: another file is there.
    """
    with tempfile.TemporaryDirectory() as folder:
        index.save(Path(folder) / "index")
        loaded.load(Path(folder) / "index")
        files = [file.name for file in Path(folder).iterdir()]
    assert files == ["index"], f"saving to 'index' leaves {files}"


def _are(hits: Sequence[Neighbours], expected: Sequence[Sequence[int]], what: str) -> None:
    assert len(hits) == len(expected), f"{what}: {len(expected)} queries have as many answers; got {len(hits)}"
    for neighbours, ids in zip(hits, expected, strict=True):
        _well_formed(neighbours)
        assert neighbours.ids.tolist() == list(ids), f"{what}: expected the ids {list(ids)[:9]}; got {neighbours.ids.tolist()[:9]}"


def _well_formed(neighbours: Neighbours) -> None:
    ids, scores = neighbours.ids, neighbours.scores
    assert ids.dtype == np.int64, f"ids are int64; got {ids.dtype}"
    assert scores.dtype == np.float32, f"scores are float32; got {scores.dtype}"
    assert ids.shape == scores.shape, f"ids {ids.shape} and scores {scores.shape}"
    assert (np.diff(scores) <= 0).all(), f"scores rise: {scores}"


def alike(neighbours: Neighbours, expected: Neighbours, what: str, *, tolerance: float = ROUNDING) -> None:
    """Passes where both are equal up to the order of scores that differ by rounding only, and to who stands at the edge.

    Raises:
        AssertionError: they are not.
    """
    ids, scores = neighbours.ids, neighbours.scores
    assert ids.shape == expected.ids.shape, f"{what}: {len(expected.ids)} neighbours; got {len(ids)}"
    assert np.allclose(scores, expected.scores, atol=tolerance), f"{what}: scores {expected.scores}; got {scores}"
    edge: Array | float = expected.scores[-1] + 2 * tolerance if len(expected.scores) else 0.0
    clear: Keys = expected.ids[expected.scores > edge]
    assert set(clear.tolist()) <= set(ids.tolist()), f"{what}: expected {clear.tolist()} among {ids.tolist()}"
    assert len(set(ids.tolist())) == len(ids), f"{what}: an id comes twice: {ids.tolist()}"
