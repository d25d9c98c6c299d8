"""Answers of the second pass are those that a backend gives one by one, in one call."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mmrerank.errors import BackendError
from mmrerank.protocols import Backend
from mmrerank.types import ChoiceScores, Decoding, Generated, Message, Prompt
from tools.mini_mllm.two_pass import two_pass


class Echo:
    """Says what it is asked, and counts the calls."""

    name = "echo"

    def __init__(self) -> None:
        self.calls = 0

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        self.calls += 1
        return [Generated(text=f"{prompt[0].parts[0]} {decoding}") for prompt in prompts]

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        raise BackendError("asked for scores")


def prompt(text: str) -> Prompt:
    return (Message(role="user", parts=(text,)),)


def test_all_is_answered_in_one_call_and_given_in_turn() -> None:
    backend = Echo()

    def ask(other: Backend) -> None:
        for text in "abc":
            other.generate([prompt(text)], Decoding(max_tokens=5))

    answering = two_pass(backend, ask)
    assert backend.calls == 1
    assert [answering.generate([prompt(text)])[0].text for text in "abc"] == [f"{text} {Decoding(max_tokens=5)}" for text in "abc"]
    assert backend.calls == 1
    assert answering.name == "echo"
    with pytest.raises(BackendError, match="asked for scores"):
        answering.choice_logprobs([prompt("a")], ["Yes"])


def test_another_prompt_than_in_the_first_pass_is_refused() -> None:
    answering = two_pass(Echo(), lambda other: other.generate([prompt("a")]))
    with pytest.raises(BackendError, match="first pass"):
        answering.generate([prompt("b")])
    with pytest.raises(BackendError, match="first pass"):
        answering.generate([prompt("a")])
