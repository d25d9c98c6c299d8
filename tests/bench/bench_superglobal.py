"""What refining a shortlist costs beside the one product it cannot do without, and what it gains or loses.

Which cost dominates: the product C C' of the shortlist with itself (M * M * D multiply-adds, the ceiling printed here). What comes
on top is passes over (M, M) arrays, whose share grows as D falls, and for the adaptive setting one more (M, M, M) product of 0s
and 1s. The plain transcription of the published algorithm gathers an (M, K + 1, D) array besides, and passes over it dominate.

    python tests/bench/bench_superglobal.py        real photographs are measured where ../shared/data has them

One thread. The calls of a ratio are taken in turn within one run; times of two runs do not compare. The synthetic sets were
drawn once, with the settings below, and nothing was chosen by them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"  # read when numpy is imported

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
from measuring import taken  # noqa: E402

from mmrerank.rerankers.superglobal import refine  # noqa: E402
from mmrerank.types import Array  # noqa: E402

REAL_PHOTOS = Path(__file__).parents[3] / "shared" / "data" / "instance_photos" / "dev"
DEPTH = 400
SETTINGS: dict[str, dict[str, Any]] = {"published": {"neighbours": 9}, "adaptive": {"neighbours": "adaptive"}}
NOISES = (1.2, 1.6, 2.0)  # length of the noise beside a group's own 1
GROUPS = {"3-10": 300, "30-60": 44}  # size of the groups -> how many, for some 2,000 rows each
DISTRACTORS, DIMENSION, QUERIES = 2000, 256, 60


@dataclass(frozen=True)
class Problem:
    """Rows and, for each query, its row, the rows that are right and those the protocol leaves out."""

    rows: Array
    queries: Array
    positives: list[npt.NDArray[np.int64]]
    ignored: list[npt.NDArray[np.int64]]


def unit(rows: npt.NDArray[Any]) -> Array:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def plain(query: Array, shortlist: Array, neighbours: int = 9, beta: float = 0.15) -> Array:
    """The published algorithm as it is written down, with the (M, K + 1, D) array of gathered neighbours."""
    gram, k = shortlist @ shortlist.T, min(neighbours + 1, len(shortlist))
    nearest = np.argsort(-gram, axis=1, kind="stable")[:, :k]
    weights = beta * np.take_along_axis(gram, nearest, axis=1)
    weights[:, 0] = 1
    refined = (weights[:, :, None] * shortlist[nearest]).sum(axis=1) / weights.sum(axis=1, keepdims=True)
    first = refined @ query
    expanded = refined[np.argsort(-first, kind="stable")[:k]].max(axis=0)
    scores: Array = (first + refined @ expanded) / 2
    return scores


# ---------------------------------------------------------------------- cost


def peak_bytes(call: Callable[[], Any]) -> int:
    """The most that a call holds beside its input."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def costs(shortlist_size: int, dimension: int, repeats: int) -> dict[str, dict[str, float]]:
    rows = unit(np.abs(np.random.default_rng(0).standard_normal((shortlist_size + 1, dimension))))
    query, shortlist = rows[0], rows[1:]
    assert np.allclose(refine(query, shortlist), plain(query, shortlist), atol=5e-6)
    calls: dict[str, Callable[[], Any]] = {
        "product": lambda: shortlist @ shortlist.T,
        **{name: (lambda options=options: refine(query, shortlist, **options)) for name, options in SETTINGS.items()},
        "plain": lambda: plain(query, shortlist),
    }
    seconds = taken(calls, repeats)
    floats = 4 * (shortlist_size**2 + shortlist_size * dimension)
    print(f"\nM = {shortlist_size}, D = {dimension}: median time (quartiles), ratio to the product in the same round, peak memory")
    return {name: cost(name, seconds, peak_bytes(call) / floats) for name, call in calls.items()}


def cost(name: str, seconds: dict[str, list[float]], memory: float) -> dict[str, float]:
    low, middle, high = (1000 * value for value in statistics.quantiles(seconds[name], n=4))
    ratios = [one / product for one, product in zip(seconds[name], seconds["product"], strict=True)]
    ratio_low, ratio, ratio_high = statistics.quantiles(ratios, n=4)
    print(
        f"  {name:10s}{middle:8.2f} ms ({low:.2f}-{high:.2f}) {ratio:7.2f} x ({ratio_low:.2f}-{ratio_high:.2f})"
        f"   {memory:5.2f} x (M*M + M*D) floats"
    )
    return {"ms": middle, "to_product": ratio, "to_product_low": ratio_low, "to_product_high": ratio_high, "memory": memory}


