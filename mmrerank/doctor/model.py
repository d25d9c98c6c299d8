"""Is a backend fit for the rerankers? Loads it, asks it what the rerankers will ask, and says what is wrong and how to mend it.

Which rerankers there are, and what each looks at, they say themselves; each one that asks a model shows whether it can read this
one's answers, also one of somebody else's that is named.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from PIL import Image, ImageDraw

from mmrerank.backends import NotingBackend
from mmrerank.collection import capabilities
from mmrerank.errors import BackendError, FormatError, InputError, MMRerankError
from mmrerank.parts import check_name, module, requires
from mmrerank.pipeline import NamedReranker
from mmrerank.prompting.files import read_prompt
from mmrerank.text_files import read_json
from mmrerank.types import (
    Backend,
    Candidate,
    DeclaredView,
    Decoding,
    Item,
    Message,
    Modality,
    Prompt,
    Query,
    SingleTokenBackend,
    front_to_back,
)

MARKS = 25  # the largest grid: 5 x 5
TOLERANCE = 0.02  # of a probability; half-precision kernels differ by less
UNKNOWN = "The message is what the model's side says; its own log may say more."
NO_PICTURES = (
    "Take a model that sees pictures, such as Qwen/Qwen2.5-VL-7B-Instruct, served with what it sees by (llama.cpp: --mmproj). For texts "
    "alone this one may do."
)
LONGEST = 200  # letters of what others say
T = TypeVar("T")
COLOURS = {"red": "#d01818", "green": "#1a9c2f", "blue": "#1746c8", "yellow": "#f2d21b"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check: passed, failed, or worth knowing; `mend` says what to do."""

    name: str
    level: Literal["ok", "note", "wrong"]
    detail: str
    mend: str = ""


def examine(backend: Backend, *, recorded: Mapping[str, float] | None = None) -> Iterator[Finding]:
    """The findings on a backend, one after the other as they come, and whether each reranker that ships can read its answers.

    What cannot be tried because the backend gives no answers, or takes no pictures, is said to be so, and the rest is tried.

    Args:
        recorded: P(Yes) of the golden pairs as measured before, to compare with; see `golden_pairs`.
    """
    yield from _guarded("single tokens", lambda: _single_tokens(backend))
    answers = yield from _passed_on(_guarded("answers", lambda: _answers(backend)))
    if answers.level == "wrong":
        yield Finding(name="rerankers", level="note", detail="not tried, nor how Yes and No are told apart: the model gives no answers")
        return
    pictures = yield from _passed_on(_guarded("pictures", lambda: _pictures(backend)))
    if sees := pictures.level != "wrong":
        yield from _golden(backend, recorded)
    for name in capabilities.rerankers({"backend"}):
        if requires(name, station="rerankers").needed == {"backend"}:
            yield from _tried(NamedReranker.of(name), name, backend, sees=sees)


def _passed_on(findings: Iterator[Finding]) -> Generator[Finding, None, Finding]:
    """Passes the findings on; the last one is what a caller goes by."""
    last = Finding(name="", level="ok", detail="")
    for last in findings:
        yield last
    return last


def _golden(backend: Backend, recorded: Mapping[str, float] | None) -> Iterator[Finding]:
    """What Yes and No come to, and whether neighbours or time moved them."""
    measured: dict[str, float] = {}
    yield from _guarded("yes or no", lambda: _yes_or_no(backend, measured))
    if measured:
        yield from _guarded("neighbours", lambda: _neighbours(backend, measured))
    if measured and recorded is not None:
        yield compare(measured, recorded)


def examine_rerankers(rerankers: Sequence[NamedReranker], backend: Backend | None = None) -> Iterator[Finding]:
    """Whether each of these does its work: it is made, returns a permutation, reads the answers of its model, and its name makes it
    again. One that works on descriptors is not tried, since there are none here."""
    for reranker in rerankers:
        name = str(reranker.stage)
        lacks = reranker.needs - ({"backend"} if backend is not None else set())
        if lacks:
            mend = "" if lacks == {"descriptors"} else "Name one: --backend NAME, or behind a slash after the reranker's name."
            yield Finding(name=name, level="note", detail=f"not tried: it needs {', '.join(sorted(lacks))}", mend=mend)
        else:
            yield from _tried(reranker, name, backend, sees=True)


