"""A model that never answers is given up; one that answered once is not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mmrerank.backends import NotingBackend
from mmrerank.backends.scripted import tiny
from mmrerank.errors import BackendError
from mmrerank.evaluation._watched import ENOUGH, check_answered
from mmrerank.types import ChoiceScores, Decoding, Generated, Message, Prompt

PROMPT: Prompt = (Message(role="user", parts=("a",)),)


class Away:
    """A server that nobody reaches."""

    name = "away"

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        raise BackendError("nobody there", retryable=True)

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        raise BackendError("nobody there", retryable=True)


def test_a_model_that_never_answered_is_given_up_after_enough_queries_or_all() -> None:
    watched = NotingBackend(Away())
    check_answered(watched, ENOUGH, 100)  # nothing was asked of it
    for ask in (lambda: watched.generate([PROMPT]), lambda: watched.choice_logprobs([PROMPT], ["Yes"])):
        with pytest.raises(BackendError):
            ask()
    check_answered(watched, ENOUGH - 1, 100)
    for done, expected in ((ENOUGH, 100), (3, 3)):
        with pytest.raises(BackendError, match="nobody there"):
            check_answered(watched, done, expected)
    assert (watched.name, watched.inner.name) == ("away", "away")


def test_one_answer_is_something_to_measure() -> None:
    watched = NotingBackend(tiny())
    watched.generate([PROMPT])
    watched.inner = Away()
    with pytest.raises(BackendError):
        watched.generate([PROMPT])
    check_answered(watched, 3, 3)
