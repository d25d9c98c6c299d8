"""Our own parsers against bytes that nobody meant: flipped, cut, repeated. They end soon, in little memory, in items or errors of ours.

Each begins from sound files of its kind, so that the damage lands inside of the structure. Examples are the same on every run.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from makers import picture, write_tar
from reportlab.pdfgen.canvas import Canvas

from mmrerank.errors import FormatError
from mmrerank.evaluation.loaders._plain_pickle import plain_pickle
from mmrerank.parts import make
from mmrerank.readers._files import MIB
from mmrerank.readers._pictures import Limits, decode, inspect
from mmrerank.readers._tiff import orientation_of
from mmrerank.types import Failure, ReadItem

MOST_SECONDS = 20.0  # of the processor, for one example: they take milliseconds
MOST_BYTES = 64 * MIB  # of Python's memory, for one example, whatever sizes it claims
LIMITS = Limits(max_pixels=200_000, max_bytes=4 * MIB)
fuzzed = settings(max_examples=120, derandomize=True, database=None)


@st.composite
def damage(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Some bytes set to others, mostly near the start where the structure is; then perhaps a cut, a repeated or a missing piece."""
    share = st.floats(0, 1, exclude_max=True)
    near = share.map(lambda x: x**3)
    flips = draw(st.lists(st.tuples(st.one_of(near, share), st.sampled_from((0, 1, 0x7F, 0x80, 0xFF)) | st.integers(0, 255)), max_size=6))
    kind, place, length = draw(st.sampled_from(("keep", "keep", "cut", "repeat", "drop"))), draw(share), draw(st.integers(1, 64))

    def apply(content: bytes) -> bytes:
        data = bytearray(content)
        for where, byte in flips:
            data[int(where * len(data))] = byte
        start = int(place * len(data))
        piece = data[start : start + length]
        if kind == "cut":
            return bytes(data[:start])
        if kind == "repeat":
            return bytes(data[:start] + piece * 20 + data[start:])
        return bytes(data[:start] + data[start + length :]) if kind == "drop" else bytes(data)

    return apply


@contextmanager
def bounded() -> Iterator[None]:
    tracemalloc.start()
    start = time.thread_time()
    try:
        yield
        seconds, (_, peak) = time.thread_time() - start, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seconds < MOST_SECONDS
    assert peak < MOST_BYTES


@contextmanager
def refusals() -> Iterator[None]:
    """Lets errors of ours pass that say why; any other one fails the test."""
    try:
        yield
    except FormatError as error:
        check_reason(error)


def check_reason(error: FormatError) -> None:
    assert 0 < len(error.reason) < 600


def entries_of(name: str, path: Path) -> int:
    """How many entries the reader gives, each failure with its reason; pictures are opened. -1: an error of ours over the whole file."""
    reader, count = make(name, station="readers"), -1
    with refusals():
        reader.count(path)
        entries = list(reader.read(path, "x"))
        assert all(entry.reason for entry in entries if isinstance(entry, Failure))
        for image in (entry.item.image for entry in entries if isinstance(entry, ReadItem)):
            with refusals():
                assert image is None or image.open().mode == "RGB"
        count = len(entries)
    return count


def encoded(format: str, **options: Any) -> bytes:
    data = io.BytesIO()
    picture(3).save(data, format, **options)
    return data.getvalue()


def exif() -> bytes:
    block = picture(0).getexif()
    block[274] = 6
    block[271] = "maker"
    return block.tobytes()


PICTURES = {
    "JPEG": encoded("JPEG", exif=exif()),
    "progressive JPEG": encoded("JPEG", progressive=True),
    "PNG": encoded("PNG", exif=exif()),
    "WebP": encoded("WEBP", exif=exif()),
    "lossless WebP": encoded("WEBP", lossless=True),
    "GIF": encoded("GIF"),
    "BMP": encoded("BMP"),
    "TIFF": encoded("TIFF"),
    "packed TIFF": encoded("TIFF", compression="tiff_deflate"),
}


@pytest.mark.parametrize("kind", PICTURES)
@fuzzed
@given(apply=damage())
@example(apply=lambda data: data)
def test_headers_and_directories_of_pictures(kind: str, apply: Callable[[bytes], bytes]) -> None:
    data = apply(PICTURES[kind])
    with bounded(), refusals():
        header = inspect(data, path="x", limits=LIMITS)
        assert 1 <= header.width * header.height <= LIMITS.max_pixels
        assert 1 <= header.orientation <= 8
        assert sum(map(len, header.pieces)) <= 2 * len(data) + 4096
    with refusals():
        assert decode(data, path="x", limits=LIMITS).mode == "RGB"


