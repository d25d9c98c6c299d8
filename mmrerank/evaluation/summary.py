"""An outcome in figures: means with intervals, gains over the first stage, the ceiling, what it took; as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from mmrerank.evaluation.comparison import Gain, Interval, gains, intervals, oracle
from mmrerank.evaluation.running import Outcome, System, judgements
from mmrerank.measures.names import parse_measure
from mmrerank.measures.scoring import Scores, score
from mmrerank.types import Status

GRAVEST_FIRST: tuple[Status, ...] = ("fallback", "repaired", "completed")


def summary(outcome: Outcome) -> dict[str, Any]:
    """Everything that is told of an outcome, each system and each other run against the first stage; without judgements, what it took.

    `systems[n]["measures"]` holds mean and interval, `systems[n]["gains"]` what is added to the first stage, `ceiling` the
    means of the best order at the depth, `groups` the means within each group of queries.
    """
    if not outcome.benchmark.judged:
        unmeasured = [{**_facts(system, outcome.depth), "measures": {}, "gains": {}, "groups": {}} for system in outcome.systems]
        return {"depth": outcome.depth, "candidates": outcome.candidates, "systems": unmeasured, "ceiling": {}}
    scored = outcome.scored()
    names = outcome.benchmark.measures
    gained = {name: gains(scored[0], scored[1:], name) for name in names}
    systems = [
        {
            **_facts(system, outcome.depth),
            "measures": {name: interval(mean) for name, mean in intervals(scores).items()},
            "gains": {name: gain_as_json(gained[name][n - 1]) for name in names} if n else {},
            "groups": _groups(scores),
        }
        for n, (system, scores) in enumerate(zip((*outcome.systems, *outcome.others), scored, strict=True))
    ]
    return {"depth": outcome.depth, "candidates": outcome.candidates, "systems": systems, "ceiling": _ceiling(outcome)}


def _facts(system: System, depth: int) -> dict[str, Any]:
    own = (system.depth or depth) if system.timed else system.length
    return {"name": system.name, "stages": list(system.stages), "depth": own, "cost": _cost(system), "notes": dict(system.notes)}


def unheard(system: Mapping[str, Any]) -> str:
    """For how many queries the order of a system is not, or not wholly, its last stage's: `3 of 3 queries: fallback`; "" for none."""
    count = sum(system["notes"].values())
    counts = (f"{system['notes'][status]} of {count} queries: {status}" for status in GRAVEST_FIRST if system["notes"].get(status))
    return ", ".join(counts)


def costs(system: Mapping[str, Any]) -> dict[str, str]:
    """Milliseconds, calls, tokens and cached answers per query as they are shown; "-" where they are not known."""
    cost = system["cost"]
    if cost["seconds"] is None:
        return dict.fromkeys(("ms", "calls", "tokens", "cached"), "-")
    texts = {"ms": f"{cost['seconds'] * 1000:.0f}", "calls": f"{cost['calls']:.1f}", "tokens": f"{cost['tokens']:.0f}"}
    return {**texts, "cached": f"{cost['cached']:.1f}" if cost["cached"] else ""}


def interval(mean: Interval) -> dict[str, float | None]:
    """As JSON: rounded to what repeats on other machines too; null where no query counts."""
    return {name: _rounded(value) for name, value in asdict(mean).items()}


def _rounded(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def gain_as_json(gain: Gain) -> dict[str, Any]:
    """A gain with its interval, p and counts."""
    return {
        **interval(gain.interval),
        "p": _rounded(gain.p_value),
        "p_holm": _rounded(gain.p_holm),
        "wins": gain.wins,
        "ties": gain.ties,
        "losses": gain.losses,
    }


def _cost(system: System) -> dict[str, float | None]:
    """Per query: model calls, answers from the cache, tokens, seconds from the first stage on; None where they are not known."""
    if not system.timed:
        return dict.fromkeys(("calls", "cached", "tokens", "seconds"))
    queries = max(len(system.rankings), 1)
    cost = system.cost
    return {
        "calls": cost.calls / queries,
        "cached": cost.cached / queries,
        "tokens": cost.tokens / queries,
        "seconds": system.seconds / queries,
    }


def _ceiling(outcome: Outcome) -> dict[str, float | None]:
    judged = judgements(outcome.benchmark)
    best = oracle(outcome.systems[0].rankings, judged.qrels, outcome.depth)
    scores = score(best, judged, outcome.benchmark.measures)
    return {name: _rounded(scores.mean(name)) for name in scores.values}


def _groups(scores: Scores) -> dict[str, Mapping[str, float | None]]:
    """Group -> measure -> mean over its queries, and `mean of groups` last; empty where there is one group only."""
    members: dict[str, list[int]] = {}
    for place, query_id in enumerate(scores.query_ids):
        if query_id in scores.groups:
            members.setdefault(scores.groups[query_id], []).append(place)
    if len(members) < 2:
        return {}
    means = {
        group: {name: _mean(values[places].tolist()) for name, values in scores.values.items()} for group, places in sorted(members.items())
    }
    means["mean of groups"] = {name: _mean([row[name] for row in means.values()]) for name in scores.values}
    return {group: {name: _rounded(value) for name, value in row.items()} for group, row in means.items()}


def within_groups(names: Iterable[str]) -> list[str]:
    """The measures to show of a group: without the means over groups, which are the plain measure within one."""
    measures = list(names)
    return [name for name in measures if not parse_measure(name).macro] or measures


def _mean(values: list[float]) -> float:
    counted = [value for value in values if math.isfinite(value)]
    return sum(counted) / len(counted) if counted else math.nan
