"""A collection as an object of Python: with blocks, iteration, membership, pickles, and wrong types that are told in our words."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmrerank import Candidate, Collection, Item, Query, Ranking, rerank
from mmrerank.errors import InputError


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    (tmp_path / "t.csv").write_text("key,text\n" + "".join(f"k{n},harbour gauge {n}\n" for n in range(7)))
    collection = Collection.create(tmp_path / "c")
    collection.add(tmp_path / "t.csv")
    return collection


def test_a_with_block_lets_go_and_a_search_opens_again(collection: Collection) -> None:
    with Collection.open(collection.path) as opened:
        assert len(opened.search("gauge", k=3)) == 3
    assert len(opened.search("gauge", k=3)) == 3
    assert opened.path.name in repr(opened)


def test_items_come_by_id_a_few_at_a_time(collection: Collection) -> None:
    ids = [item.item_id for item in collection]
    assert ids == [f"t.csv::k{n}" for n in range(7)] == [item.item_id for item in collection.items()]
    assert [item.item_id for item in collection.version.iterate(at_once=2)] == ids
    assert [item.text for item in collection] == [f"harbour gauge {n}" for n in range(7)]


def test_iteration_stays_with_its_version(collection: Collection) -> None:
    items = iter(collection)
    next(items)
    collection.remove(ids=["t.csv::k6"])
    assert len(list(items)) == 6
    assert len(list(collection)) == 6


def test_an_id_is_in_it_or_not(collection: Collection) -> None:
    assert "t.csv::k3" in collection
    assert "t.csv::k9" not in collection
    assert 3 not in collection


@pytest.mark.parametrize("twin", [lambda c: pickle.loads(pickle.dumps(c)), copy.copy, copy.deepcopy])
def test_copies_are_opened_anew(collection: Collection, twin: Callable[[Collection], Collection]) -> None:
    collection.search("gauge")
    assert [hit.item.item_id for hit in twin(collection).search("gauge 4", k=1)] == ["t.csv::k4"]


WRONG: dict[str, Callable[[Collection], Any]] = {
    "open": lambda c: Collection.open(None),  # type: ignore[arg-type]
    "create": lambda c: Collection.create(5),  # type: ignore[arg-type]
    "encoders": lambda c: Collection.create(c.path / "new", encoders=5),  # type: ignore[arg-type]
    "index": lambda c: Collection.create(c.path / "new", index=5),  # type: ignore[arg-type]
    "add": lambda c: c.add(5),  # type: ignore[arg-type]
    "remove by id": lambda c: c.remove(ids=5),  # type: ignore[arg-type]
    "remove by path": lambda c: c.remove(paths=5),  # type: ignore[arg-type]
    "remove by filter": lambda c: c.remove(filter=5),  # type: ignore[arg-type]
    "item": lambda c: c.item(5),  # type: ignore[arg-type]
    "items": lambda c: c.items(5),  # type: ignore[arg-type]
    "paths": lambda c: c.paths_of([5]),  # type: ignore[list-item]
    "query": lambda c: c.search(["gauge"]),  # type: ignore[arg-type]
    "k as text": lambda c: c.search("gauge", k="3"),  # type: ignore[arg-type]
    "k as float": lambda c: c.search("gauge", k=3.0),  # type: ignore[arg-type]
    "k as truth": lambda c: c.search("gauge", k=True),
    "k as none": lambda c: c.search("gauge", k=None),  # type: ignore[arg-type]
    "depth": lambda c: c.search("gauge", depth="3", rerank="bm25"),  # type: ignore[arg-type]
    "retriever": lambda c: c.search("gauge", retriever=5),  # type: ignore[arg-type]
    "reranker": lambda c: c.search("gauge", rerank=5),  # type: ignore[arg-type]
    "backend": lambda c: c.search("gauge", backend=5),  # type: ignore[arg-type]
    "filter": lambda c: c.search("gauge", filter=5),  # type: ignore[arg-type]
    "exclusion": lambda c: c.search("gauge", exclude_text=5),  # type: ignore[arg-type]
    "answerer": lambda c: c.ask("gauge", answerer=5),  # type: ignore[arg-type]
    "on_text": lambda c: c.ask("gauge", on_text=5),  # type: ignore[arg-type]
    "text of a query": lambda c: Query(text=123),  # type: ignore[arg-type]
    "weights": lambda c: Query(text="a", weights=("1",)),  # type: ignore[arg-type]
    "no exclusion": lambda c: Query(text="a", exclude_text=None),  # type: ignore[arg-type]
    "id of an item": lambda c: Item(item_id=5),  # type: ignore[arg-type]
    "text of an item": lambda c: Item(item_id="a", text=5),  # type: ignore[arg-type]
    "page of an item": lambda c: Item(item_id="a", page_number="2"),  # type: ignore[arg-type]
    "metadata": lambda c: Item(item_id="a", metadata=5),  # type: ignore[arg-type]
    "candidate": lambda c: Candidate(item="a"),  # type: ignore[arg-type]
    "score": lambda c: Candidate(item=Item(item_id="a"), score="0.5"),  # type: ignore[arg-type]
    "ranking": lambda c: Ranking(query_id="q", candidates=("a",)),  # type: ignore[arg-type]
    "encoder": lambda c: rerank("a", ["a"], "superglobal", encoder=5),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("what", WRONG)
def test_a_value_of_a_wrong_type_is_refused_in_our_words(collection: Collection, what: str) -> None:
    with pytest.raises(InputError):
        WRONG[what](collection)


def test_no_reranker_is_none_and_the_number_in_a_message_is_the_one_that_came(collection: Collection) -> None:
    assert len(collection.search("gauge", rerank=None, k=2)) == 2
    with pytest.raises(InputError, match=r"not 3\.0"):
        collection.search("gauge", k=3.0)  # type: ignore[arg-type]