@fuzzed
@given(apply=damage())
def test_the_orientation_in_an_exif_block(apply: Callable[[bytes], bytes]) -> None:
    with bounded():
        assert orientation_of(apply(exif())) in {None, *range(1, 9)}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def tar(place: Path) -> bytes:
    write_tar(place / "sound.tar", range(2))
    return (place / "sound.tar").read_bytes()


@pytest.mark.parametrize("suffix", [".tar", ".tgz"])
@fuzzed
@given(apply=damage(), inside=st.booleans())
def test_members_of_a_tar(place: Path, tar: bytes, suffix: str, apply: Callable[[bytes], bytes], inside: bool) -> None:
    path = place / f"a{suffix}"
    data = apply(tar) if suffix == ".tar" or inside else apply(gzip.compress(tar, mtime=0))
    path.write_bytes(gzip.compress(data, mtime=0) if suffix == ".tgz" and inside else data)
    with bounded():
        assert entries_of("webdataset", path) >= -1


TEXTS = {
    ".csv": b'key,text,image\na,"a red, ""big"" door",\nb,"two\nlines",x.png\nc,plain,\n',
    ".tsv": b"id\ttitle\tfile\n1\tone\tx.png\n2\ttwo\t\n",
    ".jsonl": "".join(json.dumps({"key": n, "text": f"row {n}", "size": [n, {"deep": None}]}) + "\n" for n in range(4)).encode(),
}


@pytest.mark.parametrize("suffix", TEXTS)
@fuzzed
@given(apply=damage())
def test_rows_and_columns_of_a_table(place: Path, suffix: str, apply: Callable[[bytes], bytes]) -> None:
    path = place / f"rows{suffix}"
    path.write_bytes(apply(TEXTS[suffix]))
    with bounded():
        assert entries_of("table", path) >= -1


@settings(fuzzed, max_examples=80)
@given(apply=damage())
def test_rows_of_a_parquet_file(place: Path, apply: Callable[[bytes], bytes]) -> None:
    data = io.BytesIO()
    pq.write_table(pa.table({"key": ["a", "b"], "image": [{"bytes": encoded("PNG"), "path": None}] * 2, "n": [1.5, None]}), data)
    (place / "rows.parquet").write_bytes(apply(data.getvalue()))
    with bounded():
        assert entries_of("table", place / "rows.parquet") >= -1


def with_form() -> bytes:
    data = io.BytesIO()
    canvas = Canvas(data, pagesize=(200, 120), invariant=True, pageCompression=0)
    canvas.drawString(8, 100, "Name:")
    canvas.acroForm.textfield(name="a", value="Ada", x=60, y=96, width=80, height=14)
    canvas.drawString(8, 70, "Town:")
    canvas.acroForm.choice(name="c", value="r", options=[("Rostock", "r"), ("Visby", "v")], x=60, y=66, width=80, height=14)
    canvas.showPage()
    canvas.save()
    return data.getvalue()


@settings(fuzzed, max_examples=60)
@given(apply=damage())
def test_fields_of_a_pdf_form(place: Path, apply: Callable[[bytes], bytes]) -> None:
    (place / "form.pdf").write_bytes(apply(with_form()))
    with bounded():
        assert entries_of("pdf(ocr='never', max_pages=100)", place / "form.pdf") >= -1


PICKLES = [
    pickle.dumps({"ranks": np.arange(5), "names": ["a", "b"], "score": np.float32(0.5), "none": None}, protocol=protocol)
    for protocol in (0, 2, 4)
]


@settings(fuzzed, max_examples=300)
@given(apply=damage(), which=st.integers(0, len(PICKLES) - 1))
def test_values_of_a_pickle(place: Path, apply: Callable[[bytes], bytes], which: int) -> None:
    path = place / "values.pkl"
    path.write_bytes(apply(PICKLES[which]))
    values: object = None
    with bounded(), refusals():
        values = plain_pickle(path)
    assert json.dumps(values) is not None, "nothing but plain values comes out"


def test_the_sound_files_are_read(place: Path, tar: bytes) -> None:
    """So that what is damaged above is known to reach the parsers."""
    (place / "sound.pdf").write_bytes(with_form())
    [page] = make("pdf(ocr='never')", station="readers").read(place / "sound.pdf", "x")
    assert page.item.text == "Name: Ada\nTown: Rostock"
    assert entries_of("webdataset", place / "sound.tar") == 2
    for suffix, rows in ((".csv", 3), (".tsv", 2), (".jsonl", 4)):
        (place / f"sound{suffix}").write_bytes(TEXTS[suffix])
        assert entries_of("table", place / f"sound{suffix}") == rows
    for content in PICKLES:
        (place / "sound.pkl").write_bytes(content)
        assert plain_pickle(place / "sound.pkl")["ranks"] == [0, 1, 2, 3, 4]
    assert orientation_of(exif()) == 6
