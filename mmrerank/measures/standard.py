"""The field's standard measures by name (`R@1`, `RR`, `AP@10`, `nDCG@10`), computed by ir_measures.

A name parses back to its measure, so every parameter that moves the number is in it. Values are means over the queries
of the qrels; a query without a ranking counts as 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ir_measures

from mmrerank.errors import InputError, UnknownName
from mmrerank.types import Qrels, Ranking


def measure(name: str) -> ir_measures.measures.Measure:
    """The measure of this name.

    Raises:
        UnknownName: ir_measures knows none such.
    """
    try:
        return ir_measures.parse_measure(name)
    except (NameError, ValueError, SyntaxError) as error:
        raise UnknownName(f"no measure is called {name!r}: {error}", hint="Such as R@1, R@10, RR, AP, nDCG@10, P@5, Success@1.") from error


def per_query(rankings: Mapping[str, Ranking], qrels: Qrels, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Measure name -> query id -> value, for every query of the qrels.

    Raises:
        InputError: the qrels hold no query.
    """
    if not qrels:
        raise InputError("there are no judged queries to measure on")
    measures = {str(measure(name)): name for name in names}
    run = {query_id: _by_position(rankings[query_id]) for query_id in qrels if query_id in rankings}
    values = {name: dict.fromkeys(qrels, 0.0) for name in names}
    for metric in ir_measures.iter_calc([measure(name) for name in names], {q: dict(g) for q, g in qrels.items()}, run):
        values[measures[str(metric.measure)]][metric.query_id] = float(metric.value)
    return values


def mean(rankings: Mapping[str, Ranking], qrels: Qrels, names: Sequence[str]) -> dict[str, float]:
    """Measure name -> mean over the queries of the qrels."""
    return {name: sum(values.values()) / len(values) for name, values in per_query(rankings, qrels, names).items()}


def _by_position(ranking: Ranking) -> dict[str, float]:
    """Scores that fall with the position: evaluators order by score, and a reranker may give none."""
    return {item_id: -float(position) for position, item_id in enumerate(ranking.item_ids)}
