"""The guard: a reranker that helps is used, one that harms is not, and of those that do neither few slip through."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from worded import candidates as worded

from mmrerank.errors import FormatError, InputError, ManifestError
from mmrerank.measures.chance import randomisation
from mmrerank.parts import make, requires
from mmrerank.rerankers._guarding import Guard, Rule, Signs, agreement, lead_of
from mmrerank.rerankers.guard import Guarded, Options, fit_guard
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Cost, Item, Notes, Query, Ranking


class Towards:
    """A reranker that puts the item with the largest (or, with `sign` -1, the smallest) number first."""

    name = "towards"

    def __init__(self, sign: float = 1.0) -> None:
        self.sign, self.calls = sign, 0

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        self.calls += 1
        ranked = sorted(candidates, key=lambda c: -self.sign * float(c.item.text or 0))
        return Ranking(
            query_id=query.query_id,
            candidates=tuple(Candidate(item=c.item, score=self.sign * float(c.item.text or 0)) for c in ranked),
            notes=Notes(cost=Cost(calls=1)),
        )


def judged(count: int, seed: int = 0) -> list[tuple[Query, list[Candidate], list[str]]]:
    """Queries whose right item has the largest of ten numbers, and stands anywhere."""
    generator = np.random.default_rng(seed)
    rows = []
    for n in range(count):
        numbers = generator.permutation(10)
        candidates = worded(numbers.tolist())
        rows.append((Query(query_id=f"q{n}", text="x"), candidates, [candidates[int(numbers.argmax())].item.item_id]))
    return rows


def known(gains: Sequence[float], leads: Sequence[float] = (), agreements: Sequence[float] = ()) -> Guard:
    nothing = (math.nan,) * len(gains)
    return Guard(gains=tuple(gains), leads=tuple(leads) or nothing, agreements=tuple(agreements) or nothing)


def test_one_that_helps_is_used_and_one_that_harms_is_not() -> None:
    candidates = worded(range(10))
    for sign, uses in ((1.0, True), (-1.0, False)):
        part = Towards(sign)
        guarded = Guarded(Options(), part, fit_guard(part, judged(30), measure="R@3"))
        calls = part.calls
        ranking = guarded.rerank(Query(query_id="new", text="x"), candidates)
        if uses:
            assert guarded.rule is not None
            assert ranking == part.rerank(Query(query_id="new", text="x"), candidates)
        else:
            assert guarded.rule is None
            assert part.calls == calls, "one that is not used is not asked"
            assert [c.item.item_id for c in ranking.candidates] == [c.item.item_id for c in candidates]
            assert [c.score for c in ranking.candidates] == [c.score for c in candidates], "the order is the old one, and so are its scores"
            assert ranking.notes.status == "fallback"
            assert "is not expected to help (30 judged queries, R@3, min_gain 0, risk 0.1" in ranking.notes.messages[0]


def test_one_that_does_nothing_slips_through_no_oftener_than_the_risk() -> None:
    generator = np.random.default_rng(1)
    used = 0
    for _ in range(200):
        guard = known(generator.normal(0, 0.2, 12), generator.random(12), generator.random(12))
        used += guard.rule(risk=0.2) is not None
    assert used / 200 <= 0.2 + 2 * math.sqrt(0.2 * 0.8 / 200)


def test_min_gain_is_what_has_to_be_exceeded() -> None:
    guard = known([0.1, 0.12, 0.08, 0.11] * 5)
    assert guard.rule(min_gain=0.05) is not None
    assert guard.rule(min_gain=0.2) is None
    harmless = known([-0.005, 0.002, -0.004, 0.001] * 5)
    assert harmless.rule() is None
    assert harmless.rule(min_gain=-0.02) is not None


def test_it_helps_where_the_first_stage_is_undecided_and_is_used_there() -> None:
    leads = np.linspace(0, 1, 40)
    guard = known(np.where(leads < 0.5, 0.3, -0.3).tolist(), leads.tolist())
    rule = guard.rule()
    assert rule is not None
    assert rule.sign == "lead"
    assert (rule.gain, rule.share) == (pytest.approx(0.15), 0.5)
    part = Towards()
    guarded = Guarded(Options(), part, guard)
    undecided = [Candidate(item=Item(item_id=str(n), text=str(n)), score=score) for n, score in enumerate((0.9, 0.85, 0.1))]
    decided = [Candidate(item=c.item, score=score) for c, score in zip(undecided, (0.9, 0.15, 0.1), strict=True)]
    unscored = [Candidate(item=c.item) for c in undecided]
    query = Query(query_id="q", text="x")
    assert guarded.rerank(query, undecided).item_ids == ("2", "1", "0")
    for candidates in (decided, unscored):
        calls = part.calls
        ranking = guarded.rerank(query, candidates)
        assert (ranking.item_ids, ranking.notes.status, part.calls) == (("0", "1", "2"), "fallback", calls)
        assert "is used where the first stage's best leads by" in ranking.notes.messages[0]


def test_a_rule_of_agreement_asks_first_and_keeps_the_cost() -> None:
    agreements = np.linspace(-1, 1, 40)
    guard = known(np.where(agreements > 0, 0.3, -0.3).tolist(), agreements=agreements.tolist())
    guarded = Guarded(Options(), Towards(), guard)
    assert guarded.rule is not None
    assert guarded.rule.sign == "agreement"
    turned = guarded.rerank(Query(query_id="q", text="x"), worded([0, 1, 2]))
    assert (turned.notes.status, turned.notes.cost.calls) == ("fallback", 1)
    assert guarded.rerank(Query(query_id="q", text="x"), worded([2, 1, 0])).notes.status == "ok"


def test_what_was_fitted_comes_back_from_its_file_and_belongs_to_one_reranker(tmp_path: Path) -> None:
    path = tmp_path / "bm25.guard.toml"
    fitted = fit_guard(make("bm25", station="rerankers"), judged(12))
    fitted.save(path)
    assert Guard.load(path, reranker=fitted.reranker, backend="", prompt_digest="") == fitted
    part = make(f"guard(rerank=bm25, fitted='{path}')", station="rerankers")
    assert part.rerank(Query(query_id="q", text="x"), worded([1, 2])).notes.status == "fallback", "bm25 orders numbers by nothing"
    with pytest.raises(ManifestError, match="was fitted with reranker"):
        make(f"guard(rerank='ragllava', fitted='{path}')", station="rerankers", backend=FakeBackend())
    path.write_text("gains = [1.0]\nleads = []\nagreements = []\n")
    with pytest.raises((FormatError, InputError)):
        make(f"guard(rerank=bm25, fitted='{path}')", station="rerankers")


def test_what_it_needs_and_what_it_refuses(tmp_path: Path) -> None:
    assert requires("guard(rerank=superglobal, fitted='f.toml')", station="rerankers").needed == {"descriptors"}
    for name, why in (("guard", "judged queries"), ("guard(rerank='guard(rerank=bm25)', fitted='f')", "not around guard")):
        with pytest.raises(InputError, match=why):
            make(name, station="rerankers", backend=FakeBackend())
    with pytest.raises(InputError, match="risk is a probability"):
        Options(risk=1.0)
    with pytest.raises(InputError, match="10 judged queries or more; got 9"):
        fit_guard(Towards(), judged(9))


def test_grades_count_where_they_are_given() -> None:
    rows = [(query, candidates, {candidates[0].item.item_id: 1, ids[0]: 3}) for query, candidates, ids in judged(12)]
    assert fit_guard(Towards(), rows, measure="nDCG@10").gains != fit_guard(Towards(), judged(12), measure="nDCG@10").gains


def test_signs() -> None:
    assert agreement(["a"], ["a"]) != agreement(["a"], ["a"]), "one place agrees with nothing"
    assert agreement("abcd", "abdc") == pytest.approx(0.8)
    assert math.isnan(lead_of(worded([1])))
    assert math.isnan(lead_of([Candidate(item=Item(item_id=n), score=0.5) for n in "ab"]))
    assert not Rule(sign="lead", limit=1.0).takes(Signs(math.nan, 1.0))
    assert not Rule(sign="agreement", limit=-1.0).takes(Signs(0.0, math.nan))


def test_more_candidates_than_it_was_fitted_with_are_said() -> None:
    part = Towards()
    guarded = Guarded(Options(), part, fit_guard(part, judged(30)))
    ranking = guarded.rerank(Query(query_id="q", text="x"), worded(range(11)))
    assert ranking.notes.messages == ("the guard was fitted with 10 candidates a query at most; these are 11",)


def test_one_sided_chance() -> None:
    gains = np.array([0.2, 0.1, 0.3, -0.1, 0.2])
    assert randomisation(gains, above_only=True) == pytest.approx(randomisation(gains) / 2)
    assert randomisation(-gains, above_only=True) > 0.9
