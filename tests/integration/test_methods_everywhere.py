"""Every reranker that asks a model, at every door: the command line, `evaluate`, the service, an adapter, a served model.

Methods are discovered, not listed. What they say of these few emoji is not looked at; that they answer, with a permutation, their cost and
their name, is. The embedded model stands for all: it sees pictures, and is small.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from command_line import run
from emoji_benchmark import write_benchmark
from served import serving
from served_models import MISSING, checkpoint, server  # noqa: F401  # fixtures

from mmrerank.backends.chat_http import ChatHttp
from mmrerank.demo import DATASETS
from mmrerank.errors import BackendError, InputError
from mmrerank.parts import WrappingPart, make, module, names, requires
from mmrerank.types import Candidate, Item, Query

COUNT = 4
SHORT = {"max_tokens": 8, "max_pixels": 6400}  # of those options that a method has: an untrained model would talk on


def asks_a_model(name: str) -> bool:
    """Whether a reranker needs a backend and nothing else; one around another does what that one does."""
    within = isinstance(module(name, station="rerankers"), WrappingPart)
    return not within and requires(name, station="rerankers").needed == {"backend"}


def compares_pictures(name: str) -> bool:
    """Whether a reranker wants a picture in the query."""
    try:
        module(name, station="rerankers").tiny().rerank(Query(text="a face"), [Candidate(item=Item(item_id="a", text="a"))])
    except InputError:
        return True
    return False


METHODS = [name for name in names("rerankers") if asks_a_model(name)]
ASKED_BY_TEXT = [name for name in METHODS if not compares_pictures(name)]


def named(method: str, **more: Any) -> str:
    """The method's name with short answers and small pictures."""
    fields = {field.name for field in dataclasses.fields(module(method, station="rerankers").Options)}
    options = {**{option: value for option, value in SHORT.items() if option in fields}, **more}
    return f"{method}({', '.join(f'{option}={value}' for option, value in options.items())})"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMRERANK_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def emoji() -> list[dict[str, str]]:
    """Candidates as the command line and the service take them: a picture and its name."""
    rows = pq.read_table(DATASETS / "emoji" / "pictures.parquet", columns=["key", "image"]).slice(0, COUNT).to_pylist()
    uris = ["data:image/png;base64," + base64.b64encode(row["image"]).decode() for row in rows]
    return [{"item_id": row["key"], "text": row["key"], "image": uri} for row, uri in zip(rows, uris, strict=True)]


def test_there_are_methods_to_try() -> None:
    assert {"first", "rank_r1", "insertrank", "dear_listwise", "e2rank", "ragllava", "mm_r5", "square"} <= set(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_from_the_command_line_with_the_embedded_model(
    method: str, emoji: list[dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = [] if method in ASKED_BY_TEXT else [emoji[0]["image"]]
    (tmp_path / "q.json").write_text(json.dumps({"query_id": "q", "text": "a face", "images": pictures, "exclude_text": ["tears"]}))
    (tmp_path / "c.jsonl").write_text("".join(json.dumps({**row, "score": 1 - n / 10}) + "\n" for n, row in enumerate(emoji)))
    files = ("--query", tmp_path / "q.json", "--candidates", tmp_path / "c.jsonl")
    code, result = run(capsys, "rerank", *files, "--with", named(method), "--backend", "mini")
    assert code == 0, result
    assert sorted(hit["item_id"] for hit in result["hits"]) == sorted(row["item_id"] for row in emoji)
    stage = result["stages"][-1]
    assert stage["name"].startswith(method)
    assert stage["calls"] > 0


@pytest.mark.parametrize("method", METHODS)
def test_in_evaluate(method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = write_benchmark(tmp_path / "few", queries=2, others=12)
    code, result = run(capsys, "evaluate", card, "--rerank", named(method), "--backend", "mini", "--depth", 3)
    assert code == 0, result
    assert result["queries"] == 2
    assert 0 <= result["measures"]["R@1"]["value"] <= 1


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A service with all methods."""
    with serving(rerankers={method: named(method) for method in METHODS}, backend="mini") as address:
        yield address


@pytest.mark.parametrize("method", ASKED_BY_TEXT)
def test_in_the_service(method: str, address: str, emoji: list[dict[str, str]]) -> None:
    documents = [{"text": row["text"], "image": row["image"]} for row in emoji]
    reply = httpx.post(
        f"{address}/v1/rerank", json={"model": method, "query": "a face", "documents": documents}, timeout=120, trust_env=False
    )
    assert reply.status_code == 200, reply.text
    assert sorted(result["index"] for result in reply.json()["results"]) == list(range(COUNT))


@pytest.mark.parametrize("method", ASKED_BY_TEXT)
def test_in_an_adapter(method: str) -> None:
    documents = pytest.importorskip("langchain_core.documents", reason="langchain-core is not installed")
    from mmrerank.integrations.langchain_adapter import MMRerankCompressor

    adapter = MMRerankCompressor(reranker=named(method), backend="mini", top_n=COUNT)
    texts = ["a red heart", "a boat", "a face", "a house"]
    ranked = adapter.compress_documents([documents.Document(page_content=text) for text in texts], "a face")
    assert sorted(document.page_content for document in ranked) == sorted(texts) or method == "square", "it looks at pictures only"


@pytest.mark.skipif(bool(MISSING), reason=f"transformers serve needs {', '.join(MISSING)}")
@pytest.mark.parametrize("method", ASKED_BY_TEXT)
def test_with_a_served_model(method: str, server: ChatHttp, emoji: list[dict[str, str]]) -> None:  # noqa: F811
    """This server tells no log-probabilities and no vectors: what needs them says so, and what can do without them ranks."""
    candidates = [Candidate(item=Item(item_id=row["item_id"], text=row["text"]), score=1.0) for row in emoji]
    try:
        ranking = make(named(method), station="rerankers", backend=server).rerank(Query(text="a face"), candidates)
    except (BackendError, InputError) as error:
        refusal = error.message
    else:
        refusal = ""
    if refusal:
        assert any(word in refusal for word in ("log-probabilities", "likelihood", "vector"))
        return
    assert sorted(ranking.item_ids) == sorted(row["item_id"] for row in emoji)
    assert ranking.notes.status != "ok" or ranking.notes.cost.calls > 0
