"""What a model said -> a permutation of the candidates, always, with a status that says how much of it was the model's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmrerank.types import Backend, Candidate, Cost, ExpectingBackend, Notes, Query, Ranking, Status, front_to_back

SEVERITY: tuple[Status, ...] = ("ok", "completed", "repaired", "fallback")


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
        return Order(positions=tuple(range(count)), status="fallback", message="no ranking in the answer; the order stays as it came")
    positions = (*usable, *missing)
    left = f"{len(missing)} of {count} marks were missing and keep their order"
    if dropped:
        message = f"{dropped} marks were repeated or out of range and dropped"
        return Order(positions=positions, status="repaired", message=f"{message}; {left}" if missing else message)
    return Order(positions=positions, status="completed", message=left) if missing else Order(positions=positions, status="ok")


def worst(statuses: Iterable[Status]) -> Status:
    """The gravest of several; `ok` when there are none."""
    return max(statuses, key=SEVERITY.index, default="ok")


def announce(backend: Backend, prompts: int) -> None:
    """Tells a backend that keeps watch over the time how many prompts are coming."""
    for one in front_to_back(backend):
        if isinstance(one, ExpectingBackend):
            one.expect(prompts)


def unscored(
    query: Query,
    candidates: Sequence[Candidate],
    positions: Sequence[int],
    *,
    status: Status,
    messages: Sequence[str],
    reasons: Mapping[str, str],
    cost: Cost,
) -> Ranking:
    """The candidates in that order, without scores: a new order never wears old ones."""
    notes = Notes(status=status, messages=tuple(message for message in messages if message), reasons=reasons, cost=cost)
    return Ranking(query_id=query.query_id, candidates=tuple(Candidate(item=candidates[p].item) for p in positions), notes=notes)


SAID_LETTERS = 80
_NAMED = r"^[^\w\n]{0,9}(?:mark|number|cell|picture|image)?[ #]{0,3}(\d{1,4})[^\w\n]{0,9}?[:.)=-][^\w\n]{1,9}(\w.*)$"
_INNERMOST = re.compile(r"\[([^\[\]]*)\]")
_INTEGER = re.compile(r"-?\d{1,9}")
MOST_OBJECTS = 100  # braces looked at from the end, so that no answer takes long to read


def parse_ranking(text: str) -> list[int] | None:
    """The marks in the last JSON object that has a list under `ranking`, else in the last list of integers; None when neither.

    Entries that name no whole number become 0, which is no mark.

    >>> parse_ranking('1: a boat. {"ranking": [1]} No, 2 fits better: ```{"ranking": ["2", 1, "boat"]}```')
    [2, 1, 0]
    >>> parse_ranking("Best first: [2, 1].")
    [2, 1]
    """
    ranking = next((found["ranking"] for found in _objects(text) if isinstance(found.get("ranking"), list)), None)
    if ranking is not None:
        return [_whole(entry) for entry in ranking]
    lists = (_integers(found[1]) for found in reversed(list(_INNERMOST.finditer(text))))
    return next((numbers for numbers in lists if numbers), None)


def _integers(inside: str) -> list[int]:
    """The integers between commas; none where anything else stands there. A comma at the end is let pass."""
    pieces = [piece.strip(' \t\r\n"') for piece in inside.rstrip(", \t\r\n").split(",")]
    return [int(piece) for piece in pieces] if all(map(_INTEGER.fullmatch, pieces)) else []


def _objects(text: str) -> Iterator[dict[str, Any]]:
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
        found = re.fullmatch(r"\D*?(-?\d{1,9})\D*", entry)
        return int(found[1]) if found else 0
    if isinstance(entry, bool) or not isinstance(entry, int | float) or entry != entry or abs(entry) > 1e9:
        return 0
    return int(entry) if int(entry) == entry else 0


def named_marks(text: str, count: int) -> dict[int, str]:
    """What the answer says of a mark on a line of its own before the JSON.

    >>> named_marks('1: a red door\\n(2) - a boat\\n{"ranking": [2, 1]}', 2)
    {1: 'a red door', 2: 'a boat'}
    """
    lines = re.findall(_NAMED, text, re.MULTILINE | re.IGNORECASE)
    return {int(mark): short(line) for mark, line in lines if 1 <= int(mark) <= count}


def short(text: str) -> str:
    """The text on one line, cut to `SAID_LETTERS`."""
    line = " ".join(text.split())
    return line if len(line) <= SAID_LETTERS else line[: SAID_LETTERS - 1].rstrip() + "…"
