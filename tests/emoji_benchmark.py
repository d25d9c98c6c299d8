"""A small benchmark cut from the shipped emoji: real pictures, real composed queries, quick to index."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq

from mmrerank.demo import DATASETS

CARD = """name = "few-emoji"
[benchmark]
layout = "lines"
split = "test"
measures = ["R@1", "R@10", "RR@100"]
retriever = "composed"
encoder = "openclip/mini"
data = "."
options = {{ queries = "queries.jsonl", pictures = "pictures.parquet", sources = ["pictures.parquet"] }}
[benchmark.splits]
test = {{ queries = {count}, first_query = "{first}", last_query = "{last}" }}
"""


def write_benchmark(folder: Path, queries: int = 12, others: int = 60) -> Path:
    """The card of a benchmark with every 100th test query of the emoji, the pictures that these are about, and some others."""
    lines = (DATASETS / "emoji" / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["split"] == "test"][::100][:queries]
    table = pq.read_table(DATASETS / "emoji" / "pictures.parquet")
    wanted = {item.partition("::")[2] for row in rows for item in (row["image"], *row["relevant"])}
    step = table.num_rows // others
    kept = [n for n, key in enumerate(table["key"].to_pylist()) if key in wanted or n % step == 0]
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.take(kept), folder / "pictures.parquet")
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    card = folder / "card.toml"
    card.write_text(CARD.format(count=len(rows), first=rows[0]["query_id"], last=rows[-1]["query_id"]), encoding="utf-8")
    return card