def _tried(reranker: NamedReranker, name: str, backend: Backend | None, *, sees: bool) -> Iterator[Finding]:
    """Whether a reranker reads the answers; without pictures by texts, where it looks at texts too."""
    looks_at = _looks_at(reranker)
    if not sees and looks_at is not None and "text" not in looks_at:
        yield Finding(name=name, level="note", detail="not tried: it looks at pictures, and the model takes none")
    else:
        yield from _guarded(name, lambda: _reads(reranker, name, backend, looks_at if sees else frozenset({"text"})))


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


def _square(colour: str) -> Image.Image:
    picture = Image.new("RGB", (224, 224), "white")
    ImageDraw.Draw(picture).rectangle((32, 32, 191, 191), fill=COLOURS[colour])
    return picture


def _question(colour: str, caption: str) -> Prompt:
    text = read_prompt("doctor", {"caption": {"caption"}, "matches": set()})
    question = "\n" + text.fill("caption", caption=f"a {caption} square") + text.pieces["matches"]
    return (Message(role="user", parts=(_square(colour), question)),)


def _guarded(name: str, check: Callable[[], Finding]) -> Iterator[Finding]:
    start = time.perf_counter()
    try:
        finding = check()
    except MMRerankError as error:
        yield Finding(name=name, level="wrong", detail=error.message, mend=error.hint or UNKNOWN)
        return
    except Exception as error:  # of a part of somebody else's, which may raise anything; the other checks go on
        yield Finding(name=name, level="wrong", detail=f"raises {type(error).__name__}: {str(error)[:LONGEST]}", mend="Mend the part.")
        return
    seconds = f" ({time.perf_counter() - start:.1f} s)"
    yield replace(finding, detail=finding.detail + seconds)


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


def _reads(reranker: NamedReranker, name: str, backend: Backend | None, looks_at: frozenset[Modality] | None) -> Finding:
    """Whether a reranker can read this model's answers, and keeps to what every reranker promises."""
    own = reranker.backend or backend
    listening = None if own is None else NotingBackend(own)
    part = replace(reranker, backend=listening if reranker.backend else None).made(**({} if listening is None else {"backend": listening}))
    candidates = _squares(looks_at)
    ranking = part.rerank(Query(text="a green square"), candidates)
    if sorted(ranking.item_ids) != sorted(candidate.item.item_id for candidate in candidates):
        return Finding(name=name, level="wrong", detail="what it returns is no permutation of its candidates", mend="Mend its rerank().")
    check_name(part.name, station="rerankers")  # which makes it again
    if ranking.notes.status == "fallback":
        failure = None if listening is None else listening.failure
        advice = f"{name} would leave every order as it came; take a model that follows instructions, or one tuned for it."
        mend = advice if failure is None else failure.hint or UNKNOWN  # no answer came, so that there was nothing to read
        return Finding(name=name, level="wrong", detail="; ".join(ranking.notes.messages), mend=mend)
    detail = f"answer read: {ranking.notes.status}; first is {ranking.item_ids[0]}, asked for was green"
    return Finding(name=name, level="ok" if ranking.notes.status == "ok" else "note", detail=detail)


def _looks_at(reranker: NamedReranker) -> frozenset[Modality] | None:
    """What it looks at of a candidate; None where it does not say."""
    factory = module(reranker.stage.part.part, station="rerankers")
    return frozenset(factory.LOOKS_AT) if isinstance(factory, DeclaredView) else None


def _squares(looks_at: frozenset[Modality] | None) -> list[Candidate]:
    """Three squares as a reranker looks at them: their pictures, or words where it looks at texts alone; both where it does not say."""
    colours = list(COLOURS)[:3]
    pictures = [_InMemory(_square(colour)) if looks_at is None or "image" in looks_at else None for colour in colours]
    texts = [f"a {colour} square" if looks_at is None or "image" not in looks_at else None for colour in colours]
    return [
        Candidate(item=Item(item_id=colour, image=picture, text=text))
        for colour, picture, text in zip(colours, pictures, texts, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _InMemory:
    picture: Image.Image

    def open(self) -> Image.Image:
        return self.picture
