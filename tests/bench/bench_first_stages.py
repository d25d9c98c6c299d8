"""What real first stages are worth before anything is reranked: each as a run, measured by the same verb as any other system's.

Which cost dominates: reading and measuring; the vectors and the BM25 rankings come with the data. Only the composed photographs are
encoded here, by the embedded CLIP, which was trained on emoji and is no model for photographs: a floor, not a recommendation.

    python tests/bench/bench_first_stages.py [--out DIR]        the data lies at ../shared/data beside the repository

`--out` keeps the runs, and beside that of TREC DL the passages as a table that rerankers can read:

    mmrerank evaluate datasets/flickr8k_clip.toml --data FOLDER --run DIR/flickr8k_clip.trec
    cp FOLDER/dev.jsonl DIR; mmrerank evaluate datasets/trec_dl.toml --data DIR --rerank NAME

Known figures are checked to the digits in which they were published. Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"  # read when numpy is imported

import numpy as np  # noqa: E402

from mmrerank.collection import Collection  # noqa: E402
from mmrerank.evaluation.benchmark import Benchmark, open_benchmark  # noqa: E402
from mmrerank.evaluation.evaluate import evaluate  # noqa: E402
from mmrerank.evaluation.runs import Run, read_run, write_run  # noqa: E402
from mmrerank.types import Array  # noqa: E402

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
DEPTH = 100
KNOWN = {  # set -> measure -> what its own description says
    "trec_dl": {"nDCG@10": 0.5058},
    "checkthat2020": {"Success@1": 0.759, "Success@50": 0.930},
    "instance_photos": {"AP": 0.8618},
}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def nearest(names: list[str], rows: Array, asked: Mapping[str, Array]) -> Run:
    """The pictures in the order of their cosine to each query's row; ties by name."""
    order = sorted(range(len(names)), key=lambda n: names[n])
    rankings, scores = {}, {}
    for query_id, row in asked.items():
        cosines = rows[order] @ row
        first = np.argsort(-cosines, kind="stable")
        rankings[query_id] = tuple(names[order[n]] for n in first)
        scores[query_id] = tuple(float(cosines[n]) for n in first)
    return Run(tag="vectors", rankings=rankings, scores=scores, made_by={"first_stage": "cosine of the vectors in the data"})


def unit(rows: Array) -> Array:
    found: Array = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found


def flickr8k(folder: Path) -> Run:
    pictures, queries = lines(folder / "images.jsonl"), lines(folder / "queries.jsonl")
    rows = unit(np.load(folder / "image_embeddings.npy", allow_pickle=False))
    asked = unit(np.load(folder / "query_embeddings.npy", allow_pickle=False))
    return nearest([row["image"] for row in pictures], rows, {row["id"]: asked[row["row"]] for row in queries})


def instance_photos(folder: Path) -> Run:
    names = [row["image"] for row in lines(folder / "dev" / "images.jsonl")]
    rows = unit(np.load(folder / "dev" / "mobilenet_v1.npy", allow_pickle=False))
    queries = lines(folder / "dev" / "queries.jsonl")
    return nearest(names, rows, {row["id"]: rows[names.index(row["query_image"])] for row in queries})


def passages(folder: Path, out: Path) -> None:
    """Writes the passages of TREC DL as a table, each once."""
    texts = {entry["id"]: entry["text"] for row in lines(folder / "dev.jsonl") for entry in row["candidates"]}
    rows = (json.dumps({"id": name, "text": text}, ensure_ascii=False) + "\n" for name, text in texts.items())
    (out / "corpus.jsonl").write_text("".join(rows), encoding="utf-8")


def measured(benchmark: Benchmark, run: Run | None, out: Path) -> dict[str, Any]:
    """The figures of a run that went through a file."""
    name = benchmark.name.partition("/")[0]
    given = run or benchmark.shipped_run
    assert given is not None
    path = write_run(out / f"{name}.trec", given)
    return evaluate(benchmark, None, run=read_run(path)).result


def composed_objects(benchmark: Benchmark) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        collection = Collection.create(place, encoders=["openclip/mini"])
        collection.add(benchmark.sources)
        return evaluate(benchmark, collection).result


def check(name: str, measures: Mapping[str, Any]) -> None:
    for measure, known in KNOWN.get(name, {}).items():
        digits = len(str(known).partition(".")[2])
        assert round(measures[measure]["value"], digits) == known, (name, measure, measures[measure], known)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="keep the runs here")
    parser.add_argument("--data", type=Path, default=DATA)
    given = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, numpy {np.__version__}, depth of what is kept as given")
    if not given.data.is_dir():
        print(json.dumps({"bench": "first_stages", "skipped": "no evaluation data beside the repository"}))
        return
    with tempfile.TemporaryDirectory() as scratch:
        out = given.out or Path(scratch)
        out.mkdir(parents=True, exist_ok=True)
        print(json.dumps({"bench": "first_stages", "figures": figures(given.data, out)}))


def figures(data: Path, out: Path) -> dict[str, dict[str, float]]:
    """Set -> measure -> mean, over every set with a first stage of its own."""
    sets: dict[str, tuple[str, Callable[[Path], Run] | None]] = {
        "flickr8k_clip": ("clip_embeddings/flickr8k_vitb32", flickr8k),
        "instance_photos": ("instance_photos", instance_photos),
        "trec_dl": ("text_rerank/trec_dl19", None),
        "checkthat2020": ("text_rerank/checkthat2020", None),
        "cranfield": ("text_rerank/cranfield", None),
        "composed_objects": ("composed_objects", None),
    }
    passages(data / "text_rerank" / "trec_dl19", out)
    found: dict[str, dict[str, float]] = {}
    for name, (folder, made) in sets.items():
        start = time.perf_counter()
        benchmark = open_benchmark(ROOT / "datasets" / f"{name}.toml", data / folder)
        run = None if made is None else made(data / folder)
        result = composed_objects(benchmark) if name == "composed_objects" else measured(benchmark, run, out)
        check(name, result["measures"])
        found[name] = {measure: value["value"] for measure, value in result["measures"].items()}
        shown = "  ".join(f"{m} {v['value']:.4f} ({v['low']:.3f} to {v['high']:.3f})" for m, v in result["measures"].items())
        print(f"{name}, {result['queries']} queries, {result['first_stage']}, {time.perf_counter() - start:.1f} s: {shown}")
    return found


if __name__ == "__main__":
    main()
