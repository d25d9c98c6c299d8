"""How much a variant of a benchmark changed the rankings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from mmrerank.evaluation.comparison import gains
from mmrerank.evaluation.running import Outcome
from mmrerank.evaluation.summary import gain_as_json
from mmrerank.evaluation.variants import Exclusions, Variant

NEGATIVES_AT = 10


def stability(plain: Outcome, changed: Outcome) -> dict[str, float | None]:
    """How alike the last stage's rankings are with and without the change, as means over the queries; None where none counts.

    `same_first`: share of queries with the same first item; `overlap_10`: shared items of the first ten; `kendall_tau`: order
    of the items that both have within the depth, 1 the same and -1 reversed, over the queries where these are two or more.
    """
    before, after = plain.systems[-1].rankings, changed.systems[-1].rankings
    pairs = [(before[query_id], after[query_id]) for query_id in before if query_id in after]
    orders = [kendall_tau(a[: plain.depth], b[: plain.depth]) for a, b in pairs]
    return {
        "same_first": _mean([float(a[:1] == b[:1]) for a, b in pairs]),
        "overlap_10": _mean([len(set(a[:10]) & set(b[:10])) / max(len(a[:10]), len(b[:10]), 1) for a, b in pairs]),
        "kendall_tau": _mean([tau for tau in orders if math.isfinite(tau)]),
    }


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 6) if values else None


def gain_of(plain: Outcome, changed: Outcome) -> dict[str, dict[str, float | int | None]]:
    """What the change adds to the last stage by each measure, paired by query: two pictures, exclusions and negatives cost or help."""
    before, after = (outcome.scored()[len(outcome.systems) - 1] for outcome in (plain, changed))
    return {name: gain_as_json(gains(before, [after], name)[0]) for name in plain.benchmark.measures}


def spread(outcomes: Sequence[Outcome]) -> dict[str, float | None]:
    """How far the wordings of a query lie apart, of the last stage: by each measure the largest less the smallest value of a query, as
    mean over the queries that count. PinPoint reports a share of its measure; its formula was not to be had, this one is ours."""
    spreads = {}
    for name in outcomes[0].benchmark.measures:
        values = np.array([outcome.scored()[len(outcome.systems) - 1].values[name] for outcome in outcomes])  # (n_wordings, n_queries)
        apart = values.max(axis=0) - values.min(axis=0)
        spreads[name] = _mean(apart[np.isfinite(apart)].tolist())
    return spreads


def negatives_retrieved(changed: Outcome, placed: Mapping[str, AbstractSet[str]], k: int = NEGATIVES_AT) -> dict[str, float | None]:
    """Share of the first k of a query that are negatives which the variant put among its candidates, after the first and the last
    stage, as mean over the queries that have any. Source: PinPoint (arXiv 2603.04598), whose negatives are judged ones."""
    stages = {"first_stage": changed.systems[0], "last_stage": changed.systems[-1]}
    own = {query_id: ids for query_id, ids in placed.items() if ids}
    shares = {
        stage: [len(own[query_id] & set(system.rankings.get(query_id, ())[:k])) / k for query_id in own] for stage, system in stages.items()
    }
    return {stage: _mean(values) for stage, values in shares.items()}


def kendall_tau(one: Sequence[str], other: Sequence[str]) -> float:
    """Agreement in the order of the items that both rankings have; NaN where that is fewer than two, which have no order.

    >>> kendall_tau("abc", "cba")
    -1.0
    """
    place = {item: n for n, item in enumerate(other)}
    order = np.array([place[item] for item in one if item in place])
    if len(order) < 2:
        return math.nan
    above = np.triu(order[:, None] < order[None, :], 1).sum()
    pairs = len(order) * (len(order) - 1) / 2
    return float(2 * above / pairs - 1)


def unmoved(variant: Variant, plain: Outcome, changed: Outcome) -> list[str]:
    """A note where exclusions moved neither an item nor a score: then no part took heed of them, and the shares of 1 say nothing."""
    before, after = plain.systems[-1], changed.systems[-1]
    if not isinstance(variant.options, Exclusions) or (before.rankings, before.scores) != (after.rankings, after.scores):
        return []
    return [f"{variant.name} changed no ranking and no score: neither first stage nor rerankers take heed of what is excluded"]
