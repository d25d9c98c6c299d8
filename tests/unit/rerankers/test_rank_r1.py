"""Rank-R1: call counts of the note, shuffles and votes, both parsers, and models that never answer."""

from __future__ import annotations

import random
from typing import Any

import pytest
from listed import by_worth, lines_of, numbered, text_of
from makers import InMemory, coloured

from mmrerank.errors import InputError
from mmrerank.prompting.answers import read_choice
from mmrerank.rerankers.rank_r1 import Options, build, released_choice
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Item, Prompt, Query, Ranking

QUERY = Query(query_id="q", text="the largest number")


def best(prompt: Prompt) -> str:
    mark = by_worth(prompt)[0]
    return f"<think>[{mark}] is the largest.</think> <answer>[{mark}]</answer>"


def shuffled(count: int, seed: int) -> list[int]:
    return random.Random(seed).sample(range(count), count)


def reranked(numbers: Any, answer: Any = best, **options: Any) -> tuple[Ranking, FakeBackend]:
    double = FakeBackend(answer=answer)
    return build(Options(**options), double).rerank(QUERY, numbered(numbers)), double


def ids(ranking: Ranking) -> list[int]:
    return [int(item_id) for item_id in ranking.item_ids]


@pytest.mark.parametrize("sort", ["heap", "bubble"])
@pytest.mark.parametrize(("count", "children", "top"), [(100, 19, 10), (41, 3, 10), (20, 19, 1), (7, 2, 7), (1, 19, 10)])
def test_an_oracle_gives_the_true_first_and_sees_twenty_at_most(sort: Any, count: int, children: int, top: int) -> None:
    numbers = shuffled(count, 0)
    ranking, double = reranked(numbers, children=children, top=top, sort=sort)
    assert [numbers[n] for n in ids(ranking)[:top]] == sorted(numbers, reverse=True)[:top]
    assert ids(ranking)[top:] == sorted(ids(ranking)[top:]), "the rest follows as it came"
    assert all(2 <= len(lines_of(prompt)) <= children + 1 for prompt in double.prompts)
    assert ranking.notes.cost.calls == len(double.prompts)


def test_the_calls_are_those_of_the_note() -> None:
    assert len(reranked(range(100)[::-1])[1].prompts) == 19, "already in order"
    counts = [len(reranked(shuffled(100, seed))[1].prompts) for seed in range(12)]
    assert 20 <= min(counts) <= max(counts) <= 25
    assert 75 <= len(reranked(shuffled(100, 0), children=3)[1].prompts) <= 86
    assert len(reranked(shuffled(20, 0), top=1)[1].prompts) == 1


def test_whoever_never_answers_leaves_the_first_stage_or_promotes_the_tail_as_released() -> None:
    ranking, double = reranked(range(100), lambda prompt: "I would rather not.")
    assert ids(ranking) == list(range(100))
    assert ranking.notes.status == "fallback"
    assert "the best of the first stage won there" in ranking.notes.messages[0]
    assert len(double.prompts) < 30
    released, _ = reranked(range(100), lambda prompt: "", unread="released", shuffle=False)
    assert ids(released)[:10] == [0, *range(99, 90, -1)]
    assert released.notes.status == "repaired"
    assert ids(reranked(range(5), lambda prompt: "", unread="released", top=5)[0]) == [0, 4, 3, 2, 1]


@pytest.mark.parametrize("sort", ["heap", "bubble"])
def test_contradictions_and_ties_end(sort: Any) -> None:
    chance = random.Random(0)

    def any_mark(prompt: Prompt) -> str:
        return f"<think>?</think><answer>[{chance.randint(0, 21)}]</answer>"

    ranking, double = reranked([5] * 60, any_mark, sort=sort, children=3, top=60)
    assert sorted(ids(ranking)) == list(range(60))
    assert len(double.prompts) < 1000


def test_candidates_are_shuffled_before_every_answer_and_labels_are_mapped_back() -> None:
    numbers = shuffled(30, 3)
    (one, shown), (same, again), (other, different) = (reranked(numbers, seed=seed) for seed in (1, 1, 2))
    assert ids(one) == ids(same) == ids(other)
    assert [text_of(prompt) for prompt in shown.prompts] == [text_of(prompt) for prompt in again.prompts]
    assert [text_of(prompt) for prompt in shown.prompts] != [text_of(prompt) for prompt in different.prompts]
    _, plain = reranked(range(20), shuffle=False, top=1)
    assert [line.removeprefix("worth ") for line in lines_of(plain.prompts[0]).values()] == [str(n) for n in range(20)]


