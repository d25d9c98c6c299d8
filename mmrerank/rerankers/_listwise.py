"""Listwise: the model orders the candidates of one window at a time, from the end of the list to its head.

10 candidates, window 4, step 2:   . . . . . . 6 7 8 9
                                   . . . . 4 5 6 7 . .
                                   . . 2 3 4 5 . . . .
                                   0 1 2 3 . . . . . .

Windows overlap, so that what is good can rise all the way. A window whose answer cannot be read, or does not come in time, keeps its
order, and the notes say so. A candidate that cannot be shown stays behind the others with the reason. Only the order is known: nobody
has a score. Where there are several windows, the explanation of a candidate says in which of them it moved.

Used like this, with anything that orders:

    rank = lambda texts: Reply(order=order_of(model(query.text, texts), len(texts)))
    ranking = listwise(query, candidates, show=lambda item: item.text, rank=rank, window=20, step=10)

Cost per query: one call of `rank` a window, ceil((n - window) / step) + 1 windows; none for fewer than two candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from mmrerank.errors import InputError
from mmrerank.prompting.answers import Order, order_as_it_came, worst
from mmrerank.prompting.items import gather
from mmrerank.protocols import Backend
from mmrerank.rerankers._rankings import announce, attempt, obstacle_notes, unscored
from mmrerank.types import Candidate, Cost, Explanation, Item, Query, Ranking, Status

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came of one window."""

    order: Order  # of the positions in the window
    reasons: Mapping[int, str] = field(default_factory=dict)  # what is said of a position in the window
    cost: Cost = field(default_factory=Cost)


def listwise(
    query: Query,
    candidates: Sequence[Candidate],
    *,
    show: Callable[[Item], T],
    rank: Callable[[Sequence[T]], Reply],
    window: int,
    step: int,
    noun: str = "candidates",
    unshown: str = "not shown to the model",
    backend: Backend | None = None,
) -> Ranking:
    """The candidates in the order that the windows leave, without scores.

    Args:
        show: what of an item is ordered; raises InputError or FormatError where it cannot be shown.
        rank: orders what it is shown; a BackendError that is `retryable` leaves the window as it is.
        window: how many are ordered at once.
        step: how far the next window lies above.
        noun: what the candidates are called in messages.
        unshown: what is said of a candidate that cannot be shown, before why.
        backend: the one that `rank` asks, to be told how many prompts are coming.

    Raises:
        InputError: the step leaves gaps.
        BackendError: the model cannot be reached or does not take the prompt.
    """
    exhibits, obstacles = gather(candidates, show)
    messages, reasons = obstacle_notes(candidates, obstacles, unshown)
    if obstacles and len(exhibits) < 2:  # nothing can be compared, so nothing was done
        return unscored(query, candidates, range(len(candidates)), status="fallback", messages=messages, reasons=reasons, cost=Cost())
    order = list(exhibits)
    spans = windows(len(order), window, step) if len(order) > 1 else []
    announce(backend, len(spans))
    tally = _Tally(noun, tells_moves=len(spans) > 1)  # of one window the ranks say it all
    for start, stop in spans:
        positions = order[start:stop]
        reply = _reply(rank, [exhibits[n] for n in positions])
        tally.add(start, positions, reply)
        order[start:stop] = [positions[n] for n in reply.order.positions]
    return unscored(
        query,
        candidates,
        [*order, *obstacles],
        status=worst(["completed", *tally.statuses] if obstacles else tally.statuses),
        messages=[*messages, *tally.messages],
        reasons=reasons | tally.reasons,
        cost=tally.cost,
        explanations={n: Explanation(steps=tuple(lines)) for n, lines in tally.moves.items()},
    )


class _Tally:
    """What came of the windows, by the positions of candidates."""

    def __init__(self, noun: str, *, tells_moves: bool) -> None:
        self.statuses: list[Status] = []
        self.messages: list[str] = []
        self.reasons: dict[int, str] = {}
        self.moves: dict[int, list[str]] = {}
        self.cost = Cost()
        self._noun, self._tells_moves = noun, tells_moves

    def add(self, start: int, positions: Sequence[int], reply: Reply) -> None:
        """Counts the reply to the window that begins at `start` and shows these candidates."""
        label = f"{self._noun} {start + 1}-{start + len(positions)}"
        self.statuses.append(reply.order.status)
        self.messages += [f"{label}: {reply.order.message}"] if reply.order.message else []
        self.reasons |= {positions[n]: reason for n, reason in reply.reasons.items()}
        self.cost += reply.cost
        for place, old in enumerate(reply.order.positions if self._tells_moves else ()):
            if place != old:
                line = f"{label}: {'rose' if place < old else 'fell'} from {start + old + 1} to {start + place + 1}"
                self.moves.setdefault(positions[old], []).append(line)


def _reply(rank: Callable[[Sequence[T]], Reply], exhibits: Sequence[T]) -> Reply:
    reply, why = attempt(lambda: rank(exhibits))
    return reply or Reply(order=order_as_it_came(len(exhibits), why))


def check_windows(window: int, step: int) -> None:
    """InputError unless windows of this size order something and leave no gaps."""
    windows(0, window, step)
    if window < 2:
        raise InputError(f"a window orders at least 2 candidates; got window={window}")


def windows(count: int, size: int, step: int) -> list[tuple[int, int]]:
    """(start, stop) of each window in the order in which they are ranked; together they cover every position.

    The last one starts at 0 and is full whenever count >= size, so it may overlap its neighbour by more than the others.

    Raises:
        InputError: the step is not in 1..size, so that windows would leave gaps.

    >>> windows(10, 4, 2)
    [(6, 10), (4, 8), (2, 6), (0, 4)]
    >>> windows(7, 4, 2)
    [(3, 7), (1, 5), (0, 4)]
    """
    if not 1 <= step <= size:
        raise InputError(f"the step of windows lies between 1 and their size {size}; got {step}")
    if count == 0:
        return []
    starts = [*range(max(count - size, 0), 0, -step), 0]
    return [(start, min(start + size, count)) for start in starts]
