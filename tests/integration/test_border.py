"""Names and values at the border: what comes with odd names, odd fields, odd pipes or no network costs itself and nothing else."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
from command_line import run
from makers import picture, write_pictures
from reportlab.pdfgen.canvas import Canvas

import mmrerank
from mmrerank import Collection, Query
from mmrerank.cli import _downloads
from mmrerank.cli._output import stoppable
from mmrerank.errors import InputError

ENCODER = ("--encoder", "openclip/mini")
BY_SHELL = pytest.mark.skipif(
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN, reason="these tests were started in the background of a shell, deaf to SIGINT"
)
NOT_UTF8 = os.fsdecode(b"stra\xdfe")  # as zips from other systems and old cameras leave it


def write_sample(path: Path, fields: dict[str, Any]) -> None:
    """A shard of one picture with these fields."""
    data = io.BytesIO()
    picture(7).save(data, "PNG")
    with tarfile.open(path, "w") as tar:
        for name, content in (("0.png", data.getvalue()), ("0.json", json.dumps(fields).encode())):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def write_pdf(path: Path, line: str) -> None:
    canvas = Canvas(str(path), pagesize=(300, 120))
    canvas.drawString(8, 60, line)
    canvas.save()


def aged(folder: Path) -> None:
    for file in folder.rglob("*"):
        os.utime(file, (time.time() - 60, time.time() - 60))


def test_a_field_called_as_the_engine_calls_its_row_ids_is_stored_and_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path / "p", range(1))
    write_sample(tmp_path / "s.tar", {"_rowid": 17, "_rowaddr": "x", "": 1, "A": 1, "a": 2})
    code, report = run(capsys, "index", tmp_path / "p", tmp_path / "s.tar", "--into", tmp_path / "c", *ENCODER)
    assert (code, report["added"]) == (0, 2)
    assert "the field '_rowid' is called 'field_rowid' here: the name is taken" in report["notes"]
    code, result = run(capsys, "search", tmp_path / "c", "--text", "red", "--filter", "_rowid = 17 AND a = 2 AND a_2 = 1")
    assert (code, [hit["item_id"] for hit in result["hits"]]) == (0, ["s.tar::0"]) or result["hits"][0]["item_id"].endswith("s.tar::0")


def test_an_odd_value_is_noted_and_the_filter_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, years in (("a", [1990, 1991]), ("b", ["n.d."])):
        lines = (json.dumps({"key": str(n), "text": "a mill", "year": year}) + "\n" for n, year in enumerate(years))
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    run(capsys, "index", tmp_path / "a.jsonl", "--into", tmp_path / "c")
    _, report = run(capsys, "index", tmp_path / "b.jsonl", "--into", tmp_path / "c")
    assert any("'year' holds whole numbers" in note and "'year_text'" in note and "b.jsonl::0" in note for note in report["notes"])
    _, result = run(capsys, "search", tmp_path / "c", "--text", "mill", "--filter", "year > 1990")
    assert [hit["item_id"] for hit in result["hits"]] == ["a.jsonl::1"]
    code, answer = run(capsys, "search", tmp_path / "c", "--text", "mill", "--filter", "year = 'n.d.'")
    assert code == 1
    assert "year_text" in answer["error"]["hint"]


def test_a_name_that_is_not_utf8_costs_its_file_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path / "p", range(1))
    picture(1).save(tmp_path / "p" / f"{NOT_UTF8}.png")
    write_pictures(tmp_path / "p" / NOT_UTF8, range(2))
    code, report = run(capsys, "index", tmp_path / "p", "--into", tmp_path / "c", *ENCODER, "--max-failures", "1")
    assert (code, report["added"], report["expected"]) == (0, 1, 4)
    assert [failure["path"] for failure in report["failed"]] == ["stra\\xdfe.png", "stra\\xdfe/000.png", "stra\\xdfe/001.png"]
    assert "not UTF-8" in report["failed"][0]["reason"]
    for arguments in (
        ("index", tmp_path / "p" / NOT_UTF8, "--into", tmp_path / "d"),
        ("index", tmp_path / "p", "--into", tmp_path / NOT_UTF8),
    ):
        code, answer = run(capsys, *arguments, *ENCODER)
        assert (code, "not UTF-8" in answer["error"]["message"]) == (1, True)
    assert run(capsys, "search", tmp_path / "c", "--text", f"{NOT_UTF8} red")[0] == 0


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "cp1252"])
@pytest.mark.parametrize("as_json", [True, False])
def test_a_result_arrives_at_a_pipe_of_any_encoding_without_control_sequences(tmp_path: Path, encoding: str, as_json: bool) -> None:
    """A text, whose search needs no model: each case is a process of its own."""
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "größe 日本 \x1b[31m\x9b2J.md").write_text("a red door", encoding="utf-8")
    Collection.create(tmp_path / "c").add(tmp_path / "p")
    command = [sys.executable, "-m", "mmrerank.cli", "search", str(tmp_path / "c"), "--text", "red", *(["--json"] if as_json else [])]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding}, check=True)
    text = done.stdout.decode(encoding)
    assert not {"\x1b", "\x9b"} & set(text)
    if as_json:
        assert json.loads(text)["hits"][0]["item_id"].startswith("größe 日本 \x1b[31m\x9b2J.md")
    else:
        assert "\\x1b[31m" in text


def test_blank_is_empty_whoever_asks(tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    collection = Collection.create(tmp_path / "c", encoders=["openclip/mini"])
    collection.add(photos)
    for blank in ("", "  ", "\t\n", "\u200b", "\u3000", "\ufeff"):
        assert run(capsys, "search", collection.path, "--text", blank)[0] == 1
        assert run(capsys, "ask", collection.path, blank)[0] == 1
        for asking in (collection.search, collection.ask, lambda text: mmrerank.rerank(text, ["a", "b"]), lambda text: Query(text=text)):
            with pytest.raises(InputError):
                asking(blank)
    assert Query(text="a", exclude_text=(" ", "b")).exclude_text == ("b",)
    handle = mmrerank.picture(photos / "000.png")
    assert Query(text=" ", images=(handle,)).text is None


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("https://example.org/a.png", "https://example.org/a.png lies on a network, and nothing is fetched"),
        ("HTTP://example.org/a.png", "nothing is fetched"),
        (Path("https://example.org/a.png"), "nothing is fetched"),
        ("file://elsewhere/a.png", "nothing is fetched"),
        ("photos", "is a folder"),
        ("report.pdf", "report.pdf#page=1"),
        (" ", "blank"),
    ],
)
def test_what_is_no_picture_file_says_what_it_is(
    source: str | Path, words: str, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(photos.parent)
    with pytest.raises(InputError) as error:
        mmrerank.picture(source)
    assert words in str(error.value)
    assert mmrerank.picture((photos / "000.png").as_uri()).open().size == (40, 30)
    if isinstance(source, str):
        Collection.create("c", encoders=["openclip/mini"]).add(photos)
        code, answer = run(capsys, "search", "c", "--image", source)
        assert (code, words in " ".join(answer["error"].values())) == (1, True)


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=BY_SHELL), signal.SIGTERM])
def test_indexing_that_is_stopped_says_what_stays_and_goes_on_from_there(tmp_path: Path, number: signal.Signals) -> None:
    write_pictures(tmp_path / "p", range(1500))
    command = [sys.executable, "-m", "mmrerank.cli", "index", str(tmp_path / "p"), "--into", str(tmp_path / "c"), *ENCODER]
    process = subprocess.Popen([*command, "--commit-items", "16", "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while time.monotonic() < end and len(list((tmp_path / "c").rglob("*.lance"))) < 4:
        time.sleep(0.05)
    process.send_signal(number)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    error = json.loads(out)["error"]
    items = len(Collection.open(tmp_path / "c"))
    assert 0 < items < 1500
    assert (error["type"], f"has {items} items now" in error["message"]) == ("Stopped", True)


def test_other_options_encode_nothing_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path / "p", range(4))
    (tmp_path / "p" / "003.png").rename(tmp_path / "p" / "003.jpg")
    aged(tmp_path / "p")

    def counts(*options: str) -> tuple[int, int, int, int]:
        _, report = run(capsys, "index", tmp_path / "p", "--into", tmp_path / "c", *ENCODER, "--max-failures", "1", *options)
        return report["added"], report["updated"], report["unchanged"], len(report["failed"])

    assert counts() == (3, 0, 0, 1)
    assert counts("--read-mislabelled") == (1, 0, 3, 0)
    assert counts("--read-mislabelled") == (0, 0, 4, 0)
    assert counts("--read-mislabelled", "--ocr-language", "deu") == (0, 0, 4, 0)
    assert counts() == (0, 0, 3, 1)


def test_two_files_of_one_size_and_time_that_change_places_are_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, number in (("a", 1), ("b", 2)):
        (tmp_path / "p").mkdir(exist_ok=True)
        picture(number).save(tmp_path / "p" / f"{name}.bmp")
        write_pdf(tmp_path / "p" / f"{name}.pdf", f"the {name} mill")
    aged(tmp_path / "p")
    for file in (tmp_path / "p").iterdir():
        os.utime(file, (1_500_000_000, 1_500_000_000))
    run(capsys, "index", tmp_path / "p", "--into", tmp_path / "c", *ENCODER)
    assert run(capsys, "verify", tmp_path / "c", "--content")[1]["files"] == []
    for suffix in ("bmp", "pdf"):
        one, other, aside = (tmp_path / "p" / f"{name}.{suffix}" for name in ("a", "b", "x"))
        one.rename(aside)
        other.rename(one)
        aside.rename(other)
    assert run(capsys, "verify", tmp_path / "c")[1]["files"] == []
    assert len(run(capsys, "verify", tmp_path / "c", "--content")[1]["files"]) == 4
    assert run(capsys, "index", tmp_path / "p", "--into", tmp_path / "c")[1]["updated"] == 4
    assert run(capsys, "verify", tmp_path / "c", "--content")[1]["files"] == []


def test_a_folder_that_moved_is_recognised_or_named_and_nothing_stands_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    album, place, collection = tmp_path / "album", tmp_path / "other place", tmp_path / "c"
    write_pictures(album, range(3))
    write_pictures(album / "more", range(3, 5))
    run(capsys, "index", album, "--into", collection, *ENCODER)
    album.rename(place)
    (line,) = run(capsys, "verify", collection)[1]["files"]
    assert f"--into {collection} --moved-from {album}" in line
    code, answer = run(capsys, "index", album, "--into", collection)
    assert (code, f"--moved-from {album}" in answer["error"]["hint"]) == (1, True)
    _, report = run(capsys, "index", place, "--into", collection)
    assert (report["added"], report["unchanged"], "taken for moved" in report["notes"][0]) == (0, 5, True)
    (place / "more").rename(tmp_path / "side")
    _, report = run(capsys, "index", tmp_path / "side", "--into", collection, "--moved-from", place / "more")
    assert (report["added"], report["updated"], report["unchanged"]) == (0, 0, 2)
    assert len(Collection.open(collection)) == 5
    assert run(capsys, "verify", collection)[1]["files"] == []
    code, answer = run(capsys, "index", tmp_path / "side", "--into", collection, "--moved-from", tmp_path / "nowhere")
    assert (code, "nothing below" in answer["error"]["message"]) == (1, True)


def test_a_folder_that_is_gone_is_removed_as_verify_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    album = tmp_path / "album"
    write_pictures(album, range(2))
    run(capsys, "index", album, "--into", tmp_path / "c", *ENCODER)
    album.rename(tmp_path / "away")
    assert run(capsys, "remove", tmp_path / "c", "--path", album)[1]["items"] == 0


def test_without_a_network_texts_are_indexed_and_the_picture_is_reported_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(_downloads, "is_reachable", lambda source: False)
    (tmp_path / "p").mkdir()
    write_pdf(tmp_path / "p" / "a.pdf", "The kiln fires at 940 degrees.")
    picture(1).save(tmp_path / "p" / "logo.png")
    for added in (1, 0):
        code, report = run(capsys, "index", tmp_path / "p", "--into", tmp_path / "c")
        assert (code, report["added"], [failure["path"] for failure in report["failed"]]) == (1, added, ["logo.png"])
        assert "--encoder" in report["failed"][0]["reason"]
    _, result = run(capsys, "search", tmp_path / "c", "--text", "kiln")
    assert result["hits"][0]["item_id"] == "a.pdf#page=1"
    _, report = run(capsys, "index", tmp_path / "p", "--into", tmp_path / "c", *ENCODER)
    assert (report["added"], report["failed"]) == (1, [])
    (tmp_path / "only").mkdir()
    picture(2).save(tmp_path / "only" / "a.png")
    code, answer = run(capsys, "index", tmp_path / "only", "--into", tmp_path / "d")
    assert (code, "--encoder none" in answer["error"]["hint"]) == (3, True)


@pytest.mark.skipif(signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL, reason="SIGTERM has a handler here")
def test_a_stop_that_comes_while_an_object_is_taken_away_is_not_lost() -> None:
    """Python prints what is raised there and goes on; so did a training that was asked to stop in such a moment."""
    thing, calls = _Thing(), list[str]()

    def told(_: Any) -> None:
        calls.append("told")
        signal.raise_signal(signal.SIGTERM)
        calls.append("went on")

    watch = weakref.ref(thing, told)
    with stoppable() as signals, pytest.raises(KeyboardInterrupt):  # noqa: PT012
        del thing
        for _ in range(1000):
            time.sleep(0.001)
    assert watch() is None
    assert calls == ["told"]
    assert signals[0] == signal.SIGTERM


class _Thing:
    """What can be watched."""
