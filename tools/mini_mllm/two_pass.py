"""A backend that is asked twice: once to hear all prompts, which are then answered in large batches, and once for the answers.

A reranker asks for one query at a time; one prompt alone takes a small model almost as long as a dozen together. Scores of
choices are asked for many at a time anyway, and pass through.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mmrerank.errors import BackendError
from mmrerank.types import Backend, ChoiceScores, Decoding, Generated, Prompt

USABLE = '<think>so</think><answer>[1]</answer>{"ranking": [1]}'  # to every method, so that none asks again


def ahead(backend: Backend, ask: Callable[[Backend], object]) -> Backend:
    """A backend with the answers to all that `ask` asks, in the same order."""
    listener = _Listener(backend)
    ask(listener)
    return _Answered(backend, listener)


class _Listener:
    """Keeps what it is asked."""

    def __init__(self, backend: Backend) -> None:
        self.name = backend.name
        self.heard: list[Prompt] = []
        self.decoding: Decoding | None = None

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        self.heard += prompts
        self.decoding = decoding
        return [Generated(text=USABLE) for _ in prompts]

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        return ChoiceScores(logprobs=np.zeros((len(prompts), len(choices)), dtype=np.float32))


class _Answered:
    """Gives the answers to what a listener heard."""

    def __init__(self, backend: Backend, listener: _Listener) -> None:
        self.name, self._backend = backend.name, backend
        answers = backend.generate(listener.heard, listener.decoding) if listener.heard else []
        self._left = iter(zip(listener.heard, answers, strict=True))

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        return [self._answer(prompt) for prompt in prompts]

    def _answer(self, prompt: Prompt) -> Generated:
        heard, answer = next(self._left, ((), None))
        if answer is None or _words(heard) != _words(prompt):
            raise BackendError("this prompt was not heard in its turn")
        return answer

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        return self._backend.choice_logprobs(prompts, choices)


def _words(prompt: Prompt) -> list[str]:
    return [part for message in prompt for part in message.parts if isinstance(part, str)]
