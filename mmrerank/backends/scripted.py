"""A test double of an MLLM that reads its answers from a file, in order; the last one is repeated. Shipped so that nobody patches.

    {"text": "<think>...</think><answer>[2, 1]</answer>"}
    {"text": "[2] > [1]", "tokens": ["[", "2", "] > [", "1", "]"], "logprobs": [-0.1, -0.3, -0.1, -0.2, -0.1]}
    {"choices": {"Yes": -0.1, "No": -2.3}, "lengths": {"Yes": 1, "No": 1}}

A line is one answer: `text` for generation, with its `tokens` and their `logprobs` for who asks for them, and `choices` for choice
log-probabilities, with `lengths`, how many tokens each is. A line of the other kind than what is asked
for is an error, since the script and the method no longer fit each other.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmrerank.errors import BackendError, FormatError
from mmrerank.parts import printed
from mmrerank.text_files import json_lines
from mmrerank.types import ChoiceScores, Cost, Decoding, Generated, Prompt


@dataclass(frozen=True, kw_only=True)
class Options:
    file: str = ""  # the answers, JSON lines


class Scripted:
    """Answers from a file."""

    def __init__(self, options: Options, lines: Sequence[Mapping[str, Any]]) -> None:
        self.name = printed("scripted", options, argument=True)
        self._lines, self._next = lines, 0
        self._lock = threading.Lock()

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        """The next answer for each prompt."""
        shows = decoding is not None and decoding.logprobs
        return [_generated(self._take("text"), shows=shows) for _ in prompts]

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        """The next log-probabilities for each prompt; a choice that the line does not name is impossible."""
        lines = [self._take("choices") for _ in prompts]
        rows = [[float(line["choices"].get(choice, -np.inf)) for choice in choices] for line in lines]
        lengths = {tuple(line.get("lengths", {}).get(choice, 0) for choice in choices) for line in lines}
        is_known = len(lengths) == 1 and all(min(each, default=1) > 0 for each in lengths)
        return ChoiceScores(
            logprobs=np.array(rows, dtype=np.float32).reshape(len(prompts), len(choices)),
            cost=Cost(calls=len(prompts)),
            lengths=lengths.pop() if is_known else (),
        )

    def _take(self, kind: str) -> Any:
        with self._lock:
            place = min(self._next, len(self._lines) - 1)
            self._next += 1
        line = self._lines[place]
        if kind not in line:
            raise BackendError(f"{self.name}: line {place + 1} has {', '.join(line)}, and {kind!r} is asked for")
        return line


def _generated(line: Mapping[str, Any], *, shows: bool) -> Generated:
    text = str(line["text"])
    tokens, logprobs = (tuple(line[name]) if shows and name in line else None for name in ("tokens", "logprobs"))
    return Generated(text=text, tokens=tokens, logprobs=logprobs, cost=Cost(calls=1, generated_tokens=len(tokens or text.split())))


def read_script(path: Path) -> list[dict[str, Any]]:
    """The answers of a file.

    Raises:
        FormatError: it cannot be read, has no line, or a line is no answer; names the line.
    """
    answers = [_answer(record, path, number) for number, record in json_lines(path, hint=_FORM)]
    if not answers:
        raise FormatError("the script has no line", path=path, hint=_FORM)
    return answers


LARGEST = 1e30  # of what float32 holds
_FORM = 'Expected lines such as {"text": "..."} or {"choices": {"Yes": -0.1, "No": -2.3}}.'


def _answer(answer: Any, path: Path, number: int) -> dict[str, Any]:
    has_text = isinstance(answer, dict) and isinstance(answer.get("text"), str)
    has_choices = isinstance(answer, dict) and isinstance(answer.get("choices"), dict) and _numbers(answer["choices"])
    if not (has_text or has_choices) or not _fits(answer):
        raise FormatError(f"no answer: {str(answer)[:80]}", path=path, line=number, hint=_FORM)
    return dict(answer)


def _fits(answer: Mapping[str, Any]) -> bool:
    """Whether what stands beside an answer is of its form: as many log-probabilities as tokens, whole numbers of tokens."""
    tokens, logprobs, lengths = answer.get("tokens", []), answer.get("logprobs", []), answer.get("lengths", {})
    if not (isinstance(tokens, list) and isinstance(logprobs, list) and isinstance(lengths, dict)):
        return False
    is_paired = len(tokens) == len(logprobs) or not ("tokens" in answer and "logprobs" in answer)
    are_texts = all(isinstance(token, str) for token in tokens)
    are_whole = all(isinstance(length, int) and not isinstance(length, bool) and length > 0 for length in lengths.values())
    return is_paired and are_texts and are_whole and _numbers(dict(enumerate(logprobs)))


def _numbers(choices: Mapping[Any, Any]) -> bool:
    possible = [value for value in choices.values() if value != -np.inf]
    return all(isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST for value in possible)


def build(options: Options) -> Scripted:
    return Scripted(options, read_script(Path(options.file)))


def tiny() -> Scripted:
    return Scripted(Options(), [{"text": "an answer", "choices": {"Yes": -0.2, "No": -2.3}}])
