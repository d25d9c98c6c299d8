"""The rewards of MM-R5 for a ranking written as `<think>...</think><answer>[3, 1, 2]</answer>`.

Source: MM-R5 (arXiv 2506.12364, code i2vec/MM-R5 at 0806019). Read there: both formulas, that their sum is not weighted, and that
the code does not take repeated ids out, so that they push later ones down. It reads the list by evaluating it, which makes a
single id a number without a length: such an answer has no format.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_ANSWER = re.compile(r"<answer>\[(.*?)\]</answer>")  # no line breaks inside, as in the released code
_FORMAT = re.compile(r"<think>.*?</think>\s*<answer>\[(\d+(?:[ \t]*,[ \t]*\d+)*)\]</answer>", re.DOTALL)


def rank_reward(text: str, positives: Collection[int]) -> float:
    """How far in front the positives (ids from 1) stand, 0..1: the sum of 1/place³ over the best sum there could be.

    >>> round(rank_reward("<answer>[2, 1, 3, 4, 5]</answer>", {3, 2}), 6)
    0.921811
    """
    match = _ANSWER.search(text)
    try:
        ids = [int(piece) for piece in match[1].split(",") if piece.strip()] if match else []
    except ValueError:
        return 0.0
    gain = sum(1 / (ids.index(mark) + 1) ** 3 for mark in positives if mark in ids)
    return gain / sum(1 / place**3 for place in range(1, len(positives) + 1)) if positives else 0.0


def format_reward(text: str, count: int) -> float:
    """Whether an answer follows a thought, times how near its length is to `count`, times the share of ids in 1..count.

    Negative where more than twice as many ids stand there.

    >>> format_reward("<think>a</think><answer>[7, 3, 0, 2]</answer>", 5)
    0.4
    """
    match = _FORMAT.search(text)
    ids = [int(piece) for piece in match[1].split(",")] if match else []
    if len(ids) < 2:
        return 0.0
    nearness = (count - abs(len(ids) - count)) / count
    return nearness * sum(1 <= mark <= count for mark in ids) / len(ids)


def total_reward(text: str, positives: Collection[int], count: int) -> float:
    """The sum of both."""
    return rank_reward(text, positives) + format_reward(text, count)
