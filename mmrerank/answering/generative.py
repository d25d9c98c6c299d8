"""Answers with an MLLM that sees the pages as pictures, as text, or both, and names the pages it used.

    ... one short sentence [2]            the numbers in brackets are the pages as they were shown, from 1

Marks are read by `_page_marks.py`; what names no page that was shown is the model's text and stays. An answer without a mark cites
the page that has its words, or none. `modality="auto"` decides per page and question whether picture, text or both are shown
(`mmrerank/modality.py`).

Source: ours; that nothing relevant means no page in the prompt follows RagLLaVA, but then we answer "not in these documents"
instead of asking the model without pages.  Cost per question: one generation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mmrerank.answering._page_marks import cited, without_marks
from mmrerank.answering._passages import matches, nearest
from mmrerank.answering.extractive import NOT_FOUND
from mmrerank.backends import streamed
from mmrerank.errors import FormatError, InputError
from mmrerank.parts import printed
from mmrerank.prompting.files import read_prompt
from mmrerank.prompting.items import Asked, Shown, choices, shown_as
from mmrerank.types import (
    Answer,
    Backend,
    Candidate,
    ChoiceScores,
    Citation,
    Cost,
    Decoding,
    Generated,
    Message,
    Notes,
    Part,
    Prompt,
    Query,
)

if TYPE_CHECKING:
    from PIL.Image import Image

PIECES: dict[str, set[str]] = {"task": set(), "unknown": {"not_found"}, "page": {"number", "title"}, "question": {"query"}}


@dataclass(frozen=True, kw_only=True)
class Options:
    modality: Asked = "auto"  # how a page is shown
    prompt: str = "answer"
    max_pixels: int = 1_003_520  # of each page
    page_words: int = 800  # of each page's text
    max_tokens: int = 256


class Generative:
    """Asks a backend, and keeps its citations honest."""

    def __init__(self, options: Options, backend: Backend) -> None:
        self.name = printed("generative", options)
        self.prompt = read_prompt(options.prompt, PIECES)
        self._options, self._backend = options, backend

    def answer(self, query: Query, candidates: Sequence[Candidate]) -> Answer:
        """The model's answer over these pages; "not in these documents" when there are none or the model says so."""
        return self.stream(query, candidates, None)

    def stream(self, query: Query, candidates: Sequence[Candidate], on_text: Callable[[str], None] | None) -> Answer:
        """As `answer`; `on_text` gets the words of the model as they come, page marks such as [2] included."""
        pages, broken = self._pages(query, candidates)
        if not pages:
            return Answer(text=NOT_FOUND, citations=(), found=False, notes=Notes(messages=tuple(broken)))
        shown = [candidates[n] for n in pages]
        asked = Decoding(max_tokens=self._options.max_tokens)
        said = streamed(self._backend, self._prompt(query, pages, candidates), asked, on_text)
        messages = [*broken]
        if self._options.modality == "auto":
            messages += choices((candidates[n].item.item_id, how) for n, (how, _) in pages.items())
        answer, more = _read(said, query.text or "", shown)
        return replace(answer, notes=Notes(messages=(*messages, *more), cost=said.cost))

    def _pages(self, query: Query, candidates: Sequence[Candidate]) -> tuple[dict[int, tuple[Shown, Image | None]], list[str]]:
        """How each page is shown, by position, with its picture where it has a part in that; and what cannot be shown at all."""
        pages: dict[int, tuple[Shown, Image | None]] = {}
        broken: list[str] = []
        for n, candidate in enumerate(candidates):
            try:
                how = shown_as(candidate.item, query.text or "", self._options.modality)
                pages[n] = (how, self._picture(candidate) if how != "text" else None)
            except (FormatError, InputError) as error:
                broken.append(f"{candidate.item.item_id}: not shown to the model: {error.message}")
        return pages, broken

    def _picture(self, candidate: Candidate) -> Image:
        if candidate.item.image is None:
            raise InputError("it has no picture")
        picture = candidate.item.image.open()
        factor = (self._options.max_pixels / (picture.width * picture.height)) ** 0.5
        return picture if factor >= 1 else picture.resize((max(1, int(picture.width * factor)), max(1, int(picture.height * factor))))

    def _prompt(self, query: Query, pages: dict[int, tuple[Shown, Image | None]], candidates: Sequence[Candidate]) -> Prompt:
        text = self.prompt
        parts: list[Part] = [text.pieces["task"] + text.fill("unknown", not_found=NOT_FOUND)]
        for number, (n, (how, picture)) in enumerate(pages.items(), 1):
            item = candidates[n].item
            parts.append(text.fill("page", number=number, title=item.document_id or item.item_id))
            parts += [picture] if picture is not None else []
            parts += [" ".join((item.text or "").split()[: self._options.page_words])] if how != "image" else []
        return (Message(role="user", parts=(*parts, text.fill("question", query=query.text or ""))),)


def _read(said: Generated, question: str, shown: Sequence[Candidate]) -> tuple[Answer, list[str]]:
    """The answer in what a model said of these pages, and what there is to say of it."""
    text = said.text.strip()
    if not text or said.finished == "refused":
        return Answer(text=NOT_FOUND, citations=(), found=False), [] if text else ["the model gave no answer"]
    marks, outside = cited(text, len(shown))
    plain = without_marks(text, len(shown)) or text
    if _is_no(plain, marked=bool(marks)):
        return Answer(text=NOT_FOUND if _is_no(plain, marked=True) else plain, citations=(), found=False), []
    messages = [f"{outside} in the answer name no page that was shown"] if outside else []
    if not marks:
        best = nearest(question, plain, [candidate.item.text or "" for candidate in shown])
        marks = [] if best is None else [best + 1]
        found = "the one that has its words is named" if marks else "none that was shown has its words, and none is named"
        messages.append(f"the model cited no page: {found}")
    citations = tuple(_citation(shown[mark - 1], f"{question} {plain}") for mark in marks)
    return Answer(text=plain, citations=citations), messages


def _is_no(plain: str, *, marked: bool) -> bool:
    """Whether an answer says that the pages do not say it: in these words alone, or in these and others that cite no page."""
    said, no = plain.casefold().rstrip(". "), NOT_FOUND.casefold().rstrip(".")
    return said == no or (said.startswith(no) and not marked)


def _citation(candidate: Candidate, said: str) -> Citation:
    """The page with the passage that comes nearest to what was asked and said, to be looked at."""
    found = matches(said, [candidate.item.text or ""])
    return Citation(item=candidate.item, score=candidate.score, quote=found[0].passage.text if found and found[0].coverage > 0 else "")


def build(options: Options, backend: Backend) -> Generative:
    return Generative(options, backend)


class _Parrot:
    """A test double of a backend that says the same each time."""

    name = "parrot"

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        return [Generated(text="It says so [1].", cost=Cost(calls=1)) for _ in prompts]

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        raise InputError("the parrot chooses nothing")


def tiny() -> Generative:
    return build(Options(), _Parrot())
