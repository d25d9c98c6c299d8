import base64
import datetime
import json
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmrerank.errors import FormatError
from mmrerank.parts import make
from mmrerank.readers import _parquet, _rows
from mmrerank.types import Failure, ReadItem

TABLES = ["t.parquet", "t.jsonl", "t.ndjson", "t.csv", "t.tsv"]


@pytest.fixture(scope="session")
def png(picture, encoded) -> bytes:
    return encoded(picture, "PNG")


def quoted(value) -> str:
    text = "" if value is None else str(value)
    return '"' + text.replace('"', '""') + '"' if any(letter in text for letter in '",;\t\n') or text.startswith('"') else text


@pytest.fixture
def table(tmp_path):
    """table("t.csv", rows): the path of a table with these rows, bytes as base64 where the format has only text."""

    def write(name: str, rows, **options):
        path = tmp_path / name
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path, **options)
            return path
        rows = [{k: base64.b64encode(v).decode() if isinstance(v, bytes) else v for k, v in row.items()} for row in rows]
        if path.suffix in (".jsonl", ".ndjson"):
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        else:
            delimiter = "\t" if path.suffix == ".tsv" else ","
            lines = [list(rows[0]), *([row.get(name) for name in rows[0]] for row in rows)]
            path.write_text("".join(delimiter.join(map(quoted, line)) + "\n" for line in lines), encoding="utf-8")
        return path

    return write


def keys(entries) -> list[str]:
    return [(entry.item.item_id if isinstance(entry, ReadItem) else entry.path).split("::", 1)[1] for entry in entries]


# ---------------------------------------------------------------- what a row becomes


@pytest.mark.parametrize("name", TABLES)
def test_rows_become_items(table, png, picture, sorted_out, name):
    rows = [
        {"key": "boat", "image": png, "text": 'a "red" boat, old', "year": 1999, "score": 0.5, "note": None},
        {"key": "007", "image": png, "text": "zwei Zeilen\nmit Ümlaut", "year": 2001, "score": 1.5, "note": "x; y\tz"},
        {"key": "words", "image": None, "text": "only words", "year": 2002, "score": 2.5, "note": None},
    ]
    path = table(name, rows)
    reader = make("table")
    entries, failures = sorted_out(reader, path)
    assert failures == []
    assert reader.count(path) == 3
    assert [entry.item.item_id for entry in entries] == [f"{name}::boat", f"{name}::007", f"{name}::words"]
    assert [entry.item.text for entry in entries] == [row["text"] for row in rows]
    assert entries[0].item.metadata == {"year": 1999, "score": 0.5}
    assert entries[1].item.metadata == {"year": 2001, "score": 1.5, "note": "x; y\tz"}
    assert entries[2].item.image is None
    assert np.array_equal(np.asarray(entries[0].item.image.open()), np.asarray(picture))
    assert np.array_equal(np.asarray(reader.handle(path, "::007").open()), np.asarray(picture))
    assert reader.handle(path, "::words") is None
    with pytest.raises(FormatError, match="no row under this key"):
        reader.handle(path, "::absent").open()


@pytest.mark.parametrize("name", TABLES)
def test_rows_without_a_key_are_numbered_from_1(table, sorted_out, name):
    entries, _ = sorted_out(make("table"), path := table(name, [{"caption": "a"}, {"caption": "b"}]))
    assert [entry.item.item_id for entry in entries] == [f"{name}::1", f"{name}::2"]
    assert [entry.item.text for entry in entries] == ["a", "b"]
    assert make("table").handle(path, "::2") is None


