"""What every reader must do, asked of every file in mmrerank/readers/.

A reader that takes a new suffix needs a sample of it: add a maker to SAMPLES below.
"""

import csv
import dataclasses
import gzip
import io
import json
import tarfile
from base64 import b64encode
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmrerank.errors import FormatError
from mmrerank.parts import make, module, names, options_of, printed
from mmrerank.types import Failure, Item, ReadItem

READERS = names("readers")
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".tif": "TIFF", ".webp": "WEBP"}


def _picture_bytes(format: str) -> bytes:
    buffer = io.BytesIO()
    rows, columns = np.mgrid[:20, :30]
    Image.fromarray(np.stack([rows * 10, columns * 8, rows + columns], axis=-1).astype(np.uint8)).save(buffer, format)
    return buffer.getvalue()


def _picture(path: Path) -> None:
    path.write_bytes(_picture_bytes(FORMATS.get(path.suffix, path.suffix[1:].upper())))


def _pdf(path: Path) -> None:
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(path), pagesize=(300, 200))
    for words in ("first page", "second page"):
        canvas.drawString(40, 100, words)
        canvas.showPage()
    canvas.save()


def _shard(path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in (
            ("a.png", _picture_bytes("PNG")),
            ("a.txt", b"words"),
            ("b.jpg", _picture_bytes("JPEG")),
            ("c.txt", b"words only"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    path.write_bytes(buffer.getvalue() if path.suffix == ".tar" else gzip.compress(buffer.getvalue()))


ROWS = [{"key": "a", "image": _picture_bytes("PNG"), "text": "words"}, {"key": "b", "image": None, "text": "words only"}]
TEXT_ROWS = [{**row, "image": b64encode(row["image"]).decode() if row["image"] else None} for row in ROWS]


def _parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), path)


def _json_lines(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in TEXT_ROWS))


