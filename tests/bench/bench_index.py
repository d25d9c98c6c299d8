"""What an index costs, and how much of that is ours.

Which cost dominates: for one query on an exact index, reading all rows from memory (rows * dimension * 4 bytes over the memory's
bandwidth, printed as the ceiling); for a batch on an exact index, multiplying; for HNSW and IVF, the few thousand rows that one
query touches, and then our own Python around the call begins to show. Building HNSW costs more than everything else here.

    OMP_NUM_THREADS=1 python tests/bench/bench_index.py                 100,000 x 512 synthetic rows, one thread
    python tests/bench/bench_index.py --clip ../shared/data/clip_embeddings/flickr8k_vitb32

Times of one run compare with each other (the two of a ratio are taken in turn), not with another run's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from measuring import taken

from mmrerank.parts import make
from mmrerank.types import Array, Keys, Neighbours

K = 10
BATCH = 64
KINDS = {
    "flat": 'faiss_index(kind="flat")',
    "flat-fp16": 'faiss_index(kind="flat", storage="fp16")',
    "hnsw": 'faiss_index(kind="hnsw")',
    "ivf": 'faiss_index(kind="ivf")',
    "twin-numpy": "flat",
    "twin-torch": 'flat(engine="torch")',
}


def synthetic(n: int, dimension: int, *, inner: int, seed: int) -> Array:
    """(n, dimension) unit rows that lie near an `inner`-dimensional surface, as descriptors do and pure noise does not.

    Latent normal coordinates, a random linear map, one sine per output: after faiss.contrib.datasets.SyntheticDataset.
    """
    shape = np.random.default_rng(7)  # one surface for rows and queries
    lift = shape.standard_normal((inner, dimension)).astype(np.float32)
    pace = (shape.random(dimension) * 4 + 0.1).astype(np.float32)
    latent = np.random.default_rng(seed).standard_normal((n, inner)).astype(np.float32)
    rows: Array = np.sin(latent @ lift * (pace / inner**0.5).astype(np.float32))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def quick(seconds: list[float]) -> float:
    """The lower quartile: what else runs on the machine only ever adds."""
    return statistics.quantiles(seconds, n=4)[0]


def spread(seconds: list[float], per: int = 1) -> str:
    low, middle, high = (1000 * value / per for value in statistics.quantiles(seconds, n=4))
    return f"{middle:8.3f} ms ({low:.3f}-{high:.3f})"


def bandwidth() -> float:
    """Bytes per second at which this machine reads memory, by the best of 5 sums over 256 MiB."""
    block = np.ones(1 << 26, np.float32)
    view = torch.from_numpy(block)  # torch sums with all threads
    return block.nbytes / min(min(taken({"sum": view.sum}, repeats=5)["sum"]), 1e9)


def recall(found: list[Neighbours], truth: list[Neighbours]) -> float:
    return float(np.mean([len(np.intersect1d(one.ids, best.ids)) / len(best.ids) for one, best in zip(found, truth, strict=True)]))


def bare_call(index: Any, queries: Array) -> Callable[[], Any]:
    """The bare FAISS search that our wrapper makes, with the same parameters but no ids, checks, ties or records."""
    bare = index._host  # which the wrapper has set to its ef_search or probes
    return lambda: bare.search(queries, K)


def built(rows: Array, ids: Keys) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
    """Every kind with the rows in it; seconds to build it and the size of its file."""
    indexes: dict[str, Any] = {}
    results: dict[str, dict[str, float]] = {}
    for kind, name in KINDS.items():
        indexes[kind] = make(name, station="index", dimension=rows.shape[1])
        start = time.perf_counter()
        indexes[kind].add(ids, rows)
        seconds = time.perf_counter() - start
        with tempfile.TemporaryDirectory() as folder:
            indexes[kind].save(Path(folder) / "index")
            results[kind] = {"build_s": seconds, "mib": (Path(folder) / "index").stat().st_size / 2**20}
    return indexes, results


def measure(indexes: dict[str, Any], results: dict[str, dict[str, float]], queries: Array, repeats: int) -> None:
    """Checks what every kind finds, and times it against exact FAISS and against its own bare call."""
    truth = indexes["twin-numpy"].search(queries, K)
    for kind, index in indexes.items():
        one = results[kind]
        one["recall@10"] = recall(index.search(queries, K), truth)
        print(f"  {kind:12s}recall@{K} {one['recall@10']:.3f}   file {one['mib']:.0f} MiB   built in {one['build_s']:.1f} s")
    for kind in ("flat", "twin-torch"):
        assert results[kind]["recall@10"] > 0.999, f"{kind} is exact and found {results[kind]['recall@10']}"
    for size in (1, BATCH):
        some = queries[:size]
        calls = {kind: (lambda index=index, some=some: index.search(some, K)) for kind, index in indexes.items()}
        calls |= {f"{kind} bare": bare_call(index, some) for kind, index in indexes.items() if "twin" not in kind}
        report(taken(calls, repeats=repeats), results, size)


def report(seconds: dict[str, list[float]], results: dict[str, dict[str, float]], size: int) -> None:
    exact = quick(seconds["flat"])
    print(
        f"\n{size} quer{'y' if size == 1 else 'ies'} a call, k={K}: time per query (quartiles), ratio to flat, ratio to the bare FAISS call"
    )
    for kind in KINDS:
        results[kind][f"to_flat@{size}"] = quick(seconds[kind]) / exact
        line = f"  {kind:12s}{spread(seconds[kind], size)}   {quick(seconds[kind]) / exact:7.3f} of flat"
        if f"{kind} bare" in seconds:
            ratio = quick(seconds[kind]) / quick(seconds[f"{kind} bare"])
            results[kind][f"to_bare@{size}"] = ratio
            line += f"   {ratio:6.3f} of its bare call"
        print(line)


def filtered(indexes: dict[str, Any], queries: Array, repeats: int) -> dict[str, float]:
    """Recall and time of a search within a random share of the rows, the time as a ratio to the same search without a filter."""
    results: dict[str, float] = {}
    print(f"\nwithin a share of the rows, 1 query a call: recall@{K}, ratio to no filter")
    for kind in ("flat", "hnsw", "ivf", "twin-numpy"):
        index = indexes[kind]
        for share in (0.001, 0.01, 0.1, 0.5, 0.9):
            allowed = np.sort(np.random.default_rng(1).choice(index.ids, max(1, int(share * len(index))), replace=False))
            found = recall(index.search(queries, K, allowed=allowed), indexes["twin-numpy"].search(queries, K, allowed=allowed))
            calls = {
                "with": lambda index=index, allowed=allowed: index.search(queries[:1], K, allowed=allowed),
                "without": lambda index=index: index.search(queries[:1], K),
            }
            seconds = taken(calls, repeats=repeats)
            results[f"{kind}@{share}"] = found
            print(f"  {kind:12s}{share:6.1%}  {found:.3f}  {quick(seconds['with']) / quick(seconds['without']):8.2f}")
    return results


def given_rows(given: argparse.Namespace) -> tuple[Array, Array]:
    """The rows and the queries that the command line asks for."""
    if not given.clip:
        return tuple(synthetic(n, given.dimension, inner=given.inner, seed=n) for n in (given.rows, 256))
    loaded = (np.load(given.clip / f"{part}_embeddings.npy").astype(np.float32) for part in ("image", "query"))
    return tuple(rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in loaded)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--inner", type=int, default=10, help="dimension of the surface that the synthetic rows lie near")
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--clip", type=Path, help="a folder with image_embeddings.npy and query_embeddings.npy")
    given = parser.parse_args()
    rows, queries = given_rows(given)
    print(f"{platform.machine()}, {os.cpu_count()} cores, {faiss.omp_get_max_threads()} FAISS threads; faiss {faiss.__version__}, ", end="")
    print(f"numpy {np.__version__}, torch {torch.__version__}")
    print(f"{len(rows)} x {rows.shape[1]} rows, {len(queries)} queries, {given.repeats} repeats after 1 warm-up")
    indexes, kinds = built(rows, np.arange(len(rows), dtype=np.int64) * 3 + 1)
    measure(indexes, kinds, queries, given.repeats)
    print(f"\nceiling: one flat query reads the rows once, {1000 * rows.nbytes / bandwidth():.3f} ms at this memory's bandwidth")
    shares = filtered(indexes, queries[:BATCH], given.repeats)
    print(json.dumps({"rows": len(rows), "dimension": rows.shape[1], "kinds": kinds, "filtered_recall": shares}))


if __name__ == "__main__":
    main()