@pytest.mark.parametrize("name", TABLES)
def test_the_options_name_other_columns(table, png, sorted_out, name):
    rows = [{"sku": 12, "photo": png, "beschreibung": "Boot", "text": "kept", "key": "k"}]
    reader = make("table(id_column=sku, image_column=photo, text_column=beschreibung)")
    (entry,), _ = sorted_out(reader, path := table(name, rows))
    assert (entry.item.item_id, entry.item.text, entry.item.metadata) == (f"{name}::12", "Boot", {"text": "kept", "key": "k"})
    assert reader.handle(path, "::12").open().size == entry.item.image.open().size == (24, 16)


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_a_column_that_is_named_and_not_there_is_an_error(table, name):
    with pytest.raises(FormatError, match="has no column 'sku'; it has a, b"):
        list(make("table(id_column=sku)").read(table(name, [{"a": "x", "b": "y"}]), "t"))


def test_pictures_as_hugging_face_writes_them(table, png, tmp_path, sorted_out):
    (tmp_path / "beside.png").write_bytes(png)
    rows = [
        {"id": 1, "image": {"bytes": png, "path": "somewhere/else.jpg"}, "label": 3},
        {"id": 2, "image": {"bytes": None, "path": "beside.png"}, "label": 4},
        {"id": 3, "image": {"bytes": None, "path": None}, "label": 5},
    ]
    path = table("t.parquet", rows)
    entries, failures = sorted_out(make("table"), path)
    assert [entry.item.metadata for entry in entries] == [{"label": 3}, {"label": 4}]
    assert all(entry.item.image.open().size == (24, 16) for entry in entries)
    assert [make("table").handle(path, f"::{n}").open().size for n in (1, 2)] == [(24, 16)] * 2
    assert failures == [Failure(path="t.parquet::3", reason="neither a picture nor a text")]


@pytest.mark.parametrize("name", TABLES)
def test_pictures_by_path_below_the_folder_of_the_table(table, png, tmp_path, sorted_out, name):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/a.png").write_bytes(png)
    column = {"t.parquet": "image", "t.jsonl": "image_path", "t.ndjson": "path", "t.csv": "filename", "t.tsv": "file"}[name]
    path = table(name, [{"id": "a", column: "pictures/a.png"}, {"id": "b", column: str(tmp_path / "pictures" / "a.png")}])
    entries, failures = sorted_out(make("table"), path)
    assert failures == []
    assert all(entry.item.image.open().size == (24, 16) for entry in entries)
    assert all(entry.item.metadata == {} for entry in entries)
    assert make("table").handle(path, "::a").open().size == (24, 16)


@pytest.mark.parametrize(
    ("name", "wrapped"),
    [
        ("jpg", lambda png: png),  # img2dataset
        ("JPG", lambda png: png),
        ("image_bytes", lambda png: png),
        ("img", lambda png: {"bytes": png, "path": None}),
        ("images", lambda png: [{"bytes": png, "path": None}]),
        ("images", lambda png: [png]),
        ("Image", lambda png: {"bytes": png, "path": "a.png"}),
        ("scan", lambda png: png),  # by what it holds
        ("page_view", lambda png: {"bytes": png, "path": None}),
    ],
)
def test_pictures_are_found_under_the_names_and_in_the_shapes_of_the_field(table, png, sorted_out, name, wrapped):
    path = table("t.parquet", [{"key": "a", name: wrapped(png), "caption": "words", "status": "success"}])
    (entry,), failures = sorted_out(make("table"), path)
    assert (failures, entry.item.text, entry.item.metadata) == ([], "words", {"status": "success"})
    assert entry.item.image.open().size == make("table").handle(path, "::a").open().size == (24, 16)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("metadata.jsonl", '{"file_name": "a.png", "text": "words"}\n'),  # Hugging Face imagefolder
        ("metadata.csv", "file_name,text\na.png,words\n"),
        ("train.csv", "filepath\ttitle\na.png\twords\n"),  # open_clip
        ("train.csv", "filepath,title\na.png,words\n"),
        ("results.csv", "image_name| comment_number| comment\na.png| 0| words\n"),  # Flickr30k
        ("images.jsonl", '{"images": ["a.png"], "Caption": "words"}\n'),
        ("photos.csv", "photo_file,Caption\na.png,words\n"),
    ],
)
def test_tables_that_name_files_of_pictures(written, png, sorted_out, file, content):
    written("a.png", png)
    (entry,), failures = sorted_out(
        make("table(text_column=comment)" if "comment" in content else "table"), written(file, content.encode())
    )
    assert (failures, entry.item.text) == ([], "words")
    assert entry.item.image.open().size == (24, 16)


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"TEXT": "a boat"}, "a boat"),
        ({"caption": ["a boat", "at sea", "a boat"]}, "a boat\nat sea"),
        ({"captions": [{"raw": "a boat", "tokens": ["a", "boat"]}, {"raw": "at sea"}]}, "a boat\nat sea"),
        ({"caption_1": "at sea", "caption_0": "a boat", "caption_10": "far"}, "a boat\nat sea\nfar"),
        ({"raw": '["a boat", "at sea"]'}, "a boat\nat sea"),
        ({"Description": "a boat", "title": " "}, "a boat"),
        ({"text": "[not a list]"}, "[not a list]"),
    ],
)
def test_captions_come_as_lists_and_under_other_names(table, png, sorted_out, row, text):
    (entry,), _ = sorted_out(make("table"), table("t.parquet", [{"image": png, **row}]))
    assert entry.item.text == text


