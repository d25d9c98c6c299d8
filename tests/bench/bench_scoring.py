"""What it costs to score rankings with intervals, beside ir_measures alone on the same rankings.

Which cost dominates: trec_eval's pass over all judged and ranked ids, which is ir_measures alone; it grows with the number of
candidates. Ours on top is a dict of falling scores per query, which grows likewise, and the intervals, a (2000, n_queries) product
per measure, which does not. The floor is ir_measures on dicts that are made already.

    python tests/bench/bench_scoring.py

One thread. The calls are taken in turn within one run, and a ratio is of two calls of one round; times of two runs do not compare.
Wanted: below 5 s, and at most 3 times ir_measures alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from importlib.metadata import version

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"  # read when numpy is imported

import ir_measures  # noqa: E402
import numpy as np  # noqa: E402
from measuring import taken  # noqa: E402

from mmrerank.evaluation.comparison import DRAWS, Interval, gains, intervals  # noqa: E402
from mmrerank.measures.chance import FLIPS  # noqa: E402
from mmrerank.measures.scoring import Judgements, Scores, score  # noqa: E402

MEASURES = ("nDCG@10", "R@1", "R@10", "R@100", "AP", "RR")
POSITIVES = 8  # per query, of grades 1 to 3, and one more that no ranking holds
ITEMS = 20_000


def problem(queries: int, candidates: int) -> tuple[dict[str, tuple[str, ...]], dict[str, dict[str, int]]]:
    """Rankings whose positives stand rather in front, and their qrels."""
    generator = np.random.default_rng(0)
    rankings, qrels = {}, {}
    for n in range(queries):
        ids = [f"photos/{place:05}.jpg" for place in generator.choice(ITEMS, candidates, replace=False)]
        places = np.unique((candidates * generator.random(POSITIVES) ** 3).astype(int))
        rankings[f"query {n}"] = tuple(ids)
        qrels[f"query {n}"] = {ids[place]: int(generator.integers(1, 4)) for place in places} | {"not found": 1}
    return rankings, qrels


def alone(run: dict[str, dict[str, float]], qrels: dict[str, dict[str, int]]) -> dict[str, dict[str, float]]:
    """Measure -> query -> value, by ir_measures on dicts."""
    found: dict[str, dict[str, float]] = {name: {} for name in MEASURES}
    for metric in ir_measures.iter_calc([ir_measures.parse_measure(name) for name in MEASURES], qrels, run):
        found[str(metric.measure)][metric.query_id] = metric.value
    return found


def check(scores: Scores, found: dict[str, Interval], theirs: dict[str, dict[str, float]]) -> None:
    """The values are those of ir_measures to the last digit, and an interval is what drawing queries one by one gives."""
    generator = np.random.default_rng(1)
    for name in MEASURES:
        values = scores.values[name]
        assert values.tolist() == [theirs[name][query_id] for query_id in scores.query_ids], name
        means = [float(np.mean(generator.choice(values, len(values)))) for _ in range(DRAWS)]
        low, high = np.quantile(means, [0.025, 0.975])
        assert found[name].low < found[name].value < found[name].high
        assert abs(found[name].low - low) + abs(found[name].high - high) < 0.15 * (high - low), name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=7)
    asked = parser.parse_args()
    rankings, qrels = problem(asked.queries, asked.candidates)
    judged = Judgements(qrels=qrels)
    run = {query: {item: -float(place) for place, item in enumerate(ids)} for query, ids in rankings.items()}
    libraries = ", ".join(f"{name} {version(name)}" for name in ("ir_measures", "pytrec_eval-terrier", "numpy"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, 1 thread used; Python {platform.python_version()}, {libraries}")
    print(f"{asked.queries} queries x {asked.candidates} candidates, {len(MEASURES)} measures: {', '.join(MEASURES)}")
    print(f"{DRAWS} draws an interval, {FLIPS} flips a test; {asked.repeats} repeats after 1 warm-up; median (quartiles)")

    scores = score(rankings, judged, MEASURES)
    check(scores, intervals(scores), alone(run, qrels))
    turned = score({query: ids[::-1] for query, ids in rankings.items()}, judged, MEASURES)
    seconds = taken(
        {
            "ir_measures alone": lambda: alone(run, qrels),
            "scored with intervals": lambda: intervals(score(rankings, judged, MEASURES)),
            "intervals": lambda: intervals(scores),
            "gains of one system": lambda: [gains(scores, [turned], name) for name in MEASURES],
        },
        asked.repeats,
    )
    medians = {}
    for name, spent in seconds.items():
        low, medians[name], high = statistics.quantiles(spent, n=4)
        print(f"  {name:22s}{medians[name]:7.3f} s ({low:.3f}-{high:.3f})")
    ratios = [own / base for own, base in zip(seconds["scored with intervals"], seconds["ir_measures alone"], strict=True)]
    low, ratio, high = statistics.quantiles(ratios, n=4)
    print(f"  scored with intervals, to ir_measures alone in the same round: {ratio:.2f} ({low:.2f}-{high:.2f})")
    sizes = {"queries": asked.queries, "candidates": asked.candidates, "measures": list(MEASURES)}
    print(json.dumps({"bench": "scoring", **sizes, "seconds": medians, "ratio": ratio, "ratio_low": low, "ratio_high": high}))


if __name__ == "__main__":
    main()
