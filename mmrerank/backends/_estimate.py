"""Says how long a run will take, once, when that is over a minute: after its first answer, from how many are still to come."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from mmrerank.protocols import Backend
from mmrerank.types import ChoiceScores, Decoding, Generated, Prompt

LONG_S = 60.0
T = TypeVar("T", Generated, ChoiceScores)


class Estimated:
    """Keeps watch over a backend: rerankers announce their prompts (`expect`), `say` is told the estimate.

    It is an upper bound where prompts are batched, since it is taken from a single one.
    """

    def __init__(self, backend: Backend, say: Callable[[str], None], *, long_s: float = LONG_S) -> None:
        self.name = backend.name
        self.inner, self._say, self._long_s = backend, say, long_s
        self._coming, self._has_reported = 0, False

    def expect(self, prompts: int) -> None:
        """So many prompts are about to be asked."""
        self._coming = prompts

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        """As the backend does."""
        first = self._first(prompts, lambda some: self.inner.generate(some, decoding))
        return first if len(first) == len(prompts) else first + self.inner.generate(prompts[len(first) :], decoding)

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        """As the backend does."""
        import numpy as np

        first = self._first(prompts, lambda some: [self.inner.choice_logprobs(some, choices)])
        if not first:
            return self.inner.choice_logprobs(prompts, choices)
        rest = self.inner.choice_logprobs(prompts[1:], choices)
        costs = (*first[0].costs, *rest.costs) if first[0].costs and rest.costs else ()
        lengths = rest.lengths if rest.lengths == first[0].lengths else ()
        rows = np.concatenate([first[0].logprobs, rest.logprobs])
        return ChoiceScores(logprobs=rows, cost=first[0].cost + rest.cost, costs=costs, lengths=lengths)

    def _first(self, prompts: Sequence[Prompt], ask: Callable[[Sequence[Prompt]], list[T]]) -> list[T]:
        """The answer to the first prompt, asked alone, where an estimate is due and more are coming; else nothing."""
        self._coming = max(self._coming, len(prompts))
        if self._has_reported or self._coming < 2 or not prompts:
            return []
        start = time.perf_counter()
        answers = ask(prompts[:1])
        still_s = (time.perf_counter() - start) * (self._coming - 1)
        self._has_reported = any(answer.cost.calls for answer in answers)  # one from the cache tells nothing
        if not self._has_reported:
            self._coming -= len(prompts)
            return answers
        if still_s > self._long_s:
            self._say(f"{self.name}: {self._coming - 1} more calls, at most about {_minutes(still_s)}")
        return answers


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
