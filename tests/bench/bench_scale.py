"""What a million items cost on disk, in memory and in time, and what an index over them finds.

Which cost dominates: building is k-means and the assignment of each row (rows * lists * dimension multiplications); opening is reading the
keys of the table; a query is the lists that it reads, and then some hundred rows of the table, to score them exactly; an addition is
its own rows. Rows are mixtures of real CLIP vectors (scale_rows.py), no encoder runs. Each step runs in a process of its own, so that
its peak is its own: VmHWM is all of it, and what is mapped and shared is told apart from what is not.

    python tests/bench/bench_scale.py --rows 100000,1000000 --clip ../shared/data/clip_embeddings/flickr8k_vitb32
    python tests/bench/bench_scale.py --rows 10000000 --dimension 128 --indexes auto --clip ... --folder BIG

It ends with one JSON line. CPU times are of one thread (OMP_NUM_THREADS=1); walls are of the machine as it is. Ratios are of one run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scale_rows import ClipRows

from mmrerank.types import Array, Modality

INDEXES = {
    "sq8": 'faiss_index(kind="ivf", storage="sq8", probes=64)',
    "rabitq4": 'faiss_index(kind="ivf", storage="rabitq", bits=4, probes=64)',
    "rabitq2": 'faiss_index(kind="ivf", storage="rabitq", bits=2, probes=64)',
    "rabitq1": 'faiss_index(kind="ivf", storage="rabitq", bits=1, probes=64)',
    "pq": 'faiss_index(kind="ivf", storage="pq", probes=64)',
    "hnsw-sq8": 'faiss_index(kind="hnsw", storage="sq8", ef_search=128)',
    "auto": "auto",
    "flat": "flat",
}
QUERIES = 200  # of each kind
K = 10


class GivenRows:
    """An encoder whose texts are numbers of rows that are given, so that no model is timed."""

    takes: frozenset[Modality] = frozenset({"text"})
    reads: Modality = "text"
    name = "given-rows"

    def __init__(self, rows: Array) -> None:
        self.rows, self.dimension = rows, rows.shape[1]

    def prepare(self, value: str) -> str:
        return value

    def encode(self, values: list[str], *, normalise: bool = True) -> Array:
        return self.rows[[abs(hash(value)) % len(self.rows) if not value.isdigit() else int(value) for value in values]]


def memory() -> dict[str, float]:
    """MB of this process: at its peak, and now of its own and shared with files."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        key: round(int(lines[name].split()[0]) / 1024, 1) for key, name in (("peak", "VmHWM"), ("own", "RssAnon"), ("mapped", "RssFile"))
    }


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


# ------------------------------------------------------------------ the steps, each in a process of its own


def write(options: argparse.Namespace) -> dict[str, Any]:
    """The table, by append, as columns."""
    from mmrerank.collection import Collection
    from mmrerank.store.manifest import Root, write_manifest

    source = ClipRows(options.clip, options.dimension)
    folder = options.folder / "c"
    start = time.perf_counter()
    collection = Collection.create(folder, encoders=[GivenRows(source.captions)], index="auto")
    write_manifest(folder, collection.manifest.with_root(Root(path="/pictures")))
    first, making = 0, 0.0
    blocks = source.blocks(options.rows, seed=1)
    while True:
        begun = time.perf_counter()
        block = next(blocks, None)
        making += time.perf_counter() - begun
        if block is None:
            break
        append(folder, first, block)
        first += len(block)
    raw = options.rows * options.dimension * 4
    return {"table_s": round(time.perf_counter() - start - making, 2), "table_to_raw": round(size_of(folder / "items.lance") / raw, 3)}


def append(folder: Path, first: int, rows: Array) -> None:
    """Rows under the ids from `first` on, as one commit."""
    import lance
    import pyarrow as pa

    from mmrerank.store.records import FIXED, PREFIX, key_of, slug_of

    ids = [f"{n:08}.jpg" for n in range(first, first + len(rows))]
    slug, count = slug_of(GivenRows.name), len(rows)
    values: dict[str, Any] = {
        "item_id": ids,
        "key": [key_of(name, "1") for name in ids],
        "file": ids,
        "fragment": [""] * count,
        "reader": ["images"] * count,
        "content_hash": ["1"] * count,
        "state": ["ready"] * count,
        "encoders": [slug] * count,
    }
    numbers = {"file_size", "file_mtime_ns", "file_items", "seen_ns"}
    columns = [
        pa.array(values.get(field.name) or ([1] * count if field.name in numbers else [None] * count), field.type) for field in FIXED
    ]
    columns.append(pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1]))
    schema = FIXED.append(pa.field(PREFIX + slug, columns[-1].type))
    lance.write_dataset(pa.Table.from_arrays(columns, schema=schema), str(folder / "items.lance"), mode="append")


