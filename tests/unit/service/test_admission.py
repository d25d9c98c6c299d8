"""Who may come in, with how much, and what a reply tells of this machine."""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.responses import JSONResponse
from served import ByNumber, asked

from mmrerank.errors import InputError
from mmrerank.service import _admission
from mmrerank.service._metrics import Metrics
from mmrerank.service.app import create_app
from mmrerank.service.settings import Limits, Load, Settings, check_host, named, token_from_environment

QUESTION = {"query": "red", "documents": ["a red door", "a boat"]}


def test_without_a_token_only_names_of_loopback_are_answered() -> None:
    with asked(names=("search.example",)) as client:
        for host, status in (
            ("127.0.0.1:80", 200),
            ("localhost", 200),
            ("[::1]:8080", 200),
            ("search.example:443", 200),
            ("evil.example", 403),
        ):
            reply = client.post("/v1/rerank", json=QUESTION, headers={"host": host})
            assert reply.status_code == status, host
            assert status == 200 or reply.json()["error"]["code"] == "Refused", "what programs read stays when a class is renamed"
        refusal = client.post("/v1/rerank", json=QUESTION, headers={"host": "evil.example"}).json()
        assert "does not answer to the name" in refusal["error"]["message"]
        assert refusal["error"]["message"] == refusal["message"] == refusal["detail"], "where the clients of Cohere and Jina look"


@pytest.mark.parametrize("path", ["/healthz", "/health"])
def test_probes_are_answered_whatever_host_they_name(path: str) -> None:
    with asked(names=("search.example",), token="door-key") as client:
        for host in ("10.42.0.17:8080", "", "evil.example"):
            assert client.get(path, headers={"host": host}).status_code == 200
        reply = client.head(path)
        assert (reply.status_code, reply.content) == (200, b"")


def test_a_page_behind_a_proxy_is_answered_whatever_host_the_proxy_sends() -> None:
    with asked(names=("search.example",)) as client:
        for origin, status in (("https://search.example", 200), ("https://evil.example", 403)):
            headers = {"host": "127.0.0.1:8080", "origin": origin}
            assert client.post("/v1/rerank", json=QUESTION, headers=headers).status_code == status


def test_mistakes_in_a_request_are_explained() -> None:
    body = json.dumps(QUESTION)
    with asked() as client:
        for content, headers, status, words in (
            (body, {"content-type": "application/x-www-form-urlencoded"}, 422, "Content-Type: application/json"),
            (body[:-1] + ",}", {"content-type": "application/json"}, 422, "the body is no JSON"),
            (gzip.compress(body.encode()), {"content-type": "application/json", "content-encoding": "gzip"}, 415, "packed (gzip)"),
            ('{"query": "\xe9"}'.encode("latin-1"), {"content-type": "application/json"}, 400, "not UTF-8: byte 0xe9 at place 11"),
            ("[" * 3000 + "]" * 3000, {"content-type": "application/json"}, 400, "nested too deeply"),
            ("", {"content-type": "application/json"}, 422, "the body is empty"),
            ("[1]", {"content-type": "application/json"}, 422, "the body is a list; send a JSON object"),
        ):
            reply = client.post("/v1/rerank", content=content, headers=headers)
            assert reply.status_code == status
            assert words in reply.json()["error"]["message"]
            assert reply.json()["error"]["param"] is None
        for field, value, words in (
            ("query", ["boat"], "query: expected a text or an object; got a list"),
            ("query", 5, "query: expected a text; got a number"),
            ("documents", [None, "a boat"], "documents.0: expected a text; got null"),
        ):
            assert client.post("/v1/rerank", json={**QUESTION, field: value}).json()["detail"] == words
        assert "did you mean /rerank, /v1/rerank, /v2/rerank?" in client.post("/api/rerank", json=QUESTION).json()["detail"]
        assert "takes other methods: POST" in client.get("/v1/rerank").json()["detail"]


