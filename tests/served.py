"""A service on loopback for the tests, and rerankers whose answers are known."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import uvicorn
from fastapi.testclient import TestClient

from mmrerank.service.app import create_app
from mmrerank.service.running import bound, configuration
from mmrerank.service.settings import Settings
from mmrerank.types import Candidate, Notes, Query, Ranking


@contextmanager
def asked(**settings: Any) -> Iterator[TestClient]:
    """A client of a service in this process."""
    with TestClient(create_app(Settings(**settings)), base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client


@contextmanager
def serving(**settings: Any) -> Iterator[str]:
    """The address of a service at a real port."""
    with bound("127.0.0.1", 0) as listening:
        chosen = Settings(**settings)
        server = uvicorn.Server(configuration(create_app(chosen), chosen.load))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)


@dataclass
class Reversed:
    """The order turned round, without scores; remembers what it was asked."""

    name: str = "reversed"
    queries: list[Query] = field(default_factory=list)
    given: list[Sequence[Candidate]] = field(default_factory=list)

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        self.queries.append(query)
        self.given.append(candidates)
        ranked = tuple(Candidate(item=candidate.item) for candidate in reversed(candidates))
        return Ranking(query_id=query.query_id, candidates=ranked)


@dataclass
class ByNumber:
    """The candidates by the number their text is, as score; `step` runs before."""

    name: str = "by_number"
    step: Callable[[], None] = lambda: None

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        self.step()
        scored = [replace(c, score=float(c.item.text or 0), raw_score=10 * float(c.item.text or 0)) for c in candidates]
        ranked = tuple(sorted(scored, key=lambda c: -(c.score or 0)))
        reasons = {c.item.item_id: f"says {c.item.text}" for c in ranked}
        return Ranking(query_id=query.query_id, candidates=ranked, notes=Notes(reasons=reasons))