# ---------------------------------------------------------------------- quality


def real_photos(folder: Path) -> Problem:
    rows = np.load(folder / "mobilenet_v1.npy").astype(np.float32)
    place = {json.loads(line)["image"]: n for n, line in enumerate((folder / "images.jsonl").read_text().splitlines())}
    asked = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    own = np.array([place[query["query_image"]] for query in asked])
    left_out = [[place[name] for name in [query["query_image"], *(query.get("ignore") or [])]] for query in asked]
    return Problem(
        rows=rows,
        queries=rows[own],
        positives=[np.array([place[name] for name in query["positives"]]) for query in asked],
        ignored=[np.array(places) for places in left_out],
    )


def synthetic(sizes: str, noise: float) -> Problem:
    """Groups of noisy unit rows among distractors; half of the noise lies in 16 directions that all rows share, as light and
    viewpoint do, and half anywhere."""
    generator = np.random.default_rng(0)
    low, high = map(int, sizes.split("-"))
    members = generator.integers(low, high + 1, GROUPS[sizes])
    group = np.concatenate([np.repeat(np.arange(len(members)), members), np.arange(DISTRACTORS) + len(members)])
    centres = unit(generator.standard_normal((int(group.max()) + 1, DIMENSION)))
    shared = np.linalg.qr(generator.standard_normal((DIMENSION, 16)))[0]
    common = unit(generator.standard_normal((len(group), 16))) @ shared.T
    own = unit(generator.standard_normal((len(group), DIMENSION)))
    rows = unit(centres[group] + noise * (common + own) / 2**0.5)
    first = np.concatenate([[0], np.cumsum(members)[:-1]])[:QUERIES]  # the first member of a group asks for the others
    positives = [np.arange(start + 1, start + count) for start, count in zip(first, members, strict=False)]
    return Problem(rows=rows, queries=rows[first], positives=positives, ignored=[np.array([n]) for n in first])


def precisions(problem: Problem, options: dict[str, Any] | None) -> npt.NDArray[np.float64]:
    """(n_queries,) average precision of the first stage, or of its best DEPTH refined."""
    values = []
    for query, positives, ignored in zip(problem.queries, problem.positives, problem.ignored, strict=True):
        order = np.argsort(-(problem.rows @ query), kind="stable")
        order = order[~np.isin(order, ignored)]
        if options is not None:
            head = order[:DEPTH]
            order[:DEPTH] = head[np.argsort(-refine(query, problem.rows[head], **options), kind="stable")]
        ranks = np.flatnonzero(np.isin(order, positives)) + 1
        values.append(float(np.mean(np.arange(1, len(ranks) + 1) / ranks)))
    return np.array(values)


def quality(name: str, problem: Problem) -> dict[str, Any]:
    """mAP of the first stage and both settings, and what each adds with a 95 % interval over queries (paired bootstrap)."""
    first = precisions(problem, None)
    result: dict[str, Any] = {"first_stage": float(first.mean())}
    line = f"  {name:40s}{first.mean():.3f}"
    draws = np.random.default_rng(0).integers(0, len(first), (2000, len(first)))
    for setting, options in SETTINGS.items():
        gains = precisions(problem, options) - first
        low, high = np.quantile(gains[draws].mean(axis=1), [0.025, 0.975])
        result[setting] = {"mAP": float((first + gains).mean()), "gain": float(gains.mean()), "low": float(low), "high": float(high)}
        line += f"   {result[setting]['mAP']:.3f} ({low:+.3f} to {high:+.3f})"
    print(line)
    return result


def all_qualities() -> dict[str, Any]:
    print(f"\nmAP at depth {DEPTH}: first stage, then published and adaptive with the 95 % interval of what they add")
    found = {}
    if REAL_PHOTOS.is_dir():
        found["real photos"] = quality("433 real photos, 1 to 11 positives", real_photos(REAL_PHOTOS))
    for sizes in GROUPS:
        for noise in NOISES:
            found[f"groups of {sizes}, noise {noise}"] = quality(f"synthetic groups of {sizes}, noise {noise}", synthetic(sizes, noise))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shortlist", type=int, default=DEPTH)
    parser.add_argument("--dimension", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=40)
    asked = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, 1 thread used; numpy {np.__version__}; {asked.repeats} repeats after 1 warm-up")
    measured = costs(asked.shortlist, asked.dimension, asked.repeats)
    found = all_qualities()
    print(json.dumps({"bench": "superglobal", "shortlist": asked.shortlist, "dimension": asked.dimension, "cost": measured, "mAP": found}))


if __name__ == "__main__":
    main()
