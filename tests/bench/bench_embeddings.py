"""What taking ready embeddings costs: rows a second, the peak of memory, a second run, and what comes back when they are exported.

    python tests/bench/bench_embeddings.py [--items 1000000] [--dimension 512] [--parts 10]

Work a row dominates: hashes, keys and the table's columns; then the disk, which gets 2 GB of float32 for a million rows of 512. Rows are
float16 directions around 1,000 centres with captions, URLs and sizes, as clip-retrieval lays them down. The baseline is the same rows as
records, one object a row, 20,000 of them; the ceiling copies the raw rows. CPU seconds are of all threads, loading libraries included.
Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measuring import processor_name

from mmrerank.collection import Collection
from mmrerank.collection.exporting import export
from mmrerank.readers.embeddings import tiny
from mmrerank.store.records import Record
from mmrerank.store.table import Table

ENCODER = "openclip/ViT-B-32.laion2b_s34b_b79k@224"  # only its name is asked for
RECORDS = 20_000


def write_part(folder: Path, part: int, rows: int, dimension: int) -> None:
    generator = np.random.default_rng(part)
    centres = np.random.default_rng(1000).standard_normal((1000, dimension), dtype=np.float32)
    vectors = centres[generator.integers(0, 1000, rows)] + 0.5 * generator.standard_normal((rows, dimension), dtype=np.float32)
    np.save(folder / "img_emb" / f"img_emb_{part}.npy", (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16))
    described = {
        "key": [f"{part:05}{n:09}" for n in range(rows)],
        "caption": [f"a caption of picture {n} in part {part}" for n in range(rows)],
        "url": [f"https://pictures.example/{part}/{n}.jpg" for n in range(rows)],
        "width": generator.integers(100, 3000, rows),
        "similarity": generator.random(rows),
    }
    pq.write_table(pa.table(described), folder / "metadata" / f"metadata_{part}.parquet")


def spent(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds by the clock, CPU seconds, and what the work gives."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def as_records(folder: Path, dimension: int) -> Callable[[], None]:
    """Writing the first rows as one object each."""
    table = Table.create(folder / "records.lance")
    table.add_encoder("e", dimension)

    def write() -> None:
        path = folder / "e" / "img_emb" / "img_emb_0.npy"
        vectors = np.load(path, mmap_mode="r")
        records = []
        for n, entry in zip(range(RECORDS), tiny().read(path, "f"), strict=False):
            row = vectors[n].astype(np.float32)
            stamps = {"file": "f", "reader": "embeddings", "file_size": 1, "file_mtime_ns": 1, "file_items": 1, "seen_ns": 1}
            what = {"item_id": entry.item.item_id, "text": entry.item.text, "metadata": entry.item.metadata}  # type: ignore[union-attr]
            records.append(Record(content_hash=entry.content_hash, descriptors={"e": row}, **stamps, **what))  # type: ignore[union-attr, arg-type]
        table.write(records, new=True)

    return write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--parts", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in ("img_emb", "metadata"):
            (folder / "e" / name).mkdir(parents=True)
        for part in range(options.parts):
            write_part(folder / "e", part, options.items // options.parts, options.dimension)
        collection = Collection.create(folder / "c")
        wall_s, cpu_s, report = spent(lambda: collection.add([folder / "e"], encoders=[ENCODER]))
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        assert (report.added, report.found) == (report.expected, report.expected)
        again_s, again_cpu_s, again = spent(lambda: collection.add([folder / "e"]))
        assert again.unchanged == report.added
        export_s, export_cpu_s, written = spent(lambda: export(collection.version, folder / "out"))
        assert written.items == report.added
        copy_s, _, _ = spent(lambda: shutil.copytree(folder / "e", folder / "copy"))
        _, records_cpu_s, _ = spent(as_records(folder, options.dimension))
    result = {
        "bench": "embeddings",
        "items": report.added,
        "dimension": options.dimension,
        "items_per_cpu_s": report.added / cpu_s,
        "as_records_items_per_cpu_s": RECORDS / records_cpu_s,
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "peak_mib": peak_mib,
        "again_s": again_s,
        "again_cpu_s": again_cpu_s,
        "export_s": export_s,
        "export_cpu_s": export_cpu_s,
        "copy_s": copy_s,
    }
    print(f"{processor_name()}, {report.added:,} rows of {options.dimension} in {options.parts} parts")
    print(json.dumps({name: round(value, 2) if isinstance(value, float) else value for name, value in result.items()}))


if __name__ == "__main__":
    main()
