"""The app behind a port, until it is told to stop; what runs then may come to its end, within a time."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from mmrerank.errors import InputError
from mmrerank.service.settings import Load

IDLE = 4  # open connections for each that may have a request; beyond them uvicorn answers, in plain text


def run(app: FastAPI, host: str, port: int, *, load: Load, say: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT; requests that run then may take `load.stop_seconds` more.

    Where a thread is still at work after that, such as one that waits for a model, the process ends here: Python would wait for it.

    Raises:
        InputError: the port is taken, or the address is not one of this machine.
    """
    listening = bound(host, port)
    for stop in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them once more when it has stopped, which is then no news
        signal.signal(stop, lambda *_: None)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=IDLE * load.connections,
        timeout_graceful_shutdown=load.stop_seconds,
        timeout_keep_alive=30,
    )
    place = f"[{host}]" if ":" in host else host
    say(f"serving on http://{place}:{listening.getsockname()[1]}")
    uvicorn.Server(config).run(sockets=[listening])
    if left := app.state.service.work.taken:
        say(f"stopped; {left} requests had not come to their end after {load.stop_seconds} s")
        os._exit(0)


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there. Its protocol is named, since asyncio sends small replies at once only then; otherwise they wait
    for the client's acknowledgement of what came before, 40 ms of every request.

    Raises:
        InputError: the port is taken, or the address is not one of this machine.
    """
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(256)
    except OSError as error:
        listening.close()
        raise InputError(f"cannot listen at {host}:{port}: {error.strerror}", hint="Name another --port or --host.") from error
    return listening
