"""Whatever a model says, a permutation comes back; windows cover everything."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from makers import InMemory, coloured

from mmrerank.answering._page_marks import cited, without_marks
from mmrerank.prompting.answers import order_of
from mmrerank.rerankers import mm_r5
from mmrerank.rerankers._listwise import windows
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Item, Query

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
    assert sorted(mm_r5.parse_answer(text, count).positions) == list(range(count))


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
