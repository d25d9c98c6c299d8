"""Connections as uvicorn holds them, with an end for those that send no request.

A client that opens a connection and never ends the head of its request costs a file and nothing else, until there are as many as the
process may have: then nobody else is let in. Hence the head has a time in which it must have come, and where very many connections wait
for one, the one that has waited longest is closed.

Source: ours; uvicorn has a time for the next request of a connection and none for the first, nor for one that has begun.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


def protocol(*, head_seconds: float, most_waiting: int) -> type[asyncio.Protocol]:
    """The class of connections for one server.

    Args:
        head_seconds: in which the head of a request must have come, from the connection or its first byte on.
        most_waiting: connections without a request at work; beyond them the one that has waited longest is closed.
    """
    waiting: dict[H11Protocol, None] = {}  # in the order in which they began to wait

    class Connection(H11Protocol):
        """One connection."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self._head_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._await_head()
            if len(waiting) > most_waiting:
                next(iter(waiting)).transport.close()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._stop_waiting()
            elif self._head_timer is None:
                self._await_head()  # the next request of this connection has begun

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self._head_timer is None and self.conn.their_state is h11.IDLE:
                waiting[self] = None  # idle: uvicorn's own time for the next request runs

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        def _await_head(self) -> None:
            waiting.setdefault(self, None)
            self._head_timer = self.loop.call_later(head_seconds, self._end)

        def _stop_waiting(self) -> None:
            waiting.pop(self, None)
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

        def _end(self) -> None:
            if not self.transport.is_closing():
                self.transport.write(TIMED_OUT)
                self.transport.close()

    return Connection
