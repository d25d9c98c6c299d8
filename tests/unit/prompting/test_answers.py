"""Answers that fakes give, and orders that several windows leave; the parsers are tested with the methods that use them."""

from __future__ import annotations

import pytest
from makers import InMemory, coloured

from mmrerank.parts import make, module
from mmrerank.prompting.answers import order_as_it_came, order_of, read_order, short, worst
from mmrerank.testing.fakes import FakeBackend, turned
from mmrerank.types import Candidate, Item, Message, Query


def test_the_gravest_of_several_statuses_counts() -> None:
    assert worst(["ok", "repaired", "completed"]) == "repaired"
    assert worst([]) == "ok"


def test_no_usable_mark_is_the_order_as_it_came() -> None:
    assert order_of([9, 0], 2) == order_of(None, 2) == order_as_it_came(2, "no ranking in the answer; the order stays as it came")
    assert order_of([], 0).status == "ok"


def test_excerpts_are_one_line_of_so_many_letters() -> None:
    assert short(" a\n b ") == "a b"
    assert len(short("word " * 100)) <= 80
    assert short("abcdef", 4) == "abc…"


@pytest.mark.parametrize(("count", "order"), [(1, [1]), (2, [2, 1]), (5, [2, 4, 1, 3, 5])])
def test_the_turned_answer_reads_the_count_and_is_no_identity(count: int, order: list[int]) -> None:
    answer = turned(r"order (\d+) things", '{"ranking": [{}]}')
    text = answer([Message(role="user", parts=(f"order {count} things",))])
    assert [position + 1 for position in read_order(text, count).positions] == order
    assert answer([Message(role="user", parts=("nothing to order",))]) == ""


@pytest.mark.parametrize("name", ["mm_r5", "square"])
def test_it_fits_the_prompts_that_ship(name: str) -> None:
    """A prompt that is worded otherwise would make the tiny parts answer what cannot be read."""
    candidates = [Candidate(item=Item(item_id=f"{n}", image=InMemory(coloured(n)))) for n in range(5)]
    ranking = module(name, station="rerankers").tiny().rerank(Query(text="x"), candidates)
    assert ranking.notes.status == "ok"
    assert ranking.item_ids == ("1", "3", "0", "2", "4")
    assert make(name, station="rerankers", backend=FakeBackend()).rerank(Query(text="x"), candidates).notes.status == "fallback"
