"""The backend that a command names: opened with the cache in front, from the environment of the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

BackendName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="MLLM: mini (embedded, knows emoji), local/PATH, chat_http/http://host:8000/v1#MODEL (key: MMRERANK_API_KEY), "
        "scripted/FILE.jsonl. Answers are kept in MMRERANK_CACHE."
    ),
]
OPENAI = "https://api.openai.com/"
NoCache: TypeAlias = Annotated[bool, typer.Option("--no-cache", help="Ask the model again even where its answer is known.")]


def opened(name: str | None, *, no_cache: bool = False) -> Any:
    """The backend, or None where none is named. Answers are kept in MMRERANK_CACHE, by default in the user's cache folder;
    a run of over a minute says so on stderr."""
    if name is None:
        return None
    from mmrerank.backends import Estimated, open_backend

    backend = open_backend(name, cache=None if no_cache else cache_folder(), api_key=key_for(name))
    return Estimated(backend, _say)


def key_for(name: str) -> str | None:
    """MMRERANK_API_KEY where it is set; that of OpenAI goes to OpenAI alone."""
    own = os.environ.get("MMRERANK_API_KEY")
    return own or (os.environ.get("OPENAI_API_KEY") if OPENAI in name else None)


def rerank_key() -> str | None:
    """MMRERANK_RERANK_KEY: that of the service which `rerank_http` asks. The key of the MLLM's server never goes there."""
    return os.environ.get("MMRERANK_RERANK_KEY", "").strip() or None


def rerankers(names: Sequence[str] | None) -> list[Any]:
    """The rerankers that a command names; one that asks a service is made with its key."""
    from mmrerank.collection.capabilities import with_key

    return with_key(names or (), rerank_key())


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def cache_folder() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("MMRERANK_CACHE") or home / "mmrerank" / "answers")
