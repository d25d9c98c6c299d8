"""How many pixels are decoded at one time, over all threads of the process.

A limit on threads would not bound memory: eight pictures at the limit of one come to eight times its gigabyte. So whoever decodes waits
for room in pixels. Small pictures never wait; the largest that is allowed is decoded alone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class _Scope:
    """What one thread has open."""

    pixels: int = 0


class PixelGate:
    """Room for `most` pixels. One picture of more is let in when nothing else is."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._pixels = 0
        self._changed = threading.Condition()
        self._scope: ContextVar[_Scope | None] = ContextVar("scope", default=None)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """What this thread decodes within the block counts until its end: for those who go on to use the picture there.

        A thread that has something open already does not wait for more room, so two of them cannot wait for one another.
        """
        scope = _Scope()
        token = self._scope.set(scope)
        try:
            yield
        finally:
            self._scope.reset(token)
            self._leave(scope.pixels)

    @contextmanager
    def room_for(self, pixels: int) -> Iterator[None]:
        """A block in which so many pixels are decoded; begins when there is room for them."""
        mine = self._scope.get()
        self._enter(pixels, waits=mine is None or mine.pixels == 0)
        if mine is not None:
            mine.pixels += pixels
            yield
            return
        try:
            yield
        finally:
            self._leave(pixels)

    def _enter(self, pixels: int, *, waits: bool) -> None:
        with self._changed:
            if waits:
                self._changed.wait_for(lambda: self._pixels == 0 or self._pixels + pixels <= self._most)
            self._pixels += pixels

    def _leave(self, pixels: int) -> None:
        with self._changed:
            self._pixels -= pixels
            self._changed.notify_all()
