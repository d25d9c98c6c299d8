"""How this collection was made: run once, at commit 45d9943 (version 0.2.0), from a folder of its own.

    PYTHONPATH=CHECKOUT:CHECKOUT/tests python make.py OUT

Writes OUT/sources (five pictures, a PDF of two pages, a tar of two samples, a table of three rows, one of which names a picture),
OUT/collection (openclip/mini, the default index, which is saved by a first search) and OUT/hits.json, what that version finds. The root
of the collection is then renamed to `/sources`, which tests replace by where they copy the sources to.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from makers import write_pictures, write_tar
from reportlab.pdfgen.canvas import Canvas

from mmrerank import Collection, Query
from mmrerank import picture as handle_of

PAGES = ("Tides of the harbour: high water comes twice a day.", "The red door of the boat house is painted each spring.")
ROWS = (
    {"key": "boats", "text": "blue boats in the harbour", "year": 1998},
    {"key": "doors", "text": "a red door in a white wall", "image": "images/902.png"},
    {"key": "tides", "text": "a table of tides"},
)
QUERIES = (
    {"name": "text by pictures", "text": "a red door", "retriever": "dense"},
    {"name": "text by words", "text": "red door of the harbour", "retriever": "lexical"},
    {"name": "picture", "image": "901.png", "retriever": "dense"},
    {"name": "picture and text", "image": "902.png", "text": "in green", "retriever": "composed"},
    {"name": "filter", "text": "harbour", "retriever": "lexical", "filter": "year = 1998"},
)


def write_sources(folder: Path) -> None:
    write_pictures(folder / "images", range(900, 905))
    write_tar(folder / "shard.tar", range(2))
    canvas = Canvas(str(folder / "harbour.pdf"), pagesize=(200, 120), invariant=1)
    for page in PAGES:
        canvas.setFont("Helvetica", 7)
        canvas.drawString(8, 60, page)
        canvas.showPage()
    canvas.save()
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")


def hits_of(collection: Collection, query: dict[str, str], sources: Path) -> list[tuple[str, float]]:
    images = (handle_of(sources / "images" / query["image"]),) if "image" in query else ()
    asked = Query(text=query.get("text"), images=images, filter=query.get("filter"))
    hits = collection.search(asked, retriever=query["retriever"], k=20).hits
    return [(hit.item.item_id, float(hit.score)) for hit in hits]


def main(out: Path) -> None:
    sources = out / "sources"
    write_sources(sources)
    collection = Collection.create(out / "collection", encoders=["openclip/mini"])
    report = collection.add([sources, sources / "rows.jsonl"])
    assert (report.added, report.failed) == (12, ()), report
    recorded = {"queries": [{**query, "hits": hits_of(collection, query, sources)} for query in QUERIES]}
    (out / "hits.json").write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")
    manifest = out / "collection" / "collection.toml"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace(str(sources.resolve()), "/sources"), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
