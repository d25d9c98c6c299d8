"""What the benches of rerankers share: a run goes on where it was stopped, a changed method starts anew, and harm is called harm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from bench.reranked import Answers, JudgedSet, Method, ceiling, figures, first_stage, fused, run, table

from mmrerank.errors import InputError
from mmrerank.types import Candidate, Item, Query, Ranking


def judged(count: int = 4) -> JudgedSet:
    """Queries whose right item comes first of three."""
    items = [Candidate(item=Item(item_id=name, text=name)) for name in ("right", "other", "third")]
    queries = tuple((Query(query_id=str(n), text="q"), tuple(items)) for n in range(count))
    qrels = {str(n): {"right": 1} for n in range(count)}
    return JudgedSet(name="toy", first_stage="as they come", measure="R@1", depth=3, queries=queries, qrels=qrels)


class Backwards:
    """Turns every order round, and refuses from one query on."""

    def __init__(self, name: str = "backwards", refuses: str = "") -> None:
        self.name, self.calls, self._refuses = name, 0, refuses

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        if query.query_id == self._refuses:
            raise InputError("this one is not taken")
        self.calls += 1
        return Ranking(query_id=query.query_id, candidates=tuple(Candidate(item=c.item) for c in reversed(candidates)))


def test_a_second_run_asks_nothing_again_and_goes_on_with_more_queries(tmp_path: Path) -> None:
    one, other = Backwards(), Backwards()
    run(judged().some(2), Method(label="b", reranker=one), tmp_path)
    answers = run(judged(), Method(label="b", reranker=other), tmp_path)
    assert (one.calls, other.calls, len(answers.records)) == (2, 2, 4)
    assert answers.rankings["0"] == ("third", "other", "right")


def test_another_method_or_depth_starts_anew(tmp_path: Path) -> None:
    run(judged(), Method(label="b", reranker=Backwards()), tmp_path)
    changed = Backwards(name="backwards(times=2)")
    run(judged(), Method(label="b", reranker=changed), tmp_path)
    assert changed.calls == 4


def test_a_budget_stops_behind_the_query_that_reaches_it(tmp_path: Path) -> None:
    method = Backwards()
    answers = run(judged(), Method(label="b", reranker=method), tmp_path, budget_s=-1.0)
    assert (method.calls, answers.records) == (0, {})


def test_a_refusal_is_told_and_what_was_done_stays(tmp_path: Path) -> None:
    last = judged().queries[-1][0].query_id
    answers = run(judged(), Method(label="b", reranker=Backwards(refuses=last)), tmp_path)
    row = figures(judged(), first_stage(judged()), answers)
    assert (row["queries"], row["refusal"]) == (3, "this one is not taken")


def test_a_method_that_raises_anything_takes_no_others_place_and_a_lost_candidate_is_an_error(tmp_path: Path) -> None:
    class Raises(Backwards):
        def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
            raise KeyError("page")

    assert run(judged(), Method(label="r", reranker=Raises()), tmp_path).refusal == "raises KeyError: 'page'"

    class Loses(Backwards):
        def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
            return Ranking(query_id=query.query_id, candidates=tuple(candidates[1:]))

    with pytest.raises(AssertionError, match="no permutation"):
        run(judged(), Method(label="l", reranker=Loses()), tmp_path)


def test_what_harms_is_shown_harming_beside_first_stage_and_ceiling(tmp_path: Path) -> None:
    base = first_stage(judged(20))
    worse = run(judged(20), Method(label="b", reranker=Backwards()), tmp_path)
    row = figures(judged(20), base, worse)
    assert (row["R@1"], row["gain"], row["statuses"]) == ([0.0, 0.0, 0.0], [-1.0, -1.0, -1.0], {"ok": 1.0})
    assert "-1.000 (-1.000 to -1.000): it harms" in table(judged(20), [row])
    assert figures(judged(20), worse, ceiling(judged(20)))["gain"] == [1.0, 1.0, 1.0]
    silent = Answers(label="c", records={}, refusal="no")
    assert "| `c` | 0 | - | not run: no |" in table(judged(20), [figures(judged(20), base, silent)])


def test_fusion_is_over_the_queries_that_all_have() -> None:
    base = first_stage(judged(2))
    part = Answers(label="p", records={"0": {**base.records["0"], "order": ["other", "right", "third"]}})
    assert fused("f", base, part).rankings == {"0": ("right", "other", "third")}