def test_most_votes_win() -> None:
    answers = iter(["[1]", "[2]", "[2]", "[9]", ""])
    ranking, double = reranked([5, 6], lambda prompt: f"<think>x</think><answer>{next(answers)}</answer>", votes=5, shuffle=False, top=1)
    assert ids(ranking) == [1, 0]
    assert ranking.notes.cost.calls == len(double.prompts) == 5


def test_a_tie_of_votes_is_drawn_from_the_seed() -> None:
    def winner(seed: int) -> int:
        labels = iter(["[1]", "[2]"])
        return ids(reranked([5, 6], lambda prompt: next(labels), votes=2, shuffle=False, top=1, seed=seed)[0])[0]

    winners = [winner(seed) for seed in range(30)]
    assert set(winners) == {0, 1}
    assert winners == [winner(seed) for seed in range(30)]


def test_a_position_that_a_model_favours_is_outvoted() -> None:
    """It names the largest but where the largest stands first, and then the second place."""

    def biased(prompt: Prompt) -> str:
        mark = by_worth(prompt)[0]
        return f"<think></think><answer>[{mark if mark != '1' else '2'}]</answer>"

    numbers = shuffled(20, 5)
    wins = [numbers[ids(reranked(numbers, biased, votes=9, top=1, seed=seed)[0])[0]] == 19 for seed in range(10)]
    assert all(wins)


PARSERS = [  # the table of the note; position from 0 by the released code and by the house
    ("<think>a</think> <answer>[2]</answer>", 1, 1),
    ("<think>a</think>\n<answer> [2] </answer>", 1, 1),
    ("<THINK>a</THINK><ANSWER>[2]</ANSWER>", 1, 1),
    ("<answer>[2]</answer>", None, 1),  # no thought
    ("<think>a</think><answer>[4]</answer>", None, None),
    ("<think>a</think><answer>[3].</answer>", None, 2),
    ("<think>a</think><answer>3</answer>", None, 2),
    ("<think>a</think><answer>[2]</answer> no: <answer>[3]</answer>", 1, 2),  # the first one, and the last one
    ("<think>a</think><answer>[2] and [3]</answer>", None, None),
    ("<think>a [2]", None, None),
    ("", None, None),
]


@pytest.mark.parametrize(("answer", "released", "hardened"), PARSERS)
def test_the_parser_table_of_the_note(answer: str, released: int | None, hardened: int | None) -> None:
    assert released_choice(answer, 3) == released
    assert read_choice(answer, 3) == hardened
    for parser, position in (("strict", released), ("hardened", hardened)):
        ranking, _ = reranked([5, 5, 5], lambda prompt: answer, parser=parser, shuffle=False, top=1)
        assert ids(ranking)[0] == (position or 0)
        assert ranking.notes.status == ("fallback" if position is None else "ok")


def test_the_reasoning_is_the_reason_of_the_winner() -> None:
    ranking, _ = reranked([1, 2], shuffle=False, top=1)
    assert ranking.notes.reasons == {"1": "best of 2: [2] is the largest."}


def test_labels_tags_and_query_stand_in_the_prompt() -> None:
    _, double = reranked([1, 2, 3], top=1)
    system, user = double.prompts[0]
    assert "<think>" in system.parts[0]  # type: ignore[operator]
    assert list(lines_of(double.prompts[0])) == ["1", "2", "3"]
    assert user.parts[0].count("the largest number") == 1  # type: ignore[union-attr]


def test_pictures_and_exclusions_reach_the_model() -> None:
    query = Query(text="in green", images=(InMemory(coloured(3)),), exclude_text=("a boat",), exclude_images=(InMemory(coloured(5)),))
    double = FakeBackend(answer=lambda prompt: "<think></think><answer>[2]</answer>")
    build(Options(), double).rerank(query, [Candidate(item=Item(item_id=f"{n}", image=InMemory(coloured(n)))) for n in range(3)])
    assert sum(not isinstance(part, str) for part in double.prompts[0][1].parts) == 5
    assert "a boat" in text_of(double.prompts[0])


def test_nothing_to_choose_from_is_refused() -> None:
    with pytest.raises(InputError, match="count from 1"):
        Options(votes=0)
