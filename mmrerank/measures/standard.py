"""Means of rankings as the search gives them, by the names of measures; the shortest way to a few figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmrerank.measures.scoring import Judgements, score
from mmrerank.types import Qrels, Ranking


def mean(rankings: Mapping[str, Ranking], qrels: Qrels, names: Sequence[str]) -> dict[str, float]:
    """Measure name -> mean over the queries of the qrels; a query without a ranking counts as 0.

    Raises:
        UnknownName: a measure that there is none of.
        InputError: the qrels hold no query.
    """
    scores = score({query_id: ranking.item_ids for query_id, ranking in rankings.items()}, Judgements(qrels=qrels), names)
    return {name: scores.mean(name) for name in names}
