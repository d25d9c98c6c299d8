"""Is a backend fit for the rerankers? Loads it, asks it what the rerankers will ask, and says what is wrong and how to mend it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageDraw

from mmrerank.errors import BackendError, FormatError, MMRerankError
from mmrerank.parts import make
from mmrerank.types import Backend, Candidate, Decoding, Item, Prompt, Query

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
    """The findings, one after the other as they come.

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
    for name in ("mm_r5(window=3, step=1)", "square(depth=4)"):
        yield from _guarded(name.split("(")[0], lambda name=name: _reads(backend, name))  # type: ignore[misc]


def golden_pairs(backend: Backend) -> dict[str, float]:
    """P(Yes) of each golden pair: a plain coloured square against the caption with its colour and another one."""
    choices = backend.choice_logprobs([_asked(shown, said) for shown, said in _pairs()], ("Yes", "No")).logprobs
    p = 1 / (1 + np.exp(np.clip(choices[:, 1] - choices[:, 0], -50, 50)))
    return {f"{shown} called {said}": round(float(value), 6) for (shown, said), value in zip(_pairs(), p, strict=True)}


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
    names = list(COLOURS)
    return [(shown, said) for n, shown in enumerate(names) for said in (shown, names[(n + 1) % len(names)])]


def _square(colour: str) -> Image.Image:
    picture = Image.new("RGB", (224, 224), "white")
    ImageDraw.Draw(picture).rectangle((32, 32, 191, 191), fill=COLOURS[colour])
    return picture


def _asked(shown: str, said: str) -> Prompt:
    reranker = make("ragllava(task='caption')", station="rerankers", backend=_Unasked())
    candidate = Candidate(item=Item(item_id=shown, image=_InMemory(_square(shown))))
    prompt: Prompt = reranker.prompt_for(Query(text=f"a {said} square"), candidate)
    return prompt


def _guarded(name: str, check: Callable[[], Finding]) -> Iterator[Finding]:
    start = time.perf_counter()
    try:
        found = check()
    except MMRerankError as error:
        yield Finding(name=name, level="wrong", detail=error.message, mend=error.hint)
        return
    seconds = f" ({time.perf_counter() - start:.1f} s)"
    yield Finding(name=found.name, level=found.level, detail=found.detail + seconds, mend=found.mend)


def _single_tokens(backend: Backend) -> Finding:
    is_single: Callable[[str], bool] | None = getattr(backend, "single_token", None)
    if is_single is None:
        return Finding(name="single tokens", level="note", detail="the tokens of this backend cannot be seen from here")
    several = [word for word in ("Yes", "No") if not is_single(word)]
    marks = [str(mark) for mark in range(1, MARKS + 1) if not is_single(str(mark))]
    if several:
        mend = "P(Yes) takes a slower path over several tokens, and compares words of unlike length."
        return Finding(name="single tokens", level="wrong", detail=f"more than one token: {', '.join(several)}", mend=mend)
    if marks:
        return Finding(name="single tokens", level="note", detail=f"Yes and No are single tokens; marks of several: {', '.join(marks)}")
    return Finding(name="single tokens", level="ok", detail=f"Yes, No and the marks 1 to {MARKS} are one token each")


def _yes_or_no(backend: Backend, measured: dict[str, float]) -> Finding:
    measured |= golden_pairs(backend)
    values = [measured[f"{shown} called {said}"] for shown, said in _pairs()]
    right = sum(fits > other for fits, other in zip(values[::2], values[1::2], strict=True))
    detail = f"P(Yes) is higher for the right colour in {right} of {len(COLOURS)} pairs; values {min(values):.3f} to {max(values):.3f}"
    if right == len(COLOURS):
        return Finding(name="yes or no", level="ok", detail=detail)
    mend = "The model does not tell a red square from a green one: ragllava's order will be noise with it."
    return Finding(name="yes or no", level="wrong", detail=detail, mend=mend)


def _neighbours(backend: Backend, measured: Mapping[str, float]) -> Finding:
    shown, said = _pairs()[0]
    alone = backend.choice_logprobs([_asked(shown, said)], ("Yes", "No")).logprobs[0]
    p = float(1 / (1 + np.exp(np.clip(alone[1] - alone[0], -50, 50))))
    apart = abs(p - measured[f"{shown} called {said}"])
    detail = f"P(Yes) alone and among neighbours differ by {apart:.5f}"
    if apart <= TOLERANCE:
        return Finding(name="neighbours", level="ok", detail=detail)
    return Finding(name="neighbours", level="wrong", detail=detail, mend="Use float32, or batch_size=1.")


def _reads(backend: Backend, name: str) -> Finding:
    """Whether a listwise reranker can read this model's answers."""
    reranker = make(name, station="rerankers", backend=backend)
    colours = [Candidate(item=Item(item_id=colour, image=_InMemory(_square(colour)))) for colour in list(COLOURS)[:3]]
    ranking = reranker.rerank(Query(text="a green square"), colours)
    station = name.split("(")[0]
    if ranking.notes.status == "fallback":
        mend = f"{station} would leave every order as it came; take a model that follows instructions, or one tuned for it."
        return Finding(name=station, level="wrong", detail="; ".join(ranking.notes.messages), mend=mend)
    detail = f"answer read: {ranking.notes.status}; first is {ranking.item_ids[0]}, asked for was green"
    return Finding(name=station, level="ok" if ranking.notes.status == "ok" else "note", detail=detail)


@dataclass(frozen=True, slots=True)
class _InMemory:
    picture: Image.Image

    def open(self) -> Image.Image:
        return self.picture


class _Unasked:
    """Stands in where a part is built for its prompt alone."""

    name = "unasked"

    def generate(self, prompts: Any, decoding: Decoding | None = None) -> Any:
        raise BackendError("this backend answers nothing: it stands where a part is built for its prompt alone")

    def choice_logprobs(self, prompts: Any, choices: Any) -> Any:
        return self.generate(prompts)
