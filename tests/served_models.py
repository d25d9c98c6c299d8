"""`transformers serve` on loopback with a tiny checkpoint, a real peer for the HTTP backend; one for each module with its fixtures."""

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
from tiny_models import saved

from mmrerank.backends.chat_http import ChatHttp, Options

MISSING = [name for name in ("fastapi", "uvicorn", "openai", "accelerate") if find_spec(name) is None]
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