def opened(options: argparse.Namespace) -> Any:
    from mmrerank.collection import Collection

    collection = Collection.open(options.folder / "c")
    collection._encoders.use(collection.manifest.encoders[0], GivenRows(ClipRows(options.clip, options.dimension).captions))
    return collection


def build(options: argparse.Namespace) -> dict[str, Any]:
    """The index, by one scan, with its own test."""
    collection = opened(options)
    shutil.rmtree(options.folder / "c" / "indexes", ignore_errors=True)
    collection.use_index(INDEXES[options.index])
    start, cpu = time.perf_counter(), time.process_time()
    _ = collection.version  # writes the fields
    fields_s, fields_cpu_s = time.perf_counter() - start, time.process_time() - cpu
    before, start, cpu = memory()["peak"], time.perf_counter(), time.process_time()
    notes = collection._indexes_brought_up()
    seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu
    state = collection.version.row_index(collection.manifest.encoders[0]).state()
    return {
        "kind": state.index,
        "fields_s": round(fields_s, 2),
        "fields_cpu_s": round(fields_cpu_s, 2),
        "build_s": round(seconds, 1),
        "build_cpu_s": round(cpu_s, 1),
        "index_mb": round(state.data.size / 2**20, 1),
        "bytes_a_row": round(state.data.size / state.rows, 1),
        "build_peak_mb": memory()["peak"],
        "start_mb": before,
        "peak_over_index_mb": round(memory()["peak"] - state.data.size / 2**20, 1),
        "own_recall": {kind: round(value, 3) for kind, value in state.recall.items()},
        "notes": notes,
    }


def first_search(options: argparse.Namespace) -> dict[str, Any]:
    """A collection that is opened and searched once, imports done before."""
    import faiss  # noqa: F401  its import is no part of opening

    import mmrerank.collection.verify  # noqa: F401
    from mmrerank import Query
    from mmrerank.retrievers import dense  # noqa: F401

    captions = ClipRows(options.clip, options.dimension).captions
    start, cpu = time.perf_counter(), time.process_time()
    from mmrerank.collection import Collection

    collection = Collection.open(options.folder / "c")
    collection._encoders.use(collection.manifest.encoders[0], GivenRows(captions))
    collection.search(Query(text="0"), retriever="dense", k=K)
    opened_s, opened_cpu = time.perf_counter() - start, time.process_time() - cpu
    for n in range(1, 51):
        collection.search(Query(text=str(n)), retriever="dense", k=K)
    held = memory()
    return {
        "open_and_first_search_s": round(opened_s, 3),
        "open_and_first_search_cpu_s": round(opened_cpu, 3),
        "own_mb_after_50": held["own"],
        "mapped_mb_after_50": held["mapped"],
    }


def searching(options: argparse.Namespace) -> dict[str, Any]:
    """Recall against every row, and CPU a query."""
    from mmrerank.collection.stored_rows import StoredRows

    collection = opened(options)
    version = collection.version
    entry = collection.manifest.encoders[0]
    source = ClipRows(options.clip, options.dimension)
    asked = {"texts": source.captions[:QUERIES], "pictures": next(source.blocks(QUERIES, seed=2))}
    space = version.space_of(entry)
    exact = StoredRows(version.snapshot, entry.slug)
    result: dict[str, Any] = {}
    for kind, rows in asked.items():
        truth = exact.search(rows, K)
        worst = np.array([one.scores[-1] for one in truth])
        space.nearest(rows[0], K)
        cpu, wall = time.process_time(), time.perf_counter()
        hits = [space.nearest(row, K) for row in rows]
        cpu_ms, wall_ms = 1000 * (time.process_time() - cpu) / len(rows), 1000 * (time.perf_counter() - wall) / len(rows)
        found = [np.mean([candidate.score >= least - 1e-6 for candidate in some]) for some, least in zip(hits, worst, strict=True)]
        cpu = time.process_time()
        for row in rows:
            space.index.search(row[None], 10 if not hasattr(space.index, "proposals") else max(26, space.index.proposals(K)))
        alone = 1000 * (time.process_time() - cpu) / len(rows)
        result |= {
            f"recall_{kind}": round(float(np.mean(found)), 3),
            f"cpu_ms_{kind}": round(cpu_ms, 2),
            f"wall_ms_{kind}": round(wall_ms, 2),
            f"index_cpu_ms_{kind}": round(alone, 2),
        }
    return result