@pytest.mark.parametrize("base", ["", "/", "/v1", "/v1/", "/v2", "/v2/v1"])
@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank", "/score", "/v1/score", "/ranking", "/reranking", "/rerank/"])
def test_the_base_url_has_a_version_or_none(base: str, path: str) -> None:
    body = {"text_1": "boat", "text_2": ["a boat", "a hill"]} if "score" in path else {"query": "boat", "documents": ["a boat", "a hill"]}
    with asked() as client:
        reply = client.post("http://127.0.0.1" + base + path, json=body, follow_redirects=False)
        assert reply.status_code == 200, reply.text
        assert client.get(f"http://127.0.0.1{base}/models").json()["data"][0]["id"] == "bm25"
        assert client.get(f"http://127.0.0.1{base}/health").json()["status"] == "ok"
        assert client.get(f"http://127.0.0.1{base}/info").json()["model_id"] == "bm25"


def test_a_version_in_front_opens_no_door() -> None:
    with asked(token="s3cret") as client:
        for path in ("/v1//models", "//v1/v1/models/", "/v1/metrics", "/v2/info", "/v1/openapi.json"):
            assert client.get(path).status_code == 401, path
        for path in ("/v1/health/ready", "/v1/health/live", "/v2/health/ready"):  # as NIM and Triton are asked
            assert client.get(path).status_code == 200, path


