"""The Lance table: whole commits, changing schemas, filters, snapshots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
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
    fields, rows = snapshot.records(snapshot.keys), snapshot.descriptors(snapshot.keys, "e")
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
    assert snapshot.records(snapshot.keys)[0]["item_id"] == "a"
    assert len(table.snapshot()) == 1


def test_failed_rows_are_kept_apart(table: Table) -> None:
    table.write([record("a"), record("b", state="failed", reason="0 bytes")])
    assert len(table.snapshot()) == 1
    assert {r["item_id"]: r["reason"] for r in table.known()} == {"a": None, "b": "0 bytes"}


def test_rows_without_descriptor_keep_their_place(table: Table) -> None:
    table.write([record("a", descriptors={"e": None}), record("b", descriptors={"e": row(0, 1)})])
    snapshot = table.snapshot()
    assert snapshot.described("e").tolist() == [key_of("b", "1")]
    assert [r["item_id"] for r in snapshot.records(np.array([key_of("b", "1"), key_of("a", "1"), key_of("b", "1")]))] == ["b", "a", "b"]
    keys, rows = snapshot.some_described(np.array([key_of("a", "1"), key_of("b", "1")]), "e")
    assert (keys.tolist(), rows.tolist()) == ([key_of("b", "1")], [[0.0, 1.0]])
    with pytest.raises(InputError, match="no descriptor"):
        snapshot.descriptors(snapshot.keys, "e")


@pytest.mark.parametrize(
    ("first", "second", "column", "beside"),
    [
        (1, 2.5, [1.0, 2.5], None),
        (2.5, 3, [2.5, 3.0], None),
        (1, "2", [1, 2], None),
        (1, "2.5", [1.0, 2.5], None),
        (1, "many", [1, None], [None, "many"]),
        (1, "007", [1, None], [None, "007"]),
        (1, True, [1, None], [None, "true"]),
        (1, 2**70, [1, None], [None, str(2**70)]),
        (2.5, "many", [2.5, None], [None, "many"]),
        ("many", 3, ["many", "3"], None),
        (True, 0, [True, False], None),
        (True, "FALSE", [True, False], None),
        (True, "yes", [True, None], [None, "yes"]),
        (1, float("nan"), [1, None], None),
        (1, None, [1, None], None),
        ("a", ["b", {"c": None}], ["a", '["b", {"c": null}]'], None),
        (1, [2], [1, None], [None, "[2]"]),
        (np.int64(1), np.float32(2.5), [1.0, 2.5], None),
    ],
)
def test_an_odd_value_does_not_change_the_type_of_its_column(
    table: Table, first: Any, second: Any, column: list[Any], beside: list[Any] | None
) -> None:
    for item_id, value in (("a", first), ("b", second)):
        table.write([record(item_id, metadata={"n": value})])
    rows = sorted(table.snapshot().table(["item_id", "n", *(["n_text"] if beside else [])]), key=lambda r: str(r["item_id"]))
    assert [r["n"] for r in rows] == column
    assert not beside or [r["n_text"] for r in rows] == beside
    assert ("n_text" in table.metadata_fields) == bool(beside)


def test_a_filter_over_numbers_goes_on_when_a_text_comes_and_its_error_names_the_way_out(table: Table) -> None:
    table.write([record(name, metadata={"year": 1990 + n}) for n, name in enumerate("abc")])
    _, misfits = table.write([record("d", metadata={"year": "n.d."})])
    assert [(m.item_id, m.column, m.holds, m.beside) for m in misfits] == [("d", "year", "whole numbers", "year_text")]
    snapshot = table.snapshot()
    assert snapshot.where("year > 1990").tolist() == sorted([key_of("b", "1"), key_of("c", "1")])
    assert snapshot.where("year_text = 'n.d.'").tolist() == [key_of("d", "1")]
    with pytest.raises(InputError, match=r"year holds whole numbers: write the number without quotes.*year_text"):
        snapshot.where("year = 'n.d.'")
    with pytest.raises(InputError, match=r"year_text = '...'.*TRY_CAST\(year_text AS DOUBLE\) > 3"):
        snapshot.where("year_text > 3")


def test_most_values_decide_the_type_of_a_new_column(table: Table) -> None:
    values = {"year": [1990, 1991, "n.d.", "1992"], "name": ["x", "y", 3, "z"], "flag": [True, False, "no", True]}
    table.write([record(str(n), metadata={name: some[n] for name, some in values.items()}) for n in range(4)])
    rows = sorted(table.snapshot().table(["item_id", "year", "year_text", "name", "flag", "flag_text"]), key=lambda r: str(r["item_id"]))
    assert [r["year"] for r in rows] == [1990, 1991, None, 1992]
    assert [r["name"] for r in rows] == ["x", "y", "3", "z"]
    assert [(r["flag"], r["flag_text"]) for r in rows] == [(True, None), (False, None), (None, "no"), (True, None)]


def test_figures_with_leading_noughts_make_a_column_of_texts(table: Table) -> None:
    table.write([record(str(n), metadata={"zip": value}) for n, value in enumerate([90210, "01234", 10115])])
    snapshot = table.snapshot()
    assert snapshot.where("zip = '01234'").tolist() == [key_of("1", "1")]
    assert snapshot.where("zip = '90210'").tolist() == [key_of("0", "1")]


NAMES_OF_OTHERS = (
    "_rowid",
    "_rowaddr",
    "_rowoffset",
    "_row_created_at_version",
    "_row_last_updated_at_version",
    "_score",
    "_distance",
    "_fragment_id",
    "_indexid",
    "__action",
    "__merge_source_sentinel",
    "__index_level_0__",
    "__id",
    "_ROWID",
    "_Rowid",
    "key",
    "item_id",
    "state",
    "encoders",
    "text",
    "descriptor:e",
    "tokens:e",
    "wider:n",
    "select",
    "order",
    "2020",
    "a.b",
    "a`b",
    "a'b",
    'it"s',
    "{}",
    "[x]",
)


@pytest.mark.parametrize("name", [*NAMES_OF_OTHERS, "", "  ", "\x1b[2J", "a\nb", "\ud800", "\0", "a" * 3000, "_", "größe", "Größe"])
def test_a_field_called_as_the_storage_calls_its_own_is_written_read_and_filtered(table: Table, name: str) -> None:
    table.write([record("a", descriptors={"e": row(1, 0)})])
    table.write([record("b", metadata={name: 17}, descriptors={"e": row(0, 1)}), record("c", metadata={name: 18})])
    table.write([record("b", "2", metadata={name: 19}, descriptors={"e": row(0, 1)})])
    table.fill(["a"], {"file_size": [5]})
    table.remove(["c"])
    table.compact()
    snapshot = Table.open(table.path).snapshot()
    (column,) = snapshot.metadata_fields
    assert [fields.get(column) for fields in snapshot.records(np.array([key_of("a", "1"), key_of("b", "2")]))] == [None, 19]
    assert snapshot.where(f'"{column}" = 19').tolist() == [key_of("b", "2")]
    assert snapshot.descriptors(np.array([key_of("b", "2")]), "e").tolist() == [[0.0, 1.0]]


def test_a_filter_on_a_name_of_the_engine_means_the_field_of_the_items(table: Table) -> None:
    table.write([record("a")])
    with pytest.raises(InputError, match="names the field '_rowid', which no item has"):
        table.snapshot().where("_rowid = 0")
    table.write([record("b", metadata={"_rowid": 0})])
    for condition in ("_rowid = 0", "`_rowid` = 0", '"_rowid" = 0', "field_rowid = 0", "_ROWID = 0", "item_id <> '_rowid' AND _rowid = 0"):
        assert table.snapshot().where(condition).tolist() == [key_of("b", "1")], condition


def test_fields_of_one_item_that_differ_by_case_or_signs_alone_are_both_there(table: Table) -> None:
    changes, _ = table.write([record("a", metadata={"Name": "x", "name": "y", "na-me": 1, "na me": 2})])
    assert table.snapshot().table(["name", "name_2", "na_me", "na_me_2"])[0] == {"name": "y", "name_2": "x", "na_me": 2, "na_me_2": 1}
    assert {change.field for change in changes} == {"Name", "na-me"}


@pytest.mark.parametrize("name", ["_rowid", "_rowaddr", "_rowoffset", "_row_created_at_version", "__action"])
def test_a_table_that_a_field_of_the_engines_name_ruined_is_searched_as_it_was_and_repaired(table: Table, name: str) -> None:
    table.write([record("a", metadata={"n": 1})])
    lance.dataset(str(table.path)).add_columns([pa.field(name, pa.int64())])  # as far as earlier versions came
    hit = Table.open(table.path)
    assert hit.snapshot().where("n = 1").tolist() == [key_of("a", "1")]
    assert name in hit.repair()[0]
    hit.write([record("b", metadata={name: 17})])
    assert hit.snapshot().where(f"{name} = 17").tolist() == [key_of("b", "1")]
    assert hit.repair() == []


def test_columns_are_what_they_were_where_the_write_behind_them_fails(table: Table) -> None:
    class Panic(BaseException):
        pass

    class Failing(Table):
        def _merge(self, rows: pa.Table, *, insert: bool) -> None:
            raise Panic

    table.write([record("a", metadata={"n": 1})])
    schema = lance.dataset(str(table.path)).schema
    failing = Failing.open(table.path)
    with pytest.raises(Panic):
        failing.write([record("b", metadata={"n": 2.5, "new": "x"})])
    assert lance.dataset(str(table.path)).schema == schema
    table.refresh()
    table.write([record("b", metadata={"n": 2})])
    assert table.snapshot().where("n > 0").tolist() == sorted([key_of("a", "1"), key_of("b", "1")])


@pytest.mark.parametrize("is_dropped", [False, True])
def test_a_change_of_type_that_a_kill_stopped_is_brought_to_its_end(table: Table, is_dropped: bool) -> None:
    table.write([record("a", metadata={"n": 1})])
    dataset = lance.dataset(str(table.path))
    dataset.add_columns({"wider:n": "CAST(`n` AS DOUBLE)"})
    if is_dropped:
        dataset.drop_columns(["n"])
    table.refresh()
    assert table.metadata_fields == (() if is_dropped else ("n",))
    table.repair()
    assert table.metadata_fields == ("n",)
    assert table.snapshot().where("n = 1").tolist() == [key_of("a", "1")]


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
