"""What the drivers share: a ranking without scores, a question that may stay unanswered, and how much is about to be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from mmrerank.errors import BackendError
from mmrerank.protocols import Backend, ExpectingBackend, front_to_back
from mmrerank.types import Candidate, Cost, Explanation, NotedPicture, Notes, Query, Ranking, Status

T = TypeVar("T")


def unscored(
    query: Query,
    candidates: Sequence[Candidate],
    positions: Sequence[int],
    *,
    status: Status,
    messages: Sequence[str],
    reasons: Mapping[int, str],
    cost: Cost,
    pictures: Sequence[NotedPicture] = (),
    explanations: Mapping[int, Explanation] | None = None,
) -> Ranking:
    """The candidates in that order, without scores: a new order never wears old ones. Reasons and explanations go by position."""
    notes = Notes(
        status=status,
        messages=tuple(message for message in messages if message),
        reasons={candidates[position].item.item_id: reason for position, reason in reasons.items()},
        cost=cost,
        pictures=tuple(pictures),
        explanations={candidates[position].item.item_id: one for position, one in (explanations or {}).items()},
    )
    return Ranking(query_id=query.query_id, candidates=tuple(Candidate(item=candidates[p].item) for p in positions), notes=notes)


def without_text(query: Query, candidates: Sequence[Candidate]) -> Ranking:
    """What a network that reads texts alone makes of a query that has none: the order as it came, which is told."""
    why = "the query has no text, which is all that the network reads; the order stays as it came"
    return unscored(query, candidates, range(len(candidates)), status="fallback", messages=[why], reasons={}, cost=Cost())


def obstacle_notes(candidates: Sequence[Candidate], obstacles: Mapping[int, str], label: str) -> tuple[list[str], dict[int, str]]:
    """A message for each candidate that could not be shown, and the same as its reason."""
    reasons = {position: f"{label}: {why}" for position, why in obstacles.items()}
    return [f"{candidates[position].item.item_id}: {reason}" for position, reason in reasons.items()], reasons


def some_of(names: Sequence[str], most: int = 5) -> str:
    """The first of several names, and how many more there are.

    >>> some_of(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def with_messages(ranking: Ranking, messages: Iterable[str]) -> Ranking:
    """The ranking with more to say."""
    return replace(ranking, notes=replace(ranking.notes, messages=(*ranking.notes.messages, *messages)))


def attempt(ask: Callable[[], T]) -> tuple[T | None, str]:
    """What was asked for, or None and why: a time-out or an overload that outlasted the backend's own retries.

    Raises:
        BackendError: the model cannot be reached or does not take the prompt, so that nothing else will be answered either.
    """
    try:
        return ask(), ""
    except BackendError as error:
        if not error.retryable:
            raise
        return None, f"no answer: {error.message}"


def announce(backend: Backend | None, prompts: int) -> None:
    """Tells a backend that keeps watch over the time how many prompts are coming."""
    for one in () if backend is None else front_to_back(backend):
        if isinstance(one, ExpectingBackend):
            one.expect(prompts)
