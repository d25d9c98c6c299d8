"""Whose key goes to which server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import Reply, serving
from makers import picture

from mmrerank.backends import backend_of
from mmrerank.cli import _backend, _server_keys, main
from mmrerank.cli._backend import key_for
from mmrerank.encoders import use_server_keys
from mmrerank.errors import InputError
from mmrerank.integrations._reranking import Reranking
from mmrerank.pipeline import NamedReranker
from mmrerank.rerankers import rerank_http
from mmrerank.rerankers.rerank_http import RerankHttp
from mmrerank.service import running
from mmrerank.service._models import models_of
from mmrerank.testing.embedding_server import FakeEmbeddingServer
from mmrerank.testing.fakes import FakeBackend

ELSEWHERE = "chat_http/https://models.example.org/v1#some"
SERVICE = "rerank_http/http://localhost:8080/v1/rerank#default"
OPENAI = "chat_http/https://api.openai.com/v1#some"


@pytest.mark.parametrize(
    ("own", "openai", "name", "expected"),
    [
        ("", "sk-2", ELSEWHERE, None),
        ("", "sk-2", "chat_http/https://api.openai.com.example.org/v1#some", None),
        ("", "sk-2", OPENAI, "sk-2"),
        ("sk-1", "sk-2", ELSEWHERE, "sk-1"),
        ("sk-1", "sk-2", OPENAI, "sk-1"),
    ],
)
def test_the_key_of_openai_goes_to_openai_alone(
    monkeypatch: pytest.MonkeyPatch, own: str, openai: str, name: str, expected: str | None
) -> None:
    monkeypatch.setenv("MMRERANK_API_KEY", own)
    monkeypatch.setenv("OPENAI_API_KEY", openai)
    assert key_for(name) == expected


def sent(part: object) -> str | None:
    """The header that goes along with each request."""
    assert isinstance(part, RerankHttp)
    return part._client.headers.get("authorization")


def test_a_rerank_service_gets_its_own_key_and_never_that_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMRERANK_API_KEY", "of-the-model")
    monkeypatch.delenv("MMRERANK_RERANK_KEY", raising=False)
    assert sent(rerankers_of_command(SERVICE)[0].made()) is None
    monkeypatch.setenv("MMRERANK_RERANK_KEY", "of-the-service")
    part, other = rerankers_of_command(SERVICE, "bm25")
    assert (sent(part.made()), str(other.stage)) == ("Bearer of-the-service", "bm25")
    models = models_of({"far": SERVICE}, backend=True, open_backend=backend_of, key="of-the-service")
    assert sent(models["far"].part) == "Bearer of-the-service"
    assert list(models) == ["far", "bm25"]


def rerankers_of_command(*names: str) -> list[NamedReranker]:
    model, rerankers = _backend.stages(names, None)
    assert model is None
    return rerankers


@pytest.mark.parametrize(
    ("rerankers", "backend", "expected"),
    [
        (["ragllava/chat_http/http://one/v1#a", "mm_r5/chat_http/http://two/v1#b"], None, ["key", None]),
        (["ragllava/chat_http/http://one/v1#a", "mm_r5/chat_http/http://ONE/other#b"], None, ["key", "key"]),
        (["ragllava/chat_http/http://one/v1#a"], "chat_http/http://two/v1#b", [None]),
        (["ragllava/chat_http/http://one/v1#a", f"mm_r5/{OPENAI}"], None, ["key", "sk-2"]),
    ],
)
def test_a_key_goes_to_the_server_that_is_named_first_and_to_no_other(
    monkeypatch: pytest.MonkeyPatch, rerankers: list[str], backend: str | None, expected: list[str | None]
) -> None:
    monkeypatch.setenv("MMRERANK_API_KEY", "key")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-2")
    first = _backend.first_backend(rerankers, backend)
    assert [key_for(name, first) for name in _backend.own_backends(rerankers)] == expected


@pytest.mark.parametrize(("backend", "expected"), [(None, "Bearer some"), (FakeBackend(), None)])
def test_an_integration_sends_the_key_of_its_backend_to_no_rerank_service(backend: FakeBackend | None, expected: str | None) -> None:
    reranking = Reranking(SERVICE, backend=backend, api_key="some")
    reranking.warm_up()
    assert sent(reranking.parts_for([])[0]) == expected


@pytest.mark.parametrize("command", ["rerank", "serve"])
def test_the_commands_hand_on_the_key_of_the_rerank_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str) -> None:
    keys: list[str | None] = []
    monkeypatch.setattr(rerank_http, "build", lambda options, api_key=None: (keys.append(api_key), rerank_http.tiny())[1])
    monkeypatch.setattr(running, "run", lambda *_, **more: None)
    monkeypatch.setenv("MMRERANK_API_KEY", "of-the-model")
    monkeypatch.setenv("MMRERANK_RERANK_KEY", "of-the-service")
    (tmp_path / "q.json").write_text('{"text": "a"}')
    (tmp_path / "c.jsonl").write_text('{"item_id": "a", "text": "b"}\n')
    (tmp_path / "s.jsonl").write_text('{"text": "1"}\n')
    reranking = ["--query", str(tmp_path / "q.json"), "--candidates", str(tmp_path / "c.jsonl"), "--with", SERVICE]
    arguments = {"rerank": reranking, "serve": ["--rerank", SERVICE]}[command]
    assert main([command, *arguments, "--backend", f"scripted/{tmp_path / 's.jsonl'}"]) == 0
    assert keys == ["of-the-service"]


@pytest.fixture
def forgotten() -> Iterator[None]:
    """No key of a server outlasts the test."""
    yield
    use_server_keys({})


@pytest.mark.usefixtures("forgotten")
def test_the_key_of_an_embedding_server_goes_to_it_alone_when_indexing_and_when_searching(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return (*FakeEmbeddingServer().reply("/v1/embeddings", body), {})

    picture(3).save(tmp_path / "one.png")
    with serving(answer) as named, serving(answer) as other:
        monkeypatch.setenv("MMRERANK_EMBEDDING_KEYS", f"\n{named.url}  sk-1 \nhttps://elsewhere.example sk-2\n")
        for server in (named, other):
            folder = str(tmp_path / f"c{len(server.url)}{server is named}")
            assert main(["index", str(tmp_path / "one.png"), "--into", folder, "--encoder", f"universal/{server.url}#m"]) == 0
            assert main(["search", folder, "--text", "a gate"]) == 0
    assert len(named.headers) >= 3
    assert {headers.get("Authorization") for headers in named.headers} == {"Bearer sk-1"}
    assert {headers.get("Authorization") for headers in other.headers} == {None}
    assert "sk-1" not in capsys.readouterr().out


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("line", ["sk-1", "https://models.example", "models.example sk-1"])
def test_a_line_without_an_address_or_a_key_is_refused(line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MMRERANK_EMBEDDING_KEYS", line)
    with pytest.raises(InputError, match="stands behind its address"):
        _server_keys.use()