def test_pages_of_origins_that_were_named_may_ask_with_a_token_of_their_own() -> None:
    page = {"origin": "https://app.example:8443"}
    ahead = {**page, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    with asked(token="s3cret", origins=("https://app.example:8443",)) as client:
        allowed = client.options("/v1/rerank", headers=ahead)
        assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (204, page["origin"])
        assert "Authorization" in allowed.headers["access-control-allow-headers"]
        for token, status in (("s3cret", 200), ("guess", 401)):
            reply = client.post("/v1/rerank", json=QUESTION, headers={**page, "authorization": f"Bearer {token}"})
            assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (status, page["origin"]), "errors are read too"
            assert "access-control-allow-credentials" not in reply.headers
        for origin in ("https://app.example", "http://app.example:8443", "https://evil.example", "null"):
            refusal = client.options("/v1/rerank", headers={**ahead, "origin": origin})
            assert refusal.status_code == 403
            assert "access-control-allow-origin" not in refusal.headers
    with asked(origins=("*",)) as client:
        assert client.post("/v1/rerank", json=QUESTION, headers=page).headers["access-control-allow-origin"] == "*"
    with asked() as client:
        assert client.options("/v1/rerank", headers=ahead).status_code == 403


@pytest.mark.parametrize("origin", ["app.example", "https://app.example/", "https://me@app.example", ""])
def test_what_is_no_origin_is_refused_when_the_service_starts(origin: str) -> None:
    with pytest.raises(InputError, match="an origin is"):
        Settings(origins=(origin,))


def test_every_reply_has_its_line_and_the_line_nothing_that_was_sent() -> None:
    lines: list[str] = []
    with asked(token="s3cret", access_log=lines.append) as client:
        assert lines == []
        client.post("/v1/rerank?key=private", json=QUESTION, headers={"authorization": "Bearer s3cret"})
        client.head("/healthz")
        client.get("/no%0Athing", headers={"authorization": "Bearer guess"})
    ends = [line.split(" ", 2)[2] for line in lines]
    assert ends[0].startswith("POST /v1/rerank 200 ")
    assert ends[1].startswith("HEAD /healthz 200 0 B ")
    assert ends[2].startswith("GET /no%0Athing 401 "), "no line end from outside"
    assert not any(word in line for line in lines for word in ("s3cret", "guess", "private", QUESTION["query"] + " "))


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank", "/v1/search", "/v1/ask", "/v1/ranking"])
def test_a_blank_query_is_refused(path: str) -> None:
    field = {"/v1/search": "text", "/v1/ask": "question"}.get(path, "query")
    documents = {} if path in ("/v1/search", "/v1/ask") else {"documents": ["a boat"]}
    with asked() as client:
        for blank in (" ", "\n\t "):
            reply = client.post(path, json={field: blank, **documents})
            assert (reply.status_code, reply.json()["error"]["param"]) == (422, field)
            assert "blank" in reply.json()["detail"]


def test_pages_of_other_hosts_are_not_answered() -> None:
    with asked() as client:
        for origin, status in (("http://127.0.0.1:3000", 200), ("https://evil.example", 403), ("null", 403)):
            assert client.post("/v1/rerank", json=QUESTION, headers={"origin": origin}).status_code == status, origin


def test_a_token_is_asked_for_everywhere_but_at_the_page_and_the_pulse() -> None:
    with asked(token="s3cret-token") as client:
        for path in ("/v1/collections", "/metrics", "/openapi.json", "/v1/models", "/nothing", "/v1/grids/x"):
            reply = client.get(path)
            assert reply.status_code == 401, path
            assert reply.headers["www-authenticate"] == "Bearer"
            assert reply.json()["error"]["type"] == "authentication_error"
        assert client.get("/healthz").status_code == 200
        for wrong in ("Bearer wrong", "Basic czNjcmV0", "Bearer", "bearer s3cret"):
            assert client.post("/v1/rerank", json=QUESTION, headers={"authorization": wrong}).status_code == 401
        assert client.post("/v1/rerank", json=QUESTION, headers={"authorization": "bearer s3cret-token"}).status_code == 200


def test_the_description_says_that_a_token_is_asked_for() -> None:
    headers = {"authorization": "Bearer s3cret"}
    with asked(token="s3cret") as client:
        described = client.get("/openapi.json", headers=headers).json()
        assert described["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    with asked() as client:
        assert "securitySchemes" not in client.get("/openapi.json").json()["components"]


def test_a_browser_gets_the_token_as_a_cookie_that_scripts_cannot_read() -> None:
    with asked(token="s3cret") as client:
        assert client.post("/v1/session", json={"token": "guess"}).status_code == 401
        assert client.get("/v1/collections").status_code == 401
        given = client.post("/v1/session", json={"token": "s3cret"})
        assert given.status_code == 204
        assert "HttpOnly" in given.headers["set-cookie"]
        assert "SameSite=strict" in given.headers["set-cookie"]
        assert client.get("/v1/collections").status_code == 200
        assert client.get("/v1/collections", headers={"origin": "https://evil.example"}).status_code == 403


def test_a_body_that_is_too_large_is_refused_by_what_it_says_and_by_what_it_is() -> None:
    with asked(limits=Limits(body_mib=0.01)) as client:
        large = b'{"query": "' + b"x" * 20_000 + b'"'
        for sent in (large, iter([large[:9000], large[9000:]])):
            reply = client.post("/v1/rerank", content=sent, headers={"content-type": "application/json"})
            assert reply.status_code == 413
            assert reply.json()["error"]["message"].startswith("a body has 0.01 MiB at most")
        assert client.post("/v1/rerank", content=b"", headers={"content-length": "-5"}).status_code == 413
        assert client.post("/v1/rerank", json=QUESTION).status_code == 200


def test_what_anyone_may_send_is_small() -> None:
    with asked(token="s3cret") as client:
        for path in ("/", "/healthz", "/v1/session", "/static/page.js"):
            assert client.post(path, content=b" " * (64 * 1024 + 1)).status_code == 413, path
            assert client.post(path, content=iter([b" " * 40_000] * 2)).status_code == 413, path


def test_the_token_is_found_behind_a_foreign_cookie_that_is_malformed() -> None:
    with asked(token="s3cret") as client:
        for cookie, status in (
            ('prefs={"a": 1}; mmrerank_token=s3cret', 200),
            ('prefs={"a": 1}; mmrerank_token=other', 401),
            ("s3cret", 401),
        ):
            assert client.get("/v1/models", headers={"cookie": cookie}).status_code == status, cookie


def test_a_name_is_the_same_in_capitals() -> None:
    with asked(names=("Search.Example",)) as client:
        assert client.get("/healthz", headers={"host": "SEARCH.example"}).status_code == 200


def test_requests_beyond_the_limit_are_told_when_to_come_again() -> None:
    replies: list[tuple[int, dict[str, str], bytes]] = []
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"localhost")]}

    async def asking() -> None:
        doors, may_end = _admission.AdmissionMiddleware(waits, Settings(load=Load(connections=2)), Metrics(lambda: 0)), asyncio.Event()
        scope["may_end"] = may_end
        running = [asyncio.create_task(one(doors)) for _ in range(2)]
        await asyncio.sleep(0)
        await one(doors)
        may_end.set()
        await asyncio.gather(*running)
        await one(doors)

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        await scope["may_end"].wait()
        await JSONResponse({})(scope, receive, send)

    async def one(doors: _admission.AdmissionMiddleware) -> None:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        await doors(dict(scope), receive, send)
        head = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        replies.append((sent[0]["status"], head, sent[1]["body"]))

    asyncio.run(asking())
    assert [status for status, _, _ in replies] == [429, 200, 200, 200]
    _, head, body = replies[0]
    assert int(head["retry-after"]) >= 1
    assert json.loads(body)["error"]["type"] == "rate_limit_error"


