"""Words that were broken at the end of a line, whole again. Shared by text layers and OCR.

    candi-      becomes   candidates          TG-    becomes   TG-204          self-     becomes   self-evident
    dates                                     204                              evident

A hyphen goes where it stands between small letters, unless the page has the word with its hyphen inside of a line, the first part
is one that keeps it (self-, non-, well-), or a conjunction follows ("pre- and post-war"). A soft hyphen always goes. What stays is
found by search either way: the text index counts a compound whole and in its pieces.
"""

from __future__ import annotations

import re

_HYPHENS = "-\u2010\u00ad"
_BREAK = re.compile(rf"([^\W_]+)([{_HYPHENS}])[ \t]*\n[ \t]*([^\W_]\S*)[ \t]*\n?")
_PREFIXES = "all anti co cross ex half high low mid multi non on post pre quasi self semi short long single two three well"  # keep it
_CONJUNCTIONS = "and or nor to und oder bzw sowie bis et ou y o e ed och og en of i a"
_LETTERS = re.compile(r"[^\W\d_]+")


def rejoined(text: str) -> str:
    """The text with words whole that a hyphen broke at a line end; the rest of the second line stays a line of its own.

    >>> rejoined("The candi-\\ndates saw seal TG-\\n204, pre-\\nand post-war")
    'The candidates\\nsaw seal TG-204,\\npre-\\nand post-war'
    """
    if "-\n" not in text and not re.search(rf"[{_HYPHENS}][ \t]*\n", text):
        return text
    lowered = text.lower()
    return _BREAK.sub(lambda match: _whole(match, lowered), text).rstrip("\n") if "\n" in text else text


def _whole(match: re.Match[str], lowered: str) -> str:
    head, mark, tail = match[1], match[2], match[3]
    first = _LETTERS.match(tail)
    if first and first[0].lower() in _CONJUNCTIONS.split() and mark != "\u00ad":
        return match[0]
    between = "" if mark == "\u00ad" or (first and _is_one_word(head, first[0], lowered)) else "-"
    return f"{head}{between}{tail}\n"


def _is_one_word(head: str, tail: str, lowered: str) -> bool:
    """Whether the hyphen between two parts belongs to the line end and not to the word."""
    if not (head[-1].islower() and tail[0].islower()) or len(head) < 2 or head.lower() in _PREFIXES.split():
        return False
    return f"{head}-{tail}".lower() not in lowered
