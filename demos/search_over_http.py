"""Search and ask over HTTP: a picture and what should be different, more like this, and an answer as it comes.

python demos/search_over_http.py --out demo-out
"""

import argparse
import base64
import json
from pathlib import Path

import httpx
import pyarrow.parquet as pq
from rerank_over_http import serving

from mmrerank import Collection

DATASETS = Path(__file__).parents[1] / "datasets"


def indexed(folder: Path, source: Path, encoders: list[str]) -> str:
    collection = Collection.open_or_create(folder, encoders=encoders)
    collection.add([source])
    return str(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo-out"))
    out = parser.parse_args().out
    emoji = indexed(out / "emoji", DATASETS / "emoji" / "pictures.parquet", ["openclip/mini"])
    handbook = indexed(out / "handbook", DATASETS / "handbook", [])
    rows = pq.read_table(DATASETS / "emoji" / "pictures.parquet", columns=["key", "image"]).to_pylist()
    firefighter = next(row["image"] for row in rows if row["key"] == "woman-firefighter")
    with serving(emoji, handbook) as url, httpx.Client(base_url=url, timeout=60) as client:
        picture = "data:image/png;base64," + base64.b64encode(firefighter).decode()
        query = {"collection": "emoji", "images": [picture], "text": "the same, but a man", "k": 3}
        for hit in client.post("/v1/search", json=query).json()["hits"]:
            print(f"{hit['rank']}. {hit['text']} ({hit['reason']})")
        marks = {"collection": "emoji", "positive": ["pictures.parquet::red-heart"], "negative": ["pictures.parquet::blue-heart"], "k": 3}
        print("more like this:", ", ".join(hit["text"] for hit in client.post("/v1/search", json=marks).json()["hits"]))
        question = {"collection": "handbook", "question": "What did it cost to recover and repair the wave buoy?", "stream": True}
        with client.stream("POST", "/v1/ask", json=question) as reply:
            for line in reply.iter_lines():
                if line.startswith("data: "):
                    event = json.loads(line.removeprefix("data: "))
                    print(event["text"] if "text" in event else f"  {event['citations'][0]['item_id']}")


if __name__ == "__main__":
    main()
