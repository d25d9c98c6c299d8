"""The service under load: 64 clients at once, a full queue, a deadline, clients that leave, and a stop while it works."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from served import ByNumber, serving
from tiny_models import saved

from mmrerank.backends.local import Options, build
from mmrerank.service.settings import Load
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Decoding, Generated, Prompt

CLIENTS, QUESTIONS = 64, 16
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def question(n: int) -> dict[str, Any]:
    return {"query": f"number {n}", "documents": [f"document {m} of {n} " + "and more " * (m + n % 3) for m in range(1 + n % 4)]}


def at_once(count: int, ask: Callable[[int], Any]) -> list[Any]:
    barrier = threading.Barrier(count)

    def one(n: int) -> Any:
        barrier.wait()
        return ask(n)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, "waited for too long"
        time.sleep(0.02)


def idle(url: str) -> None:
    """Comes back when nothing is worked on."""
    wait_until(lambda: httpx.get(f"{url}/healthz").json()["requests"] == 0)


def batches(client: httpx.Client, url: str) -> tuple[float, float]:
    """How many batches there were, and how many prompts in them."""
    lines = dict(line.rsplit(" ", 1) for line in client.get(f"{url}/metrics").text.splitlines() if not line.startswith("#"))
    return float(lines["mmrerank_batch_prompts_count"]), float(lines["mmrerank_batch_prompts_sum"])


def test_64_clients_get_what_one_client_gets_and_share_forward_passes(tmp_path: Path) -> None:
    backend = build(Options(model=str(saved(tmp_path, "qwen2_5_vl")), device="cpu"))
    with serving(rerankers={"yes": "ragllava"}, backend=backend, load=Load(batch_window_ms=20)) as url, httpx.Client(timeout=120) as client:

        def ask(n: int) -> Any:
            reply = client.post(f"{url}/v1/rerank", json=question(n))
            assert reply.status_code == 200, reply.text
            return reply.json()

        alone = [ask(n) for n in range(QUESTIONS)]
        before = batches(client, url)
        together = at_once(CLIENTS, lambda n: ask(n % QUESTIONS))
        after = batches(client, url)
    for one, other in zip(alone * (CLIENTS // QUESTIONS), together, strict=True):
        scores, again = ({r["index"]: r["relevance_score"] for r in reply["results"]} for reply in (one, other))
        assert scores == pytest.approx(again, abs=1e-5)
        assert one["usage"] == other["usage"]
    prompts = sum(len(question(n % QUESTIONS)["documents"]) for n in range(CLIENTS))
    assert after[1] - before[1] == prompts, "every document was asked about once"
    assert after[0] - before[0] < CLIENTS / 2, "batches were shared"


def test_beyond_the_queue_clients_are_told_when_to_come_again_and_then_nothing_is_lost() -> None:
    free = threading.Event()
    with serving(rerankers={"slow": ByNumber(step=lambda: free.wait(60))}, load=Load(workers=2, queue=4)) as url:
        body = {"query": "q", "documents": ["0.1", "0.9"]}
        with ThreadPoolExecutor(16) as pool:
            replies = [pool.submit(httpx.post, f"{url}/v1/rerank", json=body, timeout=60) for _ in range(16)]
            wait_until(lambda: sum(reply.done() for reply in replies) == 10)
            free.set()
            found = [reply.result() for reply in replies]
        assert sorted(reply.status_code for reply in found) == [200] * 6 + [429] * 10
        for reply in found:
            if reply.status_code == 429:
                assert int(reply.headers["retry-after"]) > 0
                assert reply.json()["error"]["type"] == "rate_limit_error"
        assert httpx.post(f"{url}/v1/rerank", json=body).status_code == 200


class Slow(FakeBackend):
    """Takes its time for each generation."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.begun, self.asked, self._seconds = threading.Event(), 0, seconds

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        self.begun.set()
        self.asked += 1
        time.sleep(self._seconds)
        return super().generate(prompts, decoding)


WINDOWS = {"mm_r5": "mm_r5(window=2, step=1)"}  # one generation after the other
TWENTY = {"query": "q", "documents": [{"image": PIXEL}] * 20}


def test_a_deadline_is_kept_and_the_model_is_left_alone_afterwards() -> None:
    slow = Slow(0.3)
    with serving(rerankers=WINDOWS, backend=slow, load=Load(timeout_s=1.0)) as url:
        reply = httpx.post(f"{url}/v1/rerank", json=TWENTY, timeout=60)
        assert reply.status_code == 504
        assert "longer than 1 s" in reply.json()["error"]["message"]
        idle(url)
    assert 0 < slow.asked < 19, "the windows that nobody waited for any more were not asked"


def test_a_client_that_leaves_takes_its_work_along() -> None:
    slow = Slow(0.3)
    with serving(rerankers=WINDOWS, backend=slow) as url:
        place = urlsplit(url)
        connection = http.client.HTTPConnection(str(place.hostname), place.port)
        connection.request("POST", "/v1/rerank", json.dumps(TWENTY), {"content-type": "application/json"})
        assert slow.begun.wait(60)
        connection.close()
        idle(url)
        lines = httpx.get(f"{url}/metrics").text
    assert 0 < slow.asked < 19
    assert 'mmrerank_requests_total{path="/v1/rerank",status="499"} 1.0' in lines


def test_a_stop_lets_requests_come_to_their_end(tmp_path: Path) -> None:
    script = tmp_path / "slow.jsonl"
    script.write_text("".join(json.dumps({"text": '{"ranking": [2, 1]}'}) + "\n" for _ in range(3)))
    code = "import time; from mmrerank.backends.scripted import Scripted; asked = Scripted.generate\n"
    code += "Scripted.generate = lambda *given, **more: (time.sleep(1.5), asked(*given, **more))[1]\n"
    code += "from mmrerank.cli import main; raise SystemExit(main())"
    command = [sys.executable, "-c", code, "serve", "--port", "0", "--backend", f"scripted/{script}", "--rerank", "square"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "MMRERANK_TOKEN": ""}) as process:
        assert process.stderr is not None
        url = next(line for line in process.stderr if line.startswith("serving on ")).split()[-1]
        with ThreadPoolExecutor(1) as pool:
            body = {"query": "q", "documents": [{"image": PIXEL}, {"image": PIXEL}]}
            running = pool.submit(httpx.post, f"{url}/v1/rerank", json=body, timeout=60)
            wait_until(lambda: httpx.get(f"{url}/healthz").json()["requests"] == 1)
            process.send_signal(signal.SIGTERM)
            reply = running.result()
        assert [line["index"] for line in reply.json()["results"]] == [1, 0]
        assert process.wait(60) == 0
        assert "Traceback" not in process.stderr.read()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/healthz")
