"""Requests that go out side by side, as many at once as a pool has threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

import httpx

T = TypeVar("T")
V = TypeVar("V")


def replies_of_each(pool: ThreadPoolExecutor, ask: Callable[[V, threading.Event], T], values: Sequence[V]) -> list[T]:
    """What `ask` says to each value, in their order. The first failure ends the rest: no further request, no further wait.

    Args:
        ask: gets the event by which it is told to end.

    Raises:
        Exception: what the first failure raised.
    """
    cancellation = threading.Event()
    futures = [pool.submit(ask, value, cancellation) for value in values]
    try:
        finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
        failure = next((future for future in futures if future in finished and future.exception() is not None), None)
        return [future.result() for future in ([failure] if failure else futures)]
    finally:
        cancellation.set()
        for future in futures:
            future.cancel()


def close(client: httpx.Client, pool: ThreadPoolExecutor) -> None:
    """Ends what waits, and the connections."""
    pool.shutdown(wait=False, cancel_futures=True)
    client.close()
