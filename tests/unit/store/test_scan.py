"""Reading a large table: in pieces, without holding what was read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmrerank.store import table as table_module
from mmrerank.store.records import Record, key_of
from mmrerank.store.table import Table
from mmrerank.types import Array

ROWS = np.random.default_rng(1).normal(size=(300, 8)).astype(np.float32)


def record(n: int, row: Array | None, *, page: int | None = None) -> Record:
    file, fragment = f"f{n:03}", "" if page is None else f"#page={page}"
    base = {"reader": "images", "file_size": 1, "file_mtime_ns": 1, "file_items": 1, "seen_ns": 1, "content_hash": "1"}
    return Record(item_id=file + fragment, file=file, fragment=fragment, descriptors={"e": row}, **base)  # type: ignore[arg-type]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    table = Table.create(tmp_path / "items.lance")
    table.add_encoder("e", 8)
    table.write([record(n, None if n % 10 == 0 else ROWS[n], page=n if n % 2 else None) for n in range(300)], new=True)
    return table


def key(n: int) -> int:
    return key_of(f"f{n:03}" + (f"#page={n}" if n % 2 else ""), "1")


def test_a_scan_meets_every_described_row_once_and_keeps_no_batch(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that were views of a batch once kept its vectors: building an index of a million rows held all two gigabytes."""
    monkeypatch.setattr(table_module, "SCAN_ROWS", 64)
    batches = list(table.snapshot().scan("e"))
    assert all(keys.base is None and len(keys) <= 64 for keys, _ in batches)
    met = {int(k): row for keys, rows in batches for k, row in zip(keys, rows, strict=True)}
    assert met.keys() == {key(n) for n in range(300) if n % 10}
    assert all(np.array_equal(met[key(n)], ROWS[n]) for n in range(1, 300, 10))


def test_of_some_items_those_that_are_described(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "SCAN_ROWS", 16)
    keys, rows = table.snapshot().some_described(np.array([key(n) for n in range(250, 100, -1)]), "e")
    wanted = {key(n): ROWS[n] for n in range(101, 251) if n % 10}
    assert wanted.keys() == set(keys.tolist())
    assert all(np.array_equal(wanted[int(k)], row) for k, row in zip(keys, rows, strict=True))
    assert [len(part) for part in table.snapshot().some_described(np.empty(0, np.int64), "e")] == [0, 0]


def test_what_an_encoder_saw_is_more_than_what_it_described(table: Table) -> None:
    snapshot = table.snapshot()
    assert snapshot.seen("e").tolist() == sorted(key(n) for n in range(300))
    assert snapshot.described("e").tolist() == sorted(key(n) for n in range(300) if n % 10)
    some = np.array(sorted(key(n) for n in range(50)))
    assert snapshot.seen("e", among=some).tolist() == some.tolist()
    assert len(snapshot.seen("other")) == len(snapshot.seen("other", among=some)) == 0


def test_a_sample_is_of_described_rows_and_the_same_for_the_same_seed(table: Table) -> None:
    snapshot = table.snapshot()
    one, other = (snapshot.sample("e", 50, seed=3) for _ in range(2))
    assert one[0].tolist() == other[0].tolist()
    assert 25 <= len(one[0]) <= 50
    assert not {key(n) for n in range(0, 300, 10)} & set(one[0].tolist())


def test_whether_any_item_is_so(table: Table) -> None:
    assert table.snapshot().any("item_id = 'f004'")
    assert not table.snapshot().any("page_number IS NOT NULL")
