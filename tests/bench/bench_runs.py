"""What runs are worth over a whole set: alone, fused with their first stage by rank, and against each other.

Nothing is asked of a model: `mmrerank evaluate ... --rerank X --out DIR` leaves DIR/run.trec and DIR/first_stage.trec, and answers that are
at hand make that quick. Each run is cut at the depth that its reranker saw.

    python tests/bench/bench_runs.py datasets/emoji/card.toml --data datasets/emoji --split test --depth 9 --measure R@1 \
        --first runs/sft/first_stage.trec --run sft=runs/sft/run.trec --run contrast=runs/contrast/run.trec

Baseline: the first stage. Differences are paired by query, with 95 % intervals by bootstrap and p by permutation. Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

from mmrerank.evaluation.benchmark import open_benchmark
from mmrerank.evaluation.comparison import gains, intervals
from mmrerank.evaluation.runs import read_run
from mmrerank.fusion import reciprocal_rank_fusion
from mmrerank.measures.scoring import Judgements, Scores, score

FIRST = "first stage"


def orders(path: Path, depth: int) -> dict[str, list[str]]:
    return {query_id: list(ids)[:depth] for query_id, ids in read_run(path).rankings.items()}


def fused(first: Mapping[str, list[str]], second: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {query_id: [one for one, _ in reciprocal_rank_fusion([first[query_id], second[query_id]])] for query_id in first}


def differences(scores: Mapping[str, Scores], names: list[str], measure: str) -> Iterator[dict[str, Any]]:
    """Everything over the first stage, and the runs over each other."""
    for base, name in [*((FIRST, name) for name in scores if name != FIRST), *combinations(names, 2)]:
        (gain,) = gains(scores[base], [scores[name]], measure)
        yield {"of": name, "over": base, **asdict(gain.interval), "p": gain.p_value, "wins": gain.wins, "losses": gain.losses}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("card", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--measure", default="R@1")
    parser.add_argument("--first", type=Path, required=True, help="TREC run of the first stage")
    parser.add_argument("--run", action="append", required=True, metavar="NAME=FILE")
    options = parser.parse_args()
    paths = dict(entry.split("=", 1) for entry in options.run)
    first = orders(options.first, options.depth)
    runs = {name: orders(Path(path), options.depth) for name, path in paths.items()}
    systems = {FIRST: first, **runs, **{f"{name}, fused": fused(first, run) for name, run in runs.items()}}
    judgements = Judgements(qrels=open_benchmark(options.card, options.data, options.split).qrels)
    scores = {name: score(system, judgements, [options.measure]) for name, system in systems.items()}
    result: dict[str, Any] = {
        "bench": "runs",
        "queries": len(first),
        "measures": {name: asdict(intervals(some)[options.measure]) for name, some in scores.items()},
        "differences": list(differences(scores, list(paths), options.measure)),
    }
    for name, value in result["measures"].items():
        print(f"{name}: {value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})")
    for row in result["differences"]:
        print(f"{row['of']} over {row['over']}: {row['value']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f}), p {row['p']:.4f}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
