"""MM-R5: the released parser's table, the hardened parser, prompt layout, windows, and what happens to bad answers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from makers import InMemory, coloured

from mmrerank.errors import BackendError, FormatError, InputError
from mmrerank.prompting.answers import read_order
from mmrerank.prompting.reasoning import passages
from mmrerank.rerankers.mm_r5 import Options, build, parse_released
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Item, Prompt, Query

QUERY = Query(query_id="q", text="Which year?")
THINK = "<think>Image 3 shows the table.</think>"
# the behaviour table of the method's notes, computed there by running the released functions; n = 5
RELEASED = [
    ("<answer>[3, 1, 2, 5, 4]</answer>", [2, 0, 1, 4, 3]),
    ("<answer>[1, 3, 2, 5, 4]</answer>", [0, 2, 1, 4, 3]),
    ("<answer>[1, 2, 4, 3, 5]</answer>", [0, 1, 3, 2, 4]),
    ("<answer>[3, 1]</answer>", [2, 0, 1, 3, 4]),
    ("<answer>[3]</answer>", [2, 0, 1, 3, 4]),
    ("<answer>[3, 3, 1, 2, 4, 5]</answer>", [2, 2, 0, 1, 3, 4]),
    ("<answer>[7, 3, 0, 2]</answer>", [2, 1, 0, 3, 4]),
    ("<answer> [3, 1, 2, 5, 4] </answer>", [0, 1, 2, 3, 4]),
    ("<answer>[3, 1,\n2, 5, 4]</answer>", [0, 1, 2, 3, 4]),
    ("<answer>[Image 3, 1]</answer>", [0, 1, 2, 3, 4]),
    ("<answer>[]</answer>", [0, 1, 2, 3, 4]),
    ("<answer>3, 1, 2, 5, 4</answer>", [0, 1, 2, 3, 4]),
    ("<answer>[3, 1, 2", [0, 1, 2, 3, 4]),
]
HARDENED = [
    ("<answer>[3, 1, 2, 5, 4]</answer>", (2, 0, 1, 4, 3), "ok"),
    ("<answer>[3, 1]</answer>", (2, 0, 1, 3, 4), "completed"),
    ("<answer>[3, 3, 1, 2, 4, 5]</answer>", (2, 0, 1, 3, 4), "repaired"),
    ("<answer>[7, 3, 0, 2]</answer>", (2, 1, 0, 3, 4), "repaired"),
    ("<answer> [3, 1, 2, 5, 4] </answer>", (2, 0, 1, 4, 3), "ok"),
    ("<answer>[3, 1,\n2, 5, 4]</answer>", (2, 0, 1, 4, 3), "ok"),
    ("<answer>[Image 3, 1]</answer>", (2, 0, 1, 3, 4), "completed"),
    ("<answer>[]</answer>", (0, 1, 2, 3, 4), "fallback"),
    ("<answer>3, 1, 2, 5, 4</answer>", (2, 0, 1, 4, 3), "ok"),
    ("<answer>[3, 1, 2", (0, 1, 2, 3, 4), "fallback"),
    ("I cannot say.", (0, 1, 2, 3, 4), "fallback"),
]


def pages(count: int) -> list[Candidate]:
    return [Candidate(item=Item(item_id=f"page-{n}", image=InMemory(coloured(n))), score=1 - n / 100) for n in range(count)]


def shown(prompt: Prompt) -> int:
    return sum(not isinstance(part, str) for part in prompt[-1].parts)


@pytest.mark.parametrize(("answer", "order"), RELEASED)
def test_the_released_parser_is_reproduced(answer: str, order: list[int]) -> None:
    assert parse_released(THINK + answer, 5) == order


def test_the_released_parser_takes_a_decoy_in_the_reasoning_and_needs_no_reasoning() -> None:
    decoy = "<think>maybe <answer>[1, 2]</answer> or not</think><answer>[3, 1, 2, 5, 4]</answer>"
    assert parse_released(decoy, 5) == [0, 1, 2, 3, 4]
    assert parse_released("<answer>[3, 1, 2, 5, 4]</answer>", 5) == [2, 0, 1, 4, 3]
    assert read_order(decoy, 5).positions == (2, 0, 1, 4, 3)


@pytest.mark.parametrize(("answer", "order", "status"), HARDENED)
def test_the_hardened_parser(answer: str, order: tuple[int, ...], status: str) -> None:
    parsed = read_order(THINK + answer, 5)
    assert (parsed.positions, parsed.status) == (order, status)


def test_strict_ranks_as_released_but_each_page_once() -> None:
    double = FakeBackend(answer=lambda prompt: THINK + "<answer>[3, 3, 1, 2, 4, 5]</answer>")
    ranking = build(Options(parser="strict"), double).rerank(QUERY, pages(5))
    assert ranking.item_ids == ("page-2", "page-0", "page-1", "page-3", "page-4")
    assert ranking.notes.status == "repaired"
    spaced = FakeBackend(answer=lambda prompt: THINK + "<answer> [3, 1, 2, 5, 4] </answer>")
    unread = build(Options(parser="strict"), spaced).rerank(QUERY, pages(5))
    assert unread.item_ids == tuple(f"page-{n}" for n in range(5))
    assert unread.notes.status == "fallback", "the released code is silent about what it cannot read"


def test_each_label_stands_right_before_its_picture_and_the_count_twice() -> None:
    double = FakeBackend(answer=lambda prompt: "<answer>[1, 2, 3]</answer>")
    build(Options(), double).rerank(QUERY, pages(3))
    system, user = double.prompts[0]
    assert (system.role, user.role, len(user.parts)) == ("system", "user", 1 + 2 * 3)
    head = user.parts[0]
    assert isinstance(head, str)
    assert head.count("Which year?") == 1
    assert re.findall(r"\d+", head.partition("There are")[2]) == ["3", "1", "3"]
    assert list(user.parts[1::2]) == ["\nImage 1: ", "\nImage 2: ", "\nImage 3: "]
    assert [part.getpixel((0, 0)) for part in user.parts[2::2]] == [coloured(n).getpixel((0, 0)) for n in range(3)]  # type: ignore[union-attr]


def test_pages_can_be_shown_as_text_or_as_the_question_asks() -> None:
    mixed = [Candidate(item=Item(item_id=f"{n}", image=InMemory(coloured(n)), text=text)) for n, text in enumerate(["one two three", " "])]
    double = FakeBackend(answer=lambda prompt: "<answer>[2, 1]</answer>")
    ranking = build(Options(modality="auto", page_words=2), double).rerank(QUERY, mixed)
    assert double.prompts[0][1].parts[1:3] == ("\nImage 1: ", "one two")
    assert not isinstance(double.prompts[0][1].parts[4], str)
    assert ranking.notes.messages == ("shown as image: 1", "shown as text: 0")
    build(Options(modality="auto"), double).rerank(Query(text="What does the table say?"), mixed)
    assert [isinstance(part, str) for part in double.prompts[1][1].parts] == [True, True, False, True, True, False]


def test_pages_are_brought_to_the_pixel_budget() -> None:
    double = FakeBackend(answer=lambda prompt: "")
    large = [Candidate(item=Item(item_id=f"{n}", image=InMemory(coloured(n, size=(300, 200))))) for n in range(2)]
    build(Options(max_pixels=15_000), double).rerank(QUERY, large)
    assert [part.size for part in double.prompts[0][1].parts[2::2]] == [(150, 100)] * 2  # type: ignore[union-attr]


@pytest.mark.parametrize(("count", "window", "step"), [(10, 10, 5), (11, 10, 5), (23, 10, 5), (7, 4, 2), (9, 4, 3), (5, 2, 1), (3, 10, 5)])
def test_one_generation_a_window_and_the_best_page_rises_to_the_top(count: int, window: int, step: int) -> None:
    """A model that always finds the target carries it from the last place to the first, whatever the lengths."""
    target = coloured(count - 1).getpixel((0, 0))

    def best_first(prompt: Prompt) -> str:
        pictures = [part for part in prompt[-1].parts if not isinstance(part, str)]
        marks = sorted(range(len(pictures)), key=lambda n: pictures[n].getpixel((0, 0)) != target)
        return f"<think>Image {marks[0] + 1} is it.</think><answer>{[mark + 1 for mark in marks]}</answer>"

    double = FakeBackend(answer=best_first)
    ranking = build(Options(window=window, step=step), double).rerank(QUERY, pages(count))
    assert ranking.item_ids[0] == f"page-{count - 1}"
    assert ranking.item_ids[1:] == tuple(f"page-{n}" for n in range(count - 1))
    assert len(double.prompts) == ranking.notes.cost.calls == max(-(-(count - window) // step), 0) + 1
    assert max(shown(prompt) for prompt in double.prompts) == min(window, count)


def test_the_reasoning_is_the_reason_of_each_page() -> None:
    lines = passages("<think>Image 1: a cover.\nImage 2: the sales table. It has the year. Images 1 and 3 are of no help.</think>", 3)
    assert lines == {
        0: "Image 1: a cover. Images 1 and 3 are of no help.",
        1: "Image 2: the sales table.",
        2: "Images 1 and 3 are of no help.",
    }
    double = FakeBackend(answer=lambda prompt: "<think>Image 2 has the year.</think><answer>[2, 1]</answer>")
    assert build(Options(), double).rerank(QUERY, pages(2)).notes.reasons == {"page-1": "Image 2 has the year."}


def test_rubbish_leaves_the_order_and_says_so() -> None:
    ranking = build(Options(), FakeBackend(answer=lambda prompt: "blah [1")).rerank(QUERY, pages(12))
    assert ranking.item_ids == tuple(f"page-{n}" for n in range(12))
    assert ranking.notes.status == "fallback"
    assert [message.split(":")[0] for message in ranking.notes.messages] == ["pages 3-12", "pages 1-10"]
    assert all(candidate.score is None for candidate in ranking.candidates)


def test_a_server_that_stays_silent_is_a_fallback_and_one_that_refuses_the_model_an_error() -> None:
    def silent(prompt: Prompt) -> str:
        raise BackendError("timed out", retryable=True)

    def absent(prompt: Prompt) -> str:
        raise BackendError("no such model")

    ranking = build(Options(), FakeBackend(answer=silent)).rerank(QUERY, pages(3))
    assert (ranking.notes.status, ranking.item_ids) == ("fallback", ("page-0", "page-1", "page-2"))
    with pytest.raises(BackendError, match="no such model"):
        build(Options(), FakeBackend(answer=absent)).rerank(QUERY, pages(3))


def test_a_page_that_does_not_open_stays_behind_with_the_reason() -> None:
    class Broken:
        def open(self):  # type: ignore[no-untyped-def]
            raise FormatError("truncated", path="b.png")

    mixed = [Candidate(item=Item(item_id="broken", image=Broken())), *pages(2), Candidate(item=Item(item_id="text", text="words only"))]
    double = FakeBackend(answer=lambda prompt: "<answer>[2, 1, 3]</answer>")
    ranking = build(Options(), double).rerank(QUERY, mixed)
    assert ranking.item_ids == ("page-1", "page-0", "text", "broken")
    assert ranking.notes.status == "completed"
    assert "truncated" in ranking.notes.reasons["broken"]
    assert "words only" in double.prompts[0][1].parts, "what never had a picture is shown by its words"
    assert ranking.notes.messages[-1] == "shown as text: text"


def test_one_page_needs_no_call() -> None:
    double = FakeBackend()
    assert build(Options(), double).rerank(QUERY, pages(1)).item_ids == ("page-0",)
    assert double.prompts == []


def test_windows_that_leave_gaps_are_refused() -> None:
    with pytest.raises(InputError, match="step"):
        Options(window=4, step=5)


def test_the_prompt_can_be_replaced_by_a_file_whose_placeholders_are_checked(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        'version = "7"\n[pieces]\nsystem = "S"\ntask = "T"\nquestion = "Q {query}"\nmapping = "M {count}"\npage = "P {number}"\n',
        encoding="utf-8",
    )
    double = FakeBackend(answer=lambda prompt: "")
    build(Options(prompt=str(own)), double).rerank(QUERY, pages(2))
    assert double.prompts[0][1].parts[0] == "TQ Which year?M 2"
    own.write_text(own.read_text().replace("{count}", "{n}"), encoding="utf-8")
    with pytest.raises(FormatError, match="placeholders count; got n"):
        build(Options(prompt=str(own)), double)
