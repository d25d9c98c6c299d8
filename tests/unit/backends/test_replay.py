"""The recording double: answers by the question, records what is new, refuses what it does not know."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mmrerank.backends.replay import Options, Replay
from mmrerank.errors import BackendError, FormatError
from mmrerank.parts import make
from mmrerank.rerankers._double import BackendDouble
from mmrerank.types import Decoding, Message, Prompt


def asked(text: str) -> Prompt:
    return (Message(role="user", parts=(text,)),)


def test_what_was_recorded_is_answered_in_any_order_without_the_model(tmp_path: Path) -> None:
    file, double = tmp_path / "r.jsonl", BackendDouble()
    recorder = Replay(Options(file=str(file)), double)
    answers = recorder.generate([asked("a"), asked("b"), asked("a")])
    scores = recorder.choice_logprobs([asked("a")], ["Yes", "No"])
    assert len(double.prompts) == 3
    replay: Replay = make(f"replay/{file}", station="backends")
    assert [a.text for a in replay.generate([asked("b"), asked("a")])] == [answers[1].text, answers[0].text]
    assert np.array_equal(replay.choice_logprobs([asked("a")], ["Yes", "No"]).logprobs, scores.logprobs)


def test_an_unknown_question_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    Replay(Options(file=str(file)), BackendDouble()).generate([asked("a")])
    replay: Replay = make(f"replay/{file}", station="backends")
    with pytest.raises(BackendError, match="never recorded"):
        replay.generate([asked("c")])
    with pytest.raises(BackendError, match="never recorded"):
        replay.generate([asked("a")], Decoding(max_tokens=3))


def test_a_script_can_be_recorded_by_name(tmp_path: Path) -> None:
    script = tmp_path / "s.jsonl"
    script.write_text(json.dumps({"text": "one"}))
    file = tmp_path / "r.jsonl"
    make(f"replay(file={str(file)!r}, record={f'scripted/{script}'!r})", station="backends").generate([asked("a")])
    assert make(f"replay/{file}", station="backends").generate([asked("a")])[0].text == "one"


def test_a_missing_or_broken_recording_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no such recording"):
        make(f"replay/{tmp_path / 'absent.jsonl'}", station="backends")
    broken = tmp_path / "b.jsonl"
    broken.write_text('{"key": "k", "text": "x", "finished": "stop"}\n{"text": "no key"}\n')
    with pytest.raises(FormatError, match="no recorded answer") as caught:
        make(f"replay/{broken}", station="backends")
    assert caught.value.line == 2
