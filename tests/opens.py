"""Counts which files and folders this process opens, by the interpreter's own audit events; what libraries in C open is not among them."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_COUNTERS: list[Counter[str]] = []
_LAST = threading.local()
_FOLDERS = ("os.scandir", "os.listdir")


def _count(event: str, arguments: tuple[object, ...]) -> None:
    if not _COUNTERS or event not in ("open", *_FOLDERS) or not isinstance(arguments[0], str | Path):
        return
    path = str(arguments[0])
    if event == "open" and arguments[1] is None and getattr(_LAST, "path", None) == path:
        _LAST.path = None  # `open` with an opener tells of itself and of the opener's `os.open`
        return
    _LAST.path = path if event == "open" else None
    for counter in _COUNTERS:
        counter[path] += 1


sys.addaudithook(_count)  # stays as long as the process; without a counter it costs nothing that matters


@contextmanager
def opens_below(folder: Path) -> Iterator[Counter[str]]:
    """Path below the folder -> how often it was opened, or listed; filled while it is open, "." for the folder itself."""
    events: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    _COUNTERS.append(events)
    try:
        yield counts
    finally:
        _COUNTERS.remove(events)
        counts.update({str(Path(path).relative_to(folder)): n for path, n in events.items() if Path(path).is_relative_to(folder)})
