"""How an MLLM is reached; one file per way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmrerank.parts import make
from mmrerank.types import Backend


def open_backend(name: str, *, cache: Path | None, **resources: Any) -> Backend:
    """The backend of that name, with a cache of its answers in front where a folder is given.

    A script is no model: its answers depend on the order of the questions, and are never cached.
    """
    backend: Backend = make(name, station="backends", **resources)
    if cache is None or name.startswith(("scripted", "replay")):
        return backend
    from mmrerank.backends._cache import CachedBackend

    return CachedBackend(backend, cache)
