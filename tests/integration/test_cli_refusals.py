"""What the command line refuses before it works, and what it tells of files that it did not read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import run
from PIL import Image
from reportlab.pdfgen.canvas import Canvas

from mmrerank import Collection
from mmrerank.answering import extractive
from mmrerank.cli import main


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    (tmp_path / "notes.csv").write_text("key,text\na,the parrot was called Rufus\nb,a blue boat\n")
    Collection.create(tmp_path / "c").add([tmp_path / "notes.csv"])
    return tmp_path / "c"


@pytest.mark.parametrize("sheet", ["out.xyz", "sheet", "nodir/x.png", "folder.png"])
@pytest.mark.parametrize("verb", ["ask", "search", "rerank"])
def test_a_sheet_that_cannot_be_written_is_refused_before_any_work(
    tmp_path: Path, collection: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, verb: str, sheet: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("worked for a sheet that cannot be written")

    monkeypatch.setattr(Collection, "search", refuse)
    (tmp_path / "folder.png").mkdir()
    named = {
        "ask": [collection, "parrot"],
        "search": [collection, "--text", "parrot"],
        "rerank": ["--query", "q.json", "--candidates", "c.jsonl", "--with", "bm25"],
    }[verb]
    code, result = run(capsys, verb, *named, "--sheet", tmp_path / sheet)
    assert (code, result["error"]["type"]) == (1, "InputError")
    assert sheet in result["error"]["message"]


@pytest.mark.parametrize("flag", ["--run", "--compare", "--text-run", "--picture-run"])
def test_a_run_that_is_not_there_is_refused_before_anything_is_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    card = Path(__file__).parents[2] / "datasets/emoji/card.toml"
    code, result = run(capsys, "evaluate", card, flag, tmp_path / "nothing.trec", "--collection", tmp_path / "no-collection")
    assert (code, result["error"]["type"]) == (1, "InputError")
    assert f"there is no run file {tmp_path / 'nothing.trec'}" in result["error"]["message"]


def test_a_sheet_that_fails_in_the_end_does_not_cost_the_answer(
    tmp_path: Path, collection: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    assert main(["ask", str(collection), "parrot", "--sheet", str(tmp_path / "x.png"), "--json"]) == 1
    told = capsys.readouterr()
    assert "Rufus" in json.loads(told.out)["answer"]
    assert "could not be written" in told.err
    assert "No space left" in told.err


def test_what_the_system_refuses_is_an_error_in_the_fixed_shape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.csv").write_text("key,text\na,the parrot was called Rufus\n")
    (tmp_path / "file").touch()
    code, result = run(capsys, "index", tmp_path / "notes.csv", "--into", tmp_path / "file" / "c", "--encoder", "none")
    assert (code, result["error"]["type"]) == (1, "InputError")
    assert str(tmp_path / "file") in result["error"]["message"]


def test_a_reader_of_results_that_leaves_is_no_error_to_talk_about(collection: Path) -> None:
    program = "import sys; from mmrerank.cli import main; sys.stdout.reconfigure(write_through=True); sys.exit(main(sys.argv[1:]))"
    with subprocess.Popen(
        [sys.executable, "-c", program, "info", str(collection), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as done:
        assert done.stdout is not None
        assert done.stderr is not None
        done.stdout.close()
        assert done.stderr.read() == ""
    assert done.returncode == 1


@pytest.mark.parametrize("encoder", [[], ["--encoder", "none"]])
def test_nothing_to_index_is_said_before_a_collection_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, encoder: list[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "report.xyz").touch()
    code, result = run(capsys, "index", tmp_path / "empty", "--into", tmp_path / "new", *encoder)
    assert (code, result["error"]["type"]) == (1, "InputError")
    assert "nothing to index" in result["error"]["message"]
    assert "report.xyz" in result["error"]["hint"]
    assert not (tmp_path / "new").exists()


def test_what_was_not_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "no programs"))
    folder = tmp_path / "documents"
    (tmp_path / "elsewhere").mkdir()
    folder.mkdir()
    canvas = Canvas(str(folder / "scan.pdf"), pagesize=(300, 200))
    for _ in range(120):
        canvas.showPage()
    canvas.save()
    for name in ("a.xyz", "b.xyz", "notes"):
        (folder / name).touch()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    arguments = ["index", str(folder), "--into", str(tmp_path / "c"), "--json"]
    for _ in range(2):  # the second run reads nothing and says the same
        assert main(arguments) == 0
        told = capsys.readouterr()
        result = json.loads(told.out)
        assert (result["text_notes"]["count"], len(result["text_notes"]["first"])) == (120, 100)
        assert result["text_notes"]["first"][0]["item_id"] == "scan.pdf#page=1"
        assert result["ignored"] == {"count": 3, "first": [str(folder / name) for name in ("a.xyz", "b.xyz", "notes")]}
        assert result["linked_folders"] == {"count": 1, "first": [str(folder / "link")]}
        assert "and 115 more" in told.err
        assert "3 files passed over (2 .xyz, 1 without suffix)" in told.err
        assert "1 linked folder passed over" in told.err
    code, held = run(capsys, "info", tmp_path / "c")
    assert (held["text_notes"]["count"], len(held["text_notes"]["first"])) == (120, 100)
    assert main(["info", str(tmp_path / "c")]) == 0
    assert "text of scan.pdf#page=1: no text layer" in capsys.readouterr().out
    code, found = run(capsys, "ask", tmp_path / "c", "Who kept the parrot?")
    assert (code, found["found"], found["answer"]) == (0, False, extractive.NOT_FOUND)
    assert "120 pages without words" in found["stages"][-1]["notes"][-1]
