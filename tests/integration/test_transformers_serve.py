"""A real peer: `transformers serve` on loopback with a tiny checkpoint answers the HTTP backend, pictures as data URIs.

Version 5.23 reports no log-probabilities of the first tokens, so choices cannot be asked of it; the backend has to say so.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from makers import picture
from tiny_models import saved

from mmrerank.backends.chat_http import ChatHttp, Options
from mmrerank.backends.local import Options as LocalOptions
from mmrerank.backends.local import build
from mmrerank.errors import BackendError
from mmrerank.types import Decoding, Message, Prompt

MISSING = [name for name in ("fastapi", "uvicorn", "openai", "accelerate") if find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"transformers serve needs {', '.join(MISSING)}")
PATIENCE_S = 180


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("served"), "qwen2_5_vl")


@pytest.fixture(scope="module")
def server(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChatHttp]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(checkpoint), "--host", "127.0.0.1", "--port", str(port)]
    log = (tmp_path_factory.mktemp("log") / "serve.txt").open("w+")
    process = subprocess.Popen([*command, "--device", "cpu"], stdout=log, stderr=log, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    backend = ChatHttp(Options(server=f"http://127.0.0.1:{port}#{checkpoint}", retries=0))
    try:
        _wait_for(process, port, Path(log.name))
        yield backend
    finally:
        backend.close()
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    raise AssertionError(f"the server did not come up: {log.read_text()[-2000:]}")


def asked(number: int) -> Prompt:
    return (Message(role="user", parts=("is this what was asked for?", picture(number, size=(56, 56)))),)


def test_it_answers_with_pictures_as_the_model_does_here(server: ChatHttp, checkpoint: Path) -> None:
    prompts = [asked(n) for n in range(3)]
    served = server.generate(prompts, Decoding(max_tokens=6))
    here = build(LocalOptions(model=str(checkpoint), device="cpu")).generate(prompts, Decoding(max_tokens=6))
    assert [answer.text for answer in served] == [answer.text for answer in here]
    assert len({answer.text for answer in served}) > 1, "the pictures reach the model"
    assert [answer.cost.prompt_tokens for answer in served] == [answer.cost.prompt_tokens for answer in here]


def test_that_it_tells_no_log_probabilities_is_said(server: ChatHttp) -> None:
    with pytest.raises(BackendError, match="no log-probabilities"):
        server.choice_logprobs([asked(0)], ["Yes", "No"])


def test_that_it_closes_an_answer_begun_is_found_out(server: ChatHttp) -> None:
    with pytest.raises(BackendError, match=r"closes an answer that was begun|says 4"):
        server.generate([(*asked(0), Message(role="assistant", parts=("It is",)))], Decoding(max_tokens=3))
