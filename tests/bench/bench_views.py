"""Whether the views of an MVP network differ: AP by each view alone and by their mean, and how alike the orders of two views are.

    python tests/bench/bench_views.py --with mvp/FOLDER --lists DATA/wikiqa/dev.jsonl

Which cost dominates: the encoder, one pass a passage. `alike` is Kendall's tau between the orders of two views, averaged over pairs of
views and questions; 1 is the same order. Intervals are 95 %, by bootstrap over questions; the last line is JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmrerank.evaluation.comparison import mean_interval
from mmrerank.parts import make
from mmrerank.training.data import Group, lists


def average_precision(scores: Sequence[float], grades: Sequence[int]) -> float:
    """Of the order by falling scores."""
    ranked = np.array(grades)[np.argsort(-np.asarray(scores), kind="stable")] > 0
    return float((np.cumsum(ranked) / np.arange(1, len(ranked) + 1))[ranked].mean())


def kendall(one: Sequence[float], other: Sequence[float]) -> float:
    """Share of pairs in the same order less that of those in the other, of pairs that neither has even."""
    a, b = (np.sign(np.subtract.outer(np.asarray(x), np.asarray(x)))[np.triu_indices(len(x), 1)] for x in (one, other))
    return float((a * b).sum() / max((a * b != 0).sum(), 1))


def view_scores(reranker: Any, group: Group) -> tuple[np.ndarray[Any, Any], list[int]]:
    """(n_views, n_candidates) scores, and the candidates' grades."""
    ranking = reranker.rerank(group.query, list(group.candidates))
    rows = [list(ranking.notes.explanations[one.item.item_id].scores.values()) for one in ranking.candidates]
    return np.array(rows).T, [group.grade(one) for one in ranking.candidates]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--with", dest="name", required=True, help="the reranker with its folder")
    parser.add_argument("--lists", type=Path, required=True, help="judged lists")
    arguments = parser.parse_args()
    reranker = make(arguments.name, station="rerankers")
    groups = [group for group in lists(arguments.lists.parent, [arguments.lists.name]).groups if group.is_mixed]
    tables = [view_scores(reranker, group) for group in groups]
    count = len(tables[0][0])
    values = {f"view {k + 1}": [average_precision(scores[k], grades) for scores, grades in tables] for k in range(count)}
    values["their mean"] = [average_precision(scores.mean(axis=0), grades) for scores, grades in tables]
    pairs = list(itertools.combinations(range(count), 2))
    values["alike"] = [float(np.mean([kendall(scores[a], scores[b]) for a, b in pairs])) for scores, _ in tables]
    result: dict[str, Any] = {"bench": "views", "queries": len(groups)}
    for name, row in values.items():
        span = mean_interval(np.array(row))
        result[name] = [span.value, span.low, span.high]
        print(f"{name:12s} {span.value:.3f} ({span.low:.3f} to {span.high:.3f})")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