def test_several_columns_make_the_text_when_they_are_named(table, sorted_out):
    (entry,), _ = sorted_out(make("table(text_column=('b', 'a'))"), table("t.csv", [{"a": "one", "b": "two", "c": "three"}]))
    assert (entry.item.text, entry.item.metadata) == ("two\none", {"c": "three"})


@pytest.mark.parametrize(
    "row",
    [
        {"URL": "https://example.org/1", "TEXT": "a boat", "WIDTH": 8, "HEIGHT": 9},  # LAION
        {"image_url": "https://example.org/1", "caption": "a boat"},
        {"src": "https://example.org/1.jpg?w=3", "caption": "a boat"},
    ],
)
def test_a_picture_that_lies_at_a_url_is_said_to_be_left_out(table, sorted_out, row):
    (entry,), _ = sorted_out(make("table"), table("t.jsonl", [row]))
    assert (entry.item.text, entry.item.image) == ("a boat", None)
    assert entry.item.metadata["picture_note"].startswith("its picture lies at a URL, and nothing is fetched")


def test_the_address_of_a_page_is_no_picture(table, sorted_out):
    (entry,), _ = sorted_out(make("table"), table("t.jsonl", [{"url": "https://example.org/boats", "text": "a boat"}]))
    assert "picture_note" not in entry.item.metadata


def test_of_several_pictures_of_a_row_the_first_is_taken_and_the_others_are_named(table, png, encoded, sorted_out):
    other = encoded(Image.new("RGB", (5, 5)), "PNG")
    (entry,), _ = sorted_out(make("table"), table("t.parquet", [{"images": [{"bytes": png}, {"bytes": other}], "text": "x"}]))
    assert entry.item.image.open().size == (24, 16)
    assert entry.item.metadata == {"picture_note": "a row is one item: of its pictures the first is taken, further ones are left out"}


def test_a_mask_beside_a_missing_picture_is_not_taken_for_it(table, png, sorted_out):
    rows = [{"id": 1, "image": {"bytes": png}, "mask": {"bytes": png}}, {"id": 2, "image": {"bytes": None}, "mask": {"bytes": png}}]
    entries, failures = sorted_out(make("table"), table("t.parquet", rows))
    assert ([entry.item.item_id for entry in entries], len(failures)) == (["t.parquet::1"], 1)


def test_a_path_column_that_names_no_picture_is_metadata(table, sorted_out):
    (entry,), _ = sorted_out(make("table"), table("t.jsonl", [{"id": "a", "text": "words", "file": "chapter1.tex", "path": "x"}]))
    assert entry.item.image is None
    assert entry.item.metadata == {"file": "chapter1.tex", "path": "x"}


