"""What a model answered -> an order of the candidates, always a whole one, with a status that says how much of it was the model's.

    '{"ranking": [3, 1]}'  --parse_ranking-->  marks [3, 1]  --order_of(marks, 4)-->  positions (2, 0, 1, 3), "completed"

Marks are the numbers 1..count under which candidates were shown, positions count them from 0. A method with a form of answer of its own
parses that itself and hands its marks to `order_of`. Below stands what is said about the marks beside their order.

Source: ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mmrerank.types import Status

SEVERITY: tuple[Status, ...] = ("ok", "completed", "repaired", "fallback")
EXCERPT_LETTERS = 80
MOST_OBJECTS = 100  # braces looked at from the end, so that no answer takes long to read
INNERMOST = re.compile(r"\[([^\[\]]*)\]")
INTEGER = re.compile(r"-?\d{1,9}")
NAMED = re.compile(
    r"^[^\w\n]{0,9}(?:mark|number|cell|picture|image)?[ #]{0,3}(\d{1,4})[^\w\n]{0,9}?[:.)=-][^\w\n]{1,9}(\w.*)$",
    re.MULTILINE | re.IGNORECASE,
)


# Marks -> an order ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Positions into the candidates as they came, each once, best first."""

    positions: tuple[int, ...]
    status: Status
    message: str = ""  # what was mended


def order_of(marks: Sequence[int] | None, count: int) -> Order:
    """The order that marks 1..count describe: first mentions count, marks out of range are dropped, missing ones follow as they came.

    `ok` when every mark was there once, `completed` when some were missing, `repaired` when some were repeated or out of
    range, `fallback` (the order as it came) when no mark can be used or `marks` is None.

    >>> order_of([3, 1], 4)
    Order(positions=(2, 0, 1, 3), status='completed', message='2 of 4 marks were missing and keep their order')
    """
    usable = list(dict.fromkeys(mark - 1 for mark in marks or () if 1 <= mark <= count))
    missing = [position for position in range(count) if position not in set(usable)]
    dropped = len(marks or ()) - len(usable)
    if not usable and count:
        return order_as_it_came(count, "no ranking in the answer; the order stays as it came")
    positions = (*usable, *missing)
    left = f"{len(missing)} of {count} marks were missing and keep their order"
    if dropped:
        message = f"{dropped} marks were repeated or out of range and dropped"
        return Order(positions=positions, status="repaired", message=f"{message}; {left}" if missing else message)
    return Order(positions=positions, status="completed", message=left) if missing else Order(positions=positions, status="ok")


def order_as_it_came(count: int, why: str) -> Order:
    """The order of what gave none, with the reason.

    >>> order_as_it_came(2, "no answer: timed out")
    Order(positions=(0, 1), status='fallback', message='no answer: timed out')
    """
    return Order(positions=tuple(range(count)), status="fallback", message=why)


def worst(statuses: Iterable[Status]) -> Status:
    """The gravest of several; `ok` when there are none."""
    return max(statuses, key=SEVERITY.index, default="ok")


# An answer -> marks ------------------------------------------------------------------


def parse_ranking(text: str) -> list[int] | None:
    """The marks in the last JSON object that has a list under `ranking`, else in the last list of integers; None when neither.

    Entries that name no whole number become 0, which is no mark.

    >>> parse_ranking('1: a boat. {"ranking": [1]} No, 2 fits better: ```{"ranking": ["2", 1, "boat"]}```')
    [2, 1, 0]
    >>> parse_ranking("Best first: [2, 1].")
    [2, 1]
    """
    ranking = next((entry["ranking"] for entry in json_objects(text) if isinstance(entry.get("ranking"), list)), None)
    if ranking is not None:
        return [_whole(entry) for entry in ranking]
    lists = (_integers(match[1]) for match in reversed(list(INNERMOST.finditer(text))))
    return next((numbers for numbers in lists if numbers), None)


def json_objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a text, from the one that begins last to the one that begins first."""
    decoder = json.JSONDecoder()
    for start in [match.start() for match in re.finditer(r"\{", text)][: -MOST_OBJECTS - 1 : -1]:
        try:
            yield decoder.raw_decode(text, start)[0]
        except (ValueError, RecursionError):  # no JSON begins here, or one nested so deep that nobody meant it
            continue


def _whole(entry: Any) -> int:
    """The mark an entry names: 3, 3.0, "3" or "mark 3"; 0 for anything else."""
    if isinstance(entry, str):
        match = re.fullmatch(r"\D*?(-?\d{1,9})\D*", entry)
        return int(match[1]) if match else 0
    if isinstance(entry, bool) or not isinstance(entry, int | float) or entry != entry or abs(entry) > 1e9:
        return 0
    return int(entry) if int(entry) == entry else 0


def _integers(inside: str) -> list[int]:
    """The integers between commas; none where anything else stands there. A comma at the end is let pass."""
    pieces = [piece.strip(' \t\r\n"') for piece in inside.rstrip(", \t\r\n").split(",")]
    return [int(piece) for piece in pieces] if all(map(INTEGER.fullmatch, pieces)) else []


# What an answer says beside the order ------------------------------------------------------------------


def named_marks(text: str, count: int) -> dict[int, str]:
    """What the answer says of a mark on a line of its own before the JSON.

    >>> named_marks('1: a red door\\n(2) - a boat\\n{"ranking": [2, 1]}', 2)
    {1: 'a red door', 2: 'a boat'}
    """
    return {int(mark): short(line) for mark, line in NAMED.findall(text) if 1 <= int(mark) <= count}


def short(text: str, letters: int = EXCERPT_LETTERS) -> str:
    """The text on one line, cut to so many letters.

    >>> short("a red\\n door", 6)
    'a red…'
    """
    line = " ".join(text.split())
    return line if len(line) <= letters else line[: letters - 1].rstrip() + "…"
