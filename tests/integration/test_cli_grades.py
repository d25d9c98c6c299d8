"""Rerankers that give grades, from the command line and in the service: candidates of another system, scores, explanations in JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from command_line import run
from served import asked
from tiny_models import saved

GRADES = (3, 9, 0, 7)
TEXTS = [f"passage number {n} on the tide gauge" for n in range(4)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMRERANK_CACHE", str(tmp_path / "cache"))


def reranked(folder: Path, capsys: pytest.CaptureFixture[str], lines: list[dict[str, Any]], *arguments: object) -> dict[str, Any]:
    """What `rerank` prints with a model that answers these lines."""
    (folder / "q.json").write_text(json.dumps({"query_id": "7", "text": "tide gauge", "exclude_text": ["buoy"]}))
    rows = [{"item_id": f"{n}", "text": text, "score": 4 - n} for n, text in enumerate(TEXTS)]
    (folder / "c.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "s.jsonl").write_text("\n".join(map(json.dumps, lines)))
    files = ["--query", folder / "q.json", "--candidates", folder / "c.jsonl", "--backend", f"scripted/{folder / 's.jsonl'}"]
    code, result = run(capsys, "rerank", *files, *arguments)
    assert code == 0, result
    return dict(result)


def test_erank_multiplies_the_grade_by_the_probability_of_its_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sure = (0.9, 0.5, 1.0, 0.8)
    lines = [
        {
            "text": f"<think>4 of 5.</think><answer>{grade}</answer>",
            "tokens": ["<think>", "4 of 5.", "</think>", "<answer>", str(grade), "</answer>"],
            "logprobs": [-1.0, -2.0, -0.1, -0.1, math.log(probability), -0.1],
        }
        for grade, probability in zip(GRADES, sure, strict=True)
    ]
    result = reranked(tmp_path, capsys, lines, "--with", "erank")
    assert [hit["item_id"] for hit in result["hits"]] == ["3", "1", "0", "2"]
    assert [hit["raw_score"] for hit in result["hits"]] == pytest.approx([5.6, 4.5, 2.7, 0.0])
    first = result["hits"][0]
    assert first["explanation"] == {"reasoning": "4 of 5.", "scores": pytest.approx({"grade": 7, "probability": 0.8}), "steps": []}
    assert result["stages"][-1]["notes"] == []
    assert result["stages"][-1]["calls"] == 4


def test_grouprank_and_rebel_read_grades_of_a_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = json.dumps({f"[{n}]": grade for n, grade in enumerate(GRADES, 1)})
    result = reranked(
        tmp_path, capsys, [{"text": f"<reason>[4] fits.</reason><answer>{plain}</answer>"}], "--with", "grouprank(shuffle=False)"
    )
    assert [(hit["item_id"], hit["score"]) for hit in result["hits"]] == [("1", 0.9), ("3", 0.7), ("0", 0.3), ("2", 0.0)]
    assert result["hits"][1]["reason"] == "score 0.700: [4] fits."
    table = json.dumps({f"{n}": {"relevance": grade, "depth": 4 - n} for n, grade in enumerate(GRADES, 1)})
    result = reranked(tmp_path, capsys, [{"text": table}], "--with", "rebel", "--json")
    assert [hit["item_id"] for hit in result["hits"]] == ["1", "3", "0"]  # the dropped one is no hit
    assert [hit["raw_score"] for hit in result["hits"]] == [10.0, 7.0, 4.5]
    assert "dropped, relevance below 3: 2" in result["stages"][-1]["notes"]
    assert result["hits"][0]["explanation"]["scores"] == {"relevance": 9.0, "depth": 2.0}


@pytest.mark.parametrize("method", ["erank", "grouprank", "rebel", "rebel(turns=2)"])
def test_a_real_model_that_knows_nothing_leaves_the_order_and_says_so(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = f"local/{saved(tmp_path, 'qwen2_5_vl')}"
    short = f"{method.removesuffix(')')}, max_tokens=8)" if "(" in method else f"{method}(max_tokens=8)"
    result = reranked(tmp_path, capsys, [{"text": ""}], "--with", f"{short}/{model}")
    assert [hit["item_id"] for hit in result["hits"]] == ["0", "1", "2", "3"]
    assert {hit["score"] for hit in result["hits"]} == {None}
    assert result["stages"][-1]["notes"][0] == "fallback"
    assert result["stages"][-1]["calls"] > 0


def test_the_service_hands_on_explanations(tmp_path: Path) -> None:
    from mmrerank import Collection
    from mmrerank.testing import FakeBackend

    for n, text in enumerate(TEXTS):
        (tmp_path / f"{n}.txt").write_text(text)
    Collection.create(tmp_path / "notes.collection").add([tmp_path / f"{n}.txt" for n in range(4)])
    answer = json.dumps({f"[{n}]": grade for n, grade in enumerate(GRADES, 1)})
    backend = FakeBackend(answer=lambda prompt: f"<reason>[2] fits best.</reason><answer>{answer}</answer>")
    with asked(collections=(tmp_path / "notes.collection",), rerankers={"graded": "grouprank(shuffle=False)"}, backend=backend) as client:
        reply = client.post("/v1/search", json={"text": "tide gauge", "rerank": ["graded"], "k": 4})
        hits = reply.json()["hits"]
    assert reply.status_code == 200
    assert [hit["score"] for hit in hits] == [0.9, 0.7, 0.3, 0.0]
    assert hits[0]["explanation"] == {"reasoning": "[2] fits best.", "scores": {}, "steps": ["group 1, number 2 of 4: 9"]}
