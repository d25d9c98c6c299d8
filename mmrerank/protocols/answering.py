"""Ranked pages -> an answer that cites them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from mmrerank.types import Answer, Candidate, Query


@runtime_checkable
class Answerer(Protocol):
    """Ranked pages -> an answer that cites them, and no others."""

    name: str

    def answer(self, query: Query, candidates: Sequence[Candidate]) -> Answer:
        """What these pages say to the query's text, citing the pages it rests on; `found` is False where they do not say it."""
        ...


@runtime_checkable
class StreamingAnswerer(Protocol):
    """An answerer that gives its words as they come."""

    def stream(self, query: Query, candidates: Sequence[Candidate], on_text: Callable[[str], None] | None) -> Answer:
        """As `answer`; `on_text` gets its text piece by piece, in order."""
        ...
