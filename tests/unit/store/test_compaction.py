"""What writing costs on disk, and that no version goes from under somebody who reads it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmrerank.store import table as table_module
from mmrerank.store.reading import FOLDER, reading, versions_in_use
from mmrerank.store.records import Record
from mmrerank.store.table import SMALL_FILES, Table


def records(start: int, count: int) -> list[Record]:
    rows = np.random.default_rng(start).normal(size=(count, 64)).astype(np.float32)
    base = {"file": "f", "reader": "images", "file_size": 1, "file_mtime_ns": 1, "file_items": 1, "seen_ns": 1}
    return [Record(item_id=f"{start + n:07}", content_hash="1", descriptors={"e": rows[n]}, **base) for n in range(count)]  # type: ignore[arg-type]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    table = Table.create(tmp_path / "items.lance")
    table.add_encoder("e", 64)
    return table


def size_of(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def test_an_addition_does_not_write_again_what_is_there(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `add` once wrote the whole table again and kept the old one for two weeks: 2.1 GB for 1,000 rows at a million."""
    monkeypatch.setattr(table_module, "ROWS_A_FILE", 2000)
    table.write(records(0, 20_000), new=True)
    table.compact()
    whole, raw = size_of(table.path), 20_000 * 64 * 4
    assert whole < 1.5 * raw
    for n in range(3 * SMALL_FILES):
        before = size_of(table.path)
        table.write(records(20_000 + 100 * n, 100), new=True)
        table.compact()
        assert size_of(table.path) - before < 0.05 * whole
    added = 3 * SMALL_FILES * 100 * 64 * 4
    assert size_of(table.path) - whole < 2 * added
    assert len(table.snapshot()) == 20_000 + 3 * SMALL_FILES * 100


def test_small_files_are_joined_and_full_ones_stay(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "ROWS_A_FILE", 1000)
    table.write(records(0, 1000), new=True)
    full = {file.name for file in (table.path / "data").iterdir()}
    for n in range(SMALL_FILES):
        table.write(records(1000 + 10 * n, 10), new=True)
    assert len(list((table.path / "data").iterdir())) == 1 + SMALL_FILES
    table.compact()
    left = {file.name for file in (table.path / "data").iterdir()}
    assert full < left
    assert len(left) == 2


def test_a_version_in_use_stays_until_its_reader_goes(table: Table) -> None:
    table.write(records(0, 50), new=True)
    snapshot = table.snapshot()
    assert versions_in_use(table.path.parent) == {snapshot.version}
    for n in range(2 * SMALL_FILES):
        table.write(records(50 + 5 * n, 5), new=True)
        table.compact()
    assert len(snapshot.descriptors(snapshot.keys, "e")) == 50
    kept = len(list((table.path / "_versions").iterdir()))
    assert kept <= 4, "the one in use, the newest, and what the last write began with"
    del snapshot
    gc.collect()
    table.compact()
    assert versions_in_use(table.path.parent) == set()
    assert len(list((table.path / "_versions").iterdir())) < kept
    assert list((table.path.parent / FOLDER).glob("*.read")) == []


READ = """
import sys, numpy as np
from pathlib import Path
from mmrerank.store.table import Table
snapshot = Table.open(Path(sys.argv[1])).snapshot()
print(snapshot.version, flush=True)
sys.stdin.readline()
print(len(snapshot.descriptors(snapshot.keys, "e")), flush=True)
sys.stdin.readline()
"""


def test_readers_of_other_processes_are_heeded_and_dead_ones_are_not(table: Table) -> None:
    table.write(records(0, 50), new=True)
    command = [sys.executable, "-c", READ, str(table.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        version = int(process.stdout.readline())
        for n in range(2 * SMALL_FILES):
            table.write(records(50 + 5 * n, 5), new=True)
            table.compact()
        assert versions_in_use(table.path.parent) == {version}
        process.stdin.write("\n")
        process.stdin.flush()
        assert int(process.stdout.readline()) == 50
        process.kill()
    table.compact()
    assert versions_in_use(table.path.parent) == set()


def test_nothing_goes_while_somebody_opens_a_version(table: Table) -> None:
    table.write(records(0, 5), new=True)
    table.write(records(5, 5), new=True)

    def opened() -> Table:
        before = len(list((table.path / "_versions").iterdir()))
        assert versions_in_use(table.path.parent) is None
        table.compact()
        assert len(list((table.path / "_versions").iterdir())) >= before
        return Table.open(table.path)

    assert reading(table.path.parent, opened, lambda opened: opened.version).version == table.version


def test_a_version_that_went_is_opened_anew(table: Table) -> None:
    table.write(records(0, 5), new=True)
    idle = Table.open(table.path)
    table.write(records(5, 5), new=True)
    table.compact()
    assert len(idle.snapshot()) == 10


def test_rows_of_known_ids_are_replaced_and_new_ones_appended(table: Table) -> None:
    table.write(records(0, 5), new=True)
    table.write(records(3, 5))
    assert len(table.snapshot()) == 8
