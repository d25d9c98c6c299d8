"""What writing costs: the table on disk beside the raw rows, and what an addition adds to it.

    python tests/bench/bench_table.py [--items 100000] [--dimension 512] [--additions 24] [--rows 1000]

Disk dominates: at a million rows of 512 numbers the raw descriptors are 2 GB, and what an addition writes again is paid at every one.
Rows are random and carry a short text, as pictures with captions do. The ceiling is the raw size of what is added; no encoder runs.
Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from measuring import processor_name

from mmrerank.store.records import Record
from mmrerank.store.table import Table

COMMIT = 10_000  # rows in one commit of the first filling
SLUG = "e"


def records(start: int, count: int, dimension: int) -> list[Record]:
    rows = np.random.default_rng(start).standard_normal((count, dimension), dtype=np.float32)
    base = {"file": "f", "reader": "images", "file_size": 1, "file_mtime_ns": 1, "file_items": 1, "seen_ns": 1}
    return [
        Record(
            item_id=f"pictures/{start + n:09}.jpg",
            content_hash=f"{n:032x}",
            text=f"a caption of picture {n}",
            descriptors={SLUG: row},
            **base,
        )  # type: ignore[arg-type]
        for n, row in enumerate(rows)
    ]


def bytes_of(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def additions(table: Table, start: int, count: int, rows: int, dimension: int) -> Iterator[tuple[float, int]]:
    """Seconds and growth of the disk in bytes of each addition."""
    for n in range(count):
        batch = records(start + n * rows, rows, dimension)
        before, clock = bytes_of(table.path), time.perf_counter()
        table.write(batch, new=True)
        table.compact()
        yield time.perf_counter() - clock, bytes_of(table.path) - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--additions", type=int, default=24)
    parser.add_argument("--rows", type=int, default=1000)
    options = parser.parse_args()
    raw = options.items * options.dimension * 4
    with tempfile.TemporaryDirectory() as folder:
        table = Table.create(Path(folder) / "items.lance")
        table.add_encoder(SLUG, options.dimension)
        start = time.perf_counter()
        for first in range(0, options.items, COMMIT):
            table.write(records(first, min(COMMIT, options.items - first), options.dimension), new=True)
        table.compact()
        filling_s, whole = time.perf_counter() - start, bytes_of(table.path)
        seconds, growth = zip(*additions(table, options.items, options.additions, options.rows, options.dimension), strict=True)
        count = len(table.snapshot())
    assert count == options.items + options.additions * options.rows
    added = options.rows * options.dimension * 4
    result = {
        "bench": "table",
        "items": options.items,
        "dimension": options.dimension,
        "disk_over_raw": whole / raw,
        "filling_s": filling_s,
        "addition_s": float(np.median(seconds)),
        "slowest_addition_s": max(seconds),
        "growth_over_added": sum(growth) / (added * options.additions),
        "largest_growth_over_added": max(growth) / added,
    }
    print(f"{processor_name()}, {options.items:,} rows of {options.dimension}, {options.additions} additions of {options.rows}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
