"""How sure a mean or a gain is: bootstrap intervals, Holm's correction, wins and losses, the oracle.

All draws come from one fixed seed and are the same for every measure and system, so results repeat to the last digit and
differences are paired by query. With groups (macro means) queries are drawn within their group.
Source: Efron & Tibshirani 1993 (percentile interval), Holm 1979.
Cost: 2,000 draws over n queries and m measures are one (2000, n) x (n, m) product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mmrerank.measures.chance import randomisation
from mmrerank.measures.scoring import Scores, Values
from mmrerank.types import Qrels

DRAWS = 2000
LEVEL = 0.95
TIE = 1e-12
BLOCK = 500  # draws made at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean with the ends of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What a system adds to the first stage by one measure."""

    interval: Interval
    p_value: float  # of the randomisation test, two-sided
    p_holm: float  # the same, corrected for the number of systems
    wins: int
    ties: int
    losses: int


def intervals(scores: Scores) -> dict[str, Interval]:
    """The mean of each measure with its 95 % bootstrap interval over queries."""
    return {name: _interval(values, scores.strata(name)) for name, values in scores.values.items()}


def mean_interval(values: Values) -> Interval:
    """The mean of values of single queries, such as paired differences, with its 95 % bootstrap interval."""
    return _interval(values, np.zeros(len(values), dtype=np.int64))


def _interval(values: Values, strata: npt.NDArray[np.int64]) -> Interval:
    counted = np.isfinite(values)
    if not counted.any():
        return Interval(value=float("nan"), low=float("nan"), high=float("nan"))
    finite, labels = values[counted], np.unique(strata[counted], return_inverse=True)[1]
    means = np.zeros(DRAWS)
    total = 0.0
    for label in range(labels.max() + 1):
        own = finite[labels == label]
        means += _resampled_means(own, label) / (labels.max() + 1)
        total += float(own.mean()) / (int(labels.max()) + 1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value=total, low=float(low), high=float(high))


def _resampled_means(values: Values, seed: int) -> Values:
    """(DRAWS,) means over queries drawn with replacement."""
    counts = _counts(len(values), seed)
    return np.concatenate([block @ values for block in counts]) / len(values)


@lru_cache(maxsize=1)  # 8 kB a query
def _counts(n: int, seed: int) -> tuple[npt.NDArray[np.float32], ...]:
    """How often each draw takes each query, in blocks of (BLOCK, n)."""
    generator = np.random.default_rng([seed, n])
    rows = np.arange(BLOCK)[:, None] * n
    blocks = []
    for _ in range(DRAWS // BLOCK):
        draws = generator.integers(0, n, (BLOCK, n)) + rows
        blocks.append(np.bincount(draws.ravel(), minlength=BLOCK * n).reshape(BLOCK, n).astype(np.float32))
    return tuple(blocks)


def gains(first: Scores, systems: Sequence[Scores], name: str) -> list[Gain]:
    """What each system adds to the first stage by one measure; Holm's correction is over these systems."""
    differences = [_differences(first, system, name) for system in systems]
    p_values = [randomisation(system_gain, first.weights(name)) for system_gain in differences]
    corrected = holm(p_values)
    return [
        Gain(interval=_interval(difference, first.strata(name)), p_value=p, p_holm=p_holm, **_outcome(difference))
        for difference, p, p_holm in zip(differences, p_values, corrected, strict=True)
    ]


def _differences(first: Scores, system: Scores, name: str) -> Values:
    difference: Values = system.values[name] - first.values[name]
    return difference


def _outcome(difference: Values) -> dict[str, int]:
    wins, losses = int((difference > TIE).sum()), int((difference < -TIE).sum())
    return {"wins": wins, "losses": losses, "ties": int(np.isfinite(difference).sum()) - wins - losses}


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for their number, step by step from the smallest.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for place, n in enumerate(sorted(range(len(p_values)), key=lambda n: p_values[n])):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[n]))
        corrected[n] = highest
    return corrected


def oracle(rankings: Mapping[str, Sequence[str]], qrels: Qrels, depth: int) -> dict[str, tuple[str, ...]]:
    """The rankings with their first `depth` in the best order, by grade: what no reranker at that depth can exceed."""
    best: dict[str, tuple[str, ...]] = {}
    for query_id, ids in rankings.items():
        grades = qrels.get(query_id, {})
        head = sorted(ids[:depth], key=lambda item: -grades.get(item, 0))  # stable: equal grades keep their order
        best[query_id] = (*head, *ids[depth:])
    return best
