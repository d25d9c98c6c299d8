"""Documents of every kind in one ingest: what is found, what is quarantined, what is noted, and in how much memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

from mmrerank.collection import Collection
from mmrerank.collection.verify import describe
from mmrerank.readers import _ocr


def write_pdf(path: Path, texts: list[str], **options: object) -> None:
    canvas = Canvas(str(path), pagesize=(300, 200), **options)
    for text in texts:
        canvas.drawString(20, 100, text)
        canvas.showPage()
    canvas.save()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "documents"
    place.mkdir()
    write_pdf(place / "typed.pdf", ["pump one", "valve two"])
    write_pdf(place / "scanned.pdf", ["", "", "a stamp"])
    write_pdf(place / "locked.pdf", ["secret"], encrypt=StandardEncryption("user", "owner"))
    (place / "torn.pdf").write_bytes((place / "typed.pdf").read_bytes()[:400])
    return place


@pytest.fixture
def no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


def test_each_document_has_a_clear_outcome(tmp_path: Path, folder: Path, no_program: None) -> None:
    for file in folder.iterdir():
        os.utime(file, (time.time() - 60, time.time() - 60))  # so that its time can be trusted
    collection = Collection.create(tmp_path / "c")
    report = collection.add([folder])
    assert (report.expected, report.found, report.added) == (7, 7, 5)
    assert {failure.path: failure.reason for failure in report.failed} == {
        "locked.pdf": "encrypted: needs a password",
        "torn.pdf": "broken: its structure cannot be read",
    }
    why = "no text layer; OCR (the program tesseract) is not installed"
    assert report.text_notes == {"scanned.pdf#page=1": why, "scanned.pdf#page=2": why}
    assert report.notes == (f"2 pages: {why}: scanned.pdf#page=1, scanned.pdf#page=2",)
    noted = collection.items("text_note IS NOT NULL")
    assert [item.item_id for item in noted] == ["scanned.pdf#page=1", "scanned.pdf#page=2"]
    again = collection.add([folder])
    assert (again.unchanged, again.text_notes, again.notes) == (5, report.text_notes, report.notes)  # though nothing was read
    assert describe(collection)["text_notes"]["count"] == 2
    assert describe(collection)["text_notes"]["first"][0] == {"item_id": "scanned.pdf#page=1", "reason": why}


def test_an_answer_that_is_not_there_says_how_many_pages_have_no_words(tmp_path: Path, folder: Path, no_program: None) -> None:
    collection = Collection.create(tmp_path / "c")
    collection.add([folder])
    said = "2 pages without words, so that no word finds them: no text layer; OCR (the program tesseract) is not installed"
    assert said in collection.ask("Who kept the parrot?").answer.notes.messages[-1]
    of_scan = collection.ask("Who kept the parrot?", filter="\"page_number\" = 1 AND document_id = 'scanned.pdf'")
    assert of_scan.answer.notes.messages[-1].startswith("1 page without words")
    assert collection.ask("Who kept the parrot?", filter="document_id = 'typed.pdf'").answer.notes.messages == ()
    assert not any("without words" in message for message in collection.ask("valve two").answer.notes.messages)


def test_pages_get_their_text_once_ocr_is_there(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in folder.iterdir():
        os.utime(file, (time.time() - 60, time.time() - 60))  # so that its time can be trusted
    collection = Collection.create(tmp_path / "c")
    with monkeypatch.context() as without:
        without.setenv("PATH", str(tmp_path / "nothing"))
        collection.add([folder])
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / _ocr.PROGRAM).write_text("#!/bin/sh\ncat > /dev/null; echo an invoice\n")
    (programs / _ocr.PROGRAM).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    report = collection.add([folder])
    assert (report.updated, report.unchanged, report.notes) == (2, 3, ())
    hits = collection.search("invoice", retriever="lexical").hits
    assert {hit.item.item_id for hit in hits} == {"scanned.pdf#page=1", "scanned.pdf#page=2"}


def test_pages_are_read_again_by_a_reader_with_other_options(tmp_path: Path, folder: Path, no_program: None) -> None:
    os.utime(folder / "typed.pdf", (time.time() - 60, time.time() - 60))
    collection = Collection.create(tmp_path / "c", encoders=["openclip/mini"])
    assert collection.add([folder / "typed.pdf"]).added == 2
    assert collection.add([folder / "typed.pdf"]).unchanged == 2
    assert collection.add([folder / "typed.pdf"], read_with=["pdf(dpi=36)"]).updated == 2
    assert collection.add([folder / "typed.pdf"], read_with=["pdf(dpi=36)"]).unchanged == 2


PROGRAM = """
import json, sys
from pathlib import Path
from mmrerank.collection import Collection
collection = Collection.create(sys.argv[2])
report = collection.add([sys.argv[1]])
best = collection.search("serial 4321").hits[0].item.item_id
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
peak_mib = int(status["VmHWM"].split()[0]) / 1024  # of this program alone; ru_maxrss would begin with that of its parent
print(json.dumps({"added": report.added, "seconds": report.seconds, "best": best, "peak_mib": peak_mib}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_five_thousand_pages_stay_below_a_gigabyte_and_a_half(tmp_path: Path) -> None:
    write_pdf(tmp_path / "long.pdf", [f"serial {number} of the register, with some words of its own" for number in range(1, 5001)])
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "long.pdf"), str(tmp_path / "c")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    found = json.loads(done.stdout)
    assert (found["added"], found["best"]) == (5000, "long.pdf#page=4321")
    assert found["peak_mib"] < 1500