def test_data_uris(table, png, sorted_out):
    uri = "data:image/png;base64," + base64.b64encode(png).decode()
    entries, failures = sorted_out(
        make("table"),
        table("t.jsonl", [{"id": 1, "image": uri}, {"id": 2, "image": "data:image/png,x"}, {"id": 3, "image": uri[:-5] + "*"}]),
    )
    assert entries[0].item.image.open().size == (24, 16)
    assert [failure.reason.split(":")[0] for failure in failures] == [
        "its 'image' is a data URI without base64",
        "the base64 in its 'image' is broken",
    ]


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("https://example.org/a.png", "its 'image' is a URL, 'https://example.org/a.png'; nothing is fetched"),
        ("file:///etc/passwd", "its 'image' is a URL"),
        ("../a.png", "its 'image' leads out of the table's folder: '../a.png'"),
        ("/etc/passwd", "its 'image' leads out of the table's folder: '/etc/passwd'"),
        ("link/a.png", "its 'image' leads out of the table's folder"),
        ("missing.png", "its picture missing.png: cannot be opened: No such file or directory"),
        ("x" * 5000, "its "),
    ],
)
def test_no_path_outside_and_no_url(table, tmp_path, png, sorted_out, name, value, reason):
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir(exist_ok=True)
    (outside / "a.png").write_bytes(png)
    (tmp_path / "link").symlink_to(outside)
    path = table(name, [{"id": "a", "image": value, "text": "x"}, {"id": "b", "image": "ok.png", "text": "x"}])
    (tmp_path / "ok.png").write_bytes(png)
    (entry,), (failure,) = sorted_out(make("table"), path)
    assert (entry.item.item_id, failure.path) == (f"{name}::b", f"{name}::a")
    assert failure.reason.startswith(reason)
    with pytest.raises(FormatError):
        make("table").handle(path, "::a").open()


def test_a_mislabelled_file_is_refused_and_bytes_carry_no_name(table, png, tmp_path, sorted_out):
    (tmp_path / "a.jpg").write_bytes(png)
    path = table("t.parquet", [{"image_path": "a.jpg"}])
    with pytest.raises(FormatError, match="rename it"):
        make("table").handle(path, "::1").open()
    assert make("table(mislabelled=accept)").handle(path, "::1").open().size == (24, 16)
    (entry,), _ = sorted_out(make("table"), table("u.parquet", [{"image": {"bytes": png, "path": "a.jpg"}}]))
    assert entry.item.image.open().size == (24, 16)


@pytest.mark.parametrize("name", TABLES)
def test_empty_and_repeated_keys_are_failures(table, sorted_out, name):
    rows = [{"id": value, "text": f"{n}"} for n, value in enumerate(["a", "", "a", None, "b", "a"])]
    path = table(name, rows)
    entries, failures = sorted_out(make("table"), path)
    assert [entry.item.text for entry in entries] == ["0", "4"]
    assert [failure.reason.split(";")[0] for failure in failures] == [
        "its key in 'id' is empty",
        "its key came before in this table",
        "its key in 'id' is empty",
        "its key came before in this table",
    ]
    assert make("table").count(path) == 6


@pytest.mark.parametrize("key", [1.5, True, [1], {"a": 1}, "a\x01b", "a\ud800"])
def test_keys_that_are_none(written, sorted_out, key):
    path = written("t.jsonl", (json.dumps({"id": key, "text": "x"}) + "\n").encode())
    entries, (failure,) = sorted_out(make("table"), path)
    assert (entries, failure.path) == ([], "t.jsonl::line=1")
    assert failure.reason.startswith("its key in 'id' is ")


