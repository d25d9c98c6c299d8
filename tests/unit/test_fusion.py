from __future__ import annotations

import pytest

from mmrerank.errors import InputError
from mmrerank.fusion import reciprocal_rank_fusion


def test_scores_are_sums_of_reciprocal_ranks() -> None:
    fused = dict(reciprocal_rank_fusion([["a", "b"], ["b"]], constant=60))
    assert fused["a"] == pytest.approx(1 / 61)
    assert fused["b"] == pytest.approx(1 / 62 + 1 / 61)


def test_the_second_list_counts_from_rank_one_as_well() -> None:
    fused = dict(reciprocal_rank_fusion([["a"], ["b"]]))
    assert fused["a"] == fused["b"]


def test_weights_move_the_order() -> None:
    rankings = [["a", "b"], ["b", "a"]]
    assert reciprocal_rank_fusion(rankings, weights=[2, 1])[0][0] == "a"
    assert reciprocal_rank_fusion(rankings, weights=[1, 2])[0][0] == "b"


def test_a_weight_of_zero_leaves_the_others_order() -> None:
    fused = reciprocal_rank_fusion([["c", "a"], ["a", "b", "c"]], weights=[0, 1])
    assert [item for item, _ in fused] == ["a", "b", "c"]


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [1.0, 1.0, 1.0]])
def test_weights_must_fit_the_rankings(weights: list[float]) -> None:
    with pytest.raises(InputError):
        reciprocal_rank_fusion([["a"], ["b"]], weights=weights)
