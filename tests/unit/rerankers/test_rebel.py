"""REBEL: the weighted sum, who is dropped, one turn and two, criteria from a file, answers of the released form."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from graded import COMPOSED, GOLD, QUERY, best_order, grades_in, text_of, worth
from makers import InMemory, coloured

from mmrerank.errors import BackendError, InputError, UnknownName
from mmrerank.prompting.criteria import Criterion, composite
from mmrerank.rerankers.rebel import Options, build, graded_group
from mmrerank.testing import FakeBackend
from mmrerank.types import Candidate, Generated, Item, Prompt, Query

FIVE = ("depth", "perspectives", "clarity", "authority", "recency")
HALVES = [Criterion(name=name, weight=0.5, low="-", high="+") for name in FIVE]
WRITTEN = (
    '[{"name": "colour", "weight": 1.5, "low": "grey", "high": "bright"}, {"name": "size", "weight": 0.5, "low": "tiny", "high": "large"}]'
)


def relevances(prompt: Prompt) -> str:
    """Relevance as the candidates are worth, every criterion alike."""
    return json.dumps({f"{n}": {"relevance": grade, **dict.fromkeys(FIVE, 2)} for n, grade in enumerate(grades_in(prompt), 1)})


def rows(*table: dict[str, float]) -> Callable[[Prompt], str]:
    return lambda prompt: json.dumps({f"[{n}]": row for n, row in enumerate(table, 1)})


def test_the_composite_of_the_notes() -> None:
    grades = {"relevance": 6, **dict(zip(FIVE, (4, 2, 5, 3, 0), strict=True))}
    assert composite(grades, HALVES, 3) == 13.0
    assert composite({**grades, "relevance": 2}, HALVES, 3) == 2.0
    assert composite(grades, [], 3) == 6.0
    assert composite({"relevance": 12, "depth": 9, "clarity": -4}, HALVES, 3) == 12.5  # brought into 0..10 and 0..5


def test_criteria_decide_and_do_more_than_break_ties() -> None:
    table = (
        {"relevance": 7, **dict.fromkeys(FIVE, 0)},
        {"relevance": 6, **dict.fromkeys(FIVE, 5)},
        {"relevance": 7, **dict.fromkeys(FIVE, 1)},
    )
    ranking = build(Options(), FakeBackend(answer=rows(*table))).rerank(QUERY, worth([0, 0, 0]))
    assert ranking.item_ids == ("item-1", "item-2", "item-0")
    assert [c.raw_score for c in ranking.candidates] == [18.5, 9.5, 7.0]
    assert ranking.candidates[0].score == pytest.approx(18.5 / 22.5)
    assert ranking.notes.explanations["item-1"].scores == table[1]
    alone = build(Options(criteria=""), FakeBackend(answer=rows(*table))).rerank(QUERY, worth([0, 0, 0]))
    assert alone.item_ids == ("item-0", "item-2", "item-1")


def test_raising_a_grade_never_lowers_a_rank() -> None:
    base = [{"relevance": 5 + n % 3, **dict.fromkeys(FIVE, n % 4)} for n in range(6)]
    for n in range(6):
        for name in ("relevance", *FIVE):
            raised = [{**row, name: row[name] + (k == n)} for k, row in enumerate(base)]
            places = [
                build(Options(), FakeBackend(answer=rows(*table))).rerank(QUERY, worth([0] * 6)).item_ids.index(f"item-{n}")
                for table in (base, raised)
            ]
            assert places[1] <= places[0]


def test_who_is_dropped_stands_behind_and_is_named() -> None:
    ranking = build(Options(), FakeBackend(answer=relevances)).rerank(QUERY, worth(GOLD))
    assert ranking.item_ids == best_order(GOLD)
    low = {f"item-{n}" for n, grade in enumerate(GOLD) if grade < 3}
    assert ranking.notes.irrelevant == low
    assert ranking.notes.messages == ("dropped, relevance below 3: item-10, item-6, item-2, item-7",)
    assert ranking.notes.status == "ok"
    everything = build(Options(minimum=0), FakeBackend(answer=relevances)).rerank(QUERY, worth(GOLD))
    assert everything.notes.irrelevant == frozenset()
    assert everything.notes.messages == ()


def test_an_oracle_reaches_the_ceiling_in_batches_and_marks_begin_anew_in_each() -> None:
    backend = FakeBackend(answer=relevances)
    ranking = build(Options(group=5), backend).rerank(QUERY, worth(GOLD))
    assert ranking.item_ids == best_order(GOLD)
    assert backend.calls == [3]
    assert [grades_in(prompt) for prompt in backend.prompts] == [GOLD[:5], GOLD[5:10], GOLD[10:]]
    assert "Document 2:\nworth <6>" in text_of(backend.prompts[2])  # candidate 12 is Document 2 of batch 3
    drawn = FakeBackend(answer=relevances)
    assert build(Options(group=5, shuffle=True), drawn).rerank(QUERY, worth(GOLD)).item_ids == best_order(GOLD)
    assert grades_in(drawn.prompts[0]) != GOLD[:5]


def test_the_released_answers_are_read_as_sums() -> None:
    """Eight candidates in batches of four, the odd ones chosen with 3, 5, 7 and 9: as in the released test, there 1, 3, 5 and 7."""

    def chosen(prompt: Prompt) -> str:
        return "\n".join(f"Doc: {n}, Relevance: {grade}" for n, grade in enumerate(grades_in(prompt), 1) if n % 2)

    ranking = build(Options(group=4), FakeBackend(answer=chosen)).rerank(QUERY, worth([3, 0, 5, 0, 7, 0, 9, 0]))
    assert ranking.item_ids[:4] == ("item-6", "item-4", "item-2", "item-0")
    assert ranking.item_ids[4:] == ("item-1", "item-3", "item-5", "item-7")
    assert [c.score is None for c in ranking.candidates] == [False] * 4 + [True] * 4


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ("Doc: 2, Relevance: 12.5", {1: 12.5}),  # with its decimals
        ("Doc: 0, Relevance: 9\nDoc: 99, Relevance: 9", {}),
        ("Doc: 2, Relevance: 5\nDoc: 2, Relevance: 9", {1: 5}),
        ("Here is my list.\n- Doc: 1, Relevance: 8\nThat is all.", {0: 8}),
        ("Doc: 1, Relevance: 99", {0: 22.5}),
        ("", {}),
        ("Nothing qualifies.", {}),
        ('{"1": {"relevance": 8, "depth": 4}, "2": {"depth": 5}}', {0: 10.0}),
        ('[{"document": 1, "Relevance": "8/10", "Depth": 2}]', {0: 9.0}),
        ('<think>{"1": {"relevance": 1}}</think>{"1": {"relevance": 8}', {}),
    ],
)
def test_what_is_read_of_an_answer(text: str, scores: dict[int, float]) -> None:
    assert graded_group(Generated(text=text), 3, HALVES, 3).scores == scores


def test_grades_that_are_not_there_count_as_nothing_and_that_is_told() -> None:
    ranking = build(Options(), FakeBackend(answer=rows({"relevance": 5}, {"relevance": 5, **dict.fromkeys(FIVE, 1)}))).rerank(
        QUERY, worth([0] * 3)
    )
    assert ranking.item_ids == ("item-1", "item-0", "item-2")
    assert ranking.notes.messages[0] == "group 1: 1 of 2 lack grades, which count as 0; 1 of 3 have no relevance"
    assert ranking.notes.status == "repaired"


def test_rubbish_leaves_the_order_of_the_first_stage() -> None:
    for turns in (1, 2):
        ranking = build(Options(turns=turns), FakeBackend(answer=lambda prompt: "I cannot tell.")).rerank(QUERY, worth(GOLD))
        assert ranking.item_ids == tuple(f"item-{n}" for n in range(len(GOLD)))
        assert ranking.notes.status == "fallback"
        assert ranking.notes.irrelevant == frozenset()


def two_turns(prompt: Prompt) -> str:
    shown = grades_in(prompt)
    return json.dumps({f"{n}": {"relevance": 5, "colour": grade, "size": 0} for n, grade in enumerate(shown, 1)}) if shown else WRITTEN


def test_the_first_turn_sees_the_query_alone_and_the_second_its_criteria() -> None:
    backend = FakeBackend(answer=two_turns)
    ranking = build(Options(turns=2), backend).rerank(QUERY, worth([1, 5, 3]))
    first, second = map(text_of, backend.prompts)
    assert "the best of them" in first
    assert "worth <" not in first
    assert "colour, from 0 to 5. 0: grey; 5: bright." in second
    assert "depth, from 0 to 5" not in second
    assert ranking.item_ids == ("item-1", "item-2", "item-0")
    assert [c.raw_score for c in ranking.candidates] == [12.5, 9.5, 6.5]  # weight 1.5
    assert ranking.notes.messages == ("criteria for this query: colour 1.5, size 0.5",)
    assert ranking.notes.cost.calls == 2


def test_criteria_that_cannot_be_read_leave_those_of_the_file() -> None:
    def lost(prompt: Prompt) -> str:
        return relevances(prompt) if grades_in(prompt) else "Compare them by {colour} and size."

    ranking = build(Options(turns=2), FakeBackend(answer=lost)).rerank(QUERY, worth([4, 9]))
    assert ranking.item_ids == ("item-1", "item-0")
    assert ranking.notes.messages == ("no criteria in the answer of the first turn; those of general count",)

    class Slow(FakeBackend):
        def generate(self, prompts, decoding=None):  # type: ignore[no-untyped-def]
            if not grades_in(prompts[0]):
                raise BackendError("timed out", retryable=True)
            return super().generate(prompts, decoding)

    ranking = build(Options(turns=2), Slow(answer=relevances)).rerank(QUERY, worth([4, 9]))
    assert ranking.notes.messages == ("no answer: timed out; those of general count",)


def test_two_queries_keep_their_own_criteria() -> None:
    def own(prompt: Prompt) -> str:
        name = "colour" if "colours" in text_of(prompt) else "size"
        if not grades_in(prompt):
            return json.dumps([{"name": name, "weight": 0.5, "low": "-", "high": "+"}])
        return json.dumps({"1": {"relevance": 5, name: 1}, "2": {"relevance": 5, name: 2}})

    part = build(Options(turns=2), FakeBackend(answer=own))
    messages = [part.rerank(Query(text=text), worth([1, 2])).notes.messages for text in ("colours", "sizes", "colours")]
    assert messages == [(f"criteria for this query: {name} 0.5",) for name in ("colour", "size", "colour")]


def test_criteria_come_from_a_file_and_are_part_of_what_made_the_result(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('version = "1"\n[[criteria]]\nname = "legible"\nweight = 2\nlow = "blurred"\nhigh = "sharp"\n')
    part = build(Options(criteria=str(file)), FakeBackend(answer=rows({"relevance": 5, "legible": 1}, {"relevance": 4, "legible": 3})))
    ranking = part.rerank(QUERY, worth([0, 0]))
    assert [c.raw_score for c in ranking.candidates] == [10.0, 7.0]
    digests = {build(Options(criteria=name), FakeBackend()).prompt.digest for name in (str(file), "general", "pages", "")}
    assert len(digests) == 4
    with pytest.raises(UnknownName, match="general"):
        build(Options(criteria="generl"), FakeBackend())
    with pytest.raises(InputError, match="group counts from 1"):
        Options(group=0)


def test_the_prompt_has_scales_query_documents_and_the_form() -> None:
    backend = FakeBackend(answer=relevances)
    build(Options(), backend).rerank(QUERY, worth([4, 5]))
    text = text_of(backend.prompts[0])
    pieces = (
        "relevance, from 0 to 10",
        "depth, from 0 to 5",
        "recency, from 0 to 5",
        "weights",
        "Query: the best",
        "Document 1:\nworth <4>",
    )
    places = [text.index(piece) for piece in (*pieces, "Document 2:\nworth <5>", "There are 2 documents", '"relevance": ..., "depth": ...')]
    assert places == sorted(places)
    build(Options(criteria=""), backend).rerank(QUERY, worth([4]))
    assert "weights" not in text_of(backend.prompts[1])


def test_pictures_exclusions_and_a_composed_query_reach_both_turns() -> None:
    backend = FakeBackend(answer=lambda prompt: WRITTEN)
    pictured = [Candidate(item=Item(item_id="a", text="door", image=InMemory(coloured(5))))]
    build(Options(turns=2), backend).rerank(COMPOSED, pictured)
    for text in map(text_of, backend.prompts):
        form = r"picture 1:\nPICTURE\n.*picture 2:\nPICTURE\n.*: in green\n.*: people\n.*: text\n.*picture:\nPICTURE\n"
        assert re.search(form, text, re.DOTALL)
    assert "Document 1:\nPICTUREdoor" in text_of(backend.prompts[1])
