"""DeAR's second stage: a turn for each candidate, windows of 20 over 30, and an order behind visible reasoning."""

from __future__ import annotations

import random

import pytest
from listed import lines_of, numbered, oracle, text_of, worth
from makers import InMemory, coloured

from mmrerank.errors import InputError
from mmrerank.parts import make
from mmrerank.pipeline import rerank_candidates
from mmrerank.rerankers.dear_listwise import Options, build
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Item, Query

QUERY = Query(query_id="q", text="the largest number")
FORM = "Step 1: in 1990 there were 2 needs.\n[2] meets both needs. Passage 1 meets none.\n\n### Final Reranking: {}"


@pytest.mark.parametrize(("count", "spans"), [(30, [(10, 30), (0, 20)]), (25, [(5, 25), (0, 20)]), (20, [(0, 20)]), (3, [(0, 3)])])
def test_windows_of_the_note_reach_the_very_top(count: int, spans: list[tuple[int, int]]) -> None:
    double = FakeBackend(answer=lambda prompt: " > ".join(f"[{mark}]" for mark in lines_of(prompt)))
    ranking = build(Options(), double).rerank(QUERY, numbered(range(count)))
    assert [[worth(line) for line in lines_of(prompt).values()] for prompt in double.prompts] == [list(range(*span)) for span in spans]
    assert (ranking.notes.cost.calls, ranking.notes.status) == (len(spans), "ok")


def test_an_oracle_reaches_the_ceiling_over_thirty() -> None:
    numbers = random.Random(1).sample(range(30), 30)
    ranking = build(Options(), FakeBackend(answer=oracle(FORM))).rerank(QUERY, numbered(numbers))
    assert [numbers[int(item_id)] for item_id in ranking.item_ids[:10]] == list(range(29, 19, -1))


def test_every_candidate_has_a_turn_and_an_acknowledgement() -> None:
    double = FakeBackend(answer=oracle(FORM))
    build(Options(), double).rerank(QUERY, numbered(range(3)))
    (prompt,) = double.prompts
    assert [message.role for message in prompt] == ["system", "user", "assistant", *["user", "assistant"] * 3, "user"]
    assert [message.parts for message in prompt[3:9:2]] == [("[1] worth 0",), ("[2] worth 1",), ("[3] worth 2",)]
    assert all(f"[{n}]" in prompt[2 + 2 * n].parts[0] for n in (1, 2, 3))
    assert text_of(prompt).count("the largest number") == 2
    assert prompt[-1].parts[0].rstrip().endswith("### Final Reranking: [2] > [1] > [3]")  # type: ignore[union-attr]


def test_the_form_names_no_mark_that_is_not_there() -> None:
    double = FakeBackend(answer=lambda prompt: "")
    build(Options(), double).rerank(QUERY, numbered(range(2)))
    assert double.prompts[0][-1].parts[0].endswith("[2] > [1]")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("answer", "order", "status"),
    [
        (FORM.replace("{}", "[3] > [1] > [2]"), "201", "ok"),  # digits of steps and years are no marks
        ("In 2019 and 1997 ...\n[3] > [1] > [2]", "201", "ok"),
        ("<think>[1] > [2] > [3]</think>[3] > [1] > [2]", "201", "ok"),
        ("[3] > [3] > [1]", "201", "repaired"),
        ("[3] > [1]", "201", "completed"),
        ("[2] > [1] > [0]", "012", "fallback"),  # counted from 0
        ("", "012", "fallback"),
        ("Step 1: 1990. Step 2: compare 3 with 1.", "012", "fallback"),
    ],
)
def test_the_parser_table_of_the_note(answer: str, order: str, status: str) -> None:
    ranking = build(Options(), FakeBackend(answer=lambda prompt: answer)).rerank(QUERY, numbered(range(3)))
    assert ("".join(ranking.item_ids), ranking.notes.status) == (order, status)


def test_the_reasoning_is_the_reason_of_each() -> None:
    ranking = build(Options(), FakeBackend(answer=oracle(FORM))).rerank(QUERY, numbered([1, 2]))
    assert ranking.notes.reasons == {
        "1": "[2] meets both needs.",
        "0": "Passage 1 meets none.",
    }


def test_a_cascade_gives_each_half_its_own_depth() -> None:
    double = FakeBackend(choose=lambda prompt, choices: [0.0, -1.0], answer=oracle("{}"))
    stages = [make(name, station="rerankers", backend=double) for name in ("ragllava(depth=100)", "dear_listwise(depth=30)")]
    result = rerank_candidates(QUERY, numbered(range(120)), stages)
    assert [stage.ranking.notes.cost.calls for stage in result.stages] == [0, 100, 2]
    assert [worth(hit.item.text or "") for hit in result.hits[:10]] == list(range(29, 19, -1))
    assert [worth(hit.item.text or "") for hit in result.hits[30:]] == list(range(30, 120))


def test_pictures_and_exclusions_reach_the_model() -> None:
    query = Query(text="in green", images=(InMemory(coloured(3)),), exclude_text=("a boat",), exclude_images=(InMemory(coloured(5)),))
    double = FakeBackend(answer=lambda prompt: "[2] > [1]")
    build(Options(), double).rerank(query, [Candidate(item=Item(item_id=f"{n}", image=InMemory(coloured(n)))) for n in range(2)])
    prompt = double.prompts[0]
    assert sum(not isinstance(part, str) for part in prompt[1].parts) == 2
    assert [sum(not isinstance(part, str) for part in message.parts) for message in prompt[3:7:2]] == [1, 1]
    assert text_of(prompt).count("a boat") == 2


def test_windows_that_leave_gaps_are_refused() -> None:
    with pytest.raises(InputError, match="step"):
        Options(window=4, step=5)
