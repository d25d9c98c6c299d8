"""Whatever a model says, a permutation comes back; windows cover everything."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from makers import InMemory, coloured

from mmrerank.answering._page_marks import cited, without_marks
from mmrerank.prompting.answers import order_of, read_choice, read_grade, read_marks, read_order, read_scores
from mmrerank.rerankers import mm_r5
from mmrerank.rerankers._listwise import windows
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Item, Query

GRAMMARS: dict[str, Callable[[Sequence[int]], str]] = {  # how models write an order
    "chain": lambda marks: " > ".join(f"[{mark}]" for mark in marks),
    "bare chain": lambda marks: ">".join(map(str, marks)),
    "arrows": lambda marks: " → ".join(f"Image {mark}" for mark in marks),
    "list": lambda marks: str(list(marks)),
    "strings": lambda marks: json.dumps([f"mark-{mark}" for mark in marks]),
    "keyed": lambda marks: json.dumps({"reason": "2 boats and 1 door", "ranking": list(marks)}),
    "objects": lambda marks: json.dumps([{"id": mark, "score": round(1 - n / 100, 2)} for n, mark in enumerate(marks)]),
    "ranks": lambda marks: json.dumps(sorted(({"image": mark, "rank": n} for n, mark in enumerate(marks, 1)), key=str)),
    "python": lambda marks: f"{{'order': {tuple(marks)},}}",
    "scored": lambda marks: "[" + ", ".join(f"{mark} ({1 - n / 100:.2f})" for n, mark in enumerate(marks)) + "]",
    "numbered": lambda marks: "\n".join(f"{n}. Image {mark}" for n, mark in enumerate(marks, 1)),
    "numbers": lambda marks: "\n".join(f"{n}) {mark}" for n, mark in enumerate(marks, 1)),
    "bullets": lambda marks: "\n".join(f"- **Page {mark}**" for mark in marks),
    "table": lambda marks: "| # | Page |\n|---|---|\n" + "\n".join(f"| {n} | Page {mark} |" for n, mark in enumerate(marks, 1)),
    "sentence": lambda marks: f"{', '.join(f'Image {mark}' for mark in marks[:-1])} and Image {marks[-1]}.",
    "row": lambda marks: "".join(f"[{mark}]" for mark in marks),
    "full width": lambda marks: "＞".join(f"［{mark}］".translate({48 + n: 0xFF10 + n for n in range(10)}) for mark in marks),
}
WRAPPINGS = (
    "{}",
    "<think>Image 1 or 2? [2, 1]</think>{}",
    "<think>1 > 2</think><answer>{}</answer>",
    "<ANSWER>\n{}\n</ANSWER>",
    "```json\n{}\n```",
    "I compared all of them.\n\nFinal ranking:\n{}",
    "\\boxed{{{}}}",
)
PIECES = st.sampled_from(
    ["<think>", "</think>", "<answer>", "</answer>", "[", "]", ",", " ", "\n", "Image", "1", "2", "3", "-7", "999", "0.5"]
)
MARKED = st.sampled_from(["[1]", "[2]", "[9]", "[1, 7]", "[2-3]", "[p. 2]", "[1887]", "[sic]", " ", ", ", ". ", "Rufus", "page", "In", "["])
ANSWERS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=25).map("".join))


@given(answers=st.lists(ANSWERS, min_size=1, max_size=6), count=st.integers(0, 9), strict=st.booleans())
@settings(max_examples=150)
def test_any_answer_leaves_a_permutation(answers: list[str], count: int, strict: bool) -> None:
    said = iter(answers * 10)
    options = mm_r5.Options(window=4, step=2, parser="strict" if strict else "hardened")
    given_ = [Candidate(item=Item(item_id=f"{n}", image=InMemory(coloured(n)))) for n in range(count)]
    ranking = mm_r5.build(options, FakeBackend(answer=lambda prompt: next(said))).rerank(Query(text="q"), given_)
    assert sorted(ranking.item_ids) == [f"{n}" for n in range(count)]
    if ranking.notes.status == "ok":
        assert not ranking.notes.messages


@given(text=ANSWERS, count=st.integers(1, 9))
def test_strict_and_hardened_agree_on_what_both_can_read(text: str, count: int) -> None:
    released = mm_r5.parse_released(text, count)
    assert set(released) == set(range(count))
    assert sorted(read_order(text, count).positions) == list(range(count))


@given(
    marks=st.integers(2, 20).flatmap(lambda count: st.permutations(range(1, count + 1))),
    grammar=st.sampled_from(sorted(GRAMMARS)),
    wrapping=st.sampled_from(WRAPPINGS),
)
@settings(max_examples=400)
def test_an_order_in_any_grammar_comes_back_as_that_order(marks: list[int], grammar: str, wrapping: str) -> None:
    text = wrapping.format(GRAMMARS[grammar](marks))
    assert list(read_marks(text, len(marks)).marks or ()) == marks, text


@given(marks=st.permutations(range(1, 13)), grammar=st.sampled_from(sorted(GRAMMARS)), share=st.integers(1, 99))
@settings(max_examples=300)
def test_an_answer_that_is_cut_is_read_as_its_beginning_or_not_at_all(marks: list[int], grammar: str, share: int) -> None:
    """What the tokens did not reach is missing; nothing that was not said stands before what was."""
    text = GRAMMARS[grammar](marks)
    beginning = list(read_marks(text[: len(text) * share // 100], 12, cut=True).marks or ())
    assert beginning == marks[: len(beginning)]


@given(text=ANSWERS, count=st.integers(1, 9))
def test_choices_scores_and_grades_stay_in_range(text: str, count: int) -> None:
    assert read_choice(text, count) in {None, *range(count)}
    assert all(0 <= position < count and 0 <= score <= 10 for position, score in read_scores(text, count).scores.items())
    assert read_grade(text) in {None, *range(11)}


@given(marks=st.lists(st.integers(-3, 12), max_size=15), count=st.integers(0, 9))
def test_the_status_says_how_much_was_the_models(marks: list[int], count: int) -> None:
    order = order_of(marks, count)
    assert sorted(order.positions) == list(range(count))
    complete = sorted(marks) == list(range(1, count + 1))
    assert (order.status == "ok") == complete
    if order.status == "fallback":
        assert order.positions == tuple(range(count))


@given(pieces=st.lists(MARKED, max_size=12), count=st.integers(1, 4))
def test_nothing_but_marks_of_pages_leaves_an_answer(pieces: list[str], count: int) -> None:
    text = "".join(pieces)
    left = without_marks(text, count)
    plain = "".join(piece for piece in pieces if not cited(piece, count)[0])
    assert left == text or "".join(left.split()) == "".join(plain.split())


@given(count=st.integers(0, 60), size=st.integers(1, 12), step=st.integers(1, 12))
def test_windows_cover_every_position_and_overlap_on_the_way_up(count: int, size: int, step: int) -> None:
    step = min(step, size)
    found = windows(count, size, step)
    assert {n for start, stop in found for n in range(start, stop)} == set(range(count))
    assert all(stop - start == min(size, count) for start, stop in found)
    for (below, _), (above, stop) in itertools.pairwise(found):
        assert above < below <= stop  # the next window begins above and leaves no gap
