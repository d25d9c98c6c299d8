"""Some of many queries, so that they stand for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def evenly(rows: Sequence[T], most: int) -> list[T]:
    """Up to `most` of the rows, from the first to the last at even distances. Every n-th row would do worse: queries often stand in
    a repeating order of kinds, and a whole number of steps keeps to a few of them and never reaches the end.

    >>> evenly("abcdefg", 3)
    ['a', 'c', 'e']
    >>> evenly("abc", 5)
    ['a', 'b', 'c']
    """
    count = min(most, len(rows))
    return [rows[n * len(rows) // count] for n in range(count)]
