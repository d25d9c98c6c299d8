"""Where the service listens, and that it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from served import serving

from mmrerank.errors import InputError
from mmrerank.service.running import bound
from mmrerank.service.settings import Load

TESTS = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
STUCK = """
import time
from mmrerank.service.app import create_app
from mmrerank.service.running import run
from mmrerank.service.settings import Load, Settings
from served import ByNumber

settings = Settings(rerankers={"stuck": ByNumber(step=lambda: time.sleep(600))}, load=Load(stop_seconds=1))
run(create_app(settings), "127.0.0.1", 0, load=settings.load, say=lambda line: print(line, flush=True))
"""


@pytest.fixture
def accepted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The protocol of each connection that is accepted."""
    seen: list[int] = []
    accept = socket.socket.accept

    def noted(listening: socket.socket) -> tuple[socket.socket, object]:
        connection, address = accept(listening)
        seen.append(connection.proto)
        return connection, address

    monkeypatch.setattr(socket.socket, "accept", noted)
    return seen


def test_small_replies_are_sent_at_once(accepted: list[int]) -> None:
    with serving() as url:
        assert httpx.get(f"{url}/healthz").status_code == 200
    assert accepted == [socket.IPPROTO_TCP], "asyncio turns off the wait for connections of this protocol alone"


def test_a_port_that_is_taken_or_an_address_that_is_elsewhere_is_said() -> None:
    with bound("127.0.0.1", 0) as first, pytest.raises(InputError, match="Address already in use"):
        bound("127.0.0.1", first.getsockname()[1])
    with pytest.raises(InputError, match="cannot listen at 192"):
        bound("192.0.2.1", 0)


BY_NOHUP = pytest.mark.skipif(
    signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, reason="these tests were started by nohup, as a service may be"
)


@pytest.mark.parametrize("stop", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=BY_NOHUP)])
def test_a_thread_that_is_stuck_does_not_keep_the_process(stop: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STUCK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            body = {"query": "q", "documents": ["1", "2"]}
            with ThreadPoolExecutor(1) as pool:
                running = pool.submit(httpx.post, f"{url}/v1/rerank", json=body, timeout=120)
                while httpx.get(f"{url}/healthz").json()["requests"] == 0:
                    time.sleep(0.02)
                process.send_signal(stop)
                assert process.wait(60) == 0
            reply = running.result()
            assert (reply.status_code, reply.json()["error"]["message"]) == (503, "the service stops")
            assert process.stdout.read() == "stopped; 1 requests had not come to their end after 1 s\n"
        finally:
            process.kill()


def test_half_open_connections_are_ended_and_starve_nobody() -> None:
    """More connections than may wait, none of which ends its head: others are served meanwhile, and all of them are closed."""
    load = Load(connections=2, head_seconds=1.0)
    with serving(load=load) as url:
        place = ("127.0.0.1", int(url.rpartition(":")[2]))
        stuck = [socket.create_connection(place) for _ in range(30)]
        for connection in stuck:
            connection.sendall(b"POST /v1/rerank HTTP/1.1\r\nHost: localhost\r\nX-Slow: 1\r\n")
        assert httpx.get(f"{url}/healthz", timeout=20).status_code == 200
        for connection in stuck:
            connection.settimeout(20)
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(1000):  # 408 for those that were not closed for others
                    pass
            connection.close()


def test_a_connection_may_send_one_request_after_another() -> None:
    load = Load(head_seconds=0.3)
    with serving(load=load) as url, httpx.Client(base_url=url) as client:
        for _ in range(3):
            assert client.get("/healthz").status_code == 200
            time.sleep(0.4)  # longer than a head may take: it has not begun
