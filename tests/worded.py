"""Candidates of one word each, some of which cannot be shown, for the tests of the drivers."""

from __future__ import annotations

from collections.abc import Sequence

from mmrerank.errors import InputError
from mmrerank.types import Candidate, Item, Query

QUERY = Query(query_id="q", text="numbers from the largest")
HIDDEN = "hidden"


def candidates(words: Sequence[object]) -> list[Candidate]:
    return [Candidate(item=Item(item_id=f"item-{n}", text=str(word)), score=1 - n / 1000) for n, word in enumerate(words)]


def show(item: Item) -> str:
    if item.text == HIDDEN:
        raise InputError("it is hidden")
    return item.text or ""
