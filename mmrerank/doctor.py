"""Is a backend fit for the rerankers? Loads it, asks it what the rerankers will ask, and says what is wrong and how to mend it.

Which rerankers there are, and what each looks at, they say themselves; each one that asks a model shows whether it can read this
one's answers, also one of somebody else's that is named.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from mmrerank.collection import capabilities
from mmrerank.errors import FormatError, MMRerankError
from mmrerank.parts import check_name, module, requires
from mmrerank.pipeline import NamedReranker
from mmrerank.prompting.files import read_prompt
from mmrerank.types import Backend, Candidate, DeclaredView, Item, Message, Prompt, Query, SingleTokenBackend, front_to_back

MARKS = 25  # the largest grid: 5 x 5
TOLERANCE = 0.02  # of a probability; half-precision kernels differ by less
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

    Args:
        recorded: P(Yes) of the golden pairs as measured before, to compare with; see `golden_pairs`.
    """
    yield from _guarded("single tokens", lambda: _single_tokens(backend))
    measured: dict[str, float] = {}
    yield from _guarded("yes or no", lambda: _yes_or_no(backend, measured))
    if measured:
        yield from _guarded("neighbours", lambda: _neighbours(backend, measured))
    if measured and recorded is not None:
        yield compare(measured, recorded)
    for name in capabilities.rerankers({"backend"}):
        if requires(name, station="rerankers").needed == {"backend"}:
            yield from _guarded(name, partial(_reads, NamedReranker.of(name), name, backend))


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
            yield from _guarded(name, partial(_reads, reranker, name, backend))


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
    try:
        return {str(name): float(value) for name, value in json.loads(path.read_text(encoding="utf-8"))["golden"].items()}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise FormatError(f"no recorded values: {error}", path=path, hint="Write them: mmrerank doctor --record FILE.") from error


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
        yield Finding(name=name, level="wrong", detail=error.message, mend=error.hint)
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


def _yes_or_no(backend: Backend, measured: dict[str, float]) -> Finding:
    measured |= golden_pairs(backend)
    values = [measured[f"{colour} called {caption}"] for colour, caption in _pairs()]
    right = sum(fits > other for fits, other in zip(values[::2], values[1::2], strict=True))
    detail = f"P(Yes) is higher for the right colour in {right} of {len(COLOURS)} pairs; values {min(values):.3f} to {max(values):.3f}"
    if right == len(COLOURS):
        return Finding(name="yes or no", level="ok", detail=detail)
    mend = "The model does not tell a red square from a green one: rerankers that ask for Yes or No will order by noise."
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


def _reads(reranker: NamedReranker, name: str, backend: Backend | None) -> Finding:
    """Whether a reranker can read this model's answers, and keeps to what every reranker promises."""
    part = reranker.made(**({} if backend is None else {"backend": backend}))
    candidates = _squares(module(reranker.stage.part.part, station="rerankers"))
    ranking = part.rerank(Query(text="a green square"), candidates)
    if sorted(ranking.item_ids) != sorted(candidate.item.item_id for candidate in candidates):
        return Finding(name=name, level="wrong", detail="what it returns is no permutation of its candidates", mend="Mend its rerank().")
    check_name(part.name, station="rerankers")  # which makes it again
    if ranking.notes.status == "fallback":
        mend = f"{name} would leave every order as it came; take a model that follows instructions, or one tuned for it."
        return Finding(name=name, level="wrong", detail="; ".join(ranking.notes.messages), mend=mend)
    detail = f"answer read: {ranking.notes.status}; first is {ranking.item_ids[0]}, asked for was green"
    return Finding(name=name, level="ok" if ranking.notes.status == "ok" else "note", detail=detail)


def _squares(factory: object) -> list[Candidate]:
    """Three squares as the reranker looks at them: their pictures, or words where it looks at texts alone; both where it does not say."""
    looks_at = factory.LOOKS_AT if isinstance(factory, DeclaredView) else None
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
