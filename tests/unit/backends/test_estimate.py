"""The estimate: said once, only for long runs, and it changes no answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmrerank.backends._cache import CachedBackend
from mmrerank.backends._estimate import Estimated
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Message, Prompt


def question(text: str) -> Prompt:
    return (Message(role="user", parts=(text,)),)


PROMPTS = [question(f"{n}") for n in range(5)]


def slow(prompt: Prompt, choices: Sequence[str]) -> list[float]:
    time.sleep(0.01)
    return [-float(str(prompt[0].parts[0])) - 1, -2.0]


def test_a_long_run_is_announced_once_and_the_scores_are_the_same() -> None:
    messages: list[str] = []
    watched = Estimated(FakeBackend(choose=slow), messages.append, long_s=0.02)
    scores = watched.choice_logprobs(PROMPTS, ["Yes", "No"])
    watched.choice_logprobs(PROMPTS, ["Yes", "No"])
    assert np.array_equal(scores.logprobs, FakeBackend(choose=slow).choice_logprobs(PROMPTS, ["Yes", "No"]).logprobs)
    assert scores.cost.calls == 5
    assert len(messages) == 1
    assert messages[0].startswith("double: 4 more calls, at most about")


def test_windows_that_are_still_to_come_count() -> None:
    messages: list[str] = []
    watched = Estimated(FakeBackend(answer=lambda prompt: "x"), messages.append, long_s=0.0)
    watched.expect(7)
    assert [answer.text for answer in watched.generate(PROMPTS[:1])] == ["x"]
    assert messages[0].startswith("double: 6 more calls")


def test_a_short_run_says_nothing() -> None:
    messages: list[str] = []
    watched = Estimated(FakeBackend(), messages.append)
    assert len(watched.generate(PROMPTS)) == 5
    assert watched.generate([]) == []
    assert messages == []


def test_an_answer_from_the_cache_tells_nothing_about_the_rest(tmp_path: Path) -> None:
    cached = CachedBackend(FakeBackend(answer=lambda prompt: "x"), tmp_path)
    cached.generate(PROMPTS[:1])
    messages: list[str] = []
    watched = Estimated(cached, messages.append, long_s=0.0)
    watched.generate(PROMPTS)
    assert messages == []
    watched.generate([question("new"), question("newer")])
    assert messages[0].startswith("double: 1 more calls")
