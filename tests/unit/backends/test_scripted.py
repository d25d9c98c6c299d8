"""The scripted double: answers in order, the last one again, and a script that does not fit is an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmrerank.backends import open_backend
from mmrerank.backends.scripted import Scripted
from mmrerank.errors import BackendError, FormatError
from mmrerank.parts import make
from mmrerank.types import Decoding, Message

PROMPT = (Message(role="user", parts=("what?",)),)


def scripted(path: Path, *lines: Any) -> Scripted:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8")
    backend: Scripted = make(f"scripted/{path}", station="backends")
    return backend


def test_answers_come_in_order_and_the_last_is_repeated(tmp_path: Path) -> None:
    backend = scripted(tmp_path / "s.jsonl", {"text": "one"}, "", {"choices": {"Yes": -0.5}}, {"text": "two"})
    assert [answer.text for answer in backend.generate([PROMPT])] == ["one"]
    scores = backend.choice_logprobs([PROMPT], ["Yes", "No"])
    assert scores.logprobs.tolist() == [[-0.5, -np.inf]]
    assert [answer.text for answer in backend.generate([PROMPT] * 3)] == ["two"] * 3


def test_a_line_of_the_other_kind_is_an_error_that_names_it(tmp_path: Path) -> None:
    backend = scripted(tmp_path / "s.jsonl", {"text": "one"}, {"text": "two"})
    backend.generate([PROMPT])
    with pytest.raises(BackendError, match=r"line 2 has text, and 'choices'"):
        backend.choice_logprobs([PROMPT], ["Yes"])


@pytest.mark.parametrize(
    ("lines", "message"),
    [((), "no line"), (("{",), "no JSON"), (({"txt": "x"},), "no answer"), (({"choices": {"Yes": "high"}},), "no answer")],
)
def test_a_bad_script_is_refused(tmp_path: Path, lines: tuple[Any, ...], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        scripted(tmp_path / "s.jsonl", *lines)
    with pytest.raises(FormatError, match="cannot be read"):
        make(f"scripted/{tmp_path / 'absent.jsonl'}", station="backends")


def test_a_script_is_never_cached(tmp_path: Path) -> None:
    scripted(tmp_path / "s.jsonl", {"text": "one"}, {"text": "two"})
    backend = open_backend(f"scripted/{tmp_path / 's.jsonl'}", cache=tmp_path / "cache")
    assert [backend.generate([PROMPT])[0].text for _ in range(2)] == ["one", "two"]


def test_tokens_and_lengths_can_be_scripted(tmp_path: Path) -> None:
    shows = {"text": "[2]", "tokens": ["[", "2", "]"], "logprobs": [-0.1, -0.2, -0.3]}
    backend = scripted(tmp_path / "s.jsonl", shows, {"choices": {"Yes": -0.1, "No": -2.0}, "lengths": {"Yes": 1, "No": 2}})
    (answer,) = backend.generate([PROMPT], Decoding(logprobs=True))
    assert (answer.tokens, answer.logprobs, answer.cost.generated_tokens) == (("[", "2", "]"), (-0.1, -0.2, -0.3), 3)
    assert backend.choice_logprobs([PROMPT], ["No", "Yes"]).lengths == (2, 1)
    assert backend.choice_logprobs([PROMPT], ["No", "Maybe"]).lengths == (), "one of them is not told"
    (plain,) = scripted(tmp_path / "t.jsonl", shows).generate([PROMPT])
    assert (plain.tokens, plain.logprobs) == (None, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"text": "x", "tokens": ["x"], "logprobs": [-0.1, -0.2]},
        {"text": "x", "tokens": [1]},
        {"text": "x", "logprobs": ["high"]},
        {"choices": {"Yes": -0.1}, "lengths": {"Yes": 0}},
        {"choices": {"Yes": -0.1}, "lengths": [1]},
    ],
)
def test_what_stands_beside_an_answer_fits_it(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match="no answer"):
        scripted(tmp_path / "s.jsonl", wrong)
