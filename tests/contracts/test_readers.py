"""Every reader keeps the contract; a new file in `mmrerank/readers/` is found by itself.

A reader that takes a new suffix needs a sample of it: add a maker to SAMPLES below.
"""

import csv
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

from mmrerank.parts import module, names
from mmrerank.testing import ReaderContract

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


class TestReader(ReaderContract):
    """One suffix of one reader at a time, so that a failure names it."""

    samples = SAMPLES

    @pytest.fixture(autouse=True, params=PAIRS, ids=lambda pair: "-".join(pair))
    def _named(self, request: pytest.FixtureRequest) -> None:
        self.part, self.suffix = request.param

    def suffixes(self) -> list[str]:
        return [self.suffix]

    def test_its_tiny_has_the_default_options(self) -> None:
        assert self.options() == self.module.Options()


def test_there_are_readers() -> None:
    assert {"images", "pdf", "table", "webdataset"} <= set(READERS)


def test_names_are_unique_and_no_suffix_has_two_readers() -> None:
    printed_names = [module(name, station="readers").tiny().name for name in READERS]
    assert len(set(printed_names)) == len(printed_names)
    suffixes = [suffix for _, suffix in PAIRS]
    assert len(set(suffixes)) == len(suffixes)
