"""What the words of a million items cost: the index over texts as it is made, opened, asked, and completed by what came since.

Which cost dominates: making it is splitting the texts into words; opening it is the keys of the table; a query is the postings of its
words; an addition is its own texts, and an index that is made anew where a twentieth came. Texts are 20 to 60 words, drawn by Zipf's law
from 200,000 made-up ones. Each step runs in a process of its own, so that its peak is its own (VmHWM).

    python tests/bench/bench_text_scale.py --texts 100000,1000000

It ends with one JSON line. CPU times are of one thread (OMP_NUM_THREADS=1). What an addition costs is compared with the index made anew
in the same run, and so are the hits that both give: after an addition words weigh what they weighed before it.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bench_scale import memory, size_of

WORDS, QUERIES, ADDED, K = 200_000, 200, 1_000, 10


def words() -> Any:
    letters = np.random.default_rng(0).choice(list("abcdefghijklmnop"), (WORDS, 6))
    return np.array(["".join(word) for word in letters])


def texts(count: int, seed: int) -> list[str]:
    generator, known = np.random.default_rng(seed), words()
    shares = 1 / np.arange(1, WORDS + 1)
    lengths = generator.integers(20, 60, count)
    drawn = known[generator.choice(WORDS, int(lengths.sum()), p=shares / shares.sum())]
    return [" ".join(part) for part in np.split(drawn, np.cumsum(lengths)[:-1])]


def questions() -> list[str]:
    """Four words each, one of them rare, as people ask."""
    generator, known = np.random.default_rng(9), words()
    return [" ".join([*known[generator.integers(0, 2_000, 3)], known[generator.integers(2_000, 50_000)]]) for _ in range(QUERIES)]


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    value = work()
    return value, round(time.process_time() - start, 4)


# ------------------------------------------------------------------ the steps, each in a process of its own


def write(options: argparse.Namespace) -> dict[str, Any]:
    from mmrerank.collection import Collection
    from mmrerank.store.manifest import Root, write_manifest

    collection = Collection.create(options.folder / "c")
    write_manifest(collection.path, collection.manifest.with_root(Root(path="/texts")))
    for start in range(0, options.count, 50_000):
        append(collection.path, start, texts(min(50_000, options.count - start), seed=start))
    return {}


def append(folder: Path, first: int, some: list[str]) -> None:
    """Texts under the ids from `first` on, as one commit."""
    import lance
    import pyarrow as pa

    from mmrerank.store.records import FIXED, key_of

    ids, count = [f"{n:08}" for n in range(first, first + len(some))], len(some)
    values: dict[str, Any] = {"item_id": ids, "key": [key_of(name, "1") for name in ids], "file": ids, "text": some}
    same = {"fragment": "", "reader": "texts", "content_hash": "1", "state": "ready", "encoders": ""}
    numbers = {"file_size", "file_mtime_ns", "file_items", "seen_ns"}
    columns = [
        pa.array(values.get(field.name) or [same.get(field.name, 1 if field.name in numbers else None)] * count, field.type)
        for field in FIXED
    ]
    lance.write_dataset(pa.Table.from_arrays(columns, schema=FIXED), str(folder / "items.lance"), mode="append")


def make(options: argparse.Namespace) -> dict[str, Any]:
    """The first search by words makes the index."""
    from mmrerank.collection import Collection

    version = Collection.open(options.folder / "c").version
    _, seconds = timed(lambda: version.text)
    size = size_of(options.folder / "c" / "indexes" / "text")
    return {"make_s": seconds, "index_mb": round(size / 1e6, 1), "make_peak_mb": memory()["peak"]}


def ask(options: argparse.Namespace) -> dict[str, Any]:
    from mmrerank.collection import Collection

    def first() -> Any:
        version = Collection.open(options.folder / "c").version
        version.text.search("nothing", K)
        return version

    version, opening = timed(first)
    asked = questions()
    hits = [version.text.search(question, K) for question in asked]
    _, seconds = timed(lambda: [version.text.search(question, K) for question in asked])
    _, whole = timed(lambda: [version.matching(question, K) for question in asked])
    return {
        "open_s": opening,
        "query_ms": round(1000 * seconds / QUERIES, 3),
        "query_with_fields_ms": round(1000 * whole / QUERIES, 3),
        "own_mb": memory()["own"],
        "hits": [some.ids.tolist() for some in hits],
    }


def add(options: argparse.Namespace) -> dict[str, Any]:
    """What a writer does after its commit, and the search after it in a process of its own."""
    from mmrerank.collection import Collection

    collection = Collection.open(options.folder / "c")
    append(collection.path, options.count, texts(ADDED, seed=1))
    with collection._writing():
        collection.table.refresh()
        collection.table.compact()
        _, seconds = timed(lambda: collection._indexes_brought_up())
    return {"add_s": seconds, "changed": collection.version.text.changed}


def remake(options: argparse.Namespace) -> dict[str, Any]:
    shutil.rmtree(options.folder / "c" / "indexes" / "text")
    return {f"re{name}": value for name, value in make(options).items() if name == "make_s"}


STEPS = {"write": write, "make": make, "ask": ask, "add": add, "remake": remake}


def step(name: str, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--step", name, "--folder", str(options.folder), "--count", str(options.count)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    lines = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    measures: dict[str, Any] = json.loads(lines[-1])
    return measures


def measured(options: argparse.Namespace) -> dict[str, Any]:
    measures = {"texts": options.count}
    for name in ("write", "make"):
        measures |= step(name, options)
    first = step("ask", options)
    added = step("add", options)
    after, anew = step("ask", options), step("remake", options)
    whole = step("ask", options)
    same = np.mean([len(set(one) & set(other)) / max(len(other), 1) for one, other in zip(after["hits"], whole["hits"], strict=True)])
    first.pop("hits")
    return {
        **measures,
        **first,
        **added,
        **anew,
        "open_after_add_s": after["open_s"],
        "query_after_add_ms": after["query_ms"],
        "hits_as_anew": round(float(same), 4),
        "anew_to_add": round(anew["remake_s"] / added["add_s"], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", default="20000,100000", help="how many, with commas between")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(STEPS[options.step](options)))
        return
    results = []
    for count in map(int, options.texts.split(",")):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            results.append(measured(argparse.Namespace(folder=Path(folder), count=count)))
        print(json.dumps(results[-1], indent=1))
    print(json.dumps({"bench": "text_scale", "results": results}))


if __name__ == "__main__":
    main()
