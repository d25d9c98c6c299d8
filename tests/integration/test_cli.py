"""The command line as programs use it: JSON shapes, exit codes, stdout and stderr. A tiny real CLIP, saved to disk."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from command_line import run
from makers import picture, write_pictures
from PIL import Image

import mmrerank
from mmrerank.cli import main
from mmrerank.collection import Collection
from mmrerank.encoders.openclip import save_tiny


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("encoder")
    save_tiny(folder, seed=0)
    return f"openclip/local-dir:{folder}"


@pytest.fixture
def collection(tmp_path: Path, photos: Path, encoder: str, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["index", str(photos), "--into", str(tmp_path / "c"), "--encoder", encoder]) == 0
    capsys.readouterr()
    return tmp_path / "c"


def test_index_has_the_fixed_shape(tmp_path: Path, photos: Path, encoder: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, result = run(capsys, "index", photos, "--into", tmp_path / "c", "--encoder", encoder)
    assert code == 0
    assert list(result) == [
        "collection", "expected", "found", "added", "updated", "unchanged", "removed", "failed", "seconds", "items_per_s", "bottleneck",
        "text_notes", "picture_notes", "ignored", "linked_folders", "notes",
    ]  # fmt: skip
    assert (result["expected"], result["found"], result["added"], result["failed"]) == (9, 9, 9, [])


@pytest.mark.parametrize(("share", "code"), [(0.05, 1), (0.2, 0)])
def test_more_failures_than_allowed_is_exit_1_and_the_rest_is_there(
    tmp_path: Path, photos: Path, encoder: str, capsys: pytest.CaptureFixture[str], share: float, code: int
) -> None:
    (photos / "broken.jpg").write_text("<html>")
    got, result = run(capsys, "index", photos, "--into", tmp_path / "c", "--encoder", encoder, "--max-failures", share)
    assert got == code
    assert [failure["path"] for failure in result["failed"]] == ["broken.jpg"]
    assert result["failed"][0]["reason"]
    assert result["added"] == 9


def test_changed_moved_and_deleted_files(photos: Path, collection: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(55).save(photos / "000.png")
    (photos / "001.png").rename(photos / "renamed.png")
    (photos / "002.png").unlink()
    _, result = run(capsys, "index", photos, "--into", collection)
    assert [result[name] for name in ("added", "updated", "unchanged", "removed")] == [1, 1, 6, 2]


def test_search_has_the_fixed_shape(photos: Path, collection: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, result = run(capsys, "search", collection, "--image", photos / "003.png", "--k", 4)
    assert code == 0
    assert list(result) == ["query_id", "hits", "stages"]
    assert [hit["rank"] for hit in result["hits"]] == [1, 2, 3, 4]
    assert list(result["hits"][0]) == [
        "rank", "item_id", "score", "raw_score", "calibrated_score", "path", "document_id", "page_number", "reason",
    ]  # fmt: skip
    assert result["hits"][0]["item_id"] == "003.png"
    assert result["hits"][0]["path"] == str(photos / "003.png")
    assert list(result["stages"][0]) == ["name", "seconds", "calls", "tokens", "notes"]


def test_search_by_everything_at_once_with_a_reranker_and_a_sheet(
    tmp_path: Path, photos: Path, collection: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, result = run(
        capsys, "search", collection, "--text", "but red", "--image", photos / "003.png", "--image", photos / "004.png",
        "--exclude-text", "blue", "--exclude-image", photos / "005.png", "--filter", "item_id <> '003.png'",
        "--rerank", "superglobal(neighbours=2)", "--depth", 5, "--sheet", tmp_path / "sheet.png",
    )  # fmt: skip
    assert code == 0
    assert [stage["name"].split("(")[0] for stage in result["stages"]] == ["composed", "superglobal"]
    assert "003.png" not in {hit["item_id"] for hit in result["hits"]}
    assert len(result["hits"]) == 8
    assert [hit["score"] is None for hit in result["hits"]] == [False] * 5 + [True] * 3
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 1080


def test_a_picture_query_with_the_wrong_suffix_is_taken(
    tmp_path: Path, photos: Path, collection: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "query.jpg").write_bytes((photos / "003.png").read_bytes())
    _, result = run(capsys, "search", collection, "--image", tmp_path / "query.jpg", "--k", 1)
    assert result["hits"][0]["item_id"] == "003.png"


def test_mislabelled_pictures_are_refused_unless_asked(tmp_path: Path, encoder: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path / "p", range(2))
    (tmp_path / "p" / "000.png").rename(tmp_path / "p" / "000.jpg")
    _, refused = run(capsys, "index", tmp_path / "p", "--into", tmp_path / "a", "--encoder", encoder)
    assert ".jpg" in refused["failed"][0]["reason"] or "PNG" in refused["failed"][0]["reason"]
    _, taken = run(capsys, "index", tmp_path / "p", "--into", tmp_path / "b", "--encoder", encoder, "--read-mislabelled")
    assert taken["failed"] == []


def test_scans_are_read_in_the_language_given(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "tesseract"
    program.write_text('#!/bin/sh\ncat > /dev/null; echo "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "scans").mkdir()
    picture(0).save(tmp_path / "scans" / "page_1.png")
    picture(1).save(tmp_path / "scans" / "scan.pdf")
    options = ("--into", tmp_path / "c", "--encoder", "none", "--ocr-language", "eng+deu")
    assert run(capsys, "index", tmp_path / "scans", *options)[1]["added"] == 2
    texts = [item.text or "" for item in Collection.open(tmp_path / "c").items()]
    assert len(texts) == 2
    assert all("-l eng+deu" in text for text in texts)


def test_remove_info_and_verify(photos: Path, collection: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "remove", collection, "--id", "000.png", "--path", photos / "more")[1]["removed"] == 2
    assert run(capsys, "info", collection)[1]["items"] == 7
    code, report = run(capsys, "verify", collection)
    assert (code, report["ok"]) == (0, True)


def test_list_names_every_part_and_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    _, everything = run(capsys, "list")
    assert {"superglobal"} <= {part["name"] for part in everything["rerankers"]}
    _, one = run(capsys, "list", "indexes")
    assert list(one) == ["index", "recipes"]
    assert {"faiss-flat", "hnsw"} <= {recipe["name"] for recipe in one["recipes"]}
    assert all(part["summary"] for part in one["index"])
    _, datasets = run(capsys, "list", "datasets")
    assert {"cirr", "circo", "emoji", "handbook"} <= {card["name"] for card in datasets["datasets"]}
    _, measures = run(capsys, "list", "measures")
    assert "mAP@5" in {measure["name"] for measure in measures["measures"]}


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (["search", "{c}", "--text", "a", "--filter", "nosuch = 1"], 1, "InputError"),
        (["search", "{c}"], 1, "InputError"),
        (["search", "{tmp}/nothing", "--text", "a"], 1, "InputError"),
        (["search", "{c}", "--image", "{tmp}/nothing.png"], 1, "FormatError"),
        (["search", "{c}", "--text", "a", "--rerank", "superglobl"], 2, "UnknownName"),
        (["search", "{c}", "--text", "a", "--k", "0"], 2, "UsageError"),
        (["search"], 2, "UsageError"),
        (["nonsense"], 2, "UsageError"),
        (["index", "{tmp}/nothing", "--into", "{tmp}/x"], 1, "InputError"),
        (["index", "{photos}", "--into", "{photos}"], 1, "InputError"),
        (["index", "{photos}", "--into", "{tmp}/x", "--encoder", "openclip/ViT-B-32.nosuch"], 2, "UnknownName"),
        (["list", "nosuch"], 2, "UnknownName"),
    ],
)
def test_errors_have_the_fixed_shape_and_code(
    tmp_path: Path, photos: Path, collection: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, kind: str
) -> None:
    filled = [argument.format(c=collection, tmp=tmp_path, photos=photos) for argument in arguments]
    got, result = run(capsys, *filled)
    assert (got, result["error"]["type"]) == (code, kind)
    assert list(result["error"]) == ["type", "message", "hint"]


def test_damaged_data_is_exit_4(collection: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in (collection / "items.lance" / "_versions").iterdir():
        file.write_bytes(b"broken")
    code, result = run(capsys, "search", collection, "--text", "a")
    assert (code, result["error"]["type"]) == (4, "DamagedData")


def test_the_version_and_the_guide_of_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mmrerank {mmrerank.__version__}\n"
    assert main([]) == 0
    shown = capsys.readouterr()
    assert "mmrerank index PHOTOS --into photos" in shown.out
    assert shown.err == ""
    assert main(["--help"]) == 0
    assert "evaluate" in capsys.readouterr().out
    assert main(["rerank", "--help"]) == 0
    assert "[path or data URI]" in " ".join(capsys.readouterr().out.replace("\u2502", " ").split())


def test_for_people_results_go_to_stdout_and_errors_to_stderr(photos: Path, collection: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(collection), "--image", str(photos / "003.png"), "--k", "2"]) == 0
    shown = capsys.readouterr()
    assert "003.png" in shown.out
    assert main(["search", str(collection)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "neither text nor a picture" in told.err


def test_without_a_hub_the_default_encoder_names_the_alternatives(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    code, result = run(capsys, "index", photos, "--into", tmp_path / "x")
    assert (code, result["error"]["type"]) == (3, "BackendError")
    assert "openclip/mini" in result["error"]["hint"]
    assert "local-dir" in result["error"]["hint"]
    assert not (tmp_path / "x").exists()


def test_documents_alone_need_no_encoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pdf = Path(__file__).parents[2] / "datasets" / "handbook" / "harbour-station-annual-report.pdf"
    code, result = run(capsys, "index", pdf, "--into", tmp_path / "c")
    assert code == 0
    assert result["added"] >= 15
    _, found = run(capsys, "search", tmp_path / "c", "--text", "tide gauge TG-204", "--k", 3)
    assert found["hits"][0]["document_id"] == pdf.name
    assert found["hits"][0]["page_number"] >= 1


def test_a_table_of_texts_needs_no_encoder_and_one_with_pictures_does(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    table = tmp_path / "notes.jsonl"
    table.write_text('{"id": "a", "text": "a red buoy"}\n{"text": 5, "id": ""}\n{"id": "b", "text": "a green buoy"}\n', encoding="utf-8")
    code, result = run(capsys, "index", table, "--into", tmp_path / "c", "--max-failures", "1")
    assert (code, result["added"]) == (0, 2)
    _, found = run(capsys, "search", tmp_path / "c", "--text", "green")
    assert [hit["item_id"] for hit in found["hits"]] == ["notes.jsonl::b"]
    table.write_text(f'{{"id": "a", "text": "red"}}\n{{"id": "b", "image": "{photos / "003.png"}"}}\n', encoding="utf-8")
    code, result = run(capsys, "index", table, "--into", tmp_path / "d")
    assert (code, result["error"]["type"]) == (3, "BackendError")
    table.write_text("not a row", encoding="utf-8")
    code, _ = run(capsys, "index", table, "--into", tmp_path / "e")
    assert code != 0


@pytest.mark.parametrize("with_ocr", [True, False])
def test_pictures_of_pages_that_ocr_reads_need_no_encoder(
    with_ocr: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    if with_ocr:
        (tmp_path / "bin" / "tesseract").write_text("#!/bin/sh\ncat > /dev/null; echo the pump was repaired\n")
        (tmp_path / "bin" / "tesseract").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin" if with_ocr else str(tmp_path / "bin"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "ledger").mkdir()
    for number in (1, 2):
        picture(number, (60, 80)).save(tmp_path / "ledger" / f"page_{number}.png")
    code, result = run(capsys, "index", tmp_path / "ledger", "--into", tmp_path / "c")
    assert (code, "error" in result) == ((0, False) if with_ocr else (3, True))
    if with_ocr:
        _, found = run(capsys, "ask", tmp_path / "c", "What was repaired?")
        assert {(cited["document_id"], cited["page_number"]) for cited in found["citations"]} == {("ledger", 1), ("ledger", 2)}


def test_a_second_run_reads_nothing_once_files_have_settled(photos: Path, collection: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in photos.rglob("*.png"):
        os.utime(file, (time.time() - 60, time.time() - 60))
    run(capsys, "index", photos, "--into", collection)
    _, result = run(capsys, "index", photos, "--into", collection)
    assert (result["unchanged"], result["bottleneck"]) == (9, "none")
