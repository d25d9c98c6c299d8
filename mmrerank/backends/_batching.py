"""Prompts of several callers in one batch of a model, for callers in threads of their own.

Who comes first waits a moment for others, then asks for all of them at once; who comes while a batch runs is in the next one.
Results are those of single calls, since a backend's do not depend on the other prompts of a call. Where a batch fails, each of
its calls is made alone, so that a prompt the model cannot take costs nobody but its caller.

Cost: up to `window_s` more for a call that comes alone. Generation goes through as it comes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from mmrerank.protocols import Backend, BatchedBackend, front_to_back
from mmrerank.types import ChoiceScores, Cost, Decoding, Generated, Prompt

MOST = 256  # prompts of one batch, unless one call alone has more; the backend cuts it further as its memory needs
Check: TypeAlias = Callable[[], None]


@dataclass(slots=True, kw_only=True)
class _Call:
    """What one thread waits for."""

    prompts: Sequence[Prompt]
    choices: tuple[str, ...]
    check: Check
    scores: ChoiceScores | None = None
    error: Exception | None = None

    @property
    def open(self) -> bool:
        return self.scores is None and self.error is None


class BatchingBackend:
    """Batches `choice_logprobs` across threads, where the backend has `batches`; others are asked at once."""

    def __init__(
        self,
        backend: Backend,
        *,
        window_s: float,
        check: Callable[[], Check] = lambda: lambda: None,
        on_batch: Callable[[int], None] = lambda prompts: None,
    ) -> None:
        """
        Args:
            check: called by a thread before it asks; gives what raises, in any thread, once nobody waits for its answer any more.
            on_batch: told how many prompts met in a batch.
        """
        self.name = backend.name
        self.inner = backend
        self._batches = any(isinstance(one, BatchedBackend) and one.batches for one in front_to_back(backend))
        self._window_s, self._check, self._on_batch = window_s, check, on_batch
        self._arrival = threading.Lock()
        self._turn = threading.Lock()  # of asking the model
        self._waiting: list[_Call] = []

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        """An answer per prompt."""
        self._check()()
        return self.inner.generate(prompts, decoding)

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        """Log-probabilities per prompt and choice, asked for together with those of other threads."""
        call = _Call(prompts=prompts, choices=tuple(choices), check=self._check())
        if not prompts or not self._batches:
            call.check()
            return self.inner.choice_logprobs(prompts, choices)
        with self._arrival:
            self._waiting.append(call)
        with self._turn:
            if call.open:  # no batch before took it along
                time.sleep(self._window_s)
                self._run(self._batch(call))
        if call.error is not None:
            raise call.error
        assert call.scores is not None
        return call.scores

    def _batch(self, first: _Call) -> list[_Call]:
        """This call, and those that waited longest among the ones that ask for the same choices."""
        with self._arrival:
            batch, size = [first], len(first.prompts)
            for call in self._waiting:
                if call is not first and call.choices == first.choices and size + len(call.prompts) <= MOST:
                    batch.append(call)
                    size += len(call.prompts)
            self._waiting = [call for call in self._waiting if not any(call is member for member in batch)]
        return batch

    def _run(self, batch: Sequence[_Call]) -> None:
        """Answers the calls that somebody still waits for."""
        calls = [call for call in batch if self._awaited(call)]
        if not calls:
            return
        try:
            self._on_batch(sum(len(call.prompts) for call in calls))
            scores = self.inner.choice_logprobs([prompt for call in calls for prompt in call.prompts], calls[0].choices)
        except Exception as error:  # whichever prompt it was: its caller is told, the others are asked for again
            if len(calls) == 1:
                calls[0].error = error
                return
            for call in calls:
                self._run([call])
            return
        start = 0
        for call in calls:
            stop = start + len(call.prompts)
            call.scores = _part(scores, start, stop)
            start = stop

    def _awaited(self, call: _Call) -> bool:
        try:
            call.check()
        except Exception as error:  # what its caller shall see
            call.error = error
        return call.open


def _part(scores: ChoiceScores, start: int, stop: int) -> ChoiceScores:
    """The scores of some of the prompts, with what they cost; shared evenly where the backend does not tell."""
    count = len(scores.logprobs)
    costs = scores.costs or tuple(_share(scores.cost, n, count) for n in range(count))
    mine = costs[start:stop]
    return ChoiceScores(logprobs=scores.logprobs[start:stop], cost=sum(mine, Cost()), costs=mine, lengths=scores.lengths)


def _share(cost: Cost, n: int, count: int) -> Cost:
    """What the n-th of `count` prompts costs, so that all together cost what all cost."""
    whole = {name: getattr(cost, name) for name in Cost.__slots__ if name != "seconds"}
    return Cost(**{name: value * (n + 1) // count - value * n // count for name, value in whole.items()}, seconds=cost.seconds / count)
