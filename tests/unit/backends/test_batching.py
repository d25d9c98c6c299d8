"""Prompts of several threads meet in one batch, and nothing of an answer depends on that."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mmrerank.backends._batching import MOST, BatchingBackend
from mmrerank.errors import BackendError, InputError
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import ChoiceScores, Cost, Message, Prompt

CHOICES = ("Yes", "No")


def prompt(text: str) -> Prompt:
    return (Message(role="user", parts=(text,)),)


class Recording(FakeBackend):
    """Remembers what came together; `hold` runs before each answer."""

    batches = True

    def __init__(self, hold: Callable[[Sequence[Prompt]], None] = lambda prompts: None) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self._hold = hold

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        self.sizes.append(len(prompts))
        self._hold(prompts)
        return super().choice_logprobs(prompts, choices)


def together(
    backend: BatchingBackend, prompts: Sequence[Sequence[Prompt]], choices: Sequence[Sequence[str]]
) -> list[ChoiceScores | Exception]:
    """What each thread gets; all begin at once."""
    barrier = threading.Barrier(len(prompts))

    def one(n: int) -> ChoiceScores | Exception:
        barrier.wait()
        try:
            return backend.choice_logprobs(prompts[n], choices[n])
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(prompts)) as pool:
        return list(pool.map(one, range(len(prompts))))


def test_threads_share_batches_and_get_what_they_would_get_alone() -> None:
    inner = Recording(hold=lambda prompts: time.sleep(0.01))
    sizes: list[int] = []
    backend = BatchingBackend(inner, window_s=0.05, on_batch=sizes.append)
    questions = [[prompt(f"{n}, {m} " + "word " * n) for m in range(n % 4 + 1)] for n in range(24)]
    results = together(backend, questions, [CHOICES] * 24)
    assert sum(inner.sizes) == sum(map(len, questions)), "nothing was lost or asked twice"
    assert len(inner.sizes) < 12
    assert sizes == inner.sizes
    for prompts, scores in zip(questions, results, strict=True):
        alone = Recording().choice_logprobs(prompts, CHOICES)
        assert isinstance(scores, ChoiceScores)
        np.testing.assert_array_equal(scores.logprobs, alone.logprobs)
        assert scores.cost.calls == len(prompts)


def test_costs_that_the_backend_does_not_tell_apart_add_up() -> None:
    inner = Recording(hold=lambda prompts: time.sleep(0.01))
    questions = [[prompt("word " * (n + 1))] * (n + 1) for n in range(7)]
    results = together(BatchingBackend(inner, window_s=0.05), questions, [CHOICES] * 7)
    total = sum((scores.cost for scores in results if isinstance(scores, ChoiceScores)), Cost())
    assert total.prompt_tokens == sum((n + 1) ** 2 for n in range(7))
    assert total.calls == 28


def test_other_choices_are_another_batch() -> None:
    inner = Recording()
    choices = [CHOICES, ("A", "B", "C")] * 4
    results = together(BatchingBackend(inner, window_s=0.05), [[prompt(f"{n}")] for n in range(8)], choices)
    assert [scores.logprobs.shape for scores in results if isinstance(scores, ChoiceScores)] == [(1, len(some)) for some in choices]


def test_a_prompt_that_the_model_cannot_take_costs_only_its_caller() -> None:
    def hold(prompts: Sequence[Prompt]) -> None:
        if any("bad" in str(part) for one in prompts for message in one for part in message.parts):
            raise InputError("too long")

    backend = BatchingBackend(Recording(hold), window_s=0.05)
    questions = [[prompt("bad" if n == 3 else f"good {n}")] for n in range(8)]
    results = together(backend, questions, [CHOICES] * 8)
    assert [isinstance(scores, InputError) for scores in results] == [n == 3 for n in range(8)]


def test_a_lost_server_is_told_to_everybody() -> None:
    def hold(prompts: Sequence[Prompt]) -> None:
        raise BackendError("gone", retryable=True)

    results = together(BatchingBackend(Recording(hold), window_s=0.02), [[prompt(f"{n}")] for n in range(4)], [CHOICES] * 4)
    assert all(isinstance(scores, BackendError) and scores.retryable for scores in results)


def test_calls_of_many_prompts_stay_whole_and_batches_bounded() -> None:
    inner = Recording(hold=lambda prompts: time.sleep(0.01))
    questions = [[prompt(f"{n}, {m}") for m in range(100)] for n in range(6)] + [[prompt(f"long {m}") for m in range(MOST + 44)]]
    results = together(BatchingBackend(inner, window_s=0.05), questions, [CHOICES] * 7)
    assert [len(scores.logprobs) for scores in results if isinstance(scores, ChoiceScores)] == [100] * 6 + [MOST + 44]
    assert all(size <= MOST or size == MOST + 44 for size in inner.sizes)


def test_what_nobody_waits_for_any_more_is_not_asked() -> None:
    class Gone(Exception):
        pass

    cancellation = threading.Event()
    mine = threading.local()

    def check() -> Callable[[], None]:
        quits = getattr(mine, "quits", False)

        def raised() -> None:
            if quits and cancellation.is_set():
                raise Gone

        return raised

    started = threading.Event()

    def hold(prompts: Sequence[Prompt]) -> None:
        started.set()
        time.sleep(0.2)

    inner = Recording(hold)
    backend = BatchingBackend(inner, window_s=0.0, check=check)

    def ask(text: str, quits: bool) -> ChoiceScores:
        mine.quits = quits
        return backend.choice_logprobs([prompt(text)], CHOICES)

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(ask, "first", False)
        started.wait(5)
        second, third = pool.submit(ask, "second", True), pool.submit(ask, "third", False)
        time.sleep(0.05)
        cancellation.set()
        assert first.result(5).logprobs.shape == third.result(5).logprobs.shape == (1, 2)
        with pytest.raises(Gone):
            second.result(5)
    assert [part for one in inner.prompts for message in one for part in message.parts] == ["first", "third"]


def test_a_backend_that_does_not_batch_is_asked_at_once() -> None:
    inner = FakeBackend()
    backend = BatchingBackend(inner, window_s=60.0)
    assert backend.choice_logprobs([prompt("a")], CHOICES).logprobs.shape == (1, 2)
    assert backend.generate([prompt("a")])[0].text.startswith("answer")
    assert inner.prompts == [prompt("a")] * 2
