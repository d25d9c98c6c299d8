"""The groupwise driver: how candidates are dealt into groups, the mean over those that answered; and a reranker of one's own on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from worded import HIDDEN, QUERY, candidates, show

from mmrerank.errors import BackendError, InputError, ShapeError
from mmrerank.rerankers._groupwise import GroupScores, groups_of, groupwise
from mmrerank.types import Candidate, Cost, Query, Ranking


def numbers(groups: Sequence[Sequence[str]]) -> list[GroupScores]:
    return [GroupScores(scores={n: float(text) for n, text in enumerate(texts)}, cost=Cost(calls=1)) for texts in groups]


class LargestFirst:
    """A reranker of one's own: groups of three, dealt twice, scored by the number that a text is."""

    name = "largest_first"

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        return groupwise(query, candidates, show=show, judge=numbers, group=3, repeats=2, to_score=lambda mean: mean / 10)


def test_a_reranker_of_ones_own_in_ten_lines() -> None:
    ranking = LargestFirst().rerank(QUERY, candidates([1, 7, 7, 9, 3, 0, 2]))
    assert ranking.item_ids == ("item-3", "item-1", "item-2", "item-4", "item-6", "item-0", "item-5")
    assert [(c.score, c.raw_score) for c in ranking.candidates[:2]] == [(0.9, 9), (0.7, 7)]
    assert ranking.notes.reasons["item-3"] == "score 0.900, the mean of 2 groups"
    assert (ranking.notes.status, ranking.notes.cost.calls) == ("ok", 6)
    assert LargestFirst().rerank(QUERY, []).candidates == ()


@pytest.mark.parametrize(("count", "group", "repeats"), [(7, 3, 4), (20, 20, 2), (41, 20, 3), (5, 9, 1)])
def test_each_stands_once_in_every_repeat_and_groups_have_their_size(count: int, group: int, repeats: int) -> None:
    dealt = groups_of(range(count), group, repeats, "seed")
    sizes = [group] * (count // group) + [count % group] * (count % group > 0)
    assert [[len(positions) for positions in groups] for groups in dealt] == [sizes] * repeats
    assert Counter(n for groups in dealt for positions in groups for n in positions) == dict.fromkeys(range(count), repeats)
    assert dealt == groups_of(range(count), group, repeats, "seed")
    assert count < 7 or dealt != groups_of(range(count), group, repeats, "another")


def test_groups_are_drawn_by_query_and_seed_and_not_by_the_queries_before() -> None:
    def groups(query_id: str, seed: int) -> list[list[str]]:
        seen: list[list[str]] = []

        def judge(groups: Sequence[Sequence[str]]) -> list[GroupScores]:
            seen.extend(list(texts) for texts in groups)
            return numbers(groups)

        groupwise(Query(query_id=query_id, text="x"), candidates(range(9)), show=show, judge=judge, group=3, repeats=2, seed=seed)
        return seen

    first = groups("a", 0)
    assert first != groups("b", 0)
    assert first != groups("a", 1)
    assert first == groups("a", 0)
    assert first[:3] != first[3:]


def test_unshuffled_groups_follow_the_incoming_order_and_cannot_repeat() -> None:
    assert groups_of(range(5), 2, 1, None) == [[[0, 1], [2, 3], [4]]]
    with pytest.raises(InputError, match="the same groups"):
        groupwise(QUERY, candidates([1]), show=show, judge=numbers, repeats=2, shuffle=False)
    with pytest.raises(InputError, match="count from 1"):
        groupwise(QUERY, candidates([1]), show=show, judge=numbers, group=0)


def test_a_group_that_does_not_answer_is_left_out_of_the_mean() -> None:
    repeat = iter(range(9))

    def judge(groups: Sequence[Sequence[str]]) -> list[GroupScores]:
        if next(repeat) == 0:
            return [GroupScores(scores={}) for _ in groups]
        return numbers(groups)

    ranking = groupwise(QUERY, candidates([1, 3, 2]), show=show, judge=judge, group=5, repeats=3)
    assert ranking.item_ids == ("item-1", "item-2", "item-0")
    assert [c.raw_score for c in ranking.candidates] == [3, 2, 1], "0 for the lost group would have pulled them down"
    assert ranking.notes.reasons["item-1"] == "score 3.000, the mean of 2 groups"
    assert ranking.notes.status == "repaired"
    assert ranking.notes.messages == ("group 1: no scores in the answer",)


def test_one_that_no_group_scores_stays_behind_without_a_score_and_strangers_are_dropped() -> None:
    def judge(groups: Sequence[Sequence[str]]) -> list[GroupScores]:
        assert groups == [["4", "silent", "5"]]
        return [GroupScores(scores={0: 4, 2: 5, 3: 9, -1: 9, 1: float("nan")}, reasons={2: "five", 7: "nobody"})]

    ranking = groupwise(QUERY, candidates([HIDDEN, 4, "silent", 5]), show=show, judge=judge, shuffle=False)
    assert ranking.item_ids == ("item-3", "item-1", "item-2", "item-0")
    assert [c.score for c in ranking.candidates] == [5, 4, None, None]
    assert ranking.notes.status == "completed"
    assert ranking.notes.reasons == {
        "item-3": "score 5.000: five",
        "item-1": "score 4.000",
        "item-2": "no group has a score for it",
        "item-0": "not shown to the model: it is hidden",
    }


def test_a_judge_that_never_answers_leaves_the_order() -> None:
    ranking = groupwise(QUERY, candidates([1, 2, 3]), show=show, judge=lambda groups: [GroupScores(scores={}) for _ in groups], group=2)
    assert (ranking.item_ids, ranking.notes.status) == (("item-0", "item-1", "item-2"), "fallback")
    assert {c.score for c in ranking.candidates} == {None}


def test_a_constant_judge_keeps_the_incoming_order() -> None:
    def judge(groups: Sequence[Sequence[str]]) -> list[GroupScores]:
        return [GroupScores(scores=dict.fromkeys(range(len(texts)), 0.1)) for texts in groups]

    ranking = groupwise(QUERY, candidates(range(25)), show=show, judge=judge, group=4, repeats=3)
    assert ranking.item_ids == tuple(f"item-{n}" for n in range(25))


def test_a_call_that_is_lost_is_made_again_group_by_group() -> None:
    sizes: list[int] = []

    def judge(groups: Sequence[Sequence[str]]) -> list[GroupScores]:
        sizes.append(len(groups))
        if any("9" in texts for texts in groups):
            raise BackendError("timed out", retryable=True)
        return numbers(groups)

    ranking = groupwise(QUERY, candidates([1, 2, 3, 9]), show=show, judge=judge, group=2, shuffle=False)
    assert sizes == [2, 1, 1]
    assert ranking.item_ids == ("item-1", "item-0", "item-2", "item-3")
    assert ranking.notes.messages[0] == "group 2: no answer: timed out"
    assert ranking.notes.status == "repaired"


def test_a_wrong_number_of_results_and_a_lost_model_are_errors() -> None:
    with pytest.raises(ShapeError, match="expected 2 results"):
        groupwise(QUERY, candidates([1, 2]), show=show, judge=lambda groups: [GroupScores(scores={})], group=1)

    def absent(groups: Sequence[Sequence[str]]) -> list[GroupScores]:
        raise BackendError("no such model")

    with pytest.raises(BackendError, match="no such model"):
        groupwise(QUERY, candidates([1, 2]), show=show, judge=absent)
