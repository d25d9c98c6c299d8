"""A reranker and a first stage of somebody else's package, reached by `package.module:part`, go wherever a name goes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import run
from emoji_benchmark import write_benchmark
from fastapi.testclient import TestClient
from served import asked

from mmrerank import Collection
from mmrerank.cli import main
from mmrerank.service import running

PARTS = '''"""Parts of nobody the package has heard of."""
from dataclasses import dataclass
from typing import Any

from mmrerank.types import Candidate, Notes, Ranking


@dataclass(frozen=True, kw_only=True)
class Options:
    longest: bool = False


class Lengths:
    """Short texts first, or long ones."""

    LOOKS_AT = frozenset({"text"})

    def __init__(self, options):
        self.name = "lengths"
        self.options = options

    def rerank(self, query, candidates):
        order = sorted(candidates, key=lambda c: len(c.item.text or ""), reverse=self.options.longest)
        reasons = {c.item.item_id: f"{len(c.item.text or '')} letters" for c in order}
        return Ranking(query_id=query.query_id, candidates=tuple(order), notes=Notes(reasons=reasons))


def build(options):
    return Lengths(options)


class Everything:
    """A first stage that finds whatever BM25 does, turned round."""

    def __init__(self, corpus):
        self.name, self.corpus = "everything", corpus

    @staticmethod
    def works_on(corpus):
        return corpus.has_text

    def retrieve(self, query, k):
        return Ranking(query_id=query.query_id, candidates=tuple(reversed(self.corpus.matching(query.text, k))))


class Judge:
    """Asks its model which is best."""

    def __init__(self, backend):
        self.name, self.backend = "judge", backend

    def rerank(self, query, candidates):
        from mmrerank.types import Message

        (answer,) = self.backend.generate([(Message(role="user", parts=(query.text or "",)),)])
        best = min(int(answer.text), max(len(candidates) - 1, 0))
        order = [*candidates[best : best + 1], *candidates[:best], *candidates[best + 1 :]]
        return Ranking(query_id=query.query_id, candidates=tuple(Candidate(item=c.item) for c in order))
'''
NAME = "parts_of_nobody:"
TEXTS = {"a": "a boat on the blue sea far out", "b": "a boat", "c": "a boat at night", "d": "the boat and the boat"}


@pytest.fixture
def collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "parts_of_nobody.py").write_text(PARTS)
    monkeypatch.syspath_prepend(str(tmp_path / "own"))
    monkeypatch.delitem(sys.modules, "parts_of_nobody", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MMRERANK_CACHE", raising=False)
    (tmp_path / "notes.csv").write_text("key,text\n" + "".join(f"{key},{text}\n" for key, text in TEXTS.items()))
    Collection.create(tmp_path / "c").add([tmp_path / "notes.csv"])
    return tmp_path / "c"


def keys(hits: list[dict[str, Any]]) -> str:
    return "".join(hit["item_id"].rpartition("::")[2] for hit in hits)


def test_search_takes_it_with_options_and_a_depth(collection: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, result = run(capsys, "search", collection, "--text", "boat", "--rerank", NAME)
    assert (code, keys(result["hits"])) == (0, "bcda")
    assert result["hits"][0]["reason"] == "6 letters"
    assert result["stages"][1]["name"] == "parts_of_nobody:(longest=False)"
    _, first = run(capsys, "search", collection, "--text", "boat")
    head, rest = keys(first["hits"])[:2], keys(first["hits"])[2:]
    _, cut = run(capsys, "search", collection, "--text", "boat", "--rerank", f"{NAME}(longest=True, depth=2)")
    assert keys(cut["hits"]) == "".join(sorted(head, key=lambda key: -len(TEXTS[key]))) + rest
    assert cut["stages"][1]["name"] == "parts_of_nobody:(longest=True, depth=2)"


def test_a_first_stage_from_outside_searches_too(collection: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, first = run(capsys, "search", collection, "--text", "boat", "--retriever", "lexical")
    code, result = run(capsys, "search", collection, "--text", "boat", "--retriever", "parts_of_nobody:Everything")
    assert code == 0
    assert keys(result["hits"])[-1] == keys(first["hits"])[0]
    assert result["stages"][0]["name"] == "parts_of_nobody:Everything"


def test_rerank_takes_it(collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "q.json").write_text(json.dumps({"text": "boat"}))
    (tmp_path / "c.jsonl").write_text("".join(json.dumps({"item_id": key, "text": text}) + "\n" for key, text in TEXTS.items()))
    code, result = run(capsys, "rerank", "--query", tmp_path / "q.json", "--candidates", tmp_path / "c.jsonl", "--with", NAME)
    assert (code, keys(result["hits"])) == (0, "bcda")


def test_evaluate_measures_it_and_says_what_the_stage_was(collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = write_benchmark(tmp_path / "few", queries=2, others=10)
    code, result = run(capsys, "evaluate", card, "--rerank", f"{NAME}(depth=5)", "--rerank", "bm25(depth=3)")
    assert code == 0
    assert result["made_by"]["stages"][1:] == ["parts_of_nobody:(longest=False, depth=5)", "bm25(k1=1.5, b=0.75, depth=3)"]
    assert [stage["depth"] for stage in result["made_by"]["named"].values()] == [5, 3]
    assert [system["depth"] for system in result["systems"]] == [5, 5, 3], "the first stage gives as many as the deepest stage sees"


def test_doctor_tries_it(collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "answers.jsonl").write_text('{"text": "1"}\n' * 3)
    judge = f"parts_of_nobody:Judge(depth=2)/scripted/{tmp_path}/answers.jsonl"
    names = [NAME, judge, "parts_of_nobody:Judge", "superglobal"]
    code, result = run(capsys, "doctor", *(word for name in names for word in ("--rerank", name)))
    checks = {check["name"]: check for check in result["checks"]}
    assert (code, checks[NAME]["level"], checks[judge]["level"]) == (0, "ok", "ok")
    assert checks["parts_of_nobody:Judge"]["detail"] == "not tried: it needs backend"
    assert checks["superglobal"]["detail"] == "not tried: it needs descriptors"


def test_serve_offers_what_the_operator_names_and_no_request_reaches_further(
    collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apps: list[Any] = []
    monkeypatch.setattr(running, "run", lambda app, *_, **more: apps.append(app))
    (tmp_path / "answers.jsonl").write_text('{"text": "1"}\n' * 9)
    judge = f"judge=parts_of_nobody:Judge(depth=3)/scripted/{tmp_path}/answers.jsonl"
    arguments = ["--rerank", f"short={NAME}", "--rerank", judge, "--retriever", "parts_of_nobody:Everything"]
    assert main(["serve", str(collection), *arguments]) == 0
    with TestClient(apps[0], base_url="http://127.0.0.1") as client:
        listing = client.get("/v1/collections").json()
        assert {"short", "judge", "bm25"} <= set(listing["models"])
        assert listing["collections"][0]["retrievers"] == ["lexical", "parts_of_nobody:Everything"]
        body = {"query": "boat", "documents": list(TEXTS.values()), "model": "short"}
        assert [line["index"] for line in client.post("/v1/rerank", json=body).json()["results"]] == [1, 2, 3, 0]
        reply = client.post("/v1/rerank", json={**body, "model": "judge"}).json()
        assert [line["index"] for line in reply["results"]] == [1, 0, 2, 3], "what lies beyond the depth is in the reply too"
        found = client.post("/v1/search", json={"text": "boat", "rerank": ["short"], "retriever": "parts_of_nobody:Everything"}).json()
        assert keys(found["hits"]) == "bcda"


@pytest.mark.parametrize(
    "name", ["unasked_module:", "unasked_module:Part(depth=2)", "bm25/unasked_module:X", "bm25(depth=2)", "bm25(k1=9.0)"]
)
def test_a_request_cannot_name_a_module_nor_options(collection: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "own" / "unasked_module.py").write_text("raise SystemExit('imported')")
    with asked(collections=(collection,)) as client:
        rerank = client.post("/v1/rerank", json={"query": "boat", "documents": ["a"], "model": name})
        search = client.post("/v1/search", json={"text": "boat", "rerank": [name]})
        retrieve = client.post("/v1/search", json={"text": "boat", "retriever": name})
        answer = client.post("/v1/ask", json={"question": "boat?", "answerer": name})
    assert [reply.status_code for reply in (rerank, search, retrieve, answer)] == [404, 404, 404, 422]
    assert "unasked_module" not in sys.modules


def test_the_demo_of_a_reranker_of_ones_own_goes_by_its_name(
    collection: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "demos"))
    code, result = run(capsys, "search", collection, "--text", "boat", "--rerank", "write_a_reranker:ShortestFirst")
    assert (code, result["hits"][0]["reason"]) == (0, "2 words")
    assert result["stages"][1]["name"] == "write_a_reranker:ShortestFirst"
