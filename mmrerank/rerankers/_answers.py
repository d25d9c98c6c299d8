"""What a model said -> a permutation of the candidates, always, with a status that says how much of it was the model's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mmrerank.types import Backend, Candidate, Cost, Notes, Query, Ranking, Status

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
    expect = getattr(backend, "expect", None)
    if expect is not None:
        expect(prompts)


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
