"""Whether an index on a GPU finds what its twin on the CPU does, and what it costs there; for a machine that has one.

Which cost dominates: the first search after a change copies the index to the GPU; then batches are answered in parallel, and a query
alone pays for the way there and back. The CPU is the oracle: with the same lists and codes both must find the same rows, but for the
order of scores that rounding parts.

    python tests/bench/bench_gpu_index.py --clip ../shared/data/clip_embeddings/flickr8k_vitb32     needs faiss-gpu (extra `gpu`)

It ends with one JSON line, and with exit code 1 where they differ. Without a GPU it says so and ends with 2: nothing was checked.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from measuring import taken
from scale_rows import ClipRows

from mmrerank.errors import InputError, MissingExtra
from mmrerank.parts import make
from mmrerank.types import Array, Neighbours

KINDS = {
    "flat": 'kind="flat"',
    "flat-fp16": 'kind="flat", storage="fp16"',
    "ivf": 'kind="ivf", probes=64',
    "ivf-fp16": 'kind="ivf", storage="fp16", probes=64',
    "ivf-sq8": 'kind="ivf", storage="sq8", probes=64',
}
CPU_ONLY = {"hnsw": 'kind="hnsw"', "rabitq": 'kind="ivf", storage="rabitq"', "pq": 'kind="ivf", storage="pq"'}
K, BATCH, LEAST_ALIKE, NEAR = 10, 256, 0.995, 2e-3


def pair(options: str, rows: Array, folder: Path) -> tuple[Any, Any]:
    """One index, built on the CPU; the same file opened for the CPU and for the GPU."""
    index = make(f"faiss_index({options})", station="index", dimension=rows.shape[1])
    index.add(np.arange(len(rows)), rows)
    index.save(folder / "index")
    twins = [make(f'faiss_index({options}, device="{device}")', station="index", dimension=rows.shape[1]) for device in ("cpu", "gpu")]
    for twin in twins:
        twin.open(folder / "index")
    return twins[0], twins[1]


def alike(one: list[Neighbours], other: list[Neighbours]) -> tuple[float, float]:
    """Share of places with the same row, and the largest difference between scores of one place."""
    shares = [len(np.intersect1d(a.ids, b.ids)) / max(1, len(b.ids)) for a, b in zip(one, other, strict=True)]
    apart = [float(np.abs(a.scores - b.scores).max(initial=0)) for a, b in zip(one, other, strict=True) if len(a.scores) == len(b.scores)]
    lengths = all(len(a.ids) == len(b.ids) for a, b in zip(one, other, strict=True))
    return float(np.mean(shares)) if lengths else 0.0, max(apart, default=float("inf"))


def compared(options: str, rows: Array, queries: Array) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        cpu, gpu = pair(options, rows, Path(folder))
        results: dict[str, Any] = {}
        for name, allowed in {"all": None, "1%": np.arange(0, len(rows), 100), "half": np.arange(0, len(rows), 2)}.items():
            share, apart = alike(gpu.search(queries, K, allowed=allowed), cpu.search(queries, K, allowed=allowed))
            results[name] = {"alike": round(share, 4), "apart": apart}
        calls = {
            f"{device}@{n}": lambda index=index, n=n: index.search(queries[:n], K)
            for device, index in (("cpu", cpu), ("gpu", gpu))
            for n in (1, BATCH)
        }
        results |= {name: round(1000 * float(np.median(seconds)), 3) for name, seconds in taken(calls, repeats=9).items()}
    return results


def refused(dimension: int) -> dict[str, bool]:
    """What FAISS has on no GPU is refused before anything is copied."""
    answers = {}
    for name, options in CPU_ONLY.items():
        try:
            make(f'faiss_index({options}, device="gpu")', station="index", dimension=dimension)
            answers[name] = False
        except InputError:
            answers[name] = True
    return answers


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--clip", type=Path, required=True, help="a folder with image_embeddings.npy and query_embeddings.npy")
    options = parser.parse_args()
    try:
        make('faiss_index(device="gpu")', station="index", dimension=8)
    except (MissingExtra, InputError) as error:
        print(f"nothing was checked: {error}", file=sys.stderr)
        return 2
    source = ClipRows(options.clip, 512)
    rows = np.concatenate(list(source.blocks(options.rows, seed=1)))
    queries = np.concatenate([source.captions[: BATCH // 2], rows[: BATCH // 2]])
    results = {name: compared(kind, rows, queries) for name, kind in KINDS.items()}
    for name, result in results.items():
        print(f"{name:10} {result}")
    refusals = refused(rows.shape[1])
    wrong = [
        name
        for name, result in results.items()
        if any(result[f]["alike"] < LEAST_ALIKE or result[f]["apart"] > NEAR for f in ("all", "1%", "half"))
    ] + [name for name, is_refused in refusals.items() if not is_refused]
    print(
        json.dumps(
            {"bench": "gpu_index", "faiss": faiss.__version__, "rows": len(rows), "kinds": results, "refused": refusals, "wrong": wrong}
        )
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
