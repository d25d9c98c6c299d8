"""Running heads and feet: lines at the edges of pages that come again on others, the page number in them rising with the pages.

A line counts as one where it stands within the margins and, on three pages of some dozens (on two of a document that has two or three),
is the same or the same but for a number whose distance to the page's own is the same; and where it is a bare page number. Such lines
stay part of the page's text, in front of it, a form feed between: search finds them there, and counts them as the page's opening, which
is where running heads name the chapter; quotes leave them out, and text that goes over to the next page meets no foot.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

APART = "\n\f\n"  # between the running lines of a page and its text
_PAGES = 3
_MOST_KEYS = 20_000  # of a document that are remembered
_LONGEST = 200  # characters of a running line
_NUMBER = re.compile(r"\d{1,5}|\b[ivxlc]{1,7}\b", re.IGNORECASE)
_ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}
_BARE = re.compile(
    r"\W*(?:(?:page|p\.|pg\.?|seite|s\.|página|página|pagina)\W*)?(\d{1,4}|[ivxlc]{1,7})(?:\W*(?:of|/|von|de|di)\W*\d{1,4})?\W*",
    re.IGNORECASE,
)
_Key = tuple[str, int | None]


def body_of(text: str) -> str:
    """The text of a page without its running head and foot.

    >>> body_of("Version 7, page 1 of 4\\n\\f\\nThe ferry leaves at six.")
    'The ferry leaves at six.'
    """
    return text.rpartition(APART)[2]


def with_running_lines(body: str, lines: Sequence[str]) -> str:
    """The text of a page with its running lines in front of it."""
    return f"{chr(10).join(lines)}{APART}{body}" if lines else body


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """The lines of one page that stand within its margins."""

    number: int  # of the page, from 1
    lines: tuple[str, ...]


@dataclass(slots=True)
class RunningLines:
    """What comes again at the edges of a document's pages, learnt while they are read."""

    pages: int  # of the document
    _counts: Counter[_Key] = field(default_factory=Counter)

    def learn(self, window: Sequence[Edges]) -> None:
        """Counts the lines of some more pages."""
        for edges in window:
            self._counts.update({key for line in edges.lines for key in _keys(line, edges.number)})
        if len(self._counts) > _MOST_KEYS:
            self._counts = Counter(dict(self._counts.most_common(_MOST_KEYS // 2)))

    def of(self, edges: Edges) -> list[str]:
        """Those lines of a page that are running heads or feet."""
        return [line for line in edges.lines if self._runs(line, edges.number)]

    @property
    def _least(self) -> int:
        return min(_PAGES, max(2, self.pages - 1)) if self.pages <= _PAGES else _PAGES

    def _runs(self, line: str, number: int) -> bool:
        return any(self._counts[key] >= self._least for key in _keys(line, number))


def _keys(line: str, number: int) -> Iterator[_Key]:
    """What makes a line the same as that of another page: its letters, or its letters but for a number that rises with the pages."""
    line = " ".join(line.split())
    if not line or len(line) > _LONGEST:
        return
    bare = _BARE.fullmatch(line)
    if bare:
        yield "#", _value(bare[1]) - number
    if any(letter.isalpha() for letter in line):
        yield line, None
    for match in _NUMBER.finditer(line):
        rest = f"{line[: match.start()]}#{line[match.end() :]}"
        if any(letter.isalpha() for letter in rest):
            yield rest, _value(match[0]) - number


def _value(numeral: str) -> int:
    """The number that Arabic or Roman digits write.

    >>> _value("12"), _value("xiv")
    (12, 14)
    """
    if numeral.isdecimal():
        return int(numeral)
    values = [_ROMAN[letter] for letter in numeral.lower()]
    return sum(-a if a < b else a for a, b in zip(values, [*values[1:], 0], strict=True))
