"""What every backend must do; a new file in `mmrerank/backends/` is found by itself."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from makers import picture

from mmrerank.parts import module, names, options_of
from mmrerank.types import Backend, Decoding, Message, Prompt

BACKENDS = names("backends")
DECODING = Decoding(max_tokens=4)


def asked(number: int) -> Prompt:
    words = " ".join(["is this what was asked for?"] * (number % 3 + 1))
    parts = (words, picture(number, size=(40 + number, 30))) if number % 4 else (words,)
    return (Message(role="system", parts=("answer",)), Message(role="user", parts=parts))


@pytest.fixture(scope="module", params=BACKENDS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def backend(name: str) -> Backend:
    made: Backend = module(name, station="backends").tiny()
    return made


def test_there_are_backends_to_check() -> None:
    assert {"local", "chat_http", "scripted", "replay"} <= set(BACKENDS)


def test_its_printed_name_parses_back(name: str) -> None:
    part = module(name, station="backends")
    printed = part.tiny().name
    assert printed.split("/")[0].split("(")[0] == name
    assert isinstance(options_of(printed.rstrip("/"), part.Options), part.Options)


def test_one_answer_a_prompt_in_order(backend: Backend) -> None:
    prompts = [asked(n) for n in range(5)]
    answers = backend.generate(prompts, DECODING)
    assert [answer.text for answer in answers] == [backend.generate([prompt], DECODING)[0].text for prompt in prompts]
    assert all(answer.cost.calls == 1 for answer in answers)


def test_no_prompts_no_answers(backend: Backend) -> None:
    assert backend.generate([]) == []
    assert backend.choice_logprobs([], ["Yes", "No"]).logprobs.shape == (0, 2)


def test_choices_are_log_probabilities_whoever_stands_beside_them(backend: Backend) -> None:
    prompts = [asked(n) for n in range(6)]
    scores = backend.choice_logprobs(prompts, ["Yes", "No"])
    assert scores.logprobs.shape == (6, 2)
    assert scores.logprobs.dtype == np.float32
    assert (np.exp(scores.logprobs).sum(axis=1) <= 1 + 1e-5).all()
    assert scores.cost.calls == 6
    assert np.allclose(backend.choice_logprobs(prompts[::-1], ["Yes", "No"]).logprobs[::-1], scores.logprobs, atol=1e-5)
    assert np.allclose(backend.choice_logprobs(prompts, ["No", "Yes"]).logprobs[:, ::-1], scores.logprobs, atol=1e-5)


def test_prompts_are_not_changed(backend: Backend) -> None:
    prompts = [asked(1)]
    before = copy.deepcopy(prompts)
    backend.generate(prompts, DECODING)
    backend.choice_logprobs(prompts, ["Yes", "No"])
    assert prompts == before
