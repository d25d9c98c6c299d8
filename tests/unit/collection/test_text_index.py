"""The index over texts beside a collection: what went is passed over at once, and what words weigh follows at the writer's next run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mmrerank.collection import Collection, index_cache
from mmrerank.index.bm25_index import Bm25Index

WORDS = ("red", "green", "blue", "grey")


def page(n: int) -> dict[str, Any]:
    return {"key": f"p{n}", "text": f"a {WORDS[n % 4]} boat of {'wood ' * (n % 3)}number{n}"}


def write(folder: Path, numbers: Sequence[int]) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{n}.jsonl" for n in numbers]
    for n, path in zip(numbers, paths, strict=True):
        path.write_text(json.dumps(page(n)) + "\n")
    return paths


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    collection = Collection.create(tmp_path / "c")
    collection.add(write(tmp_path / "pages", range(40)))
    collection.search("boat")
    return collection


def hits(collection: Collection, text: str, k: int = 50, **more: Any) -> list[tuple[str, float]]:
    return [(hit.item.item_id, hit.score) for hit in Collection.open(collection.path).version.matching(text, k, **more)]


def refuse(*_: Any) -> None:
    raise AssertionError("the index was made in front of a search")


def test_a_search_after_a_removal_waits_for_no_index(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    before, weights = hits(collection, "red boat"), collection.version.idf("red boat")
    gone = {before[0][0], before[3][0], before[-1][0]}
    collection.remove(ids=sorted(gone))
    with monkeypatch.context() as patch:
        patch.setattr(index_cache, "new_text_index", refuse)
        left = [hit for hit in before if hit[0] not in gone]
        assert hits(collection, "red boat") == left
        assert hits(collection, "red boat", k=2) == left[:2]
        assert hits(collection, "red boat", k=2, filter=f"item_id <> '{left[0][0]}'") == left[1:3]
        assert Collection.open(collection.path).version.idf("red boat") == weights


def test_the_next_run_weighs_words_as_if_what_went_had_never_been_there(collection: Collection, tmp_path: Path) -> None:
    collection.remove(ids=[f"{n}.jsonl::p{n}" for n in range(0, 40, 3)])
    tombstones = hits(collection, "red boat")
    paths = write(tmp_path / "pages", [n for n in range(40) if n % 3])
    collection.add(paths)
    fresh = Collection.create(tmp_path / "fresh")
    fresh.add(paths)
    wanted = hits(fresh, "red boat")
    assert hits(collection, "red boat") == wanted
    assert tombstones != wanted
    assert {item_id for item_id, _ in tombstones} == {item_id for item_id, _ in wanted}


def test_texts_that_came_since_are_found_at_once(collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a run that was killed before it came to the index."""
    monkeypatch.setattr(Collection, "_indexes_brought_up", lambda _: [])
    collection.add(write(tmp_path / "pages", range(40, 42)))
    assert [item_id for item_id, _ in hits(collection, "number41")] == ["41.jsonl::p41"]


def test_an_index_that_does_not_say_of_which_files_it_is_is_made_anew(collection: Collection) -> None:
    """0.6.0 and before."""
    place = collection.path / "indexes" / "text" / "cache.json"
    state = json.loads(place.read_text())
    del state["data_files"]
    place.write_text(json.dumps(state))
    collection.remove(ids=["0.jsonl::p0"])
    assert "0.jsonl::p0" not in dict(hits(collection, "red boat"))
    assert json.loads(place.read_text())["data_files"]
    assert isinstance(Collection.open(collection.path).version.text, Bm25Index)
