"""Reranking with an MLLM from the command line: search, cascades, another system's candidates, the doctor."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from command_line import run
from makers import coloured
from PIL import Image
from tiny_models import saved

from mmrerank.cli import main
from mmrerank.encoders.openclip import save_tiny


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("mllm")
    (place / "encoder").mkdir()
    save_tiny(place / "encoder", seed=0)
    (place / "photos").mkdir()
    for n in range(6):
        coloured(n, size=(40, 30)).save(place / "photos" / f"{n}.png")
    arguments = ["index", str(place / "photos"), "--into", str(place / "c"), "--encoder", f"openclip/local-dir:{place / 'encoder'}"]
    assert main(arguments) == 0
    return place / "c"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MMRERANK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def script(path: Path, *lines: dict[str, Any]) -> str:
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return f"scripted/{path}"


def first_stage(capsys: pytest.CaptureFixture[str], collection: Path, *more: object) -> list[str]:
    _, found = run(capsys, "search", collection, "--text", "red", "--k", 6, *more)
    return [hit["item_id"] for hit in found["hits"]]


def test_a_listwise_reranker_puts_its_order_and_reasons_into_the_hits(
    collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = first_stage(capsys, collection)
    backend = script(tmp_path / "s.jsonl", {"text": "<think>Image 3 is red.</think><answer>[3, 1, 2]</answer>"})
    arguments = ["--rerank", "mm_r5", "--backend", backend, "--depth", 3, "--sheet", tmp_path / "sheet.png"]
    code, found = run(capsys, "search", collection, "--text", "red", "--k", 6, *arguments)
    assert code == 0
    assert [hit["item_id"] for hit in found["hits"]] == [before[2], before[0], before[1], *before[3:]]
    assert found["hits"][0]["reason"] == "Image 3 is red."
    assert found["hits"][0]["score"] is None
    assert [(stage["calls"], stage["notes"]) for stage in found["stages"]] == [(0, []), (1, [])]
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 1080


def test_a_cascade_drops_what_is_irrelevant_before_the_next_stage(
    collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = first_stage(capsys, collection)
    answers = [{"choices": {"Yes": -0.1 if n in (1, 3) else -5.0, "No": -2.0}} for n in range(6)]
    backend = script(tmp_path / "s.jsonl", *answers, {"text": "<answer>[2, 1]</answer>"})
    stages = ["--rerank", "ragllava(threshold=0.5)", "--rerank", "mm_r5", "--backend", backend]
    _, found = run(capsys, "search", collection, "--text", "red", "--k", 6, *stages)
    assert {hit["item_id"] for hit in found["hits"]} == {before[1], before[3]}
    assert [stage["calls"] for stage in found["stages"]] == [0, 6, 1]


def test_square_writes_the_grid_the_model_saw(collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backend = script(tmp_path / "s.jsonl", {"text": '{"ranking": [2, 1, 3, 4]}'})
    before = first_stage(capsys, collection)
    square = f"square(depth=4, grids={str(tmp_path / 'grids')!r})"
    _, found = run(capsys, "search", collection, "--text", "red", "--k", 6, "--rerank", square, "--backend", backend)
    assert [hit["item_id"] for hit in found["hits"]] == [before[1], before[0], *before[2:]]
    assert len(list((tmp_path / "grids").glob("*.png"))) == 1


def test_rubbish_leaves_the_first_stage_and_says_so(collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = first_stage(capsys, collection)
    for reranker in ("mm_r5", "square"):
        backend = script(tmp_path / "s.jsonl", {"text": "I would rather not."})
        _, found = run(capsys, "search", collection, "--text", "red", "--k", 6, "--rerank", reranker, "--backend", backend)
        assert [hit["item_id"] for hit in found["hits"]] == before
        assert found["stages"][1]["notes"][0] == "fallback"


def test_a_reranker_without_a_backend_says_what_to_name(collection: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = run(capsys, "search", collection, "--text", "red", "--rerank", "mm_r5")
    assert code == 1
    assert "--backend" in found["error"]["hint"]


def test_candidates_of_another_system(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def uri(n: int) -> str:
        data = io.BytesIO()
        coloured(n).save(data, "PNG")
        return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()

    (tmp_path / "q.json").write_text(json.dumps({"query_id": "7", "text": "red"}))
    lines = [{"item_id": f"{n}", "image": uri(n), "score": 3 - n} for n in range(3)]
    (tmp_path / "c.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    backend = script(tmp_path / "s.jsonl", {"text": "<answer>[3, 2, 1]</answer>"})
    files = ["--query", tmp_path / "q.json", "--candidates", tmp_path / "c.jsonl"]
    code, found = run(capsys, "rerank", *files, "--with", "mm_r5", "--backend", backend)
    assert code == 0
    assert found["query_id"] == "7"
    assert [hit["item_id"] for hit in found["hits"]] == ["2", "1", "0"]
    assert list(found["hits"][0]) == [
        "rank", "item_id", "score", "raw_score", "calibrated_score", "document_id", "page_number", "reason",
    ]  # fmt: skip


def test_answers_of_a_real_model_are_cached_and_a_flag_asks_again(
    collection: Path, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = f"local/{saved(tmp_path, 'qwen2_5_vl')}"
    asked = ["search", collection, "--text", "red", "--k", 6, "--rerank", "ragllava", "--backend", backend]
    first, again, anew = run(capsys, *asked)[1], run(capsys, *asked)[1], run(capsys, *asked, "--no-cache")[1]
    assert [stage["stages"][1]["calls"] for stage in (first, again, anew)] == [6, 0, 6]
    assert first["hits"] == again["hits"] == anew["hits"]
    assert all(0 < hit["score"] < 1 for hit in first["hits"])
    assert cache.is_dir()


def test_the_doctor_says_what_a_random_model_is_not_fit_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backend = f"local/{saved(tmp_path, 'qwen2_5_vl')}"
    golden = tmp_path / "golden.json"
    code, found = run(capsys, "doctor", "--backend", backend, "--record", golden)
    levels = {check["name"]: check["level"] for check in found["checks"]}
    assert (code, found["ok"]) == (3, False)
    assert levels["single tokens"] == "ok"
    assert levels["neighbours"] == "ok"
    assert levels["mm_r5"] == levels["square"] == "wrong"
    _, compared = run(capsys, "doctor", "--backend", backend, "--compare", golden)
    assert {check["name"]: check["level"] for check in compared["checks"]}["recorded values"] == "ok"


def test_the_doctor_without_a_backend_looks_at_the_installation(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = run(capsys, "doctor")
    assert (code, found["ok"], found["backend"]) == (0, True, None)
    assert {"libraries", "device"} <= {check["name"] for check in found["checks"]}
