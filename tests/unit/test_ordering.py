"""What differs by rounding only is equal, for whoever orders by computed scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrerank.fusion import reciprocal_rank_fusion
from mmrerank.ordering import ROUNDING, best_first, levelled

SCORES = st.lists(st.floats(-1, 1, width=32), max_size=30)


@given(SCORES, st.randoms(use_true_random=False))
def test_noise_of_rounding_never_changes_an_order_of_distinct_levels(scores: list[float], random: object) -> None:
    rounded = [round(score, 3) for score in scores]  # levels far apart beside the noise, with many ties
    noisy = [score + random.uniform(-1e-7, 1e-7) for score in rounded]  # type: ignore[attr-defined]
    assert best_first(noisy) == best_first(rounded)


@given(SCORES)
def test_a_level_is_one_of_the_scores_and_no_lower(scores: list[float]) -> None:
    level = levelled(scores)
    assert set(level.tolist()) <= set(np.asarray(scores).tolist())
    assert all(after >= before for before, after in zip(scores, level, strict=True))
    assert levelled(level).tolist() == level.tolist()


def test_rows_are_levelled_each_by_itself() -> None:
    scores = np.array([[0.5, 0.5 + 1e-8, 0.1], [0.9, 0.1, 0.1 + 1e-8]])
    assert levelled(scores).tolist() == [[0.5 + 1e-8, 0.5 + 1e-8, 0.1], [0.9, 0.1 + 1e-8, 0.1 + 1e-8]]


def test_rounding_grows_with_the_size_of_the_scores_and_infinities_are_levels_of_their_own() -> None:
    assert best_first([100.0, 100.00005, 99.0]) == [0, 1, 2]
    assert best_first([-np.inf, 3.0, -np.inf, 5.0]) == [3, 1, 0, 2]
    assert best_first([1.0, 1.0 + 3 * ROUNDING]) == [1, 0]
    assert levelled([]).tolist() == []


@pytest.mark.parametrize(
    "orders", [[["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"]], [["c", "a", "b"], ["a", "b", "c"], ["b", "c", "a"]]]
)
def test_fused_shares_added_in_another_order_are_a_tie(orders: list[list[str]]) -> None:
    assert [name for name, _ in reciprocal_rank_fusion(orders)] == orders[0]
