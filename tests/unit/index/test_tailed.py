"""An index as it was built, what came since and what went, against one that was built of all."""

from __future__ import annotations

import numpy as np
import pytest
from index_rows import same, shuffled_ids, structured

from mmrerank.index import ExactScores, Questions, TailedIndex, chosen, in_words
from mmrerank.index._auto import STEPS
from mmrerank.parts import make

ROWS, IDS, QUERIES = structured(900, 16, seed=1), shuffled_ids(900, seed=1), structured(20, 16, seed=2)


def tailed() -> TailedIndex:
    base = make("flat", station="index", dimension=16)
    base.add(IDS[:600], ROWS[:600])
    index = TailedIndex(base, 16)
    index.add(IDS[600:800], ROWS[600:800])
    index.remove(IDS[500:650])
    return index


@pytest.mark.parametrize("k", [1, 10, 700])
@pytest.mark.parametrize("count", [None, 40, 620, 800])
def test_both_parts_answer_as_one(k: int, count: int | None) -> None:
    twin = make("flat", station="index", dimension=16)
    twin.add(np.concatenate([IDS[:500], IDS[650:800]]), np.concatenate([ROWS[:500], ROWS[650:800]]))
    allowed = None if count is None else IDS[:count]
    for one, other in zip(tailed().search(QUERIES, k, allowed=allowed), twin.search(QUERIES, k, allowed=allowed), strict=True):
        assert same(one, other)
    assert tailed().ids.tolist() == twin.ids.tolist()


def test_it_knows_what_came_and_went() -> None:
    index = tailed()
    assert index.changed == 150 + 100  # 50 came and went again
    assert set(IDS[500:600].tolist()) <= set(index.gone.tolist())
    assert index.needs_rebuild
    assert len(index) == 650


def test_what_went_can_come_back() -> None:
    index = tailed()
    index.add(IDS[550:551], ROWS[550:551])
    assert index.search(ROWS[550:551], 1)[0].ids.tolist() == [IDS[550]]


def test_the_recipe_moves_up_with_the_rows_and_back_when_half_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for _, name in STEPS]
    assert [chosen(n) for n in (0, 99_999, 100_000, 2_999_999, 3_000_000, 10**9)] == [names[i] for i in (0, 0, 1, 1, 2, 2)]
    assert chosen(60_000, names[1]) == names[1]
    assert chosen(49_999, names[1]) == names[0]
    assert chosen(40_000, names[2]) == names[0]
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert chosen(10**7) == "flat"


@pytest.mark.parametrize("name", [name for _, name in STEPS])
def test_every_step_of_the_recipe_can_be_made(name: str) -> None:
    if name != "flat":
        pytest.importorskip("faiss", reason="neither the extra `cpu` nor `gpu` is installed")
    assert make(name, station="index", dimension=32).ids.shape == (0,)


def test_recall_is_the_share_of_places_and_nobody_finds_itself() -> None:
    rows = np.eye(4, dtype=np.float32)[[0, 0, 1, 2, 3]]
    exact = ExactScores(Questions(rows=rows[:1], own=np.array([10])), k=2)
    for ids, some in exact.watch([(np.array([10, 11]), rows[:2]), (np.array([12, 13, 14]), rows[2:])]):
        assert len(ids) == len(some)
    assert exact.shares(np.array([[1.0, 0.0]])).tolist() == [1.0]
    assert exact.shares(np.array([[0.0, 0.0]])).tolist() == [1.0]  # of equal scores any will do: the second place is 0
    assert exact.shares(np.array([[1.0, -np.inf]])).tolist() == [0.5]


def test_recall_with_fewer_rows_than_places_is_of_those_that_there_are() -> None:
    exact = ExactScores(Questions(rows=np.eye(2, dtype=np.float32)))
    exact.take(np.array([1]), np.eye(2, dtype=np.float32)[:1])
    assert exact.shares(np.array([[1.0], [0.0]])).tolist() == [1.0, 1.0]
    assert exact.shares(np.full((2, 1), -np.inf)).tolist() == [0.0, 0.0]


def test_recall_in_words() -> None:
    assert in_words({"texts": 0.9812}) == "recall@10 .981 of texts"
