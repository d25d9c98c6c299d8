"""What the benches share: calls timed in turn, and the name of the machine's processor."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def taken(calls: Mapping[str, Callable[[], Any]], repeats: int, clock: Callable[[], float] = time.perf_counter) -> dict[str, list[float]]:
    """Seconds of each call, in turn, so that a noisy neighbour hits all of them; after one warm-up of each.

    Args:
        clock: `time.process_time` for what is busy in this process alone, on a machine that others use.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            start = clock()
            call()
            if repeat:
                seconds[name].append(clock() - start)
    return seconds


def processor_name() -> str:
    """The CPU's model where the system tells, else its architecture."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
