"""Keeps watch over the model that an evaluation asks, so that one that nobody reaches is not measured as if it had answered.

Rerankers keep the order as it came where a model gives no answer. In a search that loses nothing; as a figure it would be that of
the stage before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from mmrerank.errors import BackendError
from mmrerank.types import Backend, ChoiceScores, Decoding, Generated, Prompt

ENOUGH = 5  # queries after which a model that never answered is given up; each may have waited through all of its retries

T = TypeVar("T")


class Watched:
    """The backend, with a note of whether it ever answered and why not."""

    def __init__(self, backend: Backend) -> None:
        self.name = backend.name
        self.inner = backend
        self._answered = False
        self._failure: BackendError | None = None

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        """As the backend does."""
        return self._noted(lambda: self.inner.generate(prompts, decoding))

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        """As the backend does."""
        return self._noted(lambda: self.inner.choice_logprobs(prompts, choices))

    def _noted(self, ask: Callable[[], T]) -> T:
        try:
            answers = ask()
        except BackendError as error:
            self._failure = error
            raise
        self._answered = True
        return answers

    def check(self, done: int, expected: int) -> None:
        """Passes while there may be something to measure.

        Args:
            done: queries so far, of those expected.

        Raises:
            BackendError: the one that came last, where none of enough queries or of all had an answer.
        """
        if self._failure is not None and not self._answered and done in (ENOUGH, expected):
            raise self._failure