def test_the_hash_follows_the_content(table, png, encoded, picture, tmp_path, sorted_out):
    def hashes(*rows):
        return [entry.content_hash for entry in sorted_out(make("table"), table("t.jsonl", rows))[0]]

    base = {"id": 1, "image": png, "text": "x", "year": 1}
    (tmp_path / "a.png").write_bytes(png)
    (first,) = hashes(base)
    assert hashes({**base, "id": 2}) == [first]
    assert hashes({"id": 1, "image_path": "a.png", "text": "x", "year": 1}) != [first]  # the bytes, or the hash of the file's
    others = [{**base, "text": "y"}, {**base, "year": 2}, {**base, "image": encoded(picture, "BMP")}]
    assert len({first, *(hashes(row)[0] for row in others)}) == 4
    (before,) = hashes({"image_path": "a.png"})
    (tmp_path / "a.png").write_bytes(encoded(picture, "PNG", compress_level=1))
    assert hashes({"image_path": "a.png"}) != [before]


# ---------------------------------------------------------------- Parquet


def test_values_of_parquet_become_plain_metadata(tmp_path, sorted_out):
    columns = {
        "text": ["a"],
        "when": pa.array([datetime.datetime(2020, 1, 2, 3, 4, 5)]),
        "day": pa.array([datetime.date(2020, 1, 2)]),
        "fine": pa.array([1_577_934_245_000_000_001], pa.timestamp("ns")),
        "tags": [["x", "y"]],
        "box": [{"left": 1, "raw": b"\0"}],
        "embedding": [[0.5, 1.5]],
        "raw": [b"\x00\x01"],
        "missing": pa.array([None], pa.int64()),
        "kind": pa.array(["cat"]).dictionary_encode(),
        "exact": pa.array([1], pa.decimal128(5, 2)),
        "nan": [float("nan")],
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    entries, failures = sorted_out(make("table"), tmp_path / "t.parquet")
    if failures:  # nanoseconds need pandas
        assert failures[0].reason.startswith("a value cannot be read")
        del columns["fine"]
        pq.write_table(pa.table(columns), tmp_path / "t.parquet")
        entries, _ = sorted_out(make("table"), tmp_path / "t.parquet")
    metadata = dict(entries[0].item.metadata)
    metadata.pop("fine", None)
    assert metadata == {
        "when": "2020-01-02T03:04:05",
        "day": "2020-01-02",
        "tags": '["x", "y"]',
        "box": '{"left": 1, "raw": null}',
        "embedding": "[0.5, 1.5]",
        "kind": "cat",
        "exact": 1.0,
    }


def test_text_that_is_not_utf8_costs_its_row_only(tmp_path, sorted_out):
    text = pa.StringArray.from_buffers(3, pa.py_buffer(np.array([0, 1, 2, 3], np.int32)), pa.py_buffer(b"a\xffc"))
    pq.write_table(pa.table({"text": text}), tmp_path / "t.parquet")
    entries, (failure,) = sorted_out(make("table"), tmp_path / "t.parquet")
    assert [entry.item.text for entry in entries] == ["a", "c"]
    assert (failure.path, failure.reason[:22]) == ("t.parquet::row=2", "a value cannot be read")


@pytest.mark.parametrize("row_group_size", [1, 7, 1000])
@pytest.mark.parametrize("keyed", [True, False])
def test_rows_are_found_again_across_row_groups_and_batches(table, encoded, monkeypatch, row_group_size, keyed):
    monkeypatch.setattr(_parquet, "_BATCH_BYTES", 1)  # 16 rows a batch
    pictures = [encoded(Image.new("RGB", (n + 1, 3), (n, 0, 0)), "PNG") for n in range(50)]
    rows = [{"image": data, **({"key": f"k{n}"} if keyed else {})} for n, data in enumerate(pictures, 1)]
    path = table("t.parquet", rows, row_group_size=row_group_size)
    names = keys(make("table").read(path, "t"))
    assert names == [f"k{n}" if keyed else str(n) for n in range(1, 51)]
    reader = make("table")
    for n in np.random.default_rng(1).permutation(50):
        assert reader.handle(path, f"::{names[n]}").open().size == (n + 1, 3)
    monkeypatch.setattr(_parquet, "_CACHE_BYTES", 0)  # as for row groups too large to keep
    for n in (0, 17, 49):
        assert make("table").handle(path, f"::{names[n]}").open().size == (n + 1, 3)


def test_a_broken_row_group_is_one_failure_and_the_rest_goes_on(table, sorted_out):
    rows = [{"id": n, "text": f"{n} " * 200} for n in range(30)]
    path = table("t.parquet", rows, row_group_size=10, compression="snappy", use_dictionary=False)
    column = pq.ParquetFile(path).metadata.row_group(1).column(1)
    data = bytearray(path.read_bytes())
    for place in range(column.data_page_offset, column.data_page_offset + column.total_compressed_size):
        data[place] = 0xFF
    path.write_bytes(bytes(data))
    entries, (failure,) = sorted_out(make("table"), path)
    assert keys(entries) == [str(n) for n in (*range(10), *range(20, 30))]
    assert (failure.path, failure.reason[:32]) == ("t.parquet::row=11", "rows 11 to 20 cannot be read: a ")


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("data", [b"", b"\0" * 300, b"\xff\xfea\0b\0"])
def test_what_is_no_table_is_a_format_error(written, name, data):
    path = written(name, data)
    for attempt in (lambda r: r.count(path), lambda r: list(r.read(path, "x")), lambda r: r.handle(path, "::k").open()):
        with pytest.raises(FormatError):
            attempt(make("table"))


def test_broken_parquet_files_say_so(table, written):
    whole = table("w.parquet", [{"text": "x" * 50}] * 20).read_bytes()
    cases = {
        b"PAR1" + bytes(100): "a broken Parquet file",
        whole[: len(whole) // 2]: "a broken Parquet file",
        b"a,b\n1,2\n": "not a Parquet file: looks like text",
    }
    for data, reason in cases.items():
        with pytest.raises(FormatError) as error:
            list(make("table").read(written("t.parquet", data), "t"))
        assert error.value.reason.startswith(reason)


# ---------------------------------------------------------------- JSON lines


def test_a_broken_line_is_a_failure_with_its_number(written, sorted_out):
    lines = [
        b'{"id": "a", "text": "1"}',
        b"",
        b'{"id": ',
        b"[1, 2]",
        b'{"id": "b", "text": "\xff"}',
        b"[" * 50_000,
        b'{"id": "c", "text": "2"}',
    ]
    path = written("t.jsonl", b"\r\n".join(lines))
    entries, failures = sorted_out(make("table"), path)
    assert keys(entries) == ["a", "c"]
    assert [(f.path, f.reason) for f in failures] == [
        ("t.jsonl::line=3", "not JSON: Expecting value at character 7"),
        ("t.jsonl::line=4", "not an object"),
        ("t.jsonl::line=5", "not UTF-8 at byte 21"),
        ("t.jsonl::line=6", "nested too deeply"),
    ]
    assert make("table").count(path) == 6
    assert make("table").handle(path, "::c") is None


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv"])
def test_a_line_above_the_limit_is_a_failure(written, sorted_out, monkeypatch, name):
    monkeypatch.setattr(_rows, "MAX_LINE", 64)
    lines = (
        ["id,text", "a,1", "b," + "x" * 200, "c,2"] if name == "t.csv" else ['{"id":"a","text":"1"}', "x" * 200, '{"id":"c","text":"2"}']
    )
    path = written(name, "\n".join(lines).encode())
    entries, (failure,) = sorted_out(make("table"), path)
    assert keys(entries) == ["a", "c"]
    assert failure.reason.startswith("longer than")
    assert make("table").count(path) == 3


def test_a_byte_order_mark_is_no_part_of_the_first_row(written, sorted_out):
    for name, data in (("t.jsonl", b'\xef\xbb\xbf{"id": "a", "text": "x"}\n'), ("t.csv", b"\xef\xbb\xbfid,text\na,x\n")):
        entries, failures = sorted_out(make("table"), path := written(name, data))
        assert (keys(entries), failures) == (["a"], [])
        assert make("table").handle(path, "::a") is None


@pytest.mark.parametrize("depth", [50, 300, 600, 900, 990, 5000])
def test_values_nested_deeply_are_text_or_a_failure(written, depth):
    data = b'{"id": "a", "text": "x", "deep": ' + b"[" * depth + b"]" * depth + b"}\n"
    (entry,) = make("table").read(written("t.jsonl", data), "t")
    if isinstance(entry, ReadItem):
        assert entry.item.metadata == {"deep": "[" * depth + "]" * depth}
    else:
        assert "nested too deeply" in entry.reason


def test_columns_of_later_lines_count(written, png, sorted_out):
    line = json.dumps({"id": "b", "image": base64.b64encode(png).decode()})
    entries, _ = sorted_out(make("table"), path := written("t.jsonl", b'{"id": "a", "text": "x"}\n' + line.encode()))
    assert [entry.item.image is None for entry in entries] == [True, False]
    assert make("table").handle(path, "::a") is None
    assert make("table").handle(path, "::b").open().size == (24, 16)


# ---------------------------------------------------------------- CSV


def rows_of(written, text: str, name: str = "t.csv"):
    return list(make("table").read(written(name, text.encode()), "t"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('a,"x, y"', "x, y"),
        ('a,"say ""yes"""', 'say "yes"'),
        ('a,"two\nlines"', "two\nlines"),
        ('a,"two\r\nlines"', "two\nlines"),
        ('a,a 5" disk', 'a 5" disk'),
        ('a,"quoted" and more', "quoted and more"),
        ('"a",x', "x"),
        ('a,""""', '"'),
    ],
)
def test_quotes(written, line, expected):
    path = written("t.csv", f"id,text\n{line}\nz,last\n".encode())
    first, last = make("table").read(path, "t")
    assert (first.item.item_id, first.item.text, last.item.text) == ("t::a", expected, "last")


def test_a_lost_quote_costs_its_own_line_only(written, monkeypatch):
    monkeypatch.setattr(_rows, "MAX_LINES", 20)
    lines = ['b,"lost'] + [f"k{n},x{n}" for n in range(50)]
    entries = rows_of(written, "id,text\na,x\n" + "\n".join(lines) + "\n")
    assert keys(entries) == ["a", "line=3", *(f"k{n}" for n in range(50))]
    assert entries[1].reason == "a quote opens in it that does not end"


def test_a_row_with_too_few_or_too_many_fields_is_a_failure(written):
    entries = rows_of(written, "id,text\na,x\nb\n\nc,y,z\nd,w")
    assert keys(entries) == ["a", "line=3", "line=5", "d"]
    assert [e.reason for e in entries if isinstance(e, Failure)] == [
        "has 1 fields where the header has 2",
        "has 3 fields where the header has 2",
    ]


def test_semicolons_and_tabs(written):
    assert rows_of(written, "id;text\na;x, y\n")[0].item.text == "x, y"
    assert rows_of(written, "id\ttext\na\tx, y\n", "t.tsv")[0].item.text == "x, y"


def test_numbers_are_numbers_where_they_print_back(written):
    (entry,) = rows_of(written, "id,text,a,b,c,d,e,f\n01,x,12,-0.5,007,1e5,,1234567890123456789012\n")
    assert entry.item.item_id == "t::01"
    assert entry.item.metadata == {"a": 12, "b": -0.5, "c": "007", "d": "1e5", "f": "1234567890123456789012"}


def test_fields_above_the_limit_of_pythons_csv(written, encoded):
    noise = Image.fromarray(np.random.default_rng(3).integers(0, 256, (300, 301, 3), dtype=np.uint8))
    path = written("t.csv", b"id,image\na," + base64.b64encode(encoded(noise, "PNG")) + b"\n")
    assert make("table").handle(path, "::a").open().size == (301, 300)


@pytest.mark.parametrize("header", ["id,id", ",", '"open', "\x80"])
def test_a_header_that_is_none(written, header):
    path = written("t.csv", header.encode("latin-1") + b"\na,b\n")
    with pytest.raises(FormatError, match="header"):
        list(make("table").read(path, "t"))


field = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=8)


@settings(max_examples=100)
@given(rows=st.lists(st.tuples(field, field, field), min_size=1, max_size=6))
def test_what_a_csv_writer_writes_is_read_back(written, rows):
    lines = [",".join('"' + value.replace('"', '""') + '"' for value in row) for row in rows]
    source = _rows.Delimited(written("t.csv", ("a,b,c\n" + "\n".join(lines) + "\n").encode()))
    read = list(source.rows())
    assert [tuple(row.values.values()) for row in read] == [tuple(value or None for value in row) for row in rows]
    assert [source.values_at(row.locator) for row in read] == [row.values for row in read]
    assert source.count() == len(rows)


# ---------------------------------------------------------------- handles, threads, fuzz


def test_a_fragment_that_names_no_row(written):
    for fragment in ("", "::", "#page=1"):
        with pytest.raises(FormatError, match="names no row"):
            make("table").handle(written("t.csv", b"x"), fragment)


def test_a_table_that_changed_is_listed_again(table, png):
    reader = make("table")
    path = table("t.parquet", [{"id": "a", "image": png}])
    assert reader.handle(path, "::a").open()
    table("t.parquet", [{"id": "new", "image": png, "more": "x"}, {"id": "a", "image": None, "more": "y"}])
    assert reader.handle(path, "::new").open()
    assert reader.handle(path, "::a") is None
    path.unlink()
    with pytest.raises(FormatError, match="cannot be opened"):
        reader.handle(path, "::a").open()


def test_threads_open_rows_of_one_table(table, encoded):
    path = table("t.parquet", [{"id": n, "image": encoded(Image.new("RGB", (n + 1, 2)), "PNG")} for n in range(40)], row_group_size=9)
    reader = make("table")
    problems: list[object] = []

    def work(seed: int) -> None:
        try:
            problems.extend(n for n in np.random.default_rng(seed).permutation(40) if reader.handle(path, f"::{n}").open().width != n + 1)
        except Exception as error:  # reported by the assertion below
            problems.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


@settings(max_examples=250)
@given(
    name=st.sampled_from(TABLES),
    flips=st.lists(st.tuples(st.integers(0, 2**31), st.integers(1, 255)), max_size=6),
    cut=st.none() | st.integers(1, 3000),
    tail=st.booleans(),
)
def test_damaged_tables_only_give_items_failures_or_a_format_error(table, png, name, flips, cut, tail):
    path = table(name, [{"id": n, "image": png, "text": f"words {n}"} for n in range(5)])
    data = bytearray(path.read_bytes())
    for place, change in flips:
        data[-1 - place % min(400, len(data)) if tail else place % len(data)] ^= change
    path.write_bytes(bytes(data[:cut] if cut else data))
    reader = make("table")
    try:
        entries = list(reader.read(path, "t"))
    except FormatError as error:
        assert error.reason  # noqa: PT017 - either outcome is right
        return
    assert all(isinstance(entry, (ReadItem, Failure)) for entry in entries)
    for entry in entries:
        if isinstance(entry, ReadItem) and entry.item.image is not None:
            for handle in (entry.item.image, reader.handle(path, entry.item.item_id[1:])):
                try:
                    handle.open()
                except FormatError as error:
                    assert error.reason  # noqa: PT017