def test_a_body_that_comes_too_slowly_is_not_waited_for() -> None:
    app = create_app(Settings(limits=Limits(body_seconds=0.05)))
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if sent:
            return {"type": "http.disconnect"}
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"{", "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/rerank", "raw_path": b"/v1/rerank", "query_string": b"", "root_path": ""}
    asyncio.run(app({**scope, "headers": [(b"host", b"localhost")], "http_version": "1.1", "scheme": "http"}, receive, send))
    assert sent[0]["status"] == 408


def test_every_reply_has_safe_headers() -> None:
    with asked() as client:
        for reply in (client.get("/healthz"), client.get("/nothing"), client.get("/healthz", headers={"host": "evil"})):
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert reply.headers["referrer-policy"] == "no-referrer"


def test_an_error_of_the_service_tells_nothing_of_it(caplog: pytest.LogCaptureFixture) -> None:
    def breaks() -> None:
        raise RuntimeError("secret place")

    with asked(rerankers={"mine": ByNumber(step=breaks)}) as client:
        reply = client.post("/v1/rerank", json=QUESTION)
        assert reply.status_code == 500
        assert reply.json()["error"]["code"] == "InternalError"
        assert "secret" not in reply.text
        assert "Traceback" not in reply.text
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert 'mmrerank_requests_total{path="/v1/rerank",status="500"} 1.0' in client.get("/metrics").text
    assert "secret place" in caplog.text, "the log has the trace"


def test_the_seconds_of_a_streamed_reply_are_those_until_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, moments = Metrics(lambda: 0), iter([0.0, 7.0])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        assert b"mmrerank_request_seconds_count" not in metrics.text(), "it has only begun"
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        pass

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"localhost")]}
    monkeypatch.setattr(_admission, "time", SimpleNamespace(perf_counter=lambda: next(moments)))
    asyncio.run(_admission.AdmissionMiddleware(app, Settings(), metrics)(scope, receive, send))
    assert b'mmrerank_request_seconds_sum{path="none"} 7.0' in metrics.text()


def test_others_are_let_in_only_with_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    check_host("127.0.0.1", None)
    check_host("0.0.0.0", "token")
    with pytest.raises(InputError, match="lets everyone in"):
        check_host("0.0.0.0", None)
    monkeypatch.setenv("MMRERANK_TOKEN", "")
    assert token_from_environment() is None
    monkeypatch.setenv("MMRERANK_TOKEN", "t")
    assert token_from_environment() == "t"
    with pytest.raises(InputError, match="printable ASCII"):
        Settings(token="tøken")
    assert "t0ken" not in repr(Settings(token="t0ken", api_key="t0ken"))


@pytest.mark.parametrize("library", ["fastapi", "uvicorn", "prometheus_client"])
def test_a_missing_library_is_told_with_the_line_that_installs_it(library: str) -> None:
    code = f"import sys; sys.modules[{library!r}] = None; from mmrerank.cli import main; raise SystemExit(main(['serve']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert library in done.stderr
    assert "pip install 'mmrerank[serve]'" in done.stderr


@pytest.mark.parametrize("more", [{"load": Load(connections=0)}, {"load": Load(workers=0)}, {"limits": Limits(documents=10_001)}])
def test_settings_that_cannot_be_met_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"count from 1|10000 documents at most"):
        Settings(**more)


def test_names_of_rerankers() -> None:
    assert named(["superglobal(neighbours=5, beta=0.1)", "mine=bm25(k1=2.0)"]) == {
        "superglobal": "superglobal(neighbours=5, beta=0.1)",
        "mine": "bm25(k1=2.0)",
    }
    with pytest.raises(InputError, match="two rerankers"):
        named(["bm25(k1=1.0)", "bm25"])
    with pytest.raises(InputError, match="is not a part's name"):
        named(["(k1=1.0)"])
