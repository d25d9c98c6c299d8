"""The recording double: answers by the question, records what is new, refuses what it does not know."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mmrerank.backends.replay import Options, Replay
from mmrerank.errors import BackendError, FormatError
from mmrerank.parts import make
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Decoding, Generated, Message, Prompt


def question(text: str) -> Prompt:
    return (Message(role="user", parts=(text,)),)


def test_what_was_recorded_is_answered_in_any_order_without_the_model(tmp_path: Path) -> None:
    file, double = tmp_path / "r.jsonl", FakeBackend()
    recorder = Replay(Options(file=str(file)), double)
    answers = recorder.generate([question("a"), question("b"), question("a")])
    scores = recorder.choice_logprobs([question("a")], ["Yes", "No"])
    assert len(double.prompts) == 3
    replay: Replay = make(f"replay/{file}", station="backends")
    assert [a.text for a in replay.generate([question("b"), question("a")])] == [answers[1].text, answers[0].text]
    assert np.array_equal(replay.choice_logprobs([question("a")], ["Yes", "No"]).logprobs, scores.logprobs)


def test_an_unknown_question_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    Replay(Options(file=str(file)), FakeBackend()).generate([question("a")])
    replay: Replay = make(f"replay/{file}", station="backends")
    with pytest.raises(BackendError, match="never recorded"):
        replay.generate([question("c")])
    with pytest.raises(BackendError, match="never recorded"):
        replay.generate([question("a")], Decoding(max_tokens=3))


def test_a_script_can_be_recorded_by_name(tmp_path: Path) -> None:
    script = tmp_path / "s.jsonl"
    script.write_text(json.dumps({"text": "one"}))
    file = tmp_path / "r.jsonl"
    make(f"replay(file={str(file)!r}, record={f'scripted/{script}'!r})", station="backends").generate([question("a")])
    assert make(f"replay/{file}", station="backends").generate([question("a")])[0].text == "one"


def test_a_missing_or_broken_recording_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no such recording"):
        make(f"replay/{tmp_path / 'absent.jsonl'}", station="backends")
    broken = tmp_path / "b.jsonl"
    broken.write_text('{"key": "k", "text": "x", "finished": "stop"}\n{"text": "no key"}\n')
    with pytest.raises(FormatError, match="no recorded answer") as caught:
        make(f"replay/{broken}", station="backends")
    assert caught.value.line == 2


def test_log_probabilities_of_the_answer_are_recorded(tmp_path: Path) -> None:
    class Sure(FakeBackend):
        def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
            return [Generated(text="x", logprobs=(-0.5, -0.25)) for _ in prompts]

    file, decoding = tmp_path / "r.jsonl", Decoding(logprobs=True)
    recorded = make(f"replay/{file}", station="backends", backend=Sure()).generate([question("a")], decoding)
    replayed = make(f"replay/{file}", station="backends").generate([question("a")], decoding)
    assert recorded[0].logprobs == replayed[0].logprobs == (-0.5, -0.25)


def test_a_line_that_a_kill_cut_short_is_asked_again_and_the_recording_stays_readable(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    Replay(Options(file=str(file)), FakeBackend()).generate([question("a"), question("b")])
    file.write_bytes(file.read_bytes()[:-9])
    double = FakeBackend()
    texts = [a.text for a in Replay(Options(file=str(file)), double).generate([question("a"), question("b")])]
    assert len(double.prompts) == 1
    replay: Replay = make(f"replay/{file}", station="backends")
    assert [a.text for a in replay.generate([question("a"), question("b")])] == texts


def test_an_answer_may_hold_any_line_break(tmp_path: Path) -> None:
    file, text = tmp_path / "r.jsonl", "one\ntwo\u2028three\x85four\x0cfive"
    Replay(Options(file=str(file)), FakeBackend(answer=lambda prompt: text)).generate([question("a")])
    assert make(f"replay/{file}", station="backends").generate([question("a")])[0].text == text
    script = tmp_path / "s.jsonl"
    script.write_text(json.dumps({"text": text}, ensure_ascii=False), encoding="utf-8")
    assert make(f"scripted/{script}", station="backends").generate([question("a")])[0].text == text


WRITER = """
import sys
from pathlib import Path
from mmrerank.backends.replay import Options, Replay
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Message
recorder = Replay(Options(file=sys.argv[1]), FakeBackend(answer=lambda prompt: prompt[0].parts[0] * 500))
for n in range(60):
    recorder.generate([(Message(role="user", parts=(f"{sys.argv[2]} {n} ",)),)])
"""


def test_several_processes_record_into_one_file(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    running = [subprocess.Popen([sys.executable, "-c", WRITER, str(file), name], stderr=subprocess.PIPE) for name in "abc"]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
    replay: Replay = make(f"replay/{file}", station="backends")
    texts = [f"{name} {n} " for name in "abc" for n in range(60)]
    assert [a.text for a in replay.generate([question(text) for text in texts])] == [text * 500 for text in texts]


def test_a_folder_that_is_not_there_or_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be written"):
        make(f"replay/{tmp_path / 'absent' / 'r.jsonl'}", station="backends", backend=FakeBackend()).generate([question("a")])
    (tmp_path / "b.jsonl").write_bytes(b"\x80\x81")
    with pytest.raises(FormatError, match="no text in UTF-8"):
        make(f"replay/{tmp_path / 'b.jsonl'}", station="backends")


def test_tokens_and_lengths_are_recorded(tmp_path: Path) -> None:
    file, double = tmp_path / "r.jsonl", FakeBackend(answer=lambda prompt: "one two")
    recorder = Replay(Options(file=str(file)), double)
    recorder.generate([question("a")], Decoding(logprobs=True))
    recorder.choice_logprobs([question("a")], ["Yes", "not at all"])
    replay: Replay = make(f"replay/{file}", station="backends")
    (answer,) = replay.generate([question("a")], Decoding(logprobs=True))
    assert (answer.tokens, answer.logprobs) == (("one", " two"), (-0.5, -0.5))
    assert replay.choice_logprobs([question("a")], ["Yes", "not at all"]).lengths == (1, 3)
