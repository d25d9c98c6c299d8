"""Rerank what another system found: a query and candidates as JSON, no collection. Here with BM25's order and SuperGlobal.

python demos/rerank_another_systems_hits.py --out demo-out
"""

import argparse
import base64
import json
from pathlib import Path

import pyarrow.parquet as pq

from mmrerank.cli import main as mmrerank

EMOJI = Path(__file__).parents[1] / "datasets" / "emoji" / "pictures.parquet"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo-out"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    rows = [row for row in pq.read_table(EMOJI, columns=["key", "text", "image"]).to_pylist() if "cat" in row["text"].split()]
    uris = ["data:image/png;base64," + base64.b64encode(row["image"]).decode() for row in rows]
    (out / "query.json").write_text(json.dumps({"query_id": "cats", "images": [uris[0]]}))
    lines = [json.dumps({"item_id": row["key"], "text": row["text"], "image": uri}) for row, uri in zip(rows[1:], uris[1:], strict=True)]
    (out / "candidates.jsonl").write_text("\n".join(lines))
    files = ["--query", str(out / "query.json"), "--candidates", str(out / "candidates.jsonl")]
    mmrerank(["rerank", *files, "--with", "superglobal", "--encoder", "openclip/mini", "--sheet", str(out / "demo-rerank.png")])


if __name__ == "__main__":
    main()
