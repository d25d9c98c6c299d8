"""Several writers and readers of one collection at once: what is there in the end is what each of them wrote, once."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lance
import pytest
from makers import ColourEncoder, write_pictures

from mmrerank.cli import main
from mmrerank.collection import Collection, version
from mmrerank.collection import folder as folder_module
from mmrerank.collection.verify import check
from mmrerank.errors import DamagedData, InputError
from mmrerank.index.bm25_index import Bm25Index
from mmrerank.store.lock import writing
from mmrerank.store.manifest import FILE
from mmrerank.store.table import Table
from mmrerank.types import Candidate, Query, Ranking

ADD = "import sys; from mmrerank.collection import Collection\n"
ADD += "sys.stdin.readline(); print(Collection.open_or_create(sys.argv[1]).add([sys.argv[2]]).added)"


def table_of(path: Path, words: Sequence[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"key": word, "text": f"a page about {word}"}) + "\n" for word in words), encoding="utf-8")
    return path


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    return table_of(tmp_path / "pages" / "pages.jsonl", ["tides", "boats", "herring"])


@pytest.fixture
def collection(tmp_path: Path, pages: Path) -> Collection:
    made = Collection.create(tmp_path / "c")
    made.add([pages])
    return made


def at_once(*tasks: Callable[[], Any]) -> list[Any]:
    """What the tasks return when they begin together, each in a thread; an error is raised here."""
    start = threading.Barrier(len(tasks))

    def begun(task: Callable[[], Any]) -> Any:
        start.wait()
        return task()

    with ThreadPoolExecutor(len(tasks)) as pool:
        return list(pool.map(begun, tasks))


def test_processes_that_index_at_once_make_one_whole_collection(tmp_path: Path, pages: Path) -> None:
    other = table_of(tmp_path / "more" / "more.jsonl", ["buoys"])
    folder = tmp_path / "c"
    processes = [
        subprocess.Popen([sys.executable, "-c", ADD, str(folder), str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for path in (pages, pages, other)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    added = [int(process.communicate()[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert (sorted(added[:2]), added[2]) == ([0, 3], 1)
    held = Collection.open(folder)
    assert check(held) | {"ok": True, "items": 4, "files": []} == check(held)
    assert len(held.manifest.roots) == 2


def test_threads_that_add_and_remove_at_once_each_get_what_they_asked_for(tmp_path: Path, collection: Collection) -> None:
    tables = [table_of(tmp_path / f"t{n}" / "t.jsonl", [f"word{n}", f"term{n}"]) for n in range(4)]
    reports = at_once(
        lambda: collection.add([tables[0]]),
        lambda: collection.add([tables[1]]),
        lambda: Collection.open(collection.path).add([tables[2]]),
        lambda: Collection.open(collection.path).add([tables[3]]),
        lambda: collection.remove(ids=["pages.jsonl::tides"]),
    )
    assert [report.added for report in reports[:4]] == [2, 2, 2, 2]
    collection.refresh()
    assert check(collection) | {"ok": True, "items": 2 + 8, "files": []} == check(collection)
    assert len(collection.manifest.roots) == 5


def test_a_writer_begins_from_what_others_wrote_while_it_waited(tmp_path: Path, collection: Collection) -> None:
    late = Collection.open(collection.path)
    with ThreadPoolExecutor(1) as pool:
        with writing(collection.path):
            waiting = pool.submit(late.add, [table_of(tmp_path / "late" / "t.jsonl", ["late"])])
            time.sleep(0.2)
            assert not waiting.done()
        assert waiting.result().added == 1
    early = Collection.open(collection.path)
    early.add([table_of(tmp_path / "early" / "t.jsonl", ["early"])])
    assert late.add([tmp_path / "late" / "t.jsonl"]).unchanged == 1
    assert [root.prefix for root in late.manifest.roots] == ["", "late/", "early/"]
    assert len(late) == 5


def test_a_search_does_not_wait_for_a_writer(collection: Collection) -> None:
    with writing(collection.path):
        assert [hit.item.item_id for hit in Collection.open(collection.path).search("boats").hits] == ["pages.jsonl::boats"]


def test_searches_go_on_beside_an_add_in_the_same_process(tmp_path: Path, collection: Collection) -> None:
    done = threading.Event()

    def read() -> int:
        n = 0
        while not done.is_set() or n == 0:
            assert collection.search("boats").hits[0].item.item_id == "pages.jsonl::boats"
            assert collection.item("pages.jsonl::boats").text == "a page about boats"
            n += 1
        return n

    def write() -> None:
        try:
            for n in range(6):
                collection.add([table_of(tmp_path / "grows" / "t.jsonl", [f"word{m}" for m in range(n + 1)])])
        finally:
            done.set()

    at_once(read, read, read, write)
    assert len(collection) == 9


def test_a_version_stays_what_it_is_while_others_write(collection: Collection) -> None:
    version = collection.version
    collection.remove(ids=["pages.jsonl::boats"])
    assert [candidate.item.item_id for candidate in version.matching("boats", 1)] == ["pages.jsonl::boats"]
    assert version.item("pages.jsonl::boats").text == "a page about boats"
    assert collection.version.matching("boats", 1) == []
    assert collection.search("boats").hits == ()


def test_an_item_removed_between_two_stages_is_still_reranked(tmp_path: Path) -> None:
    """The first stage had it, so every later stage of the search has it too."""
    write_pictures(tmp_path / "photos", range(6))
    pictures = Collection.create(tmp_path / "p", encoders=[ColourEncoder()])
    pictures.add([tmp_path / "photos"])

    class Removes:
        name = "removes"

        def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
            pictures.remove(ids=["003.png"])
            return Ranking(query_id=query.query_id, candidates=tuple(candidates))

    result = pictures.search(image=tmp_path / "photos" / "003.png", rerank=[Removes(), "superglobal"])
    assert result.hits[0].item.item_id == "003.png"
    assert len(pictures) == 5


def test_threads_with_a_cold_cache_open_it_once_and_none_fails(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, text_index = [], version.text_index

    def counted(*given: Any) -> Any:
        opened.append(threading.get_ident())
        time.sleep(0.05)
        return text_index(*given)

    monkeypatch.setattr(version, "text_index", counted)
    shared = Collection.open(collection.path)
    found = at_once(*[lambda: shared.search("herring").hits[0].item.item_id] * 8)
    assert found == ["pages.jsonl::herring"] * 8
    assert len(opened) == 1


def test_collections_opened_by_many_threads_with_a_cold_cache_do_not_disturb_one_another(collection: Collection) -> None:
    def ask() -> str:
        return Collection.open(collection.path).search("herring").hits[0].item.item_id

    assert at_once(*[ask] * 8) == ["pages.jsonl::herring"] * 8
    kept = [path.name for path in (collection.path / "indexes" / "text").iterdir() if not path.name.startswith("data-")]
    assert sorted(kept) == [".lock", "cache.json"]
    assert len(list((collection.path / "indexes" / "text").glob("data-*"))) == 1


def test_a_cache_that_cannot_be_saved_costs_no_search(collection: Collection, caplog: pytest.LogCaptureFixture) -> None:
    (collection.path / "indexes").write_text("a file where the folder should be")
    assert collection.search("tides").hits[0].item.item_id == "pages.jsonl::tides"
    assert "cannot be saved" in caplog.text


def test_a_killed_save_of_a_cache_leaves_nothing_for_long(collection: Collection, pages: Path) -> None:
    collection.search("tides")
    place = collection.path / "indexes" / "text"
    for name in (".data-1-abc.99.tmp", "data-1-abc", "data-1-abc.new"):
        (place / name).touch()
    table_of(pages, ["tides", "eels"])
    collection.add([pages])
    assert collection.search("eels").hits
    assert sorted(path.name.split("-")[0] for path in place.iterdir()) == [".lock", "cache.json", "data"]


def test_whoever_writes_brings_up_the_index_of_texts_that_searches_have_used(
    collection: Collection, pages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection.add([pages])
    assert not (collection.path / "indexes" / "text").exists(), "nobody has searched by words"
    collection.search("tides")
    table_of(pages, ["tides", "eels"])
    collection.add([pages])
    monkeypatch.setattr(Bm25Index, "fit", lambda *_: pytest.fail("a search that waits builds the index"))
    assert Collection.open(collection.path).search("eels").hits[0].item.item_id == "pages.jsonl::eels"


def doubled(collection: Collection) -> Collection:
    """The collection as two writers at once left it before they were kept apart."""
    table = collection.path / "items.lance"
    lance.write_dataset(lance.dataset(str(table)).to_table(), str(table), mode="append")
    return Collection.open(collection.path)


def test_indexing_again_repairs_rows_that_stand_twice(
    tmp_path: Path, collection: Collection, pages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = doubled(collection)
    report = check(damaged)
    assert report["ok"] is False
    assert "Index any folder of the collection again" in report["problems"][0]
    with pytest.raises(DamagedData, match="3 rows stand twice"):
        damaged.search("boats")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "more.md").write_text("A gull sits on the crane.", encoding="utf-8")
    assert main(["index", str(tmp_path / "elsewhere"), "--into", str(collection.path)]) == 0
    assert "3 rows that stood twice were dropped" in capsys.readouterr().err
    healed = Collection.open(collection.path)
    assert check(healed)["ok"] is True
    assert len(healed.search("a page about boats").hits) == 3
    assert healed.add([pages]).unchanged == 3


def test_of_several_that_create_at_once_one_does_and_the_others_open(tmp_path: Path) -> None:
    made = at_once(*[lambda: Collection.open_or_create(tmp_path / "c")] * 4)
    assert [len(collection) for collection in made] == [0] * 4
    with pytest.raises(InputError, match="holds a collection already"):
        Collection.create(tmp_path / "c")


def test_what_a_killed_creation_left_is_no_obstacle(tmp_path: Path, pages: Path) -> None:
    folder = tmp_path / "c"
    Table.create(folder / "items.lance").add_encoder("e", 2)
    (folder / ".lock").touch()
    (folder / f"{FILE}.123.new").touch()
    assert Collection.create(folder).add([pages]).added == 3


def test_a_table_with_items_that_lost_its_manifest_is_never_made_anew(collection: Collection) -> None:
    (collection.path / FILE).unlink()
    with pytest.raises(InputError, match="holds items"):
        Collection.open_or_create(collection.path)
    assert len(Table.open(collection.path / "items.lance").known()) == 3


def test_a_refused_creation_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", range(1))
    with pytest.raises(InputError, match="not empty"):
        Collection.open_or_create(tmp_path / "photos")
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["000.png"]


def test_rows_are_never_seen_without_the_root_they_lie_below(
    tmp_path: Path, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process adds a folder between the reading of the manifest and the opening of the table."""
    more, read, times = table_of(tmp_path / "more" / "more.jsonl", ["buoys"]), folder_module.read_manifest, iter(range(100))

    def read_before_an_add(folder: Path) -> Any:
        manifest = read(folder)
        if next(times) == 0:
            Collection(folder, manifest, Table.open(folder / "items.lance")).add([more])
        return manifest

    monkeypatch.setattr(folder_module, "read_manifest", read_before_an_add)
    opened = Collection.open(collection.path)
    assert opened.paths_of(["more/more.jsonl::buoys"]) == {"more/more.jsonl::buoys": more}
