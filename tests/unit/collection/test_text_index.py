"""The index over texts beside a collection: what went is passed over at once, and what words weigh follows at the writer's next run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mmrerank.collection import Collection, text_index
from mmrerank.collection.verify import check
from mmrerank.store.table import Snapshot

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
        patch.setattr(text_index, "new_text_index", refuse)
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


def test_an_index_as_earlier_versions_kept_it_is_made_anew(collection: Collection, caplog: pytest.LogCaptureFixture) -> None:
    """0.6.0 and before."""
    place = collection.path / "indexes" / "text" / "cache.json"
    state = json.loads(place.read_text())
    place.write_text(json.dumps({name: state[name] for name in ("index", "version", "data")}))
    collection.remove(ids=["0.jsonl::p0"])
    assert "0.jsonl::p0" not in dict(hits(collection, "red boat"))
    assert json.loads(place.read_text())["texts"] == 39
    assert Collection.open(collection.path).version.text.changed == 0
    assert not caplog.records


@pytest.mark.parametrize("damage", ["flipped", "lacking"])
def test_verify_finds_what_no_search_looks_at(collection: Collection, damage: str) -> None:
    """A flip that kept size and time, and an index that lacks a text though it says that it is of this version."""
    before = hits(collection, "red boat")
    place = collection.path / "indexes" / "text"
    if damage == "lacking":
        _, state = text_index._opened(place) or pytest.fail("there is none")
        short = text_index._empty()
        short.fit(collection.version.snapshot.keys[1:], ["boat"] * 39)
        assert text_index._save(place, text_index.TailedTexts(short), state, made=True)
    else:
        (path,) = place.glob("data-*")
        stat, content = path.stat(), bytearray(path.read_bytes())
        content[len(content) // 2] ^= 255
        path.write_bytes(content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert check(Collection.open(collection.path))["rebuilt"] == ["the index of words did not match the table and was rebuilt"]
    assert hits(collection, "red boat") == before
    assert check(Collection.open(collection.path))["rebuilt"] == []


def test_a_view_of_an_earlier_version_leaves_the_index_of_a_later_one(collection: Collection) -> None:
    early = Collection.open(collection.path).version
    collection.remove(ids=["0.jsonl::p0", "1.jsonl::p1"])
    collection.search("boat")
    state = (collection.path / "indexes" / "text" / "cache.json").read_text()
    assert len(early.matching("boat", 50)) == 40
    assert (collection.path / "indexes" / "text" / "cache.json").read_text() == state
    assert len(hits(collection, "boat")) == 38


def test_an_index_of_another_version_that_was_saved_meanwhile_is_not_taken(
    collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread makes and saves its own between two steps of this one."""
    early = Collection.open(collection.path).version
    collection.add(write(tmp_path / "pages", [40]))
    shutil.rmtree(collection.path / "indexes" / "text")
    save, others = text_index._save, [collection]

    def and_another(*given: Any, **more: Any) -> bool:
        is_saved = save(*given, **more)
        for other in others[:]:
            others.clear()
            text_index.new_text_index(other.path / "indexes", Collection.open(other.path).version.snapshot)
        return is_saved

    monkeypatch.setattr(text_index, "_save", and_another)
    assert len(early.matching("boat", 50)) == 40
    assert not others


# ---------------------------------------------------------------- large ones: what came since stands beside what there was


@pytest.fixture
def large(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> Collection:
    """To whom forty texts are many."""
    monkeypatch.setattr(text_index, "SMALL", 0)
    return collection


def test_an_addition_costs_its_own_texts_and_is_found(large: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = hits(large, "red boat")
    with monkeypatch.context() as patch:
        patch.setattr(text_index, "new_text_index", refuse)
        large.add(write(tmp_path / "pages", [40, 41]))
        patch.setattr(Snapshot, "texts", refuse)  # a search reads what the writer saved
        assert [item_id for item_id, _ in hits(large, "number41")] == ["41.jsonl::p41"]
        after = hits(large, "red boat")
    assert [hit for hit in after if hit in before] == before, "their scores stay"
    twin = next(score for item_id, score in before if item_id == "4.jsonl::p4")  # of the same words but for its number
    assert dict(after)["40.jsonl::p40"] == pytest.approx(twin)
    assert hits(large, "red boat", k=3) == after[:3]
    assert hits(large, "boat", filter="item_id = '41.jsonl::p41'") == [hit for hit in hits(large, "boat") if hit[0] == "41.jsonl::p41"]


@pytest.mark.parametrize("number", [40, 7])
def test_what_went_and_comes_again_is_found(large: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(text_index, "rebuild_pays", lambda *_: False)
    for later in ([40], [41]):
        large.add(write(tmp_path / "pages", later))
    there = hits(large, f"number{number}")
    assert len(there) == 1
    large.remove(ids=[f"{number}.jsonl::p{number}"])
    assert hits(large, f"number{number}") == []
    large.add([tmp_path / "pages" / f"{number}.jsonl"])
    assert hits(large, f"number{number}") == there
    assert len(Collection.open(large.path).version.text) == 42


def test_words_are_weighed_anew_where_a_twentieth_has_changed(large: Collection, tmp_path: Path) -> None:
    large.add(write(tmp_path / "pages", [40, 41]))
    assert Collection.open(large.path).version.text.changed == 2
    large.add(write(tmp_path / "pages", [42]))
    assert Collection.open(large.path).version.text.changed == 0
    fresh = Collection.create(tmp_path / "fresh")
    fresh.add(sorted((tmp_path / "pages").iterdir()))
    assert hits(large, "red boat") == hits(fresh, "red boat")
    assert large.version.idf("red boat of number42") == fresh.version.idf("red boat of number42")


def test_a_search_amid_a_run_makes_no_index(large: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that was killed leaves it, too."""
    monkeypatch.setattr(Collection, "_indexes_brought_up", lambda _: [])
    large.add(write(tmp_path / "pages", range(40, 60)))
    monkeypatch.setattr(text_index, "new_text_index", refuse)
    assert [item_id for item_id, _ in hits(large, "number55")] == ["55.jsonl::p55"]
    monkeypatch.setattr(Snapshot, "texts", refuse)
    assert [item_id for item_id, _ in hits(large, "number59")] == ["59.jsonl::p59"], "the next search finds what this one saved"
