"""Searching, reranking and asking by threads while another process adds, updates and removes: no error, no mixed version."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
from makers import ColourEncoder, InMemory, picture, write_pictures

from mmrerank.collection import Collection
from mmrerank.collection.verify import check
from mmrerank.types import Query

ROUNDS = 2000  # of searches, over all threads
ITEMS, EXTRA = 12, 3
WRITER = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[3], str(Path(sys.argv[3]).parent)]
from test_one_version import EXTRA, ITEMS, opened, write_round
collection, table = opened(Path(sys.argv[1])), Path(sys.argv[2])
for number in range(1, 10_000):
    extra = EXTRA * (number % 2)
    write_round(table, number, ITEMS + extra)
    collection.add([table])
    collection.remove(ids=[f"t.jsonl::{n}" for n in (number % 4, *range(ITEMS, ITEMS + extra))])
    print(number, flush=True)
"""


def write_round(table: Path, number: int, items: int) -> None:
    """Items that all say the number of the round: one `add` writes them in one commit, so no version has two numbers."""
    rows = [{"key": str(n), "image": f"{n:03}.png", "text": f"the tide gauge of round {number} stands at pier {n}"} for n in range(items)]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def opened(folder: Path) -> Collection:
    collection = Collection.open(folder)
    collection._encoders.use(collection.manifest.encoders[0], ColourEncoder())
    return collection


@pytest.fixture
def table(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "items", range(ITEMS + EXTRA))
    write_round(tmp_path / "items" / "t.jsonl", 0, ITEMS)
    return tmp_path / "items" / "t.jsonl"


@pytest.fixture
def written(tmp_path: Path, table: Path) -> Iterator[Collection]:
    """A collection that another process writes to all the time."""
    Collection.create(tmp_path / "c", encoders=[ColourEncoder()]).add([table])
    arguments = [sys.executable, "-c", WRITER, str(tmp_path / "c"), str(table), str(Path(__file__).parent)]
    writer = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "1\n"  # it has begun
    try:
        yield opened(tmp_path / "c")
    finally:
        ended = writer.poll()
        writer.kill()
        writer.wait()
        writer.stdout.close()
        assert ended is None, "the writer failed"


def test_two_thousand_searches_beside_a_writer_see_one_version_each(written: Collection) -> None:
    numbers, versions = count(), set()

    def rounds_in(texts: list[str | None]) -> set[str]:
        return {str(text).split()[5] for text in texts}

    def one(number: int) -> None:
        if number % 20 == 0:
            written.refresh()
        if number % 3 == 0:
            result = written.search(Query(images=(InMemory(picture(4)),)), k=ITEMS + EXTRA, rerank=["superglobal"])
            assert len(result.hits) >= ITEMS - 1
        elif number % 3 == 1:
            result = written.search("tide gauge", k=ITEMS + EXTRA, rerank=["bm25"])
        else:
            answer = written.ask("At which pier does the tide gauge stand?", k=ITEMS + EXTRA)
            assert answer.answer.found
            result = answer.search
            assert rounds_in([citation.item.text for citation in answer.answer.citations]) == rounds_in([result.hits[0].item.text])
        assert len(rounds_in([hit.item.text for hit in result.hits])) == 1, "hits of two versions"
        versions.update(rounds_in([hit.item.text for hit in result.hits]))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, (next(numbers) for _ in range(ROUNDS))))
    assert len(versions) > 3, "the writer wrote nothing meanwhile"


def test_the_collection_holds_together_afterwards(written: Collection) -> None:
    for _ in range(20):
        written.refresh()
        assert written.search("tide gauge", k=ITEMS).hits
    assert check(written)["problems"] == []
