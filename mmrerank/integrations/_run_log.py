"""The orders of one task, a line a query, written as they come: what was killed goes on where it stopped.

    {"query_id": "q7", "key": "…", "order": ["d3", "d1"], "status": "ok", "notes": [], "cost": {"calls": 50, ...}}

A line counts for the same question over the same candidates only, which its key tells.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmrerank.types import Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What came of one query."""

    order: tuple[str, ...]  # the ids of all candidates, best first
    status: str = "ok"
    notes: tuple[str, ...] = ()
    cost: Cost = field(default_factory=Cost)


class RunLog:
    """Lines by query, in a file or, without one, in memory alone."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        data = b"" if path is None or not path.exists() else path.read_bytes()
        self._is_cut = bool(data) and not data.endswith(b"\n")
        self._lines = _read(data)

    def line(self, query_id: str, key: str) -> Line | None:
        """What came of the query, where its question and candidates were these."""
        record = self._lines.get(query_id)
        if record is None or record["key"] != key:
            return None
        notes = tuple(record["notes"])
        return Line(order=tuple(record["order"]), status=record["status"], notes=notes, cost=Cost(**record["cost"]))

    def add(self, query_id: str, key: str, line: Line) -> None:
        """Writes what came of a query, before the next is asked."""
        about = {"status": line.status, "notes": list(line.notes), "cost": asdict(line.cost)}
        record = {"query_id": query_id, "key": key, "order": list(line.order), **about}
        self._lines[query_id] = record
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                start = b"\n" if self._is_cut else b""  # so that a line is not written on to one that a kill cut short
                file.write(start + json.dumps(record).encode() + b"\n")
            self._is_cut = False


def key_of(*parts: Any) -> str:
    """What tells a question over its candidates from another."""
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=12).hexdigest()


def _read(data: bytes) -> dict[str, Mapping[str, Any]]:
    """query_id -> its last line; what a kill left half written is passed over."""
    lines: dict[str, Mapping[str, Any]] = {}
    for text in data.split(b"\n"):
        try:
            record = json.loads(text)
            lines[record["query_id"]] = record
        except (ValueError, KeyError, TypeError):
            continue
    return lines


def table(costs: Mapping[str, tuple[int, Cost]]) -> str:
    """What each task took: queries, and a query's calls, tokens and seconds of model work.

    Args:
        costs: task -> how many queries it has, and what they took together.

    >>> print(table({"Miniature fr": (4, Cost(calls=8, prompt_tokens=400, generated_tokens=8, seconds=2.0))}))
    task             queries   calls/query  tokens/query  seconds/query
    Miniature fr           4          2.00         102.0          0.500
    """
    width = max([16, *(len(name) for name in costs)])
    lines = [f"{'task':<{width}} {'queries':>7} {'calls/query':>13} {'tokens/query':>13} {'seconds/query':>14}"]
    for name, (count, cost) in costs.items():
        each: Sequence[float] = [value / max(count, 1) for value in (cost.calls, cost.tokens, cost.seconds)]
        lines.append(f"{name:<{width}} {count:>7} {each[0]:>13.2f} {each[1]:>13.1f} {each[2]:>14.3f}")
    return "\n".join(lines)
