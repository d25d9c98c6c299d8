"""The app behind a port, until it is told to stop; what runs then may come to its end, within a time."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from mmrerank.errors import InputError
from mmrerank.service._connections import protocol
from mmrerank.service.settings import Load

IDLE = 4  # connections that wait for a request, for each that may have one
MOST_FILES = 65_536  # that the process asks to be let open; a connection is one


def run(app: FastAPI, host: str, port: int, *, load: Load, say: Callable[[str], None]) -> None:
    """Serves until SIGTERM, SIGINT or SIGHUP; requests that run then may take `load.stop_seconds` more.

    Where a thread is still at work after that, such as one that waits for a model, the process ends here: Python would wait for it.

    Raises:
        InputError: the port is taken, or the address is not one of this machine.
    """
    listening = bound(host, port)
    for stop in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them once more when it has stopped, which is then no news
        signal.signal(stop, lambda *_: None)
    place = f"[{host}]" if ":" in host else host
    say(f"serving on http://{place}:{listening.getsockname()[1]}")
    server = uvicorn.Server(configuration(app, load))
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # it is ignored below nohup
        signal.signal(signal.SIGHUP, server.handle_exit)
    server.run(sockets=[listening])
    if left := app.state.service.work.taken:
        say(f"stopped; {left} requests had not come to their end after {load.stop_seconds} s")
        os._exit(0)


def configuration(app: FastAPI, load: Load) -> uvicorn.Config:
    """How uvicorn serves the app: as many connections as there may be, each with its time, and without a log of its own."""
    return uvicorn.Config(
        app,
        http=protocol(head_seconds=load.head_seconds, most_waiting=min(IDLE * load.connections, files_at_most() // 2)),
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=load.stop_seconds,
        timeout_keep_alive=30,
    )


def files_at_most() -> int:
    """How many files the process may have open, after asking for as many as MOST_FILES."""
    if sys.platform == "win32":
        return MOST_FILES  # sockets are no files there
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(ValueError, OSError):  # a system may refuse what it says it allows
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


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
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise InputError(f"cannot listen at {host}:{port}: {error.strerror}", hint="Name another --port or --host.") from error
    return listening
