"""Oracles that grade what they are shown, and queries of every kind, for the tests of the rerankers that give grades."""

from __future__ import annotations

import re
from collections.abc import Sequence

from makers import InMemory, coloured

from mmrerank.types import Candidate, Item, Prompt, Query

GOLD = [3, 10, 0, 7, 3, 9, 1, 0, 5, 8, 2, 6]
COMPOSED = Query(
    query_id="q",
    text="in green",
    images=(InMemory(coloured(1)), InMemory(coloured(2))),
    exclude_text=("people", "text"),
    exclude_images=(InMemory(coloured(3)),),
)
QUERY = Query(query_id="q", text="the best of them")


def worth(grades: Sequence[int]) -> list[Candidate]:
    """Candidates whose texts say what they are worth, with scores of a first stage."""
    return [Candidate(item=Item(item_id=f"item-{n}", text=f"worth <{grade}>"), score=1 - n / 1000) for n, grade in enumerate(grades)]


def best_order(grades: Sequence[int]) -> tuple[str, ...]:
    """By grade, equal ones as they came."""
    return tuple(f"item-{n}" for n in sorted(range(len(grades)), key=lambda n: -grades[n]))


def text_of(prompt: Prompt) -> str:
    return "".join(part if isinstance(part, str) else "PICTURE" for message in prompt for part in message.parts)


def grades_in(prompt: Prompt) -> list[int]:
    """What the candidates in a prompt are worth, in its order."""
    return [int(grade) for grade in re.findall(r"worth <(\d+)>", text_of(prompt))]
