"""What every reranker keeps: a permutation comes back, nothing is changed, and what moved the order is told."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mmrerank.errors import InputError
from mmrerank.ordering import MODEL_ROUNDING, ROUNDING
from mmrerank.testing import samples
from mmrerank.testing.contracts._part import NamedOptionsContract, content_of, untouched
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Query, Ranking

COUNTS = (0, 1, 2, 17)
UNREADABLE = ("", "I cannot tell.", "{", "<answer></answer>", '{"ranking": "none"}', "<think>a door</think>")


class RerankerContract(NamedOptionsContract):
    """Candidates -> a permutation of them.

    A part whose score of a candidate depends on the query and this candidate alone says so by the class attribute
    `pointwise = True`, and is then held to it. One that asks a model takes it as `build(options, backend=...)`, and is then
    shown answers that nobody can read.
    """

    station = "rerankers"

    def candidates(self, count: int) -> list[Candidate]:
        """What is to be ordered, best of a first stage first."""
        return samples.candidates(count)

    def query(self) -> Query:
        """A query that the part takes."""
        return Query(query_id="q7", text="a red door beside the house", exclude_text=("blue",))

    def texts(self) -> Sequence[str]:
        """Texts of queries that the part takes."""
        return ("a red door", "blue lamp", "green bird beside the house")

    def queries(self) -> Mapping[str, Query]:
        """One of each kind; those that the part does not take it refuses with an InputError."""
        return samples.queries()

    # ------------------------------------------------------------------

    def test_a_permutation_comes_back_and_the_input_stays(self) -> None:
        for count in COUNTS:
            query, candidates = self.query(), self.candidates(count)
            with untouched(query, candidates):
                ranking = self.tiny().rerank(query, candidates)
            is_permutation(ranking, query, candidates)

    def test_inputs_may_be_a_list_or_a_tuple(self) -> None:
        candidates = self.candidates(9)
        orders = [self.tiny().rerank(self.query(), sequence).item_ids for sequence in (candidates, tuple(candidates))]
        assert orders[0] == orders[1], "a tuple of candidates is ordered otherwise than a list of them"

    def test_every_kind_of_query_is_answered_or_refused(self) -> None:
        for query in self.queries().values():
            reranker, candidates = self.tiny(), self.candidates(5)
            with untouched(query, candidates):
                try:
                    ranking = reranker.rerank(query, candidates)
                except InputError:
                    continue
            is_permutation(ranking, query, candidates)

    def test_a_candidate_with_nothing_to_show_breaks_nothing(self) -> None:
        """Neither text nor picture, or a picture that does not open: beside others, and alone."""
        empty = [samples.bare(1), samples.broken(2)]
        for candidates in (empty, [empty[0]], [empty[0], *self.candidates(4), empty[1]]):
            is_permutation(self.tiny().rerank(self.query(), candidates), self.query(), candidates)

    def test_the_same_again_gives_the_same(self) -> None:
        reranker = self.tiny()
        first = reranker.rerank(self.query(), self.candidates(9))
        reranker.rerank(replace(self.query(), query_id="q8"), self.candidates(17)[::-1])
        second = reranker.rerank(self.query(), self.candidates(9))
        assert _statement(first) == _statement(second), "the same query and candidates gave another ranking the second time"

    def test_the_same_from_a_new_instance(self) -> None:
        one, other = (self.tiny().rerank(self.query(), self.candidates(17)) for _ in range(2))
        assert one.item_ids == other.item_ids, "two instances with the same options and seed order alike"

    def test_it_sees_more_than_the_order_that_came(self) -> None:
        moves = []
        for text in self.texts():
            for candidates in (self.candidates(17), self.candidates(9), self.candidates(5)[::-1]):
                order = samples.ids_of(candidates)
                moves.append(list(self.tiny().rerank(replace(self.query(), text=text), candidates).item_ids) != order)
        assert any(moves), "nothing is ever moved: let tiny() answer real rankings, or the contract sees the identity only"

    def test_scores_fall_and_what_has_none_stands_behind(self) -> None:
        shuffled = [*self.candidates(12), samples.bare(1)]
        random.Random(0).shuffle(shuffled)
        scores = [candidate.score for candidate in self.tiny().rerank(self.query(), shuffled).candidates]
        numbers = [score for score in scores if score is not None]
        assert scores[: len(numbers)] == numbers, f"a candidate without a score stands before one with a score: {scores}"
        assert all(map(math.isfinite, numbers)), f"a score is a finite number, or None: {scores}"
        assert numbers == sorted(numbers, reverse=True), f"scores rise: {scores}"

    def test_equal_scores_keep_the_order_that_came(self) -> None:
        for candidates in (self.candidates(17), self.candidates(17)[::-1], [*self.candidates(3), *map(samples.bare, (1, 2, 3))]):
            places = {item_id: place for place, item_id in enumerate(samples.ids_of(candidates))}
            ranked = self.tiny().rerank(self.query(), candidates).candidates
            if all(candidate.score is None for candidate in ranked):  # an order and nothing else
                continue
            for one, other in itertools.pairwise(ranked):
                in_order = places[one.item.item_id] < places[other.item.item_id]
                assert in_order or not _tied(one, other), f"{one.item.item_id} and {other.item.item_id} are equal and changed places"

    def test_pointwise_scores_ignore_neighbours_and_their_order(self) -> None:
        if not getattr(self.tiny(), "pointwise", False):
            return
        query, candidates = self.query(), self.candidates(17)
        together = _scores(self.tiny().rerank(query, candidates))
        assert any(scores[0] is not None for scores in together.values()), "a pointwise reranker gives scores"
        for others in (candidates[::-1], candidates[::3], [samples.bare(1), *candidates[4:]], *([one] for one in candidates)):
            for item_id, scores in _scores(self.tiny().rerank(query, others)).items():
                expected = together.get(item_id, scores)
                assert _close(scores, expected), f"{item_id} scores {scores} in other company, and {expected} before"

    def test_an_unreadable_answer_leaves_a_note_and_the_order(self) -> None:
        if "backend" not in self.requests():
            return
        for text in UNREADABLE:
            answers: list[str] = []
            candidates = self.candidates(9)
            backend = FakeBackend(answer=lambda prompt, text=text, answers=answers: answers.append(text) or text)  # type: ignore[misc]
            try:
                reranker = self.build(self.options(), backend=backend)
            except InputError:  # it needs what only a real one has, such as a fitted file: override `options` with some that build
                return
            ranking = reranker.rerank(self.query(), candidates)
            if not answers:  # it compares likelihoods and reads no text
                return
            assert list(ranking.item_ids) == samples.ids_of(candidates), f"the answer {text!r} names no order, and the order changed"
            assert ranking.notes.status != "ok" or ranking.notes.messages, f"nothing says that {text!r} could not be read"


def is_permutation(ranking: Any, query: Query, candidates: Sequence[Candidate]) -> None:
    """Passes where the ranking is one of this query and holds each of the candidates once, with its item as it was.

    Raises:
        AssertionError: it does not.
    """
    assert isinstance(ranking, Ranking), f"a Ranking comes back; got {type(ranking).__name__}"
    assert ranking.query_id == query.query_id, f"the ranking is that of {query.query_id!r}; got {ranking.query_id!r}"
    assert sorted(ranking.item_ids) == sorted(samples.ids_of(candidates)), (
        f"each of {len(candidates)} candidates comes back once; got {len(ranking.candidates)}: {', '.join(ranking.item_ids)}"
    )
    items = {candidate.item.item_id: candidate.item for candidate in candidates}
    for candidate in ranking.candidates:
        item = items[candidate.item.item_id]
        assert candidate.item is item or content_of(candidate.item) == content_of(item), f"{item.item_id} came back as another item"


def _statement(ranking: Ranking) -> Any:
    """What a ranking says, without the time it took, and whether prompts were answered anew or from what was remembered."""
    cost = ranking.notes.cost.calls + ranking.notes.cost.cached
    notes = {"status": ranking.notes.status, "messages": ranking.notes.messages, "reasons": dict(ranking.notes.reasons)}
    return ranking.item_ids, _scores(ranking), notes, ranking.notes.irrelevant, cost


def _scores(ranking: Ranking) -> dict[str, tuple[float | None, ...]]:
    return {c.item.item_id: (c.score, c.raw_score, c.calibrated_score) for c in ranking.candidates}


def _close(scores: Sequence[float | None], others: Sequence[float | None]) -> bool:
    """Whether they differ by no more than what padding of batches moves."""
    return all(
        one is other if one is None or other is None else abs(one - other) <= 4 * MODEL_ROUNDING * max(1.0, abs(other))
        for one, other in zip(scores, others, strict=True)
    )


def _tied(one: Candidate, other: Candidate) -> bool:
    """Whether two neighbours have equal scores within rounding, on the scale that the method orders by, or both none."""
    if one.score is None or other.score is None:
        return one.score is other.score
    raw = one.raw_score is not None and other.raw_score is not None
    first, second = (one.raw_score or 0.0, other.raw_score or 0.0) if raw else (one.score, other.score)
    return abs(first - second) <= ROUNDING * max(1.0, abs(first))
