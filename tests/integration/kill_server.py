"""Imports the package once, then forks a child for each command it reads from stdin and kills it when told to."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from typing import Any

import mmrerank.cli
import mmrerank.collection.row_index
import mmrerank.collection.verify
import mmrerank.encoders.openclip
import mmrerank.readers.images
import mmrerank.readers.pdf
import mmrerank.readers.table
import mmrerank.readers.webdataset
import mmrerank.retrievers.dense
import mmrerank.sheet


def run(arguments: list[str], kill_after_s: float | None) -> dict[str, Any]:
    with tempfile.TemporaryFile("w+") as output:
        start = time.monotonic()
        child = os.fork()
        if child == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            code = mmrerank.cli.main(arguments)
            sys.stdout.flush()
            os._exit(code)
        killed = False
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            if kill_after_s is not None and not killed and time.monotonic() - start >= kill_after_s:
                os.kill(child, signal.SIGKILL)
                killed = True
            time.sleep(0.002)
        output.seek(0)
        died = os.WIFSIGNALED(status)
        code = -1 if died else os.WEXITSTATUS(status)
        return {"code": code, "killed": died, "stdout": output.read(), "seconds": time.monotonic() - start}


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        answers.write(json.dumps(run(request["arguments"], request["kill_after_s"])) + "\n")
        answers.flush()
