"""A real peer: `transformers serve` on loopback with a tiny checkpoint answers the HTTP backend, pictures as data URIs.

Version 5.23 reports no log-probabilities of the first tokens, so choices cannot be asked of it; the backend has to say so.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from makers import picture
from served_models import MISSING, checkpoint, server  # noqa: F401  # fixtures

from mmrerank.backends.chat_http import ChatHttp
from mmrerank.backends.local import Options as LocalOptions
from mmrerank.backends.local import build
from mmrerank.errors import BackendError
from mmrerank.types import Decoding, Message, Prompt

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"transformers serve needs {', '.join(MISSING)}")


def asked(number: int) -> Prompt:
    return (Message(role="user", parts=("is this what was asked for?", picture(number, size=(56, 56)))),)


def test_it_answers_with_pictures_as_the_model_does_here(server: ChatHttp, checkpoint: Path) -> None:  # noqa: F811
    prompts = [asked(n) for n in range(3)]
    served = server.generate(prompts, Decoding(max_tokens=6))
    here = build(LocalOptions(model=str(checkpoint), device="cpu")).generate(prompts, Decoding(max_tokens=6))
    assert [answer.text for answer in served] == [answer.text for answer in here]
    assert len({answer.text for answer in served}) > 1, "the pictures reach the model"
    assert [answer.cost.prompt_tokens for answer in served] == [answer.cost.prompt_tokens for answer in here]


def test_that_it_tells_no_log_probabilities_is_said(server: ChatHttp) -> None:  # noqa: F811
    with pytest.raises(BackendError, match="no log-probabilities"):
        server.choice_logprobs([asked(0)], ["Yes", "No"])


def test_that_it_closes_an_answer_begun_is_found_out(server: ChatHttp) -> None:  # noqa: F811
    with pytest.raises(BackendError, match=r"closes an answer that was begun|says 4"):
        server.generate([(*asked(0), Message(role="assistant", parts=("It is",)))], Decoding(max_tokens=3))
