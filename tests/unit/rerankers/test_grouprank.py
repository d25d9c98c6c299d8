"""GroupRank: grades of a group in JSON, groups drawn anew, their means; what an answer leaves out; the prompt."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from graded import COMPOSED, GOLD, QUERY, best_order, grades_in, text_of, worth
from makers import InMemory, coloured

from mmrerank.errors import BackendError, InputError
from mmrerank.rerankers.grouprank import Options, build, group_scores
from mmrerank.testing import FakeBackend
from mmrerank.types import Candidate, Generated, Item, Prompt


def oracle(prompt: Prompt) -> str:
    grades = {f"[{n}]": grade for n, grade in enumerate(grades_in(prompt), 1)}
    return f"<reason>[1] is one of {len(grades)}.</reason>\n<answer>\n```json\n{json.dumps(grades)}\n```\n</answer>"


def spoiled(where: Callable[[int], bool]) -> Callable[[Prompt], str]:
    """The oracle, silent for the groups that `where` names by their number."""
    asked = iter(range(1000))
    return lambda prompt: "I cannot tell." if where(next(asked)) else oracle(prompt)


@pytest.mark.parametrize("group", [1, 3, 5, 20])
@pytest.mark.parametrize("repeats", [1, 4])
def test_an_oracle_reaches_the_ceiling_for_every_size_and_number_of_repeats(group: int, repeats: int) -> None:
    backend = FakeBackend(answer=oracle)
    ranking = build(Options(group=group, repeats=repeats), backend).rerank(QUERY, worth(GOLD))
    assert ranking.item_ids == best_order(GOLD)
    assert (ranking.notes.status, ranking.notes.messages) == ("ok", ())
    assert len(backend.prompts) == ranking.notes.cost.calls == repeats * -(-len(GOLD) // group)
    assert backend.calls == [-(-len(GOLD) // group)] * repeats
    assert [c.raw_score for c in ranking.candidates] == sorted(GOLD, reverse=True)
    assert [c.score for c in ranking.candidates] == [grade / 10 for grade in sorted(GOLD, reverse=True)]


def test_a_constant_grade_leaves_the_order_of_the_first_stage() -> None:
    def constant(prompt: Prompt) -> str:
        return json.dumps({f"[{n}]": 5 for n, _ in enumerate(grades_in(prompt), 1)})

    ranking = build(Options(group=5, repeats=3), FakeBackend(answer=constant)).rerank(QUERY, worth(GOLD))
    assert ranking.item_ids == tuple(f"item-{n}" for n in range(len(GOLD)))


def test_groups_of_three_thousand_letters_each_are_seeded_by_query() -> None:
    first, second, other = (FakeBackend(answer=oracle) for _ in range(3))
    build(Options(group=4), first).rerank(QUERY, worth(GOLD))
    build(Options(group=4), second).rerank(COMPOSED, worth(GOLD))  # the same id
    build(Options(group=4, seed=1), other).rerank(QUERY, worth(GOLD))
    shown = [[grades_in(prompt) for prompt in backend.prompts] for backend in (first, second, other)]
    assert shown[0] == shown[1] != shown[2]
    assert shown[0] != [GOLD[start : start + 4] for start in range(0, len(GOLD), 4)]
    long = FakeBackend(answer=lambda prompt: '{"[1]": 3}')
    build(Options(), long).rerank(QUERY, [Candidate(item=Item(item_id="a", text="水" * 9000))])
    assert text_of(long.prompts[0]).count("水") == 3000


def test_a_group_that_cannot_be_read_is_left_out_of_the_mean() -> None:
    ranking = build(Options(group=12, repeats=3), FakeBackend(answer=spoiled(lambda n: n == 1))).rerank(QUERY, worth(GOLD))
    assert ranking.item_ids == best_order(GOLD)
    assert [c.raw_score for c in ranking.candidates] == sorted(GOLD, reverse=True)  # no zeros in the mean
    assert ranking.notes.status == "repaired"
    assert ranking.notes.messages == ("group 2: no scores in the answer",)


def test_who_is_never_graded_stays_behind_and_rubbish_changes_nothing() -> None:
    half = build(Options(group=6), FakeBackend(answer=spoiled(lambda n: n == 1))).rerank(QUERY, worth(GOLD))
    assert [c.score is None for c in half.candidates] == [False] * 6 + [True] * 6
    places = [int(item_id.removeprefix("item-")) for item_id in half.item_ids[6:]]
    assert places == sorted(places)
    rubbish = build(Options(), FakeBackend(answer=lambda prompt: "{")).rerank(QUERY, worth(GOLD))
    assert rubbish.item_ids == tuple(f"item-{n}" for n in range(len(GOLD)))
    assert rubbish.notes.status == "fallback"


def test_a_time_out_of_one_group_costs_that_group_alone() -> None:
    class Slow(FakeBackend):
        def generate(self, prompts, decoding=None):  # type: ignore[no-untyped-def]
            if any(3 in grades_in(prompt) for prompt in prompts):
                raise BackendError("timed out", retryable=True)
            return super().generate(prompts, decoding)

    ranking = build(Options(group=1), Slow(answer=oracle)).rerank(QUERY, worth(GOLD))
    assert [c.item.text for c in ranking.candidates if c.score is None] == ["worth <3>"] * 2
    assert ranking.notes.status == "repaired"


@pytest.mark.parametrize(
    ("text", "scores", "message"),
    [
        ('<answer>{"[1]": 5, "[2]": 3, "[3]": 0}</answer>', {0: 5, 1: 3, 2: 0}, ""),
        ('{"[0]": 9, "[1]": 5, "[21]": 9}', {0: 5}, "2 scores of no candidate dropped; 2 of 3 have no grade"),
        ('{"1": "3", "2": 4.5, "3": 11}', {0: 3, 1: 4.5, 2: 10}, "1 scores brought into 0..10"),
        ('{"[1]]": 5, "[2]]": 3, "[3]]": 1}', {0: 5, 1: 3, 2: 1}, ""),
        ('{"[1]": 1, "[2]": 2, "[3]": 3} no, {"[1]": 5, "[2]": 3, "[3]": 1}', {0: 5, 1: 3, 2: 1}, ""),
        ('<reason>"[1]": 9</reason><answer>{"[1]": 5, "[2]"', {}, "no scores in the answer"),
        ("<reason>[1]: 5</reason>", {}, "there is no answer behind the reasoning"),
    ],
)
def test_what_is_read_of_an_answer(text: str, scores: dict[int, float], message: str) -> None:
    reading = group_scores(Generated(text=text), 3)
    assert (reading.scores, reading.message) == (scores, message)


def test_each_explanation_has_the_grade_of_every_group_and_what_is_said_of_the_candidate() -> None:
    def answer(prompt: Prompt) -> str:
        first, *rest = grades_in(prompt)
        return f"<reason>Document 1 is worth {first}. [2] is not.</reason><answer>{json.dumps({'[1]': first, '[2]': rest[0]})}</answer>"

    ranking = build(Options(repeats=2), FakeBackend(answer=answer)).rerank(QUERY, worth([4, 9]))
    one = ranking.notes.explanations["item-1"]
    assert all(re.fullmatch(rf"group {n}, number [12] of 2: 9", step) for n, step in enumerate(one.steps, 1))
    assert len(one.steps) == 2
    assert set(one.reasoning.split("\n\n")) <= {"Document 1 is worth 9.", "[2] is not."}
    assert re.fullmatch(r"score 0\.900, the mean of 2 groups: (Document 1 is worth 9\.|\[2\] is not\.)", ranking.notes.reasons["item-1"])


def test_the_prompt_has_two_turns_the_count_the_query_and_marks_from_one() -> None:
    backend = FakeBackend(answer=oracle)
    build(Options(group=3, shuffle=False), backend).rerank(QUERY, worth([4, 5, 6, 7]))
    system, user = backend.prompts[0]
    assert (system.role, user.role) == ("system", "user")
    assert all(band in text_of([system]) for band in ("9 to 10", "7 to 8", "5 to 6", "3 to 4", "1 to 2", "\n0:"))
    text = text_of([user])
    assert text.startswith("There are 3 documents.\nQuery: the best of them\n")
    assert "[1]. worth <4>\n\n[2]. worth <5>\n\n[3]. worth <6>\n\n" in text
    assert '{"[1]": grade, "[2]": grade, ...}' in text
    assert text_of([backend.prompts[1][1]]).startswith("There are 1 documents.")


def test_pictures_exclusions_and_a_composed_query_reach_the_prompt() -> None:
    backend = FakeBackend(answer=lambda prompt: '{"[1]": 5, "[2]": 6}')
    pictured = [Candidate(item=Item(item_id=f"{n}", text=f"door {n}", image=InMemory(coloured(n)))) for n in range(2)]
    build(Options(shuffle=False), backend).rerank(COMPOSED, pictured)
    text = text_of(backend.prompts[0])
    assert re.search(
        r"picture 1:\nPICTURE\n.*picture 2:\nPICTURE\n.*: in green\n.*: people\n.*: text\n.*picture:\nPICTURE\n", text, re.DOTALL
    )
    assert "[1]. PICTUREdoor 0\n\n[2]. PICTUREdoor 1\n\n" in text


def test_options_out_of_range_are_refused() -> None:
    for options in ({"group": 0}, {"repeats": 0}, {"letters": 0}):
        with pytest.raises(InputError, match="count from 1"):
            Options(**options)
    with pytest.raises(InputError, match="the same groups"):
        Options(repeats=2, shuffle=False)
