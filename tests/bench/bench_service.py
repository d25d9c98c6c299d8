"""What the service adds to a direct call, and what sharing batches across clients brings.

Which cost dominates: with a reranker that does nothing, HTTP, JSON and the checks of a request; with a model, its forward passes,
of which clients that ask at once share some. Over a connection that is kept, on loopback, the service in a process of its own.

    python tests/bench/bench_service.py [--clients 1 4 16 64]

Overhead: 100 candidates of 60 words, a reranker that gives the order back; paired with the direct call of the same part, medians
and quartiles. CPU time of both processes says the same where other work shares the cores and every change of threads waits for
one. Throughput: pointwise scoring (ragllava) of one text candidate a request by a tiny Qwen2.5-VL on CPU threads; a client asks
again as soon as it has its answer. Baseline: one client. Ceiling: the same prompts in one call of the backend.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from measuring import processor_name
from served import serving

from mmrerank.backends._tiny import save_tiny
from mmrerank.backends.local import Options, build
from mmrerank.parts import make
from mmrerank.pipeline import rerank_candidates
from mmrerank.types import Candidate, Item, Query, Ranking

WORDS = ("harbour", "gauge", "tide", "report", "red", "boat", "winter", "inspection", "level", "north")
DOCUMENTS = [" ".join(WORDS[(n * 7 + m * m) % len(WORDS)] for m in range(60)) for n in range(100)]
GOAL_MS, GOAL_RATIO = 10.0, 2.0


class NoOp:
    """Gives the candidates back as they came."""

    name = "no_op"

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        return Ranking(query_id=query.query_id, candidates=tuple(candidates))


def serve(told: Any, checkpoint: str, threads: int) -> None:
    """The process of the service: says its address, its CPU seconds when it is asked, and ends when it is told to."""
    torch.set_num_threads(threads)
    backend = build(Options(model=checkpoint, device="cpu"))
    with serving(rerankers={"no_op": NoOp(), "ragllava": "ragllava"}, backend=backend) as url:
        told.send(url)
        while told.recv() == "cpu":
            told.send(time.process_time())


@contextmanager
def service(checkpoint: str, threads: int) -> Iterator[tuple[str, Callable[[], float]]]:
    """The address of a running service, and what tells its CPU seconds."""

    def cpu() -> float:
        here.send("cpu")
        return float(here.recv())

    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there, checkpoint, threads))
    process.start()
    try:
        yield here.recv(), cpu
    finally:
        here.send("stop")
        process.join(30)


def overhead(url: str, cpu: Callable[[], float], repeats: int) -> tuple[list[float], list[float], float]:
    """Milliseconds of each request and of each direct call, one after the other, and of the CPU time that a request adds."""
    part, body = NoOp(), {"model": "no_op", "query": "red boat", "documents": DOCUMENTS}
    remote, direct, spent = [], [], 0.0
    with httpx.Client() as client:
        for n in range(repeats + 20):
            start, start_cpu = time.perf_counter(), time.process_time()
            candidates = [Candidate(item=Item(item_id=str(m), text=text)) for m, text in enumerate(DOCUMENTS)]
            order = rerank_candidates(Query(text="red boat"), candidates, [part]).stages[-1].ranking.item_ids
            between, between_cpu = time.perf_counter(), time.process_time()
            found = client.post(f"{url}/v1/rerank", json=body).json()["results"]
            end, end_cpu = time.perf_counter(), time.process_time()
            assert [result["index"] for result in found] == [int(item_id) for item_id in order], "what was timed must be right"
            if n == 19:  # warm
                service_cpu = cpu()
            if n > 19:
                direct.append(1000 * (between - start))
                remote.append(1000 * (end - between))
                spent += (end_cpu - between_cpu) - (between_cpu - start_cpu)
        spent += cpu() - service_cpu
    return remote, direct, 1000 * spent / repeats


def throughput(url: str, clients: int, seconds: float) -> float:
    """Answers a second to so many clients, each with a connection of its own."""
    counts, stop, failures = [0] * clients, threading.Event(), []

    place = urlsplit(url)

    def ask(n: int) -> None:
        connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=60)  # cheaper than what it measures
        while not stop.is_set():
            body = {"model": "ragllava", "query": f"red boat {n}", "documents": [DOCUMENTS[(n + counts[n]) % 100]]}
            connection.request("POST", "/v1/rerank", json.dumps(body), {"content-type": "application/json"})
            reply = connection.getresponse()
            found = json.loads(reply.read())
            if reply.status != 200 or not 0 <= found["results"][0]["relevance_score"] <= 1:
                failures.append(found)
            counts[n] += 1
        connection.close()

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    stop.wait(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]
    return sum(counts) / (time.perf_counter() - start)


def ceiling(checkpoint: str) -> float:
    """Documents a second where all are in one call of the backend, in this process."""
    part = make("ragllava", station="rerankers", backend=build(Options(model=checkpoint, device="cpu")))
    candidates = [Candidate(item=Item(item_id=str(n), text=text)) for n, text in enumerate(DOCUMENTS)]
    times = [timed(lambda: part.rerank(Query(text="red boat"), candidates)) for _ in range(4)]
    return len(DOCUMENTS) / statistics.median(times[1:])


def timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def spread(values: Sequence[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement of throughput")
    parser.add_argument("--threads", type=int, default=1, help="of the model in the service")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{processor_name()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {arguments.threads} threads for the model")
    with tempfile.TemporaryDirectory() as folder:
        save_tiny(Path(folder), "qwen2_5_vl", seed=0)
        best = ceiling(folder)
        with service(folder, arguments.threads) as (url, cpu):
            remote, direct, added_cpu = overhead(url, cpu, arguments.repeats)
            throughput(url, 4, 2.0)  # warm
            rounds = [
                {clients: throughput(url, clients, arguments.seconds) for clients in arguments.clients} for _ in range(arguments.rounds)
            ]
    added = [over - alone for over, alone in zip(remote, direct, strict=True)]
    print(f"100 text candidates, no-op reranker, {arguments.repeats} pairs: medians [quartiles] in ms")
    print(f"  direct call {spread(direct)}   over HTTP {spread(remote)}   added {spread(added)}   (goal: p50 under {GOAL_MS:g})")
    print(f"  CPU time added, both processes together: {added_cpu:.2f} ms")
    print(f"pointwise scoring, one candidate a request, {arguments.rounds} rounds of {arguments.seconds:g} s, answers a second")
    for clients in arguments.clients:
        ratios = [one[clients] / one[arguments.clients[0]] for one in rounds]
        print(f"  {clients:3} clients {spread([one[clients] for one in rounds])}   {spread(ratios)} x")
    print(f"  all in one call of the backend {best:.1f}   (goal: 16 clients at least {GOAL_RATIO:g} x one)")
    medians = {str(clients): statistics.median(one[clients] for one in rounds) for clients in arguments.clients}
    print(
        json.dumps(
            {
                "bench": "service",
                "added_ms_p50": statistics.median(added),
                "added_cpu_ms": added_cpu,
                "answers_per_s": medians,
                "ceiling_per_s": best,
            }
        )
    )


if __name__ == "__main__":
    main()
