"""How often indexing opens each file and walks each folder: a network share feels every time."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from makers import ColourEncoder, picture, write_pictures, write_tar
from opens import opens_below
from reportlab.pdfgen.canvas import Canvas

from mmrerank.cli.index import index
from mmrerank.collection import Collection
from mmrerank.ingest.changes import TICK_NS
from mmrerank.readers import _files

WITHOUT_OCR = ("images(ocr='never')", "pdf(ocr='never')")


def png(seed: int) -> bytes:
    data = io.BytesIO()
    picture(seed).save(data, "PNG")
    return data.getvalue()


def write_pages(folder: Path) -> None:
    for n in (1, 2):
        picture(n).save(folder / f"page_{n}.png")


def write_pdfs(folder: Path) -> None:
    for name in ("a", "b", "c", "d", "e"):  # more than stay open
        canvas = Canvas(str(folder / f"{name}.pdf"), pagesize=(200, 120))
        for n in range(3):
            canvas.drawString(8, 60, f"page {n} of {name}")
            canvas.showPage()
        canvas.save()


def write_gzip(folder: Path) -> None:
    write_tar(folder / "a.tar", range(4))
    (folder / "a.tgz").write_bytes(gzip.compress((folder / "a.tar").read_bytes()))
    (folder / "a.tar").unlink()


def write_lines(folder: Path) -> None:
    write_pictures(folder / "images", range(2))
    rows = [{"key": str(n), "text": f"row {n}", "image": f"images/{n:03}.png"} for n in range(2)]
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_parquet(folder: Path) -> None:
    rows = {"key": ["a", "b"], "image": [{"bytes": png(n), "path": None} for n in range(2)]}
    pq.write_table(pa.table(rows), folder / "t.parquet")


# kind -> what writes it, what is named, opens of each file by Python in a first run (beside them pdfium opens each PDF once to count its
# pages, and pyarrow a Parquet file once for each time that we look at its head)
KINDS: dict[str, tuple[Callable[[Path], Any], str, dict[str, int]]] = {
    "pictures": (lambda folder: write_pictures(folder, range(3)), "", dict.fromkeys(("000.png", "001.png", "002.png"), 1)),
    "pages": (write_pages, "", {"page_1.png": 1, "page_2.png": 1}),
    "PDFs": (write_pdfs, "", dict.fromkeys(("a.pdf", "b.pdf", "c.pdf", "d.pdf", "e.pdf"), 1)),
    "a tar": (lambda folder: write_tar(folder / "a.tar", range(4)), "", {"a.tar": 2}),
    "a tar in gzip": (write_gzip, "", {"a.tgz": 2}),
    "a table that names pictures": (write_lines, "t.jsonl", {"t.jsonl": 4, "images/000.png": 1, "images/001.png": 1}),
    "a Parquet file": (write_parquet, "t.parquet", {"t.parquet": 3}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_first_run_opens_each_file_as_often_as_its_kind_needs_and_a_second_none(tmp_path: Path, colour: ColourEncoder, kind: str) -> None:
    write, name, expected = KINDS[kind]
    folder = tmp_path / "files"
    folder.mkdir()
    write(folder)
    for file in folder.rglob("*"):
        os.utime(file, (time.time() - 60, time.time() - 60))  # old enough for their times to be trusted
    time.sleep(2 * TICK_NS / 1e9)  # that they were touched is seen too
    collection = Collection.create(tmp_path / "collection", encoders=[colour])
    with opens_below(folder) as first:
        report = collection.add([folder / name], read_with=WITHOUT_OCR)
    assert (report.added, report.failed) == (report.expected, ())
    assert {path: n for path, n in first.items() if (folder / path).is_file()} == expected
    with opens_below(folder) as second:
        assert collection.add([folder / name], read_with=WITHOUT_OCR).unchanged == report.added
    assert not [path for path in second if (folder / path).is_file()]


def test_a_first_run_on_the_command_line_walks_each_folder_once(tmp_path: Path, photos: Path) -> None:
    with opens_below(photos) as counts:
        assert index([photos], tmp_path / "collection", encoder="openclip/mini", json=True) == 0
    # the folder that is named is looked into before, up to its first picture: are these ready embeddings?
    assert {path: counts[path] for path in (".", "more")} == {".": 2, "more": 1}


def test_bytes_that_found_no_room_are_read_again(
    tmp_path: Path, photos: Path, colour: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _files.Spare.waiting
    monkeypatch.setattr(_files, "SPARE_BYTES", before + 200)  # none of these pictures, or one at a time
    write_tar(photos / "a.tar", range(3))
    collection = Collection.create(tmp_path / "collection", encoders=[colour])
    assert collection.add([photos]).added == 12
    assert _files.Spare.waiting == before


def test_no_bytes_wait_once_everything_is_indexed(tmp_path: Path, photos: Path, colour: ColourEncoder) -> None:
    before = _files.Spare.waiting
    write_tar(photos / "a.tar", range(3))
    (photos / "broken.png").write_bytes(png(0)[:60])
    report = Collection.create(tmp_path / "collection", encoders=[colour]).add([photos])
    assert (report.added, len(report.failed)) == (12, 1)
    assert _files.Spare.waiting == before


def test_a_file_that_could_not_be_opened_is_tried_again_though_its_time_is_the_same(
    tmp_path: Path, photos: Path, colour: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused by a stand-in for the system's call, since root is refused nothing."""
    for file in photos.rglob("*"):
        os.utime(file, (time.time() - 60, time.time() - 60))
    system_open = os.open

    def refusing(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path).endswith("003.png"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return system_open(path, *arguments, **options)

    collection = Collection.create(tmp_path / "collection", encoders=[colour])
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refusing)
        report = collection.add([photos])
    assert [(failure.path, failure.reason) for failure in report.failed] == [("003.png", "cannot be opened: Permission denied")]
    assert (report.expected, report.found, report.added) == (9, 9, 8)
    again = collection.add([photos])
    assert (again.added, again.unchanged, again.failed) == (1, 8, ())
