"""Intervals, tests and ceilings."""

from __future__ import annotations

import numpy as np
import pytest

from mmrerank.evaluation.comparison import gains, holm, intervals, oracle
from mmrerank.measures.chance import randomisation
from mmrerank.measures.scoring import Judgements, Scores, score


def scores(values: list[float]) -> Scores:
    return Scores(query_ids=tuple(map(str, range(len(values)))), values={"R@1": np.array(values)})


def test_an_interval_holds_its_mean_and_repeats() -> None:
    values = scores(np.random.default_rng(1).random(50).tolist())
    result = intervals(values)["R@1"]
    assert result.low < result.value < result.high
    assert result == intervals(values)["R@1"]


def test_the_interval_is_about_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(1).random(400)
    result = intervals(scores(values.tolist()))["R@1"]
    assert result.high - result.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_the_randomisation_test_of_three_wins_is_exact() -> None:
    assert randomisation(np.array([1.0, 1, 1, 0]), np.full(4, 0.25)) == 0.25


def test_no_difference_is_no_evidence() -> None:
    result = gains(scores([0, 1]), [scores([0, 1])], "R@1")[0]
    assert (result.p_value, result.ties, result.interval.value) == (1.0, 2, 0.0)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_the_oracle_reaches_what_is_in_reach_and_no_more() -> None:
    judged = Judgements(qrels={"p": {"c": 1}, "q": {"c": 1}})
    best = oracle({"p": "abc", "q": "bac"}, judged.qrels, 2) | oracle({"q": "bca"}, judged.qrels, 2)
    assert score(best, judged, ["R@1"]).mean("R@1") == 0.5
