"""The backend that a command names: opened with the cache in front, from the environment of the command line."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from mmrerank.cli import _output

BackendName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="MLLM: mini (embedded, knows emoji), local/PATH, chat_http/http://host:8000/v1#MODEL (key: MMRERANK_API_KEY), "
        "scripted/FILE.jsonl. Answers are kept in MMRERANK_CACHE."
    ),
]
OPENAI = "https://api.openai.com/"
SERVER = re.compile(r"https?://[^/#?]+", re.IGNORECASE)
RERANK = (
    "Reranker; several work one after the other. NAME, or NAME(depth=20)/BACKEND where it sees so many candidates and asks a model of its "
    "own; package.module:part for one of your own."
)
NoCache: TypeAlias = Annotated[bool, typer.Option("--no-cache", help="Ask the model again even where its answer is known.")]


def opened(name: str | None, *, no_cache: bool = False, first: str | None = None) -> Any:
    """The backend, or None where none is named. Answers are kept in MMRERANK_CACHE, by default in the user's cache folder;
    a run of over a minute says so on stderr.

    Args:
        first: the backend that the command names first, if that is another; see `key_for`.
    """
    if name is None:
        return None
    from mmrerank.backends import Estimated, open_backend

    backend = open_backend(name, cache=None if no_cache else cache_folder(), api_key=key_for(name, first))
    return Estimated(backend, _output.say)


def key_for(name: str, first: str | None = None) -> str | None:
    """MMRERANK_API_KEY where it is set, for the server that a command names first and for no other; that of OpenAI goes to OpenAI
    alone."""
    own = os.environ.get("MMRERANK_API_KEY") if first is None or _server(first) == _server(name) else None
    return own or (os.environ.get("OPENAI_API_KEY") if OPENAI in name else None)


def _server(name: str) -> str:
    """The server that a backend's name says, without a path; "" where it says none."""
    address = SERVER.search(name)
    return "" if address is None else address[0].lower()


def rerank_key() -> str | None:
    """MMRERANK_RERANK_KEY: that of the service which `rerank_http` asks. The key of the MLLM's server never goes there."""
    return os.environ.get("MMRERANK_RERANK_KEY", "").strip() or None


def stages(names: Sequence[str] | None, backend: str | None, *, no_cache: bool = False) -> tuple[Any, list[Any]]:
    """The backend of a command, and its rerankers: one that asks a service with its key, one that names a model with that model
    opened."""
    from mmrerank.pipeline import NamedReranker

    first = first_backend(names, backend)
    models: dict[str | None, Any] = {backend: opened(backend, no_cache=no_cache)}

    def own(name: str) -> Any:
        if name not in models:
            models[name] = opened(name, no_cache=no_cache, first=first)
        return models[name]

    return models[backend], [NamedReranker.of(name, open_backend=own, api_key=rerank_key()) for name in names or ()]


def first_backend(names: Sequence[str] | None, backend: str | None) -> str | None:
    """The backend that a command names first: its own, else that of the first reranker that names one."""
    return backend or next(iter(own_backends(names)), None)


def own_backends(names: Sequence[str] | None) -> list[str]:
    """The backends that rerankers name, in their order."""
    from mmrerank.parts import stage_of

    return [stage.backend for stage in map(stage_of, names or ()) if stage.backend is not None]


def cache_folder() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("MMRERANK_CACHE") or home / "mmrerank" / "answers")
