"""Is a backend fit for the rerankers? It is asked what they will ask, and what is wrong is said, with how to mend it.

Which rerankers there are, and what each looks at, they say themselves; each one that asks a model shows whether it can read this one's
answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from mmrerank.collection import capabilities
from mmrerank.doctor.findings import LONGEST, Finding, guarded, passed_on
from mmrerank.doctor.pairs import COLOURS, square
from mmrerank.doctor.rerankers import text_pairs, tried
from mmrerank.errors import BackendError, FormatError, InputError
from mmrerank.parts import BY_RECIPE, requires
from mmrerank.pipeline import NamedReranker
from mmrerank.prompting.files import read_prompt
from mmrerank.protocols import Backend, SingleTokenBackend, front_to_back
from mmrerank.text_files import read_json
from mmrerank.types import Decoding, Message, Prompt

MARKS = 25  # the largest grid: 5 x 5
TOLERANCE = 0.02  # of a probability; half-precision kernels differ by less
NO_PICTURES = (
    "Take a model that sees pictures, such as Qwen/Qwen2.5-VL-7B-Instruct, served with what it sees by (llama.cpp: --mmproj). For texts "
    "alone this one may do."
)


def examine(backend: Backend, *, recorded: Mapping[str, float] | None = None) -> Iterator[Finding]:
    """The findings on a backend, one after the other as they come, and whether each reranker that ships can read its answers.

    What cannot be tried because the backend gives no answers, or takes no pictures, is said to be so, and the rest is tried.

    Args:
        recorded: P(Yes) of the golden pairs as measured before, to compare with; see `golden_pairs`.
    """
    yield from guarded("single tokens", lambda: _single_tokens(backend))
    answers = yield from passed_on(guarded("answers", lambda: _answers(backend)))
    if answers.level == "wrong":
        yield Finding(name="rerankers", level="note", detail="not tried, nor how Yes and No are told apart: the model gives no answers")
        return
    pictures = yield from passed_on(guarded("pictures", lambda: _pictures(backend)))
    if sees := pictures.level != "wrong":
        yield from _golden(backend, recorded)
    yield from map(_at_most_a_note, text_pairs(NamedReranker.of(BY_RECIPE), "yes or no to texts", backend))
    for name in capabilities.rerankers({"backend"}):
        if requires(name, station="rerankers").needed == {"backend"}:
            yield from tried(NamedReranker.of(name), name, backend, sees=sees)


def _at_most_a_note(finding: Finding) -> Finding:
    """A model may see and not judge texts: that alone makes it unfit for nothing that is known here."""
    return replace(finding, level="note") if finding.level == "wrong" else finding


def _golden(backend: Backend, recorded: Mapping[str, float] | None) -> Iterator[Finding]:
    """What Yes and No come to, and whether neighbours or time moved them."""
    measured: dict[str, float] = {}
    yield from guarded("yes or no", lambda: _yes_or_no(backend, measured))
    if measured:
        yield from guarded("neighbours", lambda: _neighbours(backend, measured))
    if measured and recorded is not None:
        yield compare(measured, recorded)


def golden_pairs(backend: Backend) -> dict[str, float]:
    """P(Yes) of each golden pair: a plain coloured square against the caption with its colour and another one."""
    choices = backend.choice_logprobs([_question(colour, caption) for colour, caption in _pairs()], ("Yes", "No")).logprobs
    p = 1 / (1 + np.exp(np.clip(choices[:, 1] - choices[:, 0], -50, 50)))
    return {f"{colour} called {caption}": round(float(value), 6) for (colour, caption), value in zip(_pairs(), p, strict=True)}


def read_recorded(path: Path) -> dict[str, float]:
    """Golden probabilities that were written down before.

    Raises:
        FormatError: the file holds none.
    """
    hint = "Write them: mmrerank doctor --record FILE."
    content = read_json(path, hint=hint)
    golden = content.get("golden") if isinstance(content, Mapping) else None
    if not isinstance(golden, Mapping) or not all(isinstance(value, float | int) and 0 <= value <= 1 for value in golden.values()):
        raise FormatError("no recorded values: expected an object with `golden`, name -> probability", path=path, hint=hint)
    return {str(name): float(value) for name, value in golden.items()}


def compare(measured: Mapping[str, float], recorded: Mapping[str, float]) -> Finding:
    """Whether the golden pairs still give what they gave."""
    apart = {name: abs(measured[name] - value) for name, value in recorded.items() if name in measured}
    if not apart:
        return Finding(name="recorded values", level="wrong", detail="no pair in common", mend="Record them again with --record.")
    name, most = max(apart.items(), key=lambda pair: pair[1])
    detail = f"largest difference {most:.4f} ({name}), allowed {TOLERANCE}"
    if most <= TOLERANCE:
        return Finding(name="recorded values", level="ok", detail=detail)
    return Finding(name="recorded values", level="wrong", detail=detail, mend="Other weights, template or precision than when recorded.")


def _pairs() -> list[tuple[str, str]]:
    colours = list(COLOURS)
    return [(colour, caption) for n, colour in enumerate(colours) for caption in (colour, colours[(n + 1) % len(colours)])]


def _question(colour: str, caption: str) -> Prompt:
    text = read_prompt("doctor", {"caption": {"caption"}, "matches": set()})
    question = "\n" + text.fill("caption", caption=f"a {caption} square") + text.pieces["matches"]
    return (Message(role="user", parts=(square(colour), question)),)


def _single_tokens(backend: Backend) -> Finding:
    seen = next((one for one in front_to_back(backend) if isinstance(one, SingleTokenBackend)), None)
    if seen is None:
        return Finding(name="single tokens", level="note", detail="the tokens of this backend cannot be seen from here")
    pieces = [word for word in ("Yes", "No") if not seen.single_token(word)]
    marks = [str(mark) for mark in range(1, MARKS + 1) if not seen.single_token(str(mark))]
    if pieces:
        mend = "P(Yes) takes a slower path over several tokens, and compares words of unlike length."
        return Finding(name="single tokens", level="wrong", detail=f"more than one token: {', '.join(pieces)}", mend=mend)
    if marks:
        return Finding(name="single tokens", level="note", detail=f"Yes and No are single tokens; marks of several: {', '.join(marks)}")
    return Finding(name="single tokens", level="ok", detail=f"Yes, No and the marks 1 to {MARKS} are one token each")


def _answers(backend: Backend) -> Finding:
    """Whether a text is answered at all."""
    (answer,) = backend.generate([(Message(role="user", parts=("Answer with the one word Yes.",)),)], Decoding(max_tokens=8))
    words = " ".join(answer.text.split())[:LONGEST]
    if not words:
        return Finding(name="answers", level="note", detail=f"the answer to a text is empty ({answer.finished})")
    return Finding(name="answers", level="ok", detail=f"a text is answered: {words!r}")


def _pictures(backend: Backend) -> Finding:
    """Whether a picture is taken, by a model that has answered a text."""
    try:
        backend.generate([_question("green", "green")], Decoding(max_tokens=8))
    except (BackendError, InputError, FormatError) as error:
        detail = f"a text is answered, a picture is not taken: {error.message}"
        return Finding(name="pictures", level="wrong", detail=detail, mend=NO_PICTURES)
    return Finding(name="pictures", level="ok", detail="a picture is taken")


def _yes_or_no(backend: Backend, measured: dict[str, float]) -> Finding:
    measured |= golden_pairs(backend)
    values = [measured[f"{colour} called {caption}"] for colour, caption in _pairs()]
    right = sum(fits > other for fits, other in zip(values[::2], values[1::2], strict=True))
    detail = f"P(Yes) is higher for the right colour in {right} of {len(COLOURS)} pairs; values {min(values):.3f} to {max(values):.3f}"
    if right == len(COLOURS):
        return Finding(name="yes or no", level="ok", detail=detail)
    mend = "The model does not tell a red square from a green one, or the server drops pictures: what asks for Yes or No orders by noise."
    return Finding(name="yes or no", level="wrong", detail=detail, mend=mend)


def _neighbours(backend: Backend, measured: Mapping[str, float]) -> Finding:
    colour, caption = _pairs()[0]
    alone = backend.choice_logprobs([_question(colour, caption)], ("Yes", "No")).logprobs[0]
    p = float(1 / (1 + np.exp(np.clip(alone[1] - alone[0], -50, 50))))
    apart = abs(p - measured[f"{colour} called {caption}"])
    detail = f"P(Yes) alone and among neighbours differ by {apart:.5f}"
    if apart <= TOLERANCE:
        return Finding(name="neighbours", level="ok", detail=detail)
    return Finding(name="neighbours", level="wrong", detail=detail, mend="Use float32, or batch_size=1.")
