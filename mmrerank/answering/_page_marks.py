"""Page marks in an answer: which pages a model names in brackets, and the answer without them.

    [2]   [1, 2]   [2-3]   [p. 2]   [pages 1 and 3]

Brackets with no number of a page that was shown are text, such as the year in "founded in [1887]".
"""

from __future__ import annotations

import re

_PAGE = r"(?:(?:pp?\.?|pages?)\s*)?\d{1,6}"
_MARK = re.compile(rf"\[\s*{_PAGE}(?:(?:\s*(?:[-–,;&]|and)\s*|\s+){_PAGE})*[\s,]*\]", re.IGNORECASE)
_RANGE = re.compile(r"(\d+)(?:\s*[-–]\s*(\d+))?")
_NEEDS_A_NOUN = re.compile(r"\b(?:pages?|to|in|on|from|by|of|per|see|both|with)\s*$", re.IGNORECASE)
_SUBJECT = (re.compile(r"(?:^|[.!?])\s*$"), re.compile(r"\s+[a-z]"))  # what stands before and after a mark that begins a sentence


def cited(text: str, count: int) -> tuple[list[int], list[int]]:
    """The page numbers in brackets, each once: those within 1..count, and those that are not.

    >>> cited("In 1953 [2], as the table says [2, 7].", 3)
    ([2], [7])
    >>> cited("Rufus [pages 2-3].", 3)
    ([2, 3], [])
    """
    numbers = [number for mark in _MARK.findall(text) for number in _numbers(mark, count)]
    once = list(dict.fromkeys(numbers))
    return [n for n in once if 1 <= n <= count], [n for n in once if not 1 <= n <= count]


def without_marks(text: str, count: int) -> str:
    """The text without the marks that name a page within 1..count; as it is where a sentence needs one of them as a word.

    >>> without_marks("Founded in [1887], rebuilt in [1921] [2].", 3)
    'Founded in [1887], rebuilt in [1921].'
    >>> without_marks("According to [1] and [2] it is Rufus.", 3)
    'According to [1] and [2] it is Rufus.'
    """
    marks = [match for match in _MARK.finditer(text) if cited(match[0], count)[0]]
    if any(_is_word(text[: mark.start()], text[mark.end() :]) for mark in marks):
        return text
    for mark in reversed(marks):
        text = text[: mark.start()].rstrip() + text[mark.end() :]
    return text.strip()


def _is_word(before: str, after: str) -> bool:
    """Whether a mark between these two is part of its sentence, as in "as page [2] says" and "[2] says"."""
    return bool(_NEEDS_A_NOUN.search(before) or (_SUBJECT[0].search(before) and _SUBJECT[1].match(after)))


def _numbers(mark: str, count: int) -> list[int]:
    """The numbers of one mark; of a range its two ends and the pages between them."""
    numbers: list[int] = []
    for first, last in _RANGE.findall(mark):
        ends = sorted((int(first), int(last or first)))
        numbers += sorted({*ends, *range(max(1, ends[0]), min(count, ends[1]) + 1)})
    return numbers
