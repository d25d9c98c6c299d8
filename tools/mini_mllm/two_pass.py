"""A backend that is asked twice: first for the prompts, which are then answered in large batches, then for the answers.

A reranker asks for one query at a time; one prompt alone takes a small model almost as long as a dozen together. Scores of
choices are asked for many at a time anyway, and pass through.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mmrerank.errors import BackendError
from mmrerank.protocols import Backend
from mmrerank.types import ChoiceScores, Decoding, Generated, Prompt

USABLE = '<think>so</think><answer>[1]</answer>{"ranking": [1]}'  # to every method, so that none asks again


def two_pass(backend: Backend, ask: Callable[[Backend], object]) -> Backend:
    """A backend with the answers to all that `ask` asks, in the same order."""
    first = _FirstPass(backend)
    ask(first)
    return _SecondPass(backend, first)


class _FirstPass:
    """The backend of the first pass: it collects the prompts."""

    def __init__(self, backend: Backend) -> None:
        self.name = backend.name
        self.prompts: list[Prompt] = []
        self.decoding: Decoding | None = None

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        self.prompts += prompts
        self.decoding = decoding
        return [Generated(text=USABLE) for _ in prompts]

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        return ChoiceScores(logprobs=np.zeros((len(prompts), len(choices)), dtype=np.float32))


class _SecondPass:
    """The backend of the second pass: it gives the answers to the prompts of the first."""

    def __init__(self, backend: Backend, first: _FirstPass) -> None:
        self.name, self._backend = backend.name, backend
        answers = backend.generate(first.prompts, first.decoding) if first.prompts else []
        self._turns = iter(zip(first.prompts, answers, strict=True))

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        return [self._answer(prompt) for prompt in prompts]

    def _answer(self, prompt: Prompt) -> Generated:
        expected, answer = next(self._turns, ((), None))
        if answer is None or _words(expected) != _words(prompt):
            raise BackendError("another prompt stood here in the first pass, or none")
        return answer

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        return self._backend.choice_logprobs(prompts, choices)


def _words(prompt: Prompt) -> list[str]:
    return [part for message in prompt for part in message.parts if isinstance(part, str)]
