"""The Lance table: whole commits, changing schemas, filters, snapshots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lance
import numpy as np
import pytest

from mmrerank.errors import DamagedData, InputError
from mmrerank.store.records import Record, key_of
from mmrerank.store.table import Table


def record(item_id: str, content: str = "1", **fields: Any) -> Record:
    filled = {
        "file": item_id,
        "reader": "images",
        "content_hash": content,
        "file_size": 1,
        "file_mtime_ns": 2,
        "file_items": 1,
        "seen_ns": 3,
    }
    return Record(item_id=item_id, **(filled | fields))


def row(*numbers: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array(numbers, dtype=np.float32)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    made = Table.create(tmp_path / "items.lance")
    made.add_encoder("e", 2)
    return made


def test_what_was_written_is_read_back(table: Table) -> None:
    table.write([record("a", text="it's", page_number=3, metadata={"Skin tone": "dark", "n": 1}, descriptors={"e": row(1, 0)})])
    snapshot = table.snapshot()
    fields, rows = snapshot.records(snapshot.keys, slug="e")
    assert fields[0] | {"item_id": "a", "text": "it's", "page_number": 3, "skin_tone": "dark", "n": 1} == fields[0]
    assert rows.tolist() == [[1.0, 0.0]]


def test_writing_again_replaces_the_row_and_changes_its_key_with_the_content(table: Table) -> None:
    table.write([record("a", "1"), record("b", "1")])
    before = set(table.snapshot().keys.tolist())
    table.write([record("a", "2")])
    after = set(table.snapshot().keys.tolist())
    assert after == {key_of("a", "2"), key_of("b", "1")}
    assert len(before & after) == 1


def test_a_snapshot_does_not_see_later_writes(table: Table) -> None:
    table.write([record("a")])
    snapshot = table.snapshot()
    table.write([record("b")])
    table.remove(["a"])
    table.refresh()
    assert snapshot.records(snapshot.keys)[0][0]["item_id"] == "a"
    assert len(table.snapshot()) == 1


def test_failed_rows_are_kept_apart(table: Table) -> None:
    table.write([record("a"), record("b", state="failed", reason="0 bytes")])
    assert len(table.snapshot()) == 1
    assert {r["item_id"]: r["reason"] for r in table.known()} == {"a": None, "b": "0 bytes"}


def test_rows_without_descriptor_keep_their_place(table: Table) -> None:
    table.write([record("a", descriptors={"e": None}), record("b", descriptors={"e": row(0, 1)})])
    snapshot = table.snapshot()
    assert snapshot.described("e").tolist() == [key_of("b", "1")]
    fields, rows = snapshot.records(np.array([key_of("b", "1"), key_of("a", "1"), key_of("b", "1")]), slug="e")
    assert [r["item_id"] for r in fields] == ["b", "a", "b"]
    assert rows[0].tolist() == rows[2].tolist() == [0.0, 1.0]
    with pytest.raises(InputError, match="no descriptor"):
        snapshot.descriptors(snapshot.keys, "e")


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (1, 2.5, [1.0, 2.5]),
        (1, "many", ["1", "many"]),
        (2.5, "many", ["2.5", "many"]),
        ("many", 3, ["many", "3"]),
        (True, "yes", ["true", "yes"]),
    ],
)
def test_a_metadata_field_widens_to_hold_what_comes(table: Table, first: Any, second: Any, kept: list[Any]) -> None:
    table.write([record("a", metadata={"n": first})])
    table.write([record("b", metadata={"n": second})])
    assert [r["n"] for r in sorted(table.snapshot().table(["item_id", "n"]), key=lambda r: str(r["item_id"]))] == kept


def test_a_metadata_field_with_a_fixed_name_is_told_apart(table: Table) -> None:
    table.write([record("a", text="page", metadata={"text": "caption", "Key": "k"})])
    fields = table.snapshot().table(["text", "text_", "key_"])[0]
    assert fields == {"text": "page", "text_": "caption", "key_": "k"}


def test_filters_are_sql_over_the_fields(table: Table) -> None:
    table.write([record(name, metadata={"n": n}, page_number=n) for n, name in enumerate("abcd")])
    snapshot = table.snapshot()
    assert snapshot.where("n >= 2 AND page_number < 3").tolist() == [key_of("c", "1")]
    assert snapshot.where("n > 9").tolist() == []
    with pytest.raises(InputError, match="page_number"):
        snapshot.where("nosuch = 1")
    with pytest.raises(InputError, match="= ="):
        snapshot.where("n = = 1")


def test_a_field_in_double_quotes_is_a_field_and_not_a_text(table: Table) -> None:
    table.write([record(name, metadata={"group": f'the "{name}"'}) for name in "ab"])
    snapshot = table.snapshot()
    assert snapshot.where('"group" = \'the "b"\'').tolist() == [key_of("b", "1")]
    with pytest.raises(InputError, match="names the field 'a'"):
        snapshot.where('"group" = "a"')


def test_another_encoder_fills_only_its_column(table: Table) -> None:
    table.write([record("a", descriptors={"e": row(1, 0)}), record("b", descriptors={"e": row(0, 1)})])
    table.add_encoder("f", 3)
    table.fill(["a"], {"descriptor:f": [row(0, 0, 1)], "encoders": ["e,f"]})
    snapshot = table.snapshot()
    assert snapshot.described("f").tolist() == [key_of("a", "1")]
    assert snapshot.descriptors(np.array([key_of("a", "1")]), "e").tolist() == [[1.0, 0.0]]
    assert table.dimension("f") == 3


def test_ids_that_are_not_there_are_named(table: Table) -> None:
    table.write([record("a")])
    with pytest.raises(InputError, match="it's gone"):
        table.snapshot().keys_of(["a", "it's gone"])


def test_removing_many_ids_at_once(table: Table) -> None:
    names = [f"n'{n}" for n in range(2500)]
    table.write([record(name) for name in names])
    table.remove(names[:-1])
    table.refresh()
    assert [r["item_id"] for r in table.known()] == [names[-1]]


def test_known_rows_are_found_by_prefix_with_wildcards_taken_literally(table: Table) -> None:
    table.write([record("a_b/x"), record("acb/x"), record("a%/x")])
    assert [r["item_id"] for r in table.known("a_b/")] == ["a_b/x"]
    assert [r["item_id"] for r in table.known("a%")] == ["a%/x"]


def test_compacting_changes_nothing_that_is_read(table: Table) -> None:
    for n in range(5):
        table.write([record(str(n), descriptors={"e": row(n, 1)})])
    before = table.snapshot().descriptors(table.snapshot().keys, "e")
    table.compact()
    assert np.array_equal(table.snapshot().descriptors(table.snapshot().keys, "e"), before)


def test_of_rows_with_one_id_the_newest_stays(table: Table) -> None:
    table.write([record("a", "1"), record("it's", "1"), record("b", "1", seen_ns=5)])
    rows = [record("it's", "2", seen_ns=9), record("b", "2", seen_ns=4)]
    for row_ in rows:  # as two writers at once did before they were kept apart
        other = Table.create(table.path.with_name("other.lance"))
        other.add_encoder("e", 2)
        other.write([row_])
        lance.write_dataset(lance.dataset(str(other.path)).to_table(), str(table.path), mode="append")
        other.remove([row_.item_id])
    table.refresh()
    assert len(table.known()) == 5
    assert table.drop_doubles() == 2
    assert {r["item_id"]: r["content_hash"] for r in table.known()} == {"a": "1", "b": "1", "it's": "2"}
    assert table.drop_doubles() == 0


def test_a_table_is_made_in_place_of_an_empty_one_and_never_over_items(table: Table) -> None:
    assert Table.create(table.path).dimension("e") is None
    table.refresh()
    table.write([record("a")])
    with pytest.raises(InputError, match="holds items"):
        Table.create(table.path)
    assert len(Table.open(table.path).known()) == 1


def test_a_table_that_is_gone_or_broken_is_damaged_data(table: Table, tmp_path: Path) -> None:
    with pytest.raises(DamagedData):
        Table.open(tmp_path / "nothing.lance")
    for file in (tmp_path / "items.lance" / "_versions").iterdir():
        file.write_bytes(b"broken")
    with pytest.raises(DamagedData):
        Table.open(tmp_path / "items.lance")
