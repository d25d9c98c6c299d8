"""Model work in worker threads: a bounded queue, a deadline, and an end when the client goes away.

A thread cannot be stopped from outside. So work asks `checkpoint()` between its steps, and everything that reaches a model does so
just before: what nobody waits for any more costs at most the step that is running.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

from mmrerank.errors import MMRerankError
from mmrerank.service.settings import Load

T = TypeVar("T")
RETRY_AFTER_S = 2


class TooBusy(MMRerankError):
    """The queue is full."""


class DeadlinePassed(MMRerankError):
    """The answer took longer than it may."""


class Abandoned(MMRerankError):
    """Nobody waits for the answer any more."""


class Job:
    """One request's work, as its thread sees it."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Has `check` raise from now on."""
        self._stopped.set()

    def check(self) -> None:
        """Abandoned, once it was stopped."""
        if self._stopped.is_set():
            raise Abandoned("the request was given up")


_CURRENT: ContextVar[Job | None] = ContextVar("job", default=None)


def current() -> Callable[[], None]:
    """What raises Abandoned, in any thread, once the request that this thread works for was given up; outside of one, nothing does."""
    job = _CURRENT.get()
    return job.check if job is not None else lambda: None


def checkpoint() -> None:
    """Raises Abandoned where the request that this thread works for was given up."""
    current()()


class Work:
    """The worker threads of one service."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._pool = ThreadPoolExecutor(load.workers, thread_name_prefix="mmrerank")
        self._taken = 0  # jobs in the queue or in a thread; touched by the event loop only

    @property
    def taken(self) -> int:
        """How many requests are worked on or wait."""
        return self._taken

    def check_room(self) -> None:
        """TooBusy when the queue is full."""
        if self._taken >= self._load.workers + self._load.queue:
            raise TooBusy(f"{self._taken} requests are worked on or wait", hint=f"Try again in {RETRY_AFTER_S} s.")

    async def run(self, work: Callable[[], T], *, gone: Callable[[], Awaitable[Any]] | None = None) -> T:
        """What `work` returns, from a thread.

        Args:
            gone: comes back when the client has gone away.

        Raises:
            TooBusy: the queue is full.
            DeadlinePassed: it took too long.
            Abandoned: the client went away.
        """
        self.check_room()
        job = Job()
        future = self._started(job, work)
        waiting: set[asyncio.Future[Any]] = {future}
        left = asyncio.ensure_future(gone()) if gone is not None else None
        if left is not None:
            waiting.add(left)
        try:
            await asyncio.wait(waiting, timeout=self._load.timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if future.done():
                return future.result()
            if left is not None and left.done():
                raise Abandoned("the client went away")
            raise DeadlinePassed(f"the answer took longer than {self._load.timeout_s:g} s", hint="Ask for less: a smaller depth or k.")
        finally:
            job.stop()
            if left is not None:
                left.cancel()

    def _started(self, job: Job, work: Callable[[], T]) -> asyncio.Future[T]:
        context = copy_context()
        context.run(_CURRENT.set, job)

        def begun() -> T:
            job.check()  # given up while it waited
            return work()

        self._taken += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, context.run, begun)
        future.add_done_callback(self._ended)
        return future

    def _ended(self, future: asyncio.Future[Any]) -> None:
        self._taken -= 1
        if not future.cancelled():
            future.exception()  # fetched, so that asyncio does not report it once more

    async def close(self, seconds: float) -> None:
        """Ends the threads, once all that was taken has come to its end, or after `seconds`."""
        end = time.monotonic() + seconds
        while self._taken and time.monotonic() < end:
            await asyncio.sleep(0.02)
        self._pool.shutdown(wait=False, cancel_futures=True)
