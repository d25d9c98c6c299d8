"""A test double of an MLLM that answers what was recorded, by the question and not by its order. Shipped so that nobody patches.

    replay/FILE.jsonl                            answers from the recording; an unknown question is an error
    replay(file='FILE.jsonl', record='NAME')     asks the backend of that name what is not recorded yet, and records it

A line is one answer: `{"key", "text", "finished"}`, with `logprobs` and `tokens` where they were asked for, or `{"key", "choices":
[log-probabilities]}`, with `lengths`, the tokens of each choice, where the model shows them. The key is that of the cache: the prompt
with its pictures' pixels, and everything that moves the answer. A recording holds answers of one model. Several processes may record
into one file; a line that a kill cut short is left aside.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmrerank.backends._keys import choices_key, generation_key
from mmrerank.errors import BackendError, FormatError
from mmrerank.parts import make, printed
from mmrerank.protocols import Backend
from mmrerank.text_files import numbered_lines, read_text
from mmrerank.types import ChoiceScores, Cost, Decoding, Generated, Prompt, opened

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options:
    file: str = ""  # the recording, JSON lines
    record: str | None = None  # a backend's name


class Replay:
    """Answers from a recording."""

    def __init__(self, options: Options, backend: Backend | None) -> None:
        self.name = printed("replay", options, argument=options.record is None)
        self._file = Path(options.file)
        self._backend = backend
        self._lines = _read(self._file, must_exist=backend is None)

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        """The recorded answer for each prompt.

        Raises:
            BackendError: one was never recorded, and there is no backend to record from.
        """
        decoding = decoding or Decoding()
        keys = [generation_key(opened(prompt), decoding) for prompt in prompts]  # by pixels, wherever they come from
        costs = self._complete(keys, lambda missing: self._generate([prompts[n] for n in missing], decoding))
        lines = [self._lines[key] for key in keys]
        return [_generated(line, cost) for line, cost in zip(lines, costs, strict=True)]

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        """The recorded log-probabilities for each prompt; errors as for `generate`."""
        keys = [choices_key(opened(prompt), choices) for prompt in prompts]
        costs = self._complete(keys, lambda missing: self._choose([prompts[n] for n in missing], choices))
        rows = np.array([self._lines[key]["choices"] for key in keys], dtype=np.float32).reshape(len(prompts), len(choices))
        lengths = {tuple(self._lines[key].get("lengths", ())) for key in keys}
        return ChoiceScores(logprobs=rows, cost=sum(costs, Cost()), lengths=lengths.pop() if len(lengths) == 1 else ())

    def _complete(self, keys: Sequence[str], ask: Callable[[Sequence[int]], list[tuple[dict[str, Any], Cost]]]) -> list[Cost]:
        """Records what is missing; the cost of each key, which is one call for a recorded answer too."""
        missing = [n for n, key in enumerate(keys) if key not in self._lines and key not in keys[:n]]
        costs = [Cost(calls=1)] * len(keys)
        for n, (line, cost) in zip(missing, ask(missing) if missing else (), strict=True):
            self._lines[keys[n]] = line
            costs[n] = cost
            _append(self._file, {"key": keys[n], **line})
        return costs

    def _generate(self, prompts: Sequence[Prompt], decoding: Decoding | None) -> list[tuple[dict[str, Any], Cost]]:
        answers = self._source().generate(prompts, decoding)
        return [(_line(answer), answer.cost) for answer in answers]

    def _choose(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> list[tuple[dict[str, Any], Cost]]:
        scores = self._source().choice_logprobs(prompts, choices)
        costs = [scores.cost] + [Cost()] * (len(prompts) - 1)
        more = {"lengths": list(scores.lengths)} if scores.lengths else {}
        return [({"choices": [float(value) for value in row], **more}, cost) for row, cost in zip(scores.logprobs, costs, strict=True)]

    def _source(self) -> Backend:
        if self._backend is None:
            hint = "Record it: replay(file='FILE.jsonl', record='local/PATH')."
            raise BackendError(f"{self._file}: this question was never recorded ({len(self._lines)} others were)", hint=hint)
        return self._backend


def _line(answer: Generated) -> dict[str, Any]:
    line: dict[str, Any] = {"text": answer.text, "finished": answer.finished}
    if answer.logprobs is not None:
        line["logprobs"] = list(answer.logprobs)
    if answer.tokens is not None:
        line["tokens"] = list(answer.tokens)
    return line


def _generated(line: Mapping[str, Any], cost: Cost) -> Generated:
    logprobs, tokens = line.get("logprobs"), line.get("tokens")
    return Generated(
        text=line["text"],
        finished=line["finished"],
        logprobs=None if logprobs is None else tuple(logprobs),
        tokens=None if tokens is None else tuple(tokens),
        cost=cost,
    )


def _read(path: Path, *, must_exist: bool) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        if must_exist:
            raise FormatError("there is no such recording", path=path)
        return {}
    records: dict[str, dict[str, Any]] = {}
    for number, line in numbered_lines(read_text(path)):
        records |= _record(path, number, line)
    return records


def _record(path: Path, number: int, line: str) -> dict[str, dict[str, Any]]:
    """The answer of a line under its key; nothing, with a warning, where a kill cut it short."""
    try:
        record = json.loads(line)
        key = str(record.pop("key"))
    except (ValueError, RecursionError) as error:
        if not line.startswith("{"):
            raise FormatError(f"no recorded answer: {line[:80]}", path=path, line=number) from error
        logger.warning("%s:%d: the line was cut short and is left aside", path, number)
        return {}
    except (KeyError, AttributeError, TypeError) as error:
        raise FormatError(f"no recorded answer: {line[:80]}", path=path, line=number) from error
    if not ({"text", "finished"} <= record.keys() or "choices" in record):
        raise FormatError(f"no recorded answer: {line[:80]}", path=path, line=number)
    return {key: record}


def _append(path: Path, record: Mapping[str, Any]) -> None:
    """One write of one line, so that several processes can record into one file."""
    line = (json.dumps(record) + "\n").encode()
    try:
        with path.open("ab+", buffering=0) as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                line = line if file.read(1) == b"\n" else b"\n" + line  # behind a line that was cut short
            n_bytes = file.write(line)
    except OSError as error:
        raise FormatError(f"the recording cannot be written: {error}", path=path) from error
    if n_bytes != len(line):
        raise FormatError("the recording cannot be written: the disk took a part of a line only", path=path)


def build(options: Options, backend: Backend | None = None, api_key: str | None = None) -> Replay:
    """The recording; with `record` or a backend it grows. The key is for a backend that is named."""
    if options.record and backend is None:
        backend = make(options.record, station="backends", api_key=api_key)
    return Replay(options, backend)


def tiny() -> Replay:
    import tempfile

    from mmrerank.backends.scripted import tiny as scripted

    with tempfile.NamedTemporaryFile(suffix=".jsonl", delete=False) as file:
        path = file.name
    replay = Replay(Options(file=path), scripted())
    replay.name = printed("replay", Options(), argument=True)
    return replay
