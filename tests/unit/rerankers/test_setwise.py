"""The setwise driver: both sorts against a perfect judge, counts of calls, judges that never answer or contradict themselves."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from worded import HIDDEN, QUERY, candidates, show

from mmrerank.errors import BackendError, InputError
from mmrerank.rerankers._setwise import Choice, Sort, Unread, bubble_top, heap_top, most_comparisons, setwise
from mmrerank.types import Candidate, Cost, Query, Ranking


def largest(texts: Sequence[str]) -> Choice:
    numbers = [float(text) for text in texts]
    return Choice(best=numbers.index(max(numbers)), reason=f"best of {len(texts)}", cost=Cost(calls=1))


def nobody(texts: Sequence[str]) -> Choice:
    return Choice(best=None, cost=Cost(calls=1))


class LargestFirst:
    """A reranker of one's own: the largest of five, until ten places are filled."""

    name = "largest_first"

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        return setwise(query, candidates, show=show, choose=largest, children=4, top=10)


def shuffled(count: int, seed: int) -> list[int]:
    return random.Random(seed).sample(range(count), count)


def ids(ranking: Ranking) -> list[int]:
    return [int(item_id.removeprefix("item-")) for item_id in ranking.item_ids]


def test_a_reranker_of_ones_own_in_ten_lines() -> None:
    numbers = shuffled(40, 0)
    ranking = LargestFirst().rerank(QUERY, candidates(numbers))
    assert [numbers[n] for n in ids(ranking)[:10]] == list(range(39, 29, -1))
    assert ids(ranking)[10:] == sorted(ids(ranking)[10:]), "the rest follows as it came"
    assert ranking.notes.status == "ok"
    assert {c.score for c in ranking.candidates} == {None}
    assert ranking.notes.reasons[ranking.item_ids[0]].startswith("best of")
    assert LargestFirst().rerank(QUERY, []).candidates == ()


@pytest.mark.parametrize("sort", ["heap", "bubble"])
@pytest.mark.parametrize(
    ("count", "children", "top"), [(1, 3, 1), (2, 1, 2), (7, 2, 3), (20, 19, 1), (41, 3, 41), (33, 5, 10), (100, 19, 10)]
)
def test_a_perfect_judge_puts_the_true_best_first_and_sees_a_few_at_a_time(sort: Sort, count: int, children: int, top: int) -> None:
    for seed in range(4):
        numbers = shuffled(count, seed)
        sizes: list[int] = []

        def choose(texts: Sequence[str], sizes: list[int] = sizes) -> Choice:
            sizes.append(len(texts))
            return largest(texts)

        ranking = setwise(QUERY, candidates(numbers), show=show, choose=choose, children=children, top=top, sort=sort)
        assert [numbers[n] for n in ids(ranking)[:top]] == sorted(numbers, reverse=True)[:top]
        assert all(2 <= size <= children + 1 for size in sizes)
        assert len(sizes) == ranking.notes.cost.calls <= most_comparisons(count, children, top, sort)


def heap_calls(order: Sequence[int], children: int, top: int) -> int:
    calls: list[int] = []

    def best(few: Sequence[int]) -> int:
        calls.append(len(few))
        return list(few).index(min(few))

    assert heap_top(order, best, children, top) == sorted(order)[:top]
    return len(calls)


def test_the_heap_takes_as_many_calls_as_the_notes_on_rank_r1_count() -> None:
    """n = 100, k = 10 with a perfect judge: c = 19 takes 19 when sorted, 20 to 25 and 23.3 on average else; c = 3 takes 75 to 86."""
    assert heap_calls(range(100), 19, 10) == 19
    wide = [heap_calls(shuffled(100, seed), 19, 10) for seed in range(300)]
    assert 19 <= min(wide) <= 21
    assert max(wide) == 25
    assert sum(wide) / 300 == pytest.approx(23.3, abs=0.1)
    narrow = [heap_calls(shuffled(100, seed), 3, 10) for seed in range(300)]
    assert 75 <= min(narrow) <= max(narrow) <= 86
    assert heap_calls(shuffled(20, 0), 19, 1) == 1


def test_bubble_leaves_out_windows_in_which_nothing_has_moved() -> None:
    calls: list[tuple[int, ...]] = []

    def best(few: Sequence[int]) -> int:
        calls.append(tuple(few))
        return list(few).index(min(few))

    assert bubble_top(range(100), best, 19, 10) == list(range(10))
    assert len(calls) == 6 + 3 + 5  # one pass, then the head alone: 4 of its window stand below the next one after four places
    calls.clear()
    assert bubble_top(range(100)[::-1], best, 19, 10) == list(range(10))
    assert len(calls) == len(set(calls)) <= most_comparisons(100, 19, 10, "bubble") == 60


