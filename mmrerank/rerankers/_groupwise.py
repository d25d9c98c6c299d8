"""Groupwise: the model scores each candidate of a group that it sees together, and groups are drawn anew some times.

    7 candidates, groups of 3, 2 repeats        5 0 3 | 6 2 1 | 4        1 6 4 | 0 2 5 | 3
    score = mean over the groups that scored the candidate

Every repeat deals all candidates into groups by a seed of its own, so that each stands in as many groups as there are repeats. A group
whose answer cannot be read, or does not come in time, is left out of the mean, and so is a candidate that an answer leaves out. One
that no group scored stays behind the others without a score, as does one that cannot be shown. Equal means keep the incoming order.
What lies below the threshold keeps its place and is named in `notes.irrelevant`. The explanation of a candidate has the score of each
group, and what the judge says besides.

Used like this, with anything that scores together:

    judge = lambda groups: [GroupScores(scores=dict(enumerate(model(query.text, texts)))) for texts in groups]
    ranking = groupwise(query, candidates, show=lambda item: item.text, judge=judge, group=20, repeats=3)

Source: GroupRank (arXiv 2511.11653v3, code AQ-MedAI/Diver at 95b111b), by its notes: disjoint groups drawn at random, the mean over
repeats. Ours: a seed per query and repeat (there one for all, so that groups depend on the queries before), what no answer scored
(there 0, or gone).

Cost per query: repeats times ceil(n / group) groups; those of one repeat in one call of `judge`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import numpy as np

from mmrerank.errors import InputError, ShapeError
from mmrerank.ordering import best_first, levelled
from mmrerank.prompting.items import gather
from mmrerank.protocols import Backend
from mmrerank.rerankers._rankings import announce, attempt, obstacle_notes
from mmrerank.types import Candidate, Cost, Explanation, Item, Notes, Query, Ranking, Status

T = TypeVar("T")
NO_SCORE = "no group has a score for it"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupScores:
    """What came of one group."""

    scores: Mapping[int, float]  # of a position in the group; empty: no answer that can be read
    reasons: Mapping[int, str] = field(default_factory=dict)  # what is said of a position
    message: str = ""  # what was mended
    explanations: Mapping[int, Explanation] = field(default_factory=dict)  # of a position; the means of their scores are shown
    cost: Cost = field(default_factory=Cost)


def groupwise(
    query: Query,
    candidates: Sequence[Candidate],
    *,
    show: Callable[[Item], T],
    judge: Callable[[Sequence[Sequence[T]]], Sequence[GroupScores]],
    group: int = 20,
    repeats: int = 1,
    shuffle: bool = True,
    seed: int = 0,
    to_score: Callable[[float], float] = float,
    label: str = "score",
    unshown: str = "not shown to the model",
    threshold: float = -np.inf,
    backend: Backend | None = None,
) -> Ranking:
    """The candidates by mean score, best first.

    Args:
        show: what of an item is scored; raises InputError or FormatError where it cannot be shown.
        judge: scores each of some groups; a BackendError that is `retryable` has them asked one by one, and loses those that fail again.
        group: how many are scored together; the last group of a repeat has what is left.
        repeats: how often all are dealt into groups.
        shuffle: whether groups are drawn at random; else they follow the incoming order.
        to_score: a mean on the scale that is shown to people; rising.
        label: what that scale is called, for reasons.
        unshown: what is said of a candidate that cannot be shown, before why.
        threshold: the score from which a candidate is relevant.
        backend: the one that `judge` asks a prompt per group, to be told how many are coming.

    Raises:
        InputError: group or repeats is below 1, or there are several repeats of the same groups.
        ShapeError: the judge gives other than one result per group.
        BackendError: the model cannot be reached or does not take the prompt.
    """
    exhibits, obstacles = gather(candidates, show)
    deals = groups_of(list(exhibits), group, repeats, f"{seed}/{query.query_id}" if shuffle else None)
    announce(backend, sum(map(len, deals)))
    tally = _tally(judge, exhibits, deals)
    means = {n: tally.mean(n) for n in exhibits if n in tally.scores}
    level = levelled(list(means.values()))
    order = [list(means)[n] for n in best_first(level)]
    raw = dict(zip(means, level.tolist(), strict=True))
    silent = [n for n in exhibits if n not in raw]
    notices, why = obstacle_notes(candidates, obstacles, unshown)
    ranked = [_scored(candidates[n], raw[n], to_score) for n in order]
    reasons = {n: _reason(tally, n, c.score, label) for n, c in zip(order, ranked, strict=True)} | dict.fromkeys(silent, NO_SCORE) | why
    behind = [Candidate(item=candidates[n].item) for n in (*silent, *obstacles)]
    notes = Notes(
        status=tally.status(whole=not behind),
        messages=(*notices, *tally.messages, *(f"{candidates[n].item.item_id}: {NO_SCORE}" for n in silent)),
        reasons={candidates[n].item.item_id: reason for n, reason in reasons.items()},
        irrelevant=frozenset(c.item.item_id for c in ranked if c.score is not None and c.score < threshold),
        cost=tally.cost,
        explanations={candidates[n].item.item_id: tally.explanation(n) for n in raw},
    )
    return Ranking(query_id=query.query_id, candidates=(*ranked, *behind), notes=notes)


def groups_of(items: Sequence[int], group: int, repeats: int, seed: str | None) -> list[list[list[int]]]:
    """Repeat -> groups -> items; each item once in every repeat.

    Args:
        seed: what the deals are drawn from; None: groups in the order of the items.

    Raises:
        InputError: group or repeats is below 1, or repeats would all be the same.

    >>> groups_of(range(5), 2, 1, None)
    [[[0, 1], [2, 3], [4]]]
    """
    if min(group, repeats) < 1:
        raise InputError(f"group and repeats count from 1; got {group} and {repeats}")
    if repeats > 1 and seed is None:
        raise InputError(f"{repeats} repeats of the same groups are one", hint="Shuffle them.")
    deals = []
    for repeat in range(repeats):
        order = list(items)
        if seed is not None:
            random.Random(f"{seed}/{repeat}").shuffle(order)
        deals.append([order[start : start + group] for start in range(0, len(order), group)])
    return deals


class _Tally:
    """What the groups said, by candidate."""

    def __init__(self) -> None:
        self.scores: dict[int, list[float]] = {}
        self.reasons: dict[int, str] = {}
        self.messages: list[str] = []
        self.cost = Cost()
        self._groups, self._failures = 0, 0
        self._steps: dict[int, list[str]] = {}
        self._explanations: dict[int, list[Explanation]] = {}

    def add(self, positions: Sequence[int], result: GroupScores) -> None:
        """Takes in what came of the group of these candidates; a score that is no number is none."""
        self._groups += 1
        scores = {n: float(score) for n, score in result.scores.items() if 0 <= n < len(positions) and np.isfinite(score)}
        self._failures += not scores
        message = result.message or ("" if scores else "no scores in the answer")
        self.messages += [f"group {self._groups}: {message}"] if message else []
        self.cost += result.cost
        for place, score in scores.items():
            self.scores.setdefault(positions[place], []).append(score)
            self._steps.setdefault(positions[place], []).append(f"group {self._groups}, number {place + 1} of {len(positions)}: {score:g}")
            self._explanations.setdefault(positions[place], []).append(result.explanations.get(place, Explanation()))
        self.reasons |= {positions[place]: reason for place, reason in result.reasons.items() if 0 <= place < len(positions)}

    def mean(self, position: int) -> float:
        """Of the scores of one candidate."""
        return float(np.mean(self.scores[position]))

    def explanation(self, position: int) -> Explanation:
        """What the groups said of a candidate: the words of each, the means of what its score is made of, its score in each."""
        parts = self._explanations[position]
        names = dict.fromkeys(name for part in parts for name in part.scores)
        return Explanation(
            reasoning="\n\n".join(part.reasoning for part in parts if part.reasoning),
            scores={name: float(np.mean([part.scores[name] for part in parts if name in part.scores])) for name in names},
            steps=(*self._steps[position], *(step for part in parts for step in part.steps)),
        )

    def status(self, *, whole: bool) -> Status:
        """`fallback` where no group answered or could be asked; `repaired` where some did not; `completed` where one has no score."""
        if (self._groups or not whole) and self._failures == self._groups:
            return "fallback"
        return "repaired" if self.messages else "ok" if whole else "completed"


def _tally(
    judge: Callable[[Sequence[Sequence[T]]], Sequence[GroupScores]], exhibits: Mapping[int, T], deals: Sequence[Sequence[Sequence[int]]]
) -> _Tally:
    """What came of all groups, those of one deal judged in one call."""
    tally = _Tally()
    for groups in deals:
        results = _results(judge, [[exhibits[n] for n in positions] for positions in groups])
        for positions, result in zip(groups, results, strict=True):
            tally.add(positions, result)
    return tally


def _results(judge: Callable[[Sequence[Sequence[T]]], Sequence[GroupScores]], groups: Sequence[Sequence[T]]) -> list[GroupScores]:
    """What came of each group: of all in one call, or of each alone where that call is lost to a time-out or an overload."""
    results, _ = attempt(partial(judge, groups))
    if results is None:
        alone = [attempt(partial(judge, [group])) for group in groups]
        results = [result for answers, why in alone for result in answers or [GroupScores(scores={}, message=why)]]
    if len(results) != len(groups):
        raise ShapeError(f"expected {len(groups)} results, one for each group; got {len(results)}")
    return list(results)


def _scored(candidate: Candidate, raw: float, to_score: Callable[[float], float]) -> Candidate:
    return replace(candidate, score=to_score(raw), raw_score=raw, calibrated_score=None)


def _reason(tally: _Tally, position: int, score: float | None, label: str) -> str:
    times = len(tally.scores[position])
    mean = f"{label} {score:.3f}" + (f", the mean of {times} groups" if times > 1 else "")
    return f"{mean}: {tally.reasons[position]}" if position in tally.reasons else mean
