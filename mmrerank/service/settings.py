"""What a service is told: what it serves, who may ask, and what a request may cost."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mmrerank.errors import InputError
from mmrerank.parts import parse
from mmrerank.protocols import Backend, Encoder, Reranker
from mmrerank.service._origins import check_origins

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
TOKEN = "MMRERANK_TOKEN"
MOST_DOCUMENTS = 10_000  # of any request: what is beyond is refused before it is looked at


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request may cost. What is above is refused, never cut."""

    body_mib: float = 32.0
    body_seconds: float = 30.0  # in which a body must have arrived
    documents: int = 1000
    pictures: int = 256  # that a request to rerank brings along
    picture_pixels: int = 40_000_000
    k: int = 1000
    depth: int = 500


@dataclass(frozen=True, kw_only=True)
class Load:
    """How much is worked on at once."""

    workers: int = 16  # threads: what meets in a batch of the model
    queue: int = 64  # requests that wait for one; those beyond are told to come again
    timeout_s: float = 120.0
    batch_window_ms: float = 3.0  # how long a model waits for prompts of other requests
    connections: int = 256  # with a request at work or on its way; those beyond are told to come again, before anything of theirs is read
    head_seconds: float = 10.0  # in which the head of a request must have come
    stop_seconds: int = 30  # how long running requests may take when the service stops


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a service serves, to whom, and how much of it.

    Args:
        collections: folders of collections.
        rerankers: the name a client uses -> a part or its name. Empty: every reranker that ships and whose needs are met. Requests
            name these and no others, so nothing that the operator did not name is imported or built for a client.
        retrievers: names of first stages to offer beside those that ship, such as `package.module:part`.
        backend: the MLLM that rerankers, retrievers and answers ask.
        encoder: makes descriptors of candidates that no collection holds.
        api_key: of the backend's server.
        own_keys: of the servers of backends that rerankers name themselves, by the names of these.
        rerank_key: of the rerank service that `rerank_http` asks; the backend's never goes there.
        cache: folder in which answers of the model are kept.
        token: what clients must send as bearer token; None lets everyone in.
        names: host names by which clients may address the service, beside those of loopback; none with a token: any.
        fetch_hosts: hosts from which pictures may be fetched; empty: nothing is fetched.
        origins: origins of pages elsewhere that may ask, such as `https://app.example.com`; `*`: any.
        access_log: takes a line for each reply; None: none is made.
    """

    collections: tuple[Path, ...] = ()
    rerankers: Mapping[str, str | Reranker] = field(default_factory=dict)
    retrievers: tuple[str, ...] = ()
    backend: str | Backend | None = None
    encoder: str | Encoder | None = None
    api_key: str | None = field(default=None, repr=False)
    own_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    rerank_key: str | None = field(default=None, repr=False)
    cache: Path | None = None
    token: str | None = field(default=None, repr=False)
    names: tuple[str, ...] = ()
    fetch_hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    access_log: Callable[[str], None] | None = field(default=None, repr=False)
    limits: Limits = Limits()
    load: Load = Load()

    def __post_init__(self) -> None:
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and self.token.strip() == self.token != ""):
            raise InputError("a token has printable ASCII characters only, since it travels in a header")
        check_origins(self.origins)
        if min(self.load.workers, self.load.queue + 1, self.load.connections) < 1 or self.load.timeout_s <= 0:
            raise InputError(f"workers and connections count from 1, the queue from 0, and timeout_s is above 0; got {self.load}")
        if self.limits.documents > MOST_DOCUMENTS:
            raise InputError(f"a request has {MOST_DOCUMENTS} documents at most; got a limit of {self.limits.documents}")


def check_host(host: str, token: str | None) -> None:
    """InputError where others could reach the service and nothing keeps them out."""
    if host not in LOOPBACK and token is None:
        raise InputError(f"listening at {host} lets everyone in who can reach it", hint=f"Set {TOKEN} to a token that clients must send.")


def token_from_environment() -> str | None:
    """The bearer token in MMRERANK_TOKEN: a command line can be seen by other users."""
    return os.environ.get(TOKEN) or None


def named(texts: Iterable[str]) -> dict[str, str]:
    """Rerankers by the names that clients use, from NAME or ALIAS=NAME.

    Raises:
        InputError: two have one name.

    >>> named(["square(depth=9)", "rerank-v3.5=bm25"])
    {'square': 'square(depth=9)', 'rerank-v3.5': 'bm25'}
    >>> named(["own.rerankers:Judge(depth=20)/mini"])
    {'Judge': 'own.rerankers:Judge(depth=20)/mini'}
    """
    names: dict[str, str] = {}
    for text in texts:
        alias, mark, name = text.partition("=")
        if not mark or "(" in alias:
            alias, name = parse(text).part.rstrip(":").rpartition(":")[2], text
        if alias in names:
            raise InputError(f"two rerankers are called {alias!r}", hint="Give one another name: ALIAS=NAME.")
        names[alias] = name
    return names
