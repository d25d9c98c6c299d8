"""Every reader keeps the contract; a new file in `mmrerank/readers/` is found by itself.

A reader that takes a new suffix needs a sample of it: add a maker to SAMPLES below.
"""

import csv
import gzip
import io
import json
import tarfile
import zipfile
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image

from mmrerank.parts import module, names
from mmrerank.readers import PICTURE_SUFFIXES
from mmrerank.testing import ReaderContract

READERS = names("readers")
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".tif": "TIFF", ".apng": "PNG", ".dib": "BMP"}
FORMATS |= dict.fromkeys([".jp2", ".jpx", ".jpf"], "JPEG2000") | dict.fromkeys([".ppm", ".pnm"], "PPM")
GOLDEN = Path(__file__).parents[1] / "golden"


def _picture_bytes(format: str) -> bytes:
    buffer = io.BytesIO()
    rows, columns = np.mgrid[:20, :30]
    Image.fromarray(np.stack([rows * 10, columns * 8, rows + columns], axis=-1).astype(np.uint8)).save(buffer, format)
    return buffer.getvalue()


def _picture(path: Path) -> None:
    path.write_bytes(_picture_bytes(FORMATS.get(path.suffix, path.suffix[1:].upper())))


def _heic(path: Path) -> None:
    path.write_bytes((GOLDEN / "turned.heic").read_bytes())


def _jpeg_xl(path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    path.write_bytes(imagecodecs.jpegxl_encode(np.asarray(Image.open(io.BytesIO(_picture_bytes("PNG"))))))


def _raw(path: Path) -> None:
    """The least that LibRaw takes for a camera's picture: a mosaic of red, green and blue as a DNG."""
    pytest.importorskip("rawpy")
    rows, columns = np.mgrid[:64, :96]
    mosaic = ((columns * 400 + rows * 300) % 60000).astype(np.uint16)
    unit = (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1)
    dng = [(50706, "B", 4, (1, 4, 0, 0), True), (50708, "s", 0, "Test", True), (33421, "H", 2, (2, 2), True)]
    dng += [(33422, "B", 4, (0, 1, 1, 2), True), (50721, "2i", 9, unit, True), (50778, "H", 1, 21, True)]
    tifffile.imwrite(path, mosaic, photometric=32803, extratags=dng, metadata=None)


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


def _vectors(path: Path) -> None:
    """Rows, one of which shows a picture, and the table that describes them."""
    np.save(path, np.eye(2, 8, dtype=np.float16))
    (path.parent / "a.png").write_bytes(_picture_bytes("PNG"))
    pq.write_table(pa.table({"image_path": ["a.png", None], "caption": ["words", "words only"]}), path.with_suffix(".parquet"))


def _text(path: Path) -> None:
    words = {".html": "<h1>Tides</h1><p>words</p>", ".eml": "Subject: Tides\n\nwords\n"}
    path.write_text(words.get(path.suffix, "# Tides\n\nwords\n"))


def _book(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("META-INF/container.xml", '<container><rootfile full-path="b.opf"/></container>')
        archive.writestr("b.opf", '<package><item id="a" href="a.html"/><itemref idref="a"/></package>')
        archive.writestr("a.html", "<p>words</p>")


def _word_file(path: Path) -> None:
    document = pytest.importorskip("docx").Document()
    document.add_paragraph("words")
    document.save(path)


def _slides(path: Path) -> None:
    show = pytest.importorskip("pptx").Presentation()
    show.slides.add_slide(show.slide_layouts[0]).shapes.title.text = "words"
    show.save(path)


def _workbook(path: Path) -> None:
    book = pytest.importorskip("openpyxl").Workbook()
    book.active.append(["words", 1])
    book.save(path)


TEXTS = [".txt", ".text", ".md", ".markdown", ".html", ".htm", ".xhtml", ".eml"]
SAMPLES = {  # suffix -> writes a sound file with at least one picture, where it has pictures
    **dict.fromkeys([".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"], _picture),
    **dict.fromkeys([".avif", ".jp2", ".jpx", ".jpf", ".ppm", ".pnm", ".tga", ".pcx", ".sgi", ".dds", ".qoi", ".ico", ".icns"], _picture),
    **dict.fromkeys([".heic", ".heif", ".heics", ".hif"], _heic),
    ".jxl": _jpeg_xl,
    ".dng": _raw,
    **dict.fromkeys(TEXTS, _text),
    ".epub": _book,
    **dict.fromkeys([".docx", ".docm"], _word_file),
    **dict.fromkeys([".pptx", ".pptm"], _slides),
    **dict.fromkeys([".xlsx", ".xlsm"], _workbook),
    ".pq": _parquet,
    ".pdf": _pdf,
    **dict.fromkeys([".tar", ".tar.gz", ".tgz"], _shard),
    ".parquet": _parquet,
    ".npy": _vectors,
    **dict.fromkeys([".jsonl", ".ndjson"], _json_lines),
    **dict.fromkeys([".csv", ".tsv"], _delimited),
}
# further names of formats that others stand for; what no free program writes; what LibreOffice alone reads (`test_office.py`)
WITHOUT = {".j2k", ".j2c", ".jpc", ".pgm", ".pbm", ".pfm", ".psd", ".odt", ".odp", ".ods", ".rtf", ".doc", ".ppt", ".xls"}
WITHOUT |= {suffix for suffix, format in PICTURE_SUFFIXES.items() if format == "camera raw"} - {".dng"}
EVERY = [(name, suffix) for name in READERS for suffix in sorted(module(name, station="readers").tiny().suffixes)]
PAIRS = [(name, suffix) for name, suffix in EVERY if suffix not in WITHOUT]


class TestReader(ReaderContract):
    """One suffix of one reader at a time, so that a failure names it."""

    samples = SAMPLES

    @pytest.fixture(autouse=True, params=PAIRS, ids=lambda pair: "-".join(pair))
    def _named(self, request: pytest.FixtureRequest) -> None:
        self.part, self.suffix = request.param
        self.has_pictures = self.part not in ("texts", "office")
        self.shows_cuts = self.suffix not in TEXTS

    def reader(self) -> Any:
        """With the default options, but office documents by their words: what LibreOffice makes of them is in `test_office.py`."""
        return self.module.build(self.module.Options(render="never")) if self.part == "office" else super().reader()

    def suffixes(self) -> list[str]:
        return [self.suffix]

    def test_its_tiny_has_the_default_options(self) -> None:
        assert self.options() == self.module.Options()


def test_there_are_readers() -> None:
    assert {"images", "pdf", "table", "webdataset"} <= set(READERS)


def test_names_are_unique_and_no_suffix_has_two_readers() -> None:
    printed_names = [module(name, station="readers").tiny().name for name in READERS]
    assert len(set(printed_names)) == len(printed_names)
    suffixes = [suffix for _, suffix in EVERY]
    assert len(set(suffixes)) == len(suffixes)
