"""Answers as they come: server-sent events, what breaks off, what the cache keeps, and `ask` with a callback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chat_server import Reply, failed, said, serving

from mmrerank import Collection
from mmrerank.backends import _cache, chat_http
from mmrerank.backends._streaming import streamed
from mmrerank.cli import main
from mmrerank.errors import BackendError
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Decoding, Message

PROMPT = (Message(role="user", parts=("What did the gauge cost?",)),)
PIECES = ["It cost ", "1200 ", "pounds [1]."]


def events(pieces: list[str], *, end: bool = True) -> Reply:
    """A completion in server-sent events, with a comment and an empty first delta as servers send them."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *({"content": piece} for piece in pieces)]
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    lines = [": ping", *(f"data: {json.dumps({'choices': [choice]})}" for choice in choices)]
    if end:
        last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
        lines += [f"data: {json.dumps(last)}", f"data: {json.dumps(usage)}", "data: [DONE]"]
    return 200, "\n\n".join(lines) + "\n\n", {"Content-Type": "text/event-stream"}


def backend(url: str) -> chat_http.ChatHttp:
    return chat_http.build(chat_http.Options(server=f"{url}#m", backoff_s=0.01))


def test_pieces_come_in_order_and_make_the_answer() -> None:
    with serving(lambda body, n: failed(503, "busy") if n == 0 else events(PIECES)) as server:
        pieces: list[str] = []
        answer = backend(server.url).stream(PROMPT, None, pieces.append)
    assert pieces == PIECES
    assert (answer.text, answer.finished) == ("".join(PIECES), "stop")
    assert (answer.cost.prompt_tokens, answer.cost.generated_tokens) == (7, 3)
    assert server.requests[-1]["stream"] is True


def test_a_server_that_does_not_stream_answers_in_one_piece() -> None:
    with serving(lambda body, n: said("It cost 1200 pounds.")) as server:
        pieces: list[str] = []
        answer = backend(server.url).stream(PROMPT, None, pieces.append)
    assert pieces == [answer.text] == ["It cost 1200 pounds."]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (events(PIECES, end=False), "broke off"),
        ((200, "data: {nothing", {}), "no chat completion"),
        ((200, 'data: {"error": {"message": "out of memory"}}', {}), "no chat completion"),
        (failed(400, "too long"), "too long"),
    ],
)
def test_what_is_no_whole_answer_is_an_error(reply: Reply, message: str) -> None:
    with serving(lambda body, n: reply) as server, pytest.raises(BackendError, match=message):
        backend(server.url).stream(PROMPT, None, lambda text: None)


def test_text_after_a_stop_is_never_told() -> None:
    pieces: list[str] = []
    with serving(lambda body, n: said("yes END no")) as server:
        answer = backend(server.url).stream(PROMPT, Decoding(stop=("END",)), pieces.append)
    assert pieces == [answer.text] == ["yes "]


def test_an_error_of_the_caller_passes_through() -> None:
    def refuse(text: str) -> None:
        raise ValueError("mine")

    with serving(lambda body, n: events(PIECES)) as server, pytest.raises(ValueError, match="mine"):
        backend(server.url).stream(PROMPT, None, refuse)


def test_the_cache_keeps_what_was_streamed(tmp_path: Path) -> None:
    with serving(lambda body, n: events(PIECES)) as server:
        cached = _cache.CachedBackend(backend(server.url), tmp_path)
        first: list[str] = []
        second: list[str] = []
        one = streamed(cached, PROMPT, Decoding(), first.append)
        two = streamed(cached, PROMPT, Decoding(), second.append)
        assert cached.generate([PROMPT])[0].text == one.text
    assert (first, second) == (PIECES, ["".join(PIECES)])
    assert one.text == two.text
    assert (one.cost.calls, two.cost.calls, two.cost.cached) == (1, 0, 1)
    assert len(server.requests) == 1


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    (tmp_path / "pages.jsonl").write_text('{"id": "a", "text": "The harbour gauge cost 1200 pounds."}\n', encoding="utf-8")
    Collection.create(tmp_path / "c").add([tmp_path / "pages.jsonl"])
    return tmp_path / "c"


def test_ask_tells_the_answer_as_it_comes(pages: Path) -> None:
    pieces: list[str] = []
    collection = Collection.open(pages)
    with serving(lambda body, n: events(PIECES)) as server:
        result = collection.ask("What did the gauge cost?", backend=backend(server.url), on_text=pieces.append)
    assert pieces == PIECES
    assert result.answer.text == "It cost 1200 pounds."
    assert [citation.item.text for citation in result.answer.citations] == ["The harbour gauge cost 1200 pounds."]


def test_ask_tells_in_one_piece_what_does_not_stream(pages: Path) -> None:
    collection = Collection.open(pages)
    for double in (None, FakeBackend(answer=lambda prompt: "1200 pounds [1].")):
        pieces: list[str] = []
        result = collection.ask("What did the gauge cost?", backend=double, on_text=pieces.append)
        assert [text.removesuffix(" [1].").removesuffix(".") for text in pieces] == [result.answer.text.removesuffix(".")]
    nothing: list[str] = []
    collection.ask("Zebras?", backend=double, on_text=nothing.append)
    assert nothing == ["Not in these documents."]


def test_the_command_line_prints_it_once(pages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(lambda body, n: events(PIECES) if body.get("stream") else said("".join(PIECES))) as server:
        name = f"chat_http/{server.url}#m"
        assert main(["ask", str(pages), "What did the gauge cost?", "--backend", name, "--no-cache"]) == 0
        out = capsys.readouterr().out
        assert out.startswith("It cost 1200 pounds [1].\n")
        assert out.count("1200") == 1
        assert main(["ask", str(pages), "What did the gauge cost?", "--backend", name, "--no-cache", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["answer"] == "It cost 1200 pounds."