def reading(options: argparse.Namespace) -> dict[str, Any]:
    """256 vectors out of all files, at their places and as Lance takes them: the same, and CPU a reading."""
    from mmrerank.store.vectors import StoredVectors, vectors_of

    collection = opened(options)
    snapshot, entry = collection.version.snapshot, collection.manifest.encoders[0]
    column = snapshot.vector_column(entry.slug)
    reader, generator = StoredVectors(snapshot._dataset, column), np.random.default_rng(3)
    draws = [np.sort(snapshot._short.row_ids(generator.choice(snapshot.keys, 256, replace=False))) for _ in range(50)]
    ways = {"places": reader.take, "lance": lambda ids: vectors_of(snapshot._dataset._take_rows(ids.tolist(), columns=[column])[column])}
    assert all(np.array_equal(ways["places"](ids)[1], ways["lance"](ids)[1]) for ids in draws), "both read the same"
    result = {}
    for way, take in ways.items():
        start = time.process_time()
        for row_ids in draws:
            take(row_ids)
        result[f"read_256_cpu_ms_{way}"] = round(1000 * (time.process_time() - start) / len(draws), 2)
    return result


def adding(options: argparse.Namespace) -> dict[str, Any]:
    """An addition of 1,000 rows, with all that follows it, and the next search."""
    from mmrerank import Query

    collection = opened(options)
    folder = options.folder / "c"
    collection.search(Query(text="0"), retriever="dense", k=K)
    count, before = len(collection), size_of(folder)
    rows = next(ClipRows(options.clip, options.dimension).blocks(options.added, seed=count))  # others at each addition, or equals tie
    start, cpu = time.perf_counter(), time.process_time()
    with collection._writing():
        append(folder, count, rows)
        collection.table.refresh()
        collection.table.compact()
        collection._indexes_brought_up()
    added_s = time.perf_counter() - start
    collection.refresh()
    collection.search(Query(text="1"), retriever="dense", k=K)
    seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu
    best = collection.version.space_of(collection.manifest.encoders[0]).nearest(rows[7], 1)[0]
    assert best.item.item_id == f"{count + 7:08}.jpg", f"a row that was added is found first: {best}"
    return {
        "add_s": round(added_s, 3),
        "add_and_search_s": round(seconds, 3),
        "add_and_search_cpu_s": round(cpu_s, 3),
        "growth_to_added": round((size_of(folder) - before) / rows.nbytes, 2),
    }


def verifying(options: argparse.Namespace) -> dict[str, Any]:
    """`verify` of the index: its files, its ids, its recall again."""
    collection = opened(options)
    version, entry = collection.version, collection.manifest.encoders[0]
    start = time.perf_counter()
    index = version.row_index(entry)
    assert not index.mend(version.snapshot.described(entry.slug)), "the index matches the table"
    recall, promise = index.measure()
    seconds = round(time.perf_counter() - start, 1)
    return {"verify_s": seconds, "verify_recall": {kind: round(value, 3) for kind, value in recall.items()}, "promise": promise}


STEPS = {step.__name__: step for step in (write, build, first_search, searching, reading, adding, verifying)}


def run(step: str, options: argparse.Namespace, rows: int, index: str = "auto") -> dict[str, Any]:
    """A step in a process of its own."""
    command = [
        sys.executable,
        __file__,
        "--step",
        step,
        "--rows",
        str(rows),
        "--indexes",
        index,
        "--folder",
        str(options.folder / str(rows)),
    ]
    command += ["--dimension", str(options.dimension), "--clip", str(options.clip), "--added", str(options.added)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{rows:>10} {index:10} {step:14} {result}", flush=True)
    return result


def whole(options: argparse.Namespace) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for rows in options.sizes:
        (options.folder / str(rows)).mkdir(parents=True, exist_ok=True)
        of_size: dict[str, Any] = results.setdefault(str(rows), {})
        if not (options.folder / str(rows) / "c").exists():
            of_size["table"] = run("write", options, rows)
        for index in options.indexes.split(","):
            steps = [step for step in STEPS if step != "write"]
            of_size[index] = {key: value for step in steps for key, value in run(step, options, rows, index).items()}
    if len(options.sizes) > 1:
        small, large = (results[str(rows)] for rows in (options.sizes[0], options.sizes[-1]))
        results["add_and_search_ratio"] = {
            index: round(large[index]["add_and_search_cpu_s"] / small[index]["add_and_search_cpu_s"], 2)
            for index in options.indexes.split(",")
        }
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="100000", help="sizes, with commas between; the last is compared with the first")
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--indexes", default="sq8,rabitq2", help=f"of {', '.join(INDEXES)}")
    parser.add_argument("--added", type=int, default=1000)
    parser.add_argument("--clip", type=Path, required=True, help="a folder with image_embeddings.npy and query_embeddings.npy")
    parser.add_argument("--folder", type=Path, help="where the collections are made, and stay; a temporary folder when left out")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.sizes = [int(size) for size in options.rows.split(",")]
    if options.step:
        options.rows, options.index = options.sizes[0], options.indexes
        print(json.dumps(STEPS[options.step](options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        options.folder = options.folder or Path(folder)
        results = whole(options)
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    print(json.dumps({"bench": "scale", "dimension": options.dimension, "threads": threads, "sizes": results}))


if __name__ == "__main__":
    main()