@pytest.mark.parametrize("sort", ["heap", "bubble"])
@pytest.mark.parametrize("choose", [nobody, lambda texts: Choice(best=99), lambda texts: Choice(best=-1)])
def test_a_judge_that_is_never_understood_leaves_the_order_of_the_first_stage(sort: Sort, choose) -> None:  # type: ignore[no-untyped-def]
    ranking = setwise(QUERY, candidates(shuffled(100, 1)), show=show, choose=choose, sort=sort)
    assert ids(ranking) == list(range(100))
    assert ranking.notes.status == "fallback"
    assert "no choice in the answer; the best of the first stage won there" in ranking.notes.messages[0]


def test_as_released_such_a_judge_promotes_the_tail() -> None:
    def order(count: int, top: int) -> list[int]:
        ranking = setwise(QUERY, candidates(range(count)), show=show, choose=nobody, top=top, unread="released")
        assert ranking.notes.status == "repaired", "it moved, and no answer says why"
        return ids(ranking)

    assert order(100, 10)[:10] == [0, *range(99, 90, -1)]
    assert order(5, 5) == [0, 4, 3, 2, 1]


@pytest.mark.parametrize("sort", ["heap", "bubble"])
@pytest.mark.parametrize("unread", ["first_stage", "released"])
def test_contradictions_and_ties_end(sort: Sort, unread: Unread) -> None:
    chance = random.Random(3)
    calls: list[int] = []

    def choose(texts: Sequence[str]) -> Choice:
        calls.append(len(texts))
        return Choice(best=chance.choice([None, *range(len(texts))]))

    ranking = setwise(QUERY, candidates([5] * 60), show=show, choose=choose, children=3, top=60, sort=sort, unread=unread)
    assert sorted(ids(ranking)) == list(range(60))
    assert len(calls) <= most_comparisons(60, 3, 60, sort)
    last = setwise(QUERY, candidates([5] * 60), show=show, choose=lambda texts: Choice(best=len(texts) - 1), children=3, top=60, sort=sort)
    assert sorted(ids(last)) == list(range(60))


def test_a_lost_answer_is_an_unread_one_and_a_lost_model_an_error() -> None:
    failures = iter([True, *[False] * 99])

    def choose(texts: Sequence[str]) -> Choice:
        if next(failures):
            raise BackendError("timed out", retryable=True)
        return largest(texts)

    ranking = setwise(QUERY, candidates(shuffled(12, 2)), show=show, choose=choose, children=3, top=2)
    assert ranking.notes.status == "repaired"
    assert ranking.notes.messages[0].startswith(f"1 of {ranking.notes.cost.calls + 1} comparisons: no answer: timed out")

    def absent(texts: Sequence[str]) -> Choice:
        raise BackendError("no such model")

    with pytest.raises(BackendError, match="no such model"):
        setwise(QUERY, candidates([1, 2]), show=show, choose=absent)


def test_shuffled_comparisons_find_the_same_and_are_drawn_from_the_seed() -> None:
    def rerank(seed: int) -> tuple[list[int], list[tuple[str, ...]]]:
        shown: list[tuple[str, ...]] = []

        def choose(texts: Sequence[str]) -> Choice:
            shown.append(tuple(texts))
            return largest(texts)

        return ids(setwise(QUERY, candidates(range(30)), show=show, choose=choose, children=5, shuffle=True, seed=seed)), shown

    (order, shown), (same, again), (other, different) = rerank(1), rerank(1), rerank(2)
    assert order == same == other == [*range(29, 19, -1), *range(20)]
    assert shown == again != different
    assert any(list(texts) != sorted(texts, key=int) for texts in shown)


def test_what_cannot_be_shown_is_never_compared() -> None:
    ranking = setwise(QUERY, candidates([HIDDEN, 1, 2]), show=show, choose=largest)
    assert ids(ranking) == [2, 1, 0]
    assert (ranking.notes.status, ranking.notes.reasons["item-0"]) == ("completed", "not shown to the model: it is hidden")


def test_no_children_or_places_are_refused() -> None:
    with pytest.raises(InputError, match="count from 1"):
        setwise(QUERY, candidates([1, 2]), show=show, choose=largest, children=0)


def test_the_explanation_of_a_candidate_has_its_comparisons() -> None:
    ranking = setwise(QUERY, candidates([1, 3, 2, 0]), show=show, choose=largest, children=2, top=2)
    steps = {item_id: one.steps for item_id, one in ranking.notes.explanations.items()}
    assert ranking.item_ids[:2] == ("item-1", "item-2")
    assert steps["item-1"] == ("comparison 1: best of 2", "comparison 2: best of 3")
    assert steps["item-2"][0] == "comparison 2: behind item-1"
    assert steps["item-2"] == ("comparison 2: behind item-1", "comparison 4: best of 3")
    unread = setwise(QUERY, candidates([1, 2]), show=show, choose=nobody, children=2, top=1)
    assert unread.notes.explanations["item-1"].steps == ("comparison 1: behind item-0 without an answer",)
