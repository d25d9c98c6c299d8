"""Pointwise: a score for each candidate on its own, and the order by it.

    candidates --show--> what the model sees of AT_ONCE of them --judge--> raw scores --levelled--> best first --to_score--> scores

Equal scores, rounding apart, keep the incoming order. A candidate that cannot be shown, or whose answer has no score, stays behind the
others without a score and with the reason. What lies below the threshold keeps its place and is named in `notes.irrelevant`.

Used like this, with anything that judges:

    ranking = pointwise(query, candidates, show=lambda item: item.text, judge=lambda texts: Scores(raw=model(query.text, texts)))

Cost per query: what `judge` costs, ceil(n / at_once) calls of it; the pictures of one such chunk are in memory together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from mmrerank.errors import FormatError, ShapeError
from mmrerank.ordering import MODEL_ROUNDING, best_first, levelled
from mmrerank.prompting.items import gather, unopenable
from mmrerank.protocols import Backend
from mmrerank.rerankers._rankings import announce, obstacle_notes
from mmrerank.types import Candidate, Cost, Explanation, Item, Notes, Query, Ranking, Status

T = TypeVar("T")
AT_ONCE = 64  # candidates whose pictures are in memory together
NO_SCORE = "no score in the answer"
LEAST = -1e4  # a log-probability that was not reported


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What a judge gives for one chunk, in its order."""

    raw: npt.ArrayLike  # (n,) on the method's own scale, higher is better; NaN where the answer has none
    reasons: Sequence[str] = ()  # one per candidate; empty: its score
    messages: Sequence[str] = ()  # what was mended
    explanations: Sequence[Explanation | None] = ()  # one per candidate; empty: there are none
    cost: Cost = field(default_factory=Cost)


def sigmoid(raw: float) -> float:
    """The probability of log-odds; no overflow whatever they are.

    >>> sigmoid(0.0), round(sigmoid(1.5), 6)
    (0.5, 0.817574)
    """
    return float(np.exp(-np.logaddexp(0, -raw)))


def log_odds(logprobs: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """(n,) first choice less second of (n, 2); one that a server did not report counts as far less likely than the other."""
    first, second = np.maximum(logprobs.astype(np.float64), LEAST).T
    return np.asarray(first - second)


def pointwise(
    query: Query,
    candidates: Sequence[Candidate],
    *,
    show: Callable[[Item], T],
    judge: Callable[[Sequence[T]], Scores],
    to_score: Callable[[float], float] = float,
    label: str = "score",
    unshown: str = "not shown to the model",
    threshold: float = -np.inf,
    rounding: float = MODEL_ROUNDING,
    at_once: int = AT_ONCE,
    backend: Backend | None = None,
) -> Ranking:
    """The candidates by score, best first.

    Args:
        show: what of an item is judged; raises InputError or FormatError where it cannot be shown.
        judge: the raw scores of what was shown, none depending on another.
        to_score: a raw score on the scale that is shown to people; rising.
        label: what that scale is called, for reasons.
        unshown: what is said of a candidate that cannot be shown, before why.
        threshold: the score from which a candidate is relevant.
        rounding: raw scores closer than this are equal.
        at_once: how many are shown and judged in one call.
        backend: the one that `judge` asks a prompt per candidate, to be told how many are coming.

    Raises:
        ShapeError: the judge gives other than one score for each that it was shown.
    """
    announce(backend, len(candidates))
    verdicts = _Verdicts(raw=np.full(len(candidates), np.nan))
    for start in range(0, len(candidates), at_once):
        exhibits, missing = gather(candidates, show, range(start, min(start + at_once, len(candidates))))
        verdicts.obstacles |= missing
        if exhibits:
            verdicts.take(exhibits, judge)
    raw, obstacles = verdicts.raw, verdicts.obstacles
    silent = {n: NO_SCORE for n in range(len(candidates)) if n not in obstacles and not np.isfinite(raw[n])}
    notices, why = obstacle_notes(candidates, obstacles, unshown)
    order = [*_best_first(raw, rounding), *silent, *obstacles]
    ranked = tuple(_scored(candidates[n], raw[n], to_score) for n in order)
    reasons = {n: _reason(c, verdicts.reasons.get(n, ""), label, threshold) for n, c in zip(order, ranked, strict=True)} | why | silent
    irrelevant = [c for c in ranked if c.score is not None and c.score < threshold]
    unscored = [f"{candidates[n].item.item_id}: {NO_SCORE}" for n in silent]
    notes = Notes(
        status=_status(len(candidates), len(obstacles), len(silent), mended=bool(verdicts.messages)),
        messages=(*notices, *verdicts.messages, *unscored, *_nothing(ranked, irrelevant, label, threshold)),
        reasons={candidates[n].item.item_id: reasons[n] for n in order},
        irrelevant=frozenset(c.item.item_id for c in irrelevant),
        cost=verdicts.cost,
        explanations={candidates[n].item.item_id: one for n, one in verdicts.explanations.items() if one is not None},
    )
    return Ranking(query_id=query.query_id, candidates=ranked, notes=notes)


@dataclass(slots=True, kw_only=True)
class _Verdicts:
    """What was judged so far, by the candidates' positions."""

    raw: npt.NDArray[np.float64]  # (n,), NaN where there is no score
    reasons: dict[int, str] = field(default_factory=dict)
    obstacles: dict[int, str] = field(default_factory=dict)  # why one was not shown
    messages: list[str] = field(default_factory=list)
    explanations: dict[int, Explanation | None] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)

    def take(self, exhibits: dict[int, T], judge: Callable[[Sequence[T]], Scores]) -> None:
        """Judges what is shown."""
        exhibits, scores, missing = _judged(exhibits, judge)
        self.obstacles |= missing
        self.raw[list(exhibits)] = _one_each(scores.raw, len(exhibits))
        self.reasons |= dict(zip(exhibits, scores.reasons, strict=False))
        self.messages += scores.messages
        self.explanations |= dict(zip(exhibits, scores.explanations, strict=False))
        self.cost += scores.cost


