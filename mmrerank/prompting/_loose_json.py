"""Objects and lists as models write them, JSON or nearly so: single quotes, bare words, comments, a comma too many, tuples.

    "{'ranking': [3, // the boat\\n 1,]}"   ->   {"ranking": ["3", "1"]}

Every scalar comes back as its text, so that nobody takes `true` for 1. Nothing that is nested deeper than MAX_DEPTH is read.

Source: ours; `json` refuses all of the above, YAML reads `[3: 1]` and anchors as something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

MAX_DEPTH = 8
MOST_VALUES = 100  # brackets looked at from the end, so that no answer takes long to read
TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/|\#(?!\s*\d)[^\n]*)
    |(?P<sign>[\[\]{}(),:;])
    |"(?P<double>(?:[^"\\]|\\.)*)"
    |'(?P<single>(?:[^'\\\n]|\\.)*)'
    |(?P<bare>(?:\([^()\n]*\)|(?!//|/\*|\s\#\s)[^\[\]{}(),:;\n"])+)""",
    re.VERBOSE | re.DOTALL,
)
CLOSERS = {"[": "]", "{": "}", "(": ")"}


@dataclass(frozen=True, slots=True)
class Pair:
    """`key: value`, in an object or in a list."""

    key: str
    value: Value


@dataclass(frozen=True, slots=True)
class Flow:
    """An object or a list with what stands in it, repeated keys too."""

    entries: tuple[Value, ...]
    start: int  # where it begins in the text
    stop: int  # behind its last bracket
    object: bool  # written in braces

    def pairs(self) -> list[Pair]:
        """The entries that have a key."""
        return [entry for entry in self.entries if isinstance(entry, Pair)]


Value: TypeAlias = "str | Pair | Flow"


class _NotOneError(ValueError):
    """What begins here is no object and no list."""


def flows(text: str) -> Iterator[Flow]:
    """The objects and lists in a text, from the one that begins last to the one that begins first.

    >>> [flow.entries for flow in flows("{'ranking': [3, 1,]} or (2)")]
    [('2',), ('3', '1'), (Pair(key='ranking', value=Flow(entries=('3', '1'), start=12, stop=19, object=False)),)]
    """
    for start in [match.start() for match in re.finditer(r"[\[{(]", text)][: -MOST_VALUES - 1 : -1]:
        try:
            yield _flow(text, start, 0)[0]
        except _NotOneError:
            continue


def _flow(text: str, start: int, depth: int) -> tuple[Flow, int]:
    if depth > MAX_DEPTH:
        raise _NotOneError
    closer, position, entries = CLOSERS[text[start]], start + 1, list[Value]()
    while True:
        kind, token, after = _token(text, position)
        if kind == "sign" and token == closer:
            return Flow(tuple(entries), start, after, text[start] == "{"), after
        if kind == "sign" and token in ",;":
            position = after
            continue
        value, position = _entry(text, position, depth)
        entries.append(value)


def _entry(text: str, position: int, depth: int) -> tuple[Value, int]:
    """A value, with the one behind a colon."""
    value, position = _value(text, position, depth)
    kind, token, after = _token(text, position)
    if (kind, token) != ("sign", ":"):
        return value, position
    other, position = _value(text, after, depth)
    key = value if isinstance(value, str) else text[value.start : value.stop] if isinstance(value, Flow) else value.key
    return Pair(key, other), position


def _value(text: str, position: int, depth: int) -> tuple[Value, int]:
    kind, token, after = _token(text, position)
    if kind != "sign":
        return token.strip(), after
    if token not in CLOSERS:
        raise _NotOneError
    return _flow(text, after - 1, depth + 1)


def _token(text: str, position: int) -> tuple[str, str, int]:
    """(kind, text, where the next one begins) of the next token that is no space and no comment."""
    while match := TOKEN.match(text, position):
        kind = match.lastgroup or ""
        if kind != "space":
            return kind, match[kind], match.end()
        position = match.end()
    raise _NotOneError
