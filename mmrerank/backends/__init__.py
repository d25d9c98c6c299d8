"""How an MLLM is reached; one file per way. Here is what other rooms share of this one."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrerank.errors import InputError
from mmrerank.parts import make
from mmrerank.protocols import Backend, Generates

if TYPE_CHECKING:
    from mmrerank.backends._batching import BatchingBackend
    from mmrerank.backends._estimate import Estimated
    from mmrerank.backends._fitting import Checkpoint, Fit, checkpoint_in, fits, traps
    from mmrerank.backends._noting import NotingBackend
    from mmrerank.backends._streaming import streamed

_SHARED = {  # name -> its file, opened when asked for: some pull in an HTTP client
    "BatchingBackend": "_batching",
    "Checkpoint": "_fitting",
    "Estimated": "_estimate",
    "Fit": "_fitting",
    "NotingBackend": "_noting",
    "checkpoint_in": "_fitting",
    "fits": "_fitting",
    "streamed": "_streaming",
    "traps": "_fitting",
}
__all__ = [
    "BatchingBackend",
    "Checkpoint",
    "Estimated",
    "Fit",
    "NotingBackend",
    "backend_of",
    "checkpoint_in",
    "fits",
    "open_backend",
    "streamed",
    "traps",
]


def __getattr__(name: str) -> Any:
    if name in _SHARED:
        return getattr(import_module(f"mmrerank.backends.{_SHARED[name]}"), name)
    raise AttributeError(f"module 'mmrerank.backends' has no attribute {name!r}")


def open_backend(name: str, *, cache: Path | None, behind_cache: Callable[[Backend], Backend] | None = None, **resources: Any) -> Backend:
    """The backend of that name, with a cache of its answers in front where a folder is given.

    A script is no model: its answers depend on the order of the questions, and are never cached.

    Args:
        behind_cache: puts something between the cache and the model.
    """
    backend: Backend = make(name, station="backends", **resources)
    backend = backend if behind_cache is None else behind_cache(backend)
    if cache is None or name.startswith(("scripted", "replay")):
        return backend
    from mmrerank.backends._cache import CachedBackend

    return CachedBackend(backend, cache)


def backend_of(backend: Backend | str | None, api_key: str | None = None) -> Backend | None:
    """The backend of a name, opened once in a process, without a cache of answers (for one, give what `open_backend` returns); a
    backend, or None, as it is.

    Raises:
        UnknownName: no backend has that name.
        InputError: it is neither.
    """
    if not isinstance(backend, str | Generates | None):
        raise InputError(f"a backend is a name, or a part with `generate`; got {type(backend).__name__}")
    return _backend_by_name(backend, api_key) if isinstance(backend, str) else backend


@lru_cache(maxsize=2)
def _backend_by_name(name: str, api_key: str | None) -> Backend:
    return open_backend(name, cache=None, api_key=api_key)
