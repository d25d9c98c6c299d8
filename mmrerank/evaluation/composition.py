"""How much an answer owes to both sides of a composed query: the composition gap.

The gap is the recall at 10 with picture and text, less that of the better of text alone and pictures alone, over the queries that have
both. A system with a gap of nothing retrieves well by one side, and composes nothing.
Source: Attimonelli et al. 2026 (CIRCUS, arXiv 2605.14787), whose released code takes the same difference of means; the interval, paired by
query against the side that is better in the mean, is ours.  Cost: two more searches a query, and with rerankers what these take.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

from mmrerank.evaluation.benchmark import Benchmark
from mmrerank.evaluation.comparison import gains
from mmrerank.evaluation.running import Outcome, System, judgements
from mmrerank.evaluation.summary import interval
from mmrerank.measures.scoring import score
from mmrerank.types import Query

Side: TypeAlias = Literal["text", "pictures"]
SIDES: tuple[Side, ...] = ("text", "pictures")
RECALL, BY_GROUPS = "R@10", "R@10(macro)"


def composed(benchmark: Benchmark) -> tuple[Query, ...]:
    """The queries that have a text and a picture."""
    return tuple(query for query in benchmark.queries if query.text and query.images)


def one_sided(benchmark: Benchmark, side: Side) -> Benchmark:
    """The composed queries with one of their sides alone."""
    queries = (replace(query, images=(), weights=()) if side == "text" else replace(query, text=None) for query in composed(benchmark))
    return replace(benchmark, queries=tuple(queries))


def composition(outcome: Outcome, sides: Mapping[Side, Sequence[System]]) -> dict[str, Any]:
    """The gap of each system, as JSON.

    Args:
        sides: the systems over the queries of one side, the first stage first. Where a side went through the first stage alone, the gap of
            what follows is taken over that too, and `over` says so.

    Returns:
        `measure`, `queries` (how many are composed), and of each system `name`, `both`, `text` and `pictures` (what each side reaches
        alone), the better side (`over`, by `over_system`), and the gap as `value` with `low`, `high` and `p`.
    """
    benchmark = replace(outcome.benchmark, queries=composed(outcome.benchmark))
    measure = BY_GROUPS if BY_GROUPS in benchmark.measures else RECALL
    systems = (*outcome.systems, *outcome.others)
    rows = [_row(system, _alone(outcome, place, sides), benchmark, measure) for place, system in enumerate(systems)]
    return {"measure": measure, "queries": len(benchmark.queries), "systems": rows}


def _alone(outcome: Outcome, place: int, sides: Mapping[Side, Sequence[System]]) -> dict[Side, System]:
    """Each side through the same stages as the system at this place, or through the first stage where it went no further."""
    own = place < len(outcome.systems)
    return {side: systems[place] if own and place < len(systems) else systems[0] for side, systems in sides.items()}


def _row(system: System, alone: Mapping[Side, System], benchmark: Benchmark, measure: str) -> dict[str, Any]:
    judged = judgements(benchmark)
    both = score(system.rankings, judged, [measure])
    scored = {side: score(one.rankings, judged, [measure]) for side, one in alone.items()}
    means = {side: one.mean(measure) for side, one in scored.items()}
    better = max(means, key=lambda side: means[side])
    gap = gains(scored[better], [both], measure)[0]
    row: dict[str, Any] = {"name": system.name, "both": round(both.mean(measure), 6)}
    row |= {side: round(mean, 6) for side, mean in means.items()}
    return row | {"over": better, "over_system": alone[better].name, **interval(gap.interval), "p": round(gap.p_value, 6)}
