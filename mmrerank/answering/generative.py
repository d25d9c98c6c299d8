"""Answers with an MLLM that sees the pages as pictures, as text, or both, and names the pages it used.

    ... one short sentence [2]            the numbers in brackets are the pages as they were shown, from 1

Marks are read by `_page_marks.py`; what names no page that was shown is the model's text and stays. An answer without a mark cites
the page that has its words, or none. `modality="auto"` decides per page and question whether picture, text or both are shown
(`mmrerank/prompting/items.py`).

Source: ours; that nothing relevant means no page in the prompt follows RagLLaVA, but then we answer "not in these documents"
instead of asking the model without pages.  Cost per question: one generation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from mmrerank.answering._page_marks import cited, without_marks
from mmrerank.answering._passages import matches, nearest
from mmrerank.answering.extractive import NOT_FOUND
from mmrerank.backends import streamed
from mmrerank.parts import printed
from mmrerank.prompting.files import read_prompt
from mmrerank.prompting.items import MAX_PIXELS, Display, Exhibit, ModalityChoice, gather
from mmrerank.protocols import Backend
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Answer, Candidate, Citation, Decoding, Generated, Item, Message, Notes, Part, Prompt, Query

PIECES: dict[str, set[str]] = {"task": set(), "unknown": {"not_found"}, "page": {"number", "title"}, "question": {"query"}}


@dataclass(frozen=True, kw_only=True)
class Options:
    modality: ModalityChoice = "auto"  # how a page is shown
    prompt: str = "answer"
    max_pixels: int = MAX_PIXELS  # of each page
    page_words: int = 800  # of each page's text
    max_tokens: int = 256


class Generative:
    """Asks a backend, and keeps its citations honest."""

    def __init__(self, options: Options, backend: Backend) -> None:
        self.name = printed("generative", options)
        self.prompt = read_prompt(options.prompt, PIECES)
        self.backend = backend
        self._options = options

    def answer(self, query: Query, candidates: Sequence[Candidate]) -> Answer:
        """The model's answer over these pages; "not in these documents" when there are none or the model says so."""
        return self.stream(query, candidates, None)

    def stream(self, query: Query, candidates: Sequence[Candidate], on_text: Callable[[str], None] | None) -> Answer:
        """As `answer`; `on_text` gets the words of the model as they come, page marks such as [2] included."""
        options = self._options
        display = Display.of(query, options)
        exhibits, obstacles = gather(candidates, display.show)
        unshown = [f"{candidates[n].item.item_id}: not shown to the model: {why}" for n, why in obstacles.items()]
        if not exhibits:
            return Answer(text=NOT_FOUND, citations=(), found=False, notes=Notes(messages=tuple(unshown)))
        pages = [candidates[n] for n in exhibits]
        prompt = self._prompt(query, zip((page.item for page in pages), exhibits.values(), strict=True))
        generated = streamed(self.backend, prompt, Decoding(max_tokens=options.max_tokens), on_text)
        answer, messages = _read(generated, query.text or "", pages)
        return replace(answer, notes=Notes(messages=(*unshown, *display.choices, *messages), cost=generated.cost))

    def _prompt(self, query: Query, pages: Iterable[tuple[Item, Exhibit]]) -> Prompt:
        text = self.prompt
        parts: list[Part] = [text.pieces["task"] + text.fill("unknown", not_found=NOT_FOUND)]
        for number, (item, page) in enumerate(pages, 1):
            parts += [text.fill("page", number=number, title=item.document_id or item.item_id), *page.parts]
        return (Message(role="user", parts=(*parts, text.fill("question", query=query.text or ""))),)


def _read(generated: Generated, question: str, pages: Sequence[Candidate]) -> tuple[Answer, list[str]]:
    """The answer in what a model wrote of these pages, and what there is to say of it."""
    text = generated.text.strip()
    if not text or generated.finished == "refused":
        silent = Answer(text=NOT_FOUND, citations=(), found=False, nearest=_citation(pages[0], question))
        return silent, [] if text else ["the model gave no answer"]
    marks, outside = cited(text, len(pages))
    plain = without_marks(text, len(pages)) or text
    if _is_no(plain, marked=bool(marks)):
        no = NOT_FOUND if _is_no(plain, marked=True) else plain
        return Answer(text=no, citations=(), found=False, nearest=_citation(pages[0], question)), []
    messages = [f"{outside} in the answer name no page that was shown"] if outside else []
    if not marks:
        best = nearest(question, plain, [page.item.text or "" for page in pages])
        marks = [] if best is None else [best + 1]
        outcome = "the one that has its words is named" if marks else "none that was shown has its words, and none is named"
        messages.append(f"the model cited no page: {outcome}")
    citations = tuple(_citation(pages[mark - 1], f"{question} {plain}") for mark in marks)
    return Answer(text=plain, citations=citations), messages


def _is_no(plain: str, *, marked: bool) -> bool:
    """Whether an answer says that the pages do not say it: in these words alone, or in these and others that cite no page."""
    answer, no = plain.casefold().rstrip(". "), NOT_FOUND.casefold().rstrip(".")
    return answer == no or (answer.startswith(no) and not marked)


def _citation(page: Candidate, words: str) -> Citation:
    """The page with the passage that comes nearest to question and answer, to be looked at."""
    passages = matches(words, [page.item.text or ""])
    quote = passages[0].passage.text if passages and passages[0].coverage > 0 else ""
    return Citation(item=page.item, score=page.score, quote=quote)


def build(options: Options, backend: Backend) -> Generative:
    return Generative(options, backend)


def tiny() -> Generative:
    return build(Options(), FakeBackend(answer=lambda prompt: "It says so [1]."))
