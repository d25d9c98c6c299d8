"""A collection that version 0.2.0 made, with its sources: it opens, finds what it found, and indexing it again encodes nothing."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from mmrerank import Collection, Query
from mmrerank import picture as handle_of
from mmrerank.collection.verify import check
from mmrerank.store.manifest import FILE

GOLDEN = Path(__file__).parents[1] / "golden" / "collection-0.2.0"
QUERIES = json.loads((GOLDEN / "hits.json").read_text(encoding="utf-8"))["queries"]
ITEMS = 12
TOLERANCE = 1e-5  # descriptors of queries, computed on another processor


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / "sources", tmp_path / "sources"))


@pytest.fixture
def collection(tmp_path: Path, sources: Path) -> Collection:
    folder = tmp_path / "collection"
    shutil.copytree(GOLDEN / "collection", folder)
    manifest = folder / FILE
    manifest.write_text(manifest.read_text(encoding="utf-8").replace('"/sources"', json.dumps(str(sources.resolve()))), encoding="utf-8")
    return Collection.open(folder)


def hits_of(collection: Collection, query: dict[str, Any], sources: Path) -> list[tuple[str, float | None]]:
    images = (handle_of(sources / "images" / query["image"]),) if "image" in query else ()
    wanted = Query(text=query.get("text"), images=images, filter=query.get("filter"))
    return [(hit.item.item_id, hit.score) for hit in collection.search(wanted, retriever=query["retriever"], k=20).hits]


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query["name"])
def test_it_finds_what_it_found(collection: Collection, sources: Path, query: dict[str, Any]) -> None:
    hits = hits_of(collection, query, sources)
    assert [item_id for item_id, _ in hits] == [item_id for item_id, _ in query["hits"]]
    assert [score for _, score in hits] == pytest.approx([score for _, score in query["hits"]], abs=TOLERANCE)


@pytest.mark.parametrize("keeps_times", [True, False], ids=["files untouched", "files with new times"])
def test_indexing_its_sources_again_encodes_nothing(collection: Collection, sources: Path, keeps_times: bool) -> None:
    if keeps_times:
        for row in collection.table.known():
            os.utime(sources / row["file"], ns=(row["file_mtime_ns"], row["file_mtime_ns"]))
    report = collection.add([sources, sources / "rows.jsonl"])
    assert (report.found, report.unchanged, report.failed) == (ITEMS, ITEMS, ())
    assert (report.added, report.updated, report.removed) == (0, 0, 0)
    assert "encode" not in report.stage_seconds
    # pictures are read even so: a file that was put here since may be another of the same size and time
    assert "read" in report.stage_seconds
    verdict = check(collection)
    assert (verdict["ok"], verdict["rebuilt"]) == (True, [])
    assert hits_of(collection, QUERIES[0], sources)[0][0] == QUERIES[0]["hits"][0][0]
