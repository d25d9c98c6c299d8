"""What a collection costs on top of the bare FAISS call.

At 100,000 x 512 in float32 a flat search reads 205 MB per query, so memory bandwidth dominates and everything else
(exact rescoring of the candidates, reading their fields from Lance) must stay small beside it. Smaller collections are
dominated by those fixed costs instead; they are printed too.

    python tests/bench/bench_collection.py [--items 100000] [--dimension 512]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np

from mmrerank import Query
from mmrerank.collection import Collection
from mmrerank.store.manifest import Root, write_manifest
from mmrerank.store.records import Record, slug_of
from mmrerank.types import Array, Modality

REPEATS = 40


class GivenRows:
    """An encoder whose queries are rows that are given, so that no model is timed."""

    takes: frozenset[Modality] = frozenset({"text"})
    reads: Modality = "text"
    name = "given-rows"

    def __init__(self, queries: Array) -> None:
        self.queries, self.dimension = queries, queries.shape[1]

    def prepare(self, value: str) -> str:
        return value

    def encode(self, values: list[str], *, normalise: bool = True) -> Array:
        return self.queries[[int(value) for value in values]]


def clustered(count: int, dimension: int, seed: int) -> Array:
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((200, dimension))
    rows = centres[generator.integers(0, 200, count)] + 0.5 * generator.standard_normal((count, dimension))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def filled(folder: Path, encoder: GivenRows, rows: Array) -> Collection:
    collection = Collection.create(folder, encoders=[encoder], index="faiss_index")
    slug = slug_of(encoder.name)
    write_manifest(folder, collection.manifest.with_root(Root(path="/pictures")))
    for start in range(0, len(rows), 20_000):
        part = range(start, min(start + 20_000, len(rows)))
        collection.table.write([record(n, slug, rows[n]) for n in part])
    collection.table.compact()
    collection.refresh()
    collection._encoders.use(collection.manifest.encoders[0], encoder)
    return collection


def record(n: int, slug: str, row: Array) -> Record:
    return Record(
        item_id=f"{n:07}.jpg",
        file=f"{n:07}.jpg",
        reader="images",
        content_hash=str(n),
        file_size=1,
        file_mtime_ns=1,
        file_items=1,
        seen_ns=1,
        text=f"picture {n}",
        metadata={"width": n % 640, "camera": f"c{n % 7}"},
        descriptors={slug: row},
    )


def median_ms(call: Callable[[int], object], repeats: int) -> tuple[float, float]:
    took = []
    for n in range(repeats):
        start = time.perf_counter()
        call(n)
        took.append((time.perf_counter() - start) * 1000)
    return statistics.median(took), statistics.quantiles(took, n=10)[8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=512)
    asked = parser.parse_args()
    machine = platform.processor() or platform.machine()
    print(f"{machine}, faiss {faiss.__version__}, {faiss.omp_get_max_threads()} threads, numpy {np.__version__}")
    rows, queries = clustered(asked.items, asked.dimension, 0), clustered(REPEATS, asked.dimension, 1)
    raw = faiss.IndexFlatIP(asked.dimension)
    raw.add(rows)
    with tempfile.TemporaryDirectory() as folder:
        collection = filled(Path(folder) / "c", GivenRows(queries), rows)
        _, expected = raw.search(queries, 10)
        for n in range(REPEATS):  # warm-up, and the check of what is timed
            hits = collection.search(Query(text=str(n)), retriever="dense").hits
            assert [int(hit.item.item_id[:-4]) for hit in hits] == expected[n].tolist()
        bare, bare_p90 = median_ms(lambda n: raw.search(queries[n : n + 1], 10), REPEATS)
        ours, ours_p90 = median_ms(lambda n: collection.search(Query(text=str(n)), retriever="dense"), REPEATS)
        filtered, _ = median_ms(lambda n: collection.search(Query(text=str(n), filter="width < 64"), retriever="dense"), REPEATS)
    print(f"{asked.items} x {asked.dimension}, k = 10, one query at a time, {REPEATS} repeats, median (90th percentile)")
    print(f"  raw FAISS flat        {bare:7.2f} ms ({bare_p90:.2f})")
    print(f"  Collection.search     {ours:7.2f} ms ({ours_p90:.2f})   {ours / bare:.2f} x   (at most 1.3 x)")
    print(f"  with a filter (10 %)  {filtered:7.2f} ms             {filtered / bare:.2f} x")
    figures = {"raw_ms": bare, "search_ms": ours, "ratio": ours / bare, "filtered_ratio": filtered / bare}
    print(json.dumps({"bench": "collection", "items": asked.items, "dimension": asked.dimension, **figures}))


if __name__ == "__main__":
    main()
