"""What a service does under load and under clients that never end their request: python tests/bench/bench_service_load.py

Cost: reranking by words is cheap, so that HTTP dominates: parsing, threads, replies. An unfinished request costs a socket and nothing else.

    half-open   1,100 connections send half a head; meanwhile others ask, one after the other: seconds of each answer
    many        64 clients, 5,000 requests of 40 kinds: every answer is that of one client alone, and how much the process grows

Goals: everybody else is served within 2 s; no answer differs; less than 5 MB a thousand requests.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import platform
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

GOAL_S, GOAL_MB = 2.0, 5.0
KINDS = 40
PATHS = ("/v1/rerank", "/v2/rerank", "/rerank", "/v1/score")
OF_ONE_REPLY = ("id", "created", "request_id", "seconds")  # what differs from reply to reply


def question(kind: int) -> tuple[str, dict[str, Any]]:
    """The path and the body of a kind of request."""
    documents = [f"boat {n} and number {(kind * n) % 7} " + "sea " * (n % 5) for n in range(3 + kind % 9)]
    path = PATHS[kind % len(PATHS)]
    query = f"boat number {kind % 7}"
    return path, {"text_1": query, "text_2": documents} if path == "/v1/score" else {"query": query, "documents": documents}


def same_parts(value: Any) -> Any:
    """A reply without what differs from reply to reply."""
    if isinstance(value, dict):
        return {name: same_parts(one) for name, one in value.items() if name not in OF_ONE_REPLY}
    return [same_parts(one) for one in value] if isinstance(value, list) else value


def answer(connection: http.client.HTTPConnection, kind: int) -> Any:
    path, body = question(kind)
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    reply = connection.getresponse()
    data = json.loads(reply.read())
    assert reply.status == 200, data
    return same_parts(data)


@contextmanager
def service(command: Sequence[str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A running service and its port."""
    environment = {**os.environ, "MMRERANK_TOKEN": ""}
    with subprocess.Popen([*command, "serve", "--port", "0"], stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        url = next(line for line in process.stderr if line.startswith("serving on ")).split()[-1]
        try:
            yield process, int(url.rpartition(":")[2])
        finally:
            process.terminate()


def half_open(port: int, count: int) -> list[socket.socket]:
    """Connections that have sent half a head."""
    sockets = []
    for _ in range(count):
        one = socket.create_connection(("127.0.0.1", port), timeout=10)
        one.sendall(b"POST /v1/rerank HTTP/1.1\r\nHost: localhost\r\nX-Slow: 1\r\n")
        sockets.append(one)
    return sockets


def seconds_beside(port: int, count: int, lasting_s: float) -> tuple[list[float], int]:
    """Seconds of each answer to others while so many connections never end their head; and how many of them were ended."""
    sockets = half_open(port, count)
    times, end = [], time.monotonic() + lasting_s
    while time.monotonic() < end:
        start = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        answer(connection, len(times) % KINDS)
        connection.close()
        times.append(time.perf_counter() - start)
        time.sleep(0.05)
    ended = 0
    for one in sockets:
        one.setblocking(False)
        try:
            one.recv(1)
            ended += 1
        except BlockingIOError:
            pass
        except OSError:
            ended += 1
        one.close()
    return times, ended


def memory_mb(process: subprocess.Popen[str]) -> float:
    """What the process holds in memory, as Linux counts it."""
    text = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmRSS"))) / 1000


def many(port: int, clients: int, requests: int, right: Sequence[Any]) -> tuple[int, float]:
    """How many answers differed, and requests a second."""

    def ask(client: int) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        kinds = [(client + n) % KINDS for n in range(requests // clients)]
        wrong = sum(answer(connection, kind) != right[kind] for kind in kinds)
        connection.close()
        return wrong

    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        wrong = sum(pool.map(ask, range(clients)))
    return wrong, requests // clients * clients / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", nargs="+", default=[sys.executable, "-m", "mmrerank.cli"], help="the command that starts mmrerank")
    parser.add_argument("--half-open", type=int, default=1100)
    parser.add_argument("--seconds", type=float, default=20.0, help="that others ask beside the half-open ones")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=5000, help="of a round")
    parser.add_argument("--rounds", type=int, default=3, help="the first warms up: caches and threads")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, max(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}")
    with service(options.serve) as (process, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        right = [answer(connection, kind) for kind in range(KINDS)]
        connection.close()
        times, ended = seconds_beside(port, options.half_open, options.seconds)
        print(f"{options.half_open} half-open: {len(times)} others, median {statistics.median(times):.3f} s, slowest {max(times):.3f} s")
        print(f"  {ended} of them were ended by the service within {options.seconds:g} s   (goal: others within {GOAL_S:g} s)")
        sizes = [memory_mb(process)]
        wrong, rates = 0, []
        for _ in range(options.rounds):
            different, rate = many(port, options.clients, options.requests, right)
            wrong, rates = wrong + different, [*rates, rate]
            sizes.append(memory_mb(process))
    grown = [1000 * (after - before) / options.requests for before, after in itertools.pairwise(sizes[1:])]
    print(f"{options.clients} clients, {options.rounds} x {options.requests} requests: {wrong} answers differ")
    print(f"  {statistics.median(rates):.0f} requests a second; MB in memory {', '.join(f'{one:.0f}' for one in sizes)}")
    print(f"  MB a thousand after the first round {', '.join(f'{one:.2f}' for one in grown)}   (goal: under {GOAL_MB:g})")
    assert wrong == 0, "an answer differed"
    result = {"bench": "service_load", "slowest_s": max(times), "ended": ended, "different": wrong, "mb_a_thousand": grown}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
