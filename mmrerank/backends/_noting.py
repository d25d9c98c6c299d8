"""A backend with a note of whether it ever answered, and of the last answer that did not come: rerankers go on without it, so that
nobody else would know.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from mmrerank.errors import BackendError
from mmrerank.protocols import Backend
from mmrerank.types import ChoiceScores, Decoding, Generated, Prompt

T = TypeVar("T")


class NotingBackend:
    """The backend, and what came of it."""

    def __init__(self, backend: Backend) -> None:
        self.name = backend.name
        self.inner = backend
        self.has_answered = False
        self.failure: BackendError | None = None  # the last one

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
            self.failure = error
            raise
        self.has_answered = True
        return answers
