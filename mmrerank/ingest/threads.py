"""Small pieces to overlap the stages of the ingest: a background producer, an ordered pool, a background writer.

Each keeps the order, bounds what is in flight, and hands an error to whoever consumes it; none knows what flows through.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from queue import Empty, Full, Queue
from typing import Generic, TypeVar, cast

T = TypeVar("T")
U = TypeVar("U")
_END = object()


class StageClock:
    """Seconds that each stage was at work, over all of its threads; `busy_s` is divided among the threads that can do the work."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.busy_s: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def working(self, stage: str, *, threads: int = 1) -> Iterator[None]:
        """Counts the time while this is open to the stage.

        Args:
            threads: how many can do this work at once.
        """
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - start
            with self._lock:
                self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
                self.busy_s[stage] = self.busy_s.get(stage, 0.0) + seconds / threads

    def timed(self, stage: str, values: Iterator[T]) -> Iterator[T]:
        """The values; the time that each takes to come is the stage's."""
        while True:
            with self.working(stage):
                value = next(values, _END)
            if value is _END:
                return
            yield cast(T, value)


def in_background(values: Iterable[T], *, ahead: int) -> Iterator[T]:
    """The values, produced by a thread that runs at most `ahead` of the consumer; it stops when the consumer does."""
    queue: Queue[tuple[T, None] | tuple[None, BaseException] | None] = Queue(maxsize=ahead)  # None ends it
    stopped = threading.Event()

    def offer(entry: tuple[T, None] | tuple[None, BaseException] | None) -> None:
        while not stopped.is_set():
            with suppress(Full):
                return queue.put(entry, timeout=0.1)

    def produce() -> None:
        try:
            for value in values:
                offer((value, None))
                if stopped.is_set():
                    return
            offer(None)
        except BaseException as error:  # handed over, raised where the values are consumed
            offer((None, error))

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        while (entry := queue.get()) is not None:
            if entry[1] is not None:
                raise entry[1]
            yield entry[0]
    finally:
        stopped.set()
        thread.join()


def ordered_map(function: Callable[[T], U], values: Iterable[T], *, workers: int, in_flight: int) -> Iterator[U]:
    """`function` of each value, computed by threads, in the order of the values, at most `in_flight` at a time."""
    with ThreadPoolExecutor(max_workers=workers) as pool:
        waiting: deque[Future[U]] = deque()
        try:
            for value in values:
                waiting.append(pool.submit(function, value))
                if len(waiting) >= in_flight:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class BackgroundWriter(Generic[T]):
    """Collects values and writes them in groups from a thread of its own.

    A group is written when `size` values wait or `after_s` seconds have passed, and on closing. An error of the
    writing is raised at the next `put` or at `close`.
    """

    def __init__(self, write: Callable[[list[T]], None], *, size: int, after_s: float) -> None:
        self._write, self._size, self._after_s = write, size, after_s
        self._queue: Queue[object] = Queue(maxsize=4 * size)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def put(self, value: T) -> None:
        """Hands a value over.

        Raises:
            Exception: what an earlier group could not be written for.
        """
        if self._error is not None:
            raise self._error
        self._queue.put(value)

    def close(self) -> None:
        """Writes what waits and stops the thread."""
        self._queue.put(_END)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        group: list[T] = []
        since = time.monotonic()
        ended = False
        while not ended:
            try:
                value = self._queue.get(timeout=0.2)
                ended = value is _END
                if not ended and self._error is None:
                    group.append(value)  # type: ignore[arg-type]
            except Empty:
                pass
            if group and (ended or len(group) >= self._size or time.monotonic() - since > self._after_s):
                self._flush(group)
                group, since = [], time.monotonic()

    def _flush(self, group: list[T]) -> None:
        try:
            self._write(group)
        except BaseException as error:  # kept for the thread that feeds us; the queue is still drained so that it cannot block
            self._error = error
