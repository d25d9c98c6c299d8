"""Trials -> figures: gains with paired bootstrap intervals, ceilings, shares of answers that parsed, areas under the curve."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mmrerank.evaluation.comparison import mean_interval
from mmrerank.measures.own import score_auc
from tools.mini_mllm.trials import Trial

RESAMPLES = 10_000
Floats = npt.NDArray[np.float64]


def summary(trials: Sequence[Trial], *, cutoff: int = 1) -> dict[str, Any]:
    """R@cutoff before and after, the gain with its interval, the ceiling at the depth, statuses, and what it cost."""
    ranks = np.array([trial.ranks for trial in trials])
    before, after = (ranks <= cutoff).astype(float).T
    ceiling = np.mean([rank <= len(trial.before) for trial, rank in zip(trials, ranks[:, 0], strict=True)])
    costs = [trial.notes.cost for trial in trials]
    statuses = Counter(trial.notes.status for trial in trials)
    return {
        "queries": len(trials),
        "depth": max(len(trial.before) for trial in trials),
        f"R@{cutoff} first stage": _round(before.mean()),
        f"R@{cutoff} reranked": _round(after.mean()),
        "gain": interval(after - before),
        "ceiling": _round(ceiling),
        "share of the way": _round((after.mean() - before.mean()) / max(1e-9, ceiling - before.mean())),
        "made worse": _round((ranks[:, 1] > ranks[:, 0]).mean()),
        "made better": _round((ranks[:, 1] < ranks[:, 0]).mean()),
        "statuses": {status: _round(count / len(trials)) for status, count in statuses.most_common()},
        "calls a query": _round(np.mean([cost.calls for cost in costs])),
        "generated tokens a query": _round(np.mean([cost.generated_tokens for cost in costs])),
        "seconds a query": _round(np.mean([cost.seconds for cost in costs])),
    }


def interval(differences: Floats) -> dict[str, float]:
    """The mean of paired differences with its 95 % interval over resampled queries, as `mmrerank evaluate` takes it."""
    mean = mean_interval(differences)
    return {"value": _round(mean.value), "low": _round(mean.low), "high": _round(mean.high)}


def area_interval(scores: Sequence[Floats], seed: int = 0) -> dict[str, float]:
    """The area under the curve of targets against negatives over all queries, with its interval over resampled queries.

    Args:
        scores: (1 + n_negatives,) of each query, the target's first.
    """

    def areas(samples: npt.NDArray[np.int64]) -> Floats:
        return np.array([_area([scores[n] for n in row]) for row in samples])

    return _interval(np.array([_area(scores)]), areas, seed, queries=len(scores), resamples=200)


def _area(scores: Sequence[Floats]) -> float:
    positive = np.concatenate([np.arange(len(row)) == 0 for row in scores])
    return score_auc(np.concatenate(scores), positive)


def _interval(
    values: Floats,
    statistic: Callable[[npt.NDArray[np.int64]], Floats],
    seed: int,
    *,
    queries: int | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, float]:
    count = queries or len(values)
    samples = np.random.default_rng(seed).integers(0, count, (resamples, count))
    low, high = np.quantile(statistic(samples), [0.025, 0.975])
    return {"value": _round(values.mean()), "low": _round(low), "high": _round(high)}


def _round(value: float | np.floating[Any]) -> float:
    return round(float(value), 4)