def _judged(exhibits: dict[int, T], judge: Callable[[Sequence[T]], Scores]) -> tuple[dict[int, T], Scores, dict[int, str]]:
    """What could be judged, its scores, and why the rest could not: pictures that did not open when the model was to look at them."""
    try:
        return exhibits, judge(list(exhibits.values())), {}
    except FormatError:
        missing = unopenable(exhibits)
        if not missing:
            raise
    rest = {position: one for position, one in exhibits.items() if position not in missing}
    return rest, judge(list(rest.values())) if rest else Scores(raw=()), missing


def _one_each(raw: npt.ArrayLike, count: int) -> npt.NDArray[np.float64]:
    scores = np.asarray(raw, dtype=np.float64)
    if scores.shape != (count,):
        raise ShapeError(f"expected {count} scores, one for each candidate that was shown; got an array of shape {scores.shape}")
    return scores


def _best_first(raw: npt.NDArray[np.float64], rounding: float) -> list[int]:
    """The positions that have a score, best first; `raw` is levelled in place."""
    scored = np.flatnonzero(np.isfinite(raw))
    raw[scored] = levelled(raw[scored], rounding=rounding)
    return [int(scored[n]) for n in best_first(raw[scored])]


def _scored(candidate: Candidate, raw: float, to_score: Callable[[float], float]) -> Candidate:
    if not np.isfinite(raw):
        return Candidate(item=candidate.item)
    return replace(candidate, score=to_score(float(raw)), raw_score=float(raw), calibrated_score=None)


def _reason(candidate: Candidate, reason: str, label: str, threshold: float) -> str:
    if candidate.score is None:
        return NO_SCORE
    below = f", below eta {threshold:.3f}" if candidate.score < threshold else ""
    return (reason or f"{label} {candidate.score:.3f}") + below


def _nothing(ranked: Sequence[Candidate], irrelevant: Sequence[Candidate], label: str, threshold: float) -> list[str]:
    """That all who have a score lie below the threshold, where it is so."""
    if not irrelevant or len(irrelevant) < sum(c.score is not None for c in ranked):
        return []
    return [f"nothing relevant: the best {label} is {ranked[0].score:.3f}, below eta {threshold:.3f}"]


def _status(count: int, unshown: int, silent: int, *, mended: bool) -> Status:
    if silent and silent + unshown == count:
        return "fallback"  # nobody was judged, and everything stays as it came
    if mended:
        return "repaired"
    return "completed" if silent or unshown else "ok"
