"""What a model says before its answer: the whole of its reasoning, and of that what it says of each candidate.

    '<think>Image 1 shows a boat. Image 2 does not.</think>[1]'   ->   {0: 'Image 1 shows a boat.', 1: 'Image 2 does not.'}

Source: ours; the tags are those that `_final_part` knows.
"""

from __future__ import annotations

import re

from mmrerank.prompting._final_part import ANSWER_BEGINS, BOX, LABEL, THOUGHT_BEGINS, THOUGHT_ENDS
from mmrerank.prompting.answers import short

REASONING_LETTERS = 4000
PASSAGE_LETTERS = 240


def reasoning_of(text: str) -> str:
    """What stands in the tags of a thought, whether they are closed or not; without such tags, what stands before the tag or box of the
    answer, or before its last label ("Final ranking:"), or "" where there is none.

    >>> reasoning_of("<think>a boat</think><answer>3</answer>"), reasoning_of("It is a boat. <answer>3</answer>"), reasoning_of("3")
    ('a boat', 'It is a boat.', '')
    """
    begin = THOUGHT_BEGINS.search(text)
    start = begin.end() if begin else 0
    ends = [match.start() for match in THOUGHT_ENDS.finditer(text, start)]
    answer = ANSWER_BEGINS.search(text, start) or BOX.search(text, start) or next(reversed([*LABEL.finditer(text, start)]), None)
    if ends:
        thought = text[start : ends[-1]]
    elif answer:
        thought = text[start : answer.start()]
    else:
        thought = text[start:] if begin else ""
    thought = THOUGHT_ENDS.sub("\n", THOUGHT_BEGINS.sub("\n", thought)).strip()
    return thought if len(thought) <= REASONING_LETTERS else thought[: REASONING_LETTERS - 1].rstrip() + "…"


def passages(text: str, count: int, *, noun: str = "image", brackets: bool = False) -> dict[int, str]:
    """What the reasoning says of each candidate, by position from 0: the lines or sentences that name its number.

    Args:
        count: how many candidates were shown.
        noun: what they were called.
        brackets: whether `[3]` names one as well.

    >>> passages("<think>Document 2 has the figures. [1] has none.</think>[2] > [1]", 2, noun="document", brackets=True)
    {1: 'Document 2 has the figures.', 0: '[1] has none.'}
    """
    sentences: dict[int, list[str]] = {}
    for sentence in re.split(r"(?<=[.!?])\s+|\n+", reasoning_of(text)):
        for number in dict.fromkeys(_numbers(sentence, noun, brackets)):
            if 1 <= number <= count:
                sentences.setdefault(number - 1, []).append(sentence.strip())
    return {position: short(" ".join(lines), PASSAGE_LETTERS) for position, lines in sentences.items()}


def _numbers(sentence: str, noun: str, brackets: bool) -> list[int]:
    """The numbers after the noun, "Image 3: ...", "images 2, 4 and 5"; and those in brackets."""
    lists = re.findall(rf"\b{noun}s?\s+[#\[]?(\d{{1,4}}\]?(?:\s*(?:,|and|&|,\s*and)\s*[#\[]?\d{{1,4}}\]?)*)", sentence, re.IGNORECASE)
    lists += re.findall(r"\[\s*(\d{1,4})\s*\]", sentence) if brackets else []
    return [int(number) for numbers in lists for number in re.findall(r"\d+", numbers)]