def _delimited(path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["key", "image", "text"], delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(TEXT_ROWS)


SAMPLES = {  # suffix -> writes a sound file with at least one picture
    **dict.fromkeys([".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"], _picture),
    ".pdf": _pdf,
    **dict.fromkeys([".tar", ".tar.gz", ".tgz"], _shard),
    ".parquet": _parquet,
    **dict.fromkeys([".jsonl", ".ndjson"], _json_lines),
    **dict.fromkeys([".csv", ".tsv"], _delimited),
}
PAIRS = [(name, suffix) for name in READERS for suffix in sorted(module(name, station="readers").tiny().suffixes)]


@pytest.fixture
def sample(tmp_path):
    def write(suffix: str) -> Path:
        if suffix not in SAMPLES:
            pytest.fail(f"no sample of {suffix}: add a maker to SAMPLES in tests/contracts/test_readers.py")
        path = tmp_path / f"sample{suffix}"
        SAMPLES[suffix](path)
        return path

    return write


def test_there_are_readers():
    assert {"images", "pdf", "table", "webdataset"} <= set(READERS)


@pytest.mark.parametrize("name", READERS)
def test_a_reader_has_options_build_and_tiny(name):
    part = module(name, station="readers")
    assert part.__doc__
    options = part.Options()
    assert options.__dataclass_params__.frozen
    for reader in (part.build(options), part.tiny()):
        assert all(callable(getattr(reader, verb)) for verb in ("count", "read", "handle"))


@pytest.mark.parametrize("name", READERS)
def test_the_printed_name_parses_back(name):
    part = module(name, station="readers")
    reader = part.tiny()
    assert options_of(reader.name, part.Options) == part.Options()
    assert make(reader.name, station="readers").name == reader.name
    numbers = {f.name: f.default + 1 for f in dataclasses.fields(part.Options) if isinstance(f.default, int)}
    changed = part.Options(**numbers)
    assert options_of(part.build(changed).name, part.Options) == changed or any(
        not f.metadata.get("in_name", True) for f in dataclasses.fields(changed)
    )
    assert part.build(changed).name == printed(name, changed)


def test_names_are_unique_and_no_suffix_has_two_readers():
    built = [module(name, station="readers").tiny().name for name in READERS]
    assert len(set(built)) == len(built)
    suffixes = [suffix for _, suffix in PAIRS]
    assert len(set(suffixes)) == len(suffixes)


@pytest.mark.parametrize(("name", "suffix"), PAIRS)
def test_suffixes_are_lower_case_with_a_dot(name, suffix):
    assert suffix == suffix.lower()
    assert suffix.startswith(".")


@pytest.mark.parametrize("what", ["missing", "empty", "folder", "zeros"])
@pytest.mark.parametrize(("name", "suffix"), PAIRS)
def test_a_file_that_is_none_is_a_format_error_with_its_path(tmp_path, name, suffix, what):
    path = tmp_path / f"x{suffix}"
    if what == "folder":
        path.mkdir()
    elif what != "missing":
        path.write_bytes(b"" if what == "empty" else bytes(700))
    reader = make(name, station="readers")
    with pytest.raises(FormatError) as error:
        assert any(isinstance(entry, ReadItem) for entry in reader.read(path, "x")), "nothing is read and nothing is said"
    assert error.value.path == str(path)
    assert 0 < len(error.value.reason) < 300
    if what != "zeros":
        with pytest.raises(FormatError):
            reader.count(path)


@pytest.mark.parametrize(("name", "suffix"), PAIRS)
def test_a_sound_file_gives_as_many_items_as_it_counts_and_the_same_each_time(sample, name, suffix):
    path = sample(suffix)
    reader = make(name, station="readers")
    entries = list(reader.read(path, "folder/file"))
    assert [entry for entry in entries if isinstance(entry, Failure)] == []
    assert reader.count(path) == len(entries) > 0
    again = list(make(name, station="readers").read(path, "folder/file"))
    assert [(e.item.item_id, e.content_hash) for e in again] == [(e.item.item_id, e.content_hash) for e in entries]
    ids = [entry.item.item_id for entry in entries]
    assert len(set(ids)) == len(ids)
    assert all(item_id.startswith("folder/file") for item_id in ids)
    assert any(entry.item.image is not None for entry in entries)


@pytest.mark.parametrize(("name", "suffix"), PAIRS)
def test_items_are_plain_and_their_hash_is_blake2b_128(sample, name, suffix):
    for entry in make(name, station="readers").read(sample(suffix), "file"):
        item: Item = entry.item
        assert len(entry.content_hash) == 32
        assert int(entry.content_hash, 16) >= 0
        assert item.image is not None or (item.text or "").strip()
        assert all(isinstance(key, str) and isinstance(value, (str, int, float, bool)) for key, value in item.metadata.items())
        assert json.loads(json.dumps(dict(item.metadata))) == item.metadata
        assert (item.page_number is None) == (item.document_id is None)


@pytest.mark.parametrize(("name", "suffix"), PAIRS)
def test_the_picture_found_again_is_the_picture_read(sample, name, suffix):
    path = sample(suffix)
    entries = list(make(name, station="readers").read(path, "file"))
    reader = make(name, station="readers")
    for entry in reversed(entries):
        again = reader.handle(path, entry.item.item_id[len("file") :])
        assert (again is None) == (entry.item.image is None)
        if again is not None:
            first, second = entry.item.image.open(), again.open()
            assert first.mode == second.mode == "RGB"
            assert np.array_equal(np.asarray(first), np.asarray(second))


@pytest.mark.parametrize(("name", "suffix"), PAIRS)
def test_handles_of_a_file_that_is_gone_fail_when_they_are_opened(sample, name, suffix):
    """Making the items of a result must not need the files; opening a picture does."""
    path = sample(suffix)
    fragments = [e.item.item_id[len("file") :] for e in make(name, station="readers").read(path, "file") if e.item.image is not None]
    path.unlink()
    picture = make(name, station="readers").handle(path, fragments[0])
    with pytest.raises(FormatError):
        picture.open()


@pytest.mark.parametrize(("name", "suffix"), PAIRS)
def test_reading_can_be_left_half_way(sample, name, suffix):
    entries = make(name, station="readers").read(sample(suffix), "file")
    assert isinstance(next(entries), ReadItem)
    entries.close()


@pytest.mark.parametrize(("name", "suffix"), PAIRS)
def test_a_file_cut_short_never_passes_unnoticed(sample, name, suffix):
    path = sample(suffix)
    whole = len(list(make(name, station="readers").read(path, "file")))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 4])
    try:
        entries = list(make(name, station="readers").read(path, "file"))
        for entry in entries:
            if isinstance(entry, ReadItem) and entry.item.image is not None:
                entry.item.image.open()
    except FormatError:
        return
    assert any(isinstance(entry, Failure) for entry in entries) or len(entries) < whole
