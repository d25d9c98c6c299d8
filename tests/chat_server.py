"""A server on loopback that speaks the chat protocol and answers by a function of the request; records what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, Any, dict[str, str]]  # status, body, headers


def said(text: str, *, reason: str = "stop", tops: dict[str, float] | None = None) -> Reply:
    """A completion with this text."""
    choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
    if tops is not None:
        ranked = [{"token": token, "logprob": value} for token, value in tops.items()]
        choice["logprobs"] = {"content": [{"token": text, "logprob": ranked[0]["logprob"], "top_logprobs": ranked}]}
    return 200, {"object": "chat.completion", "choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}, {}


def failed(status: int, message: str, *, code: str | None = None, **headers: str) -> Reply:
    return status, {"error": {"message": message, "type": "invalid_request_error", "code": code}}, headers


@dataclass
class Server:
    """What was asked of it, and where it is."""

    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def serving(answer: Callable[[dict[str, Any], int], Reply]) -> Iterator[Server]:
    """A running server; `answer` gets the request and how many came before it."""
    server, lock = Server(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(server.requests)
                server.requests.append(body)
                server.paths.append(self.path)
                server.headers.append(dict(self.headers))
            status, content, headers = answer(body, number)
            data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{running.server_address[1]}/v1"
    try:
        yield server
    finally:
        running.shutdown()
        running.server_close()
        thread.join()
