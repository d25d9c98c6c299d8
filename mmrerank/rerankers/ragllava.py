"""Asks an MLLM of each candidate whether it is relevant, and orders by the probability of "Yes" against "No".

    p = softmax([z_Yes, z_No])_0 = 1 / (1 + exp(z_No - z_Yes))   at the first generated position; relevant when p >= eta

Source: RagLLaVA / RagVL (arXiv 2407.21439, code IDEA-FinAI/RagLLaVA at d31de67). Read there: the score, the order of picture,
caption and question, the two labels, keep-then-threshold. Second-hand: the natural threshold 0.5 and the adaptive one. Ours:
the sentences of the prompt, candidates in batches, composed queries, exclusions, captions cut to `caption_words` and the text of
pages to `page_words`, and the question in front (`layout=question_first`), which the candidates of a query then share: a model that
was tuned with the picture in front may judge otherwise.

Cost per query: one forward pass a candidate, batched; no text is generated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mmrerank.errors import InputError
from mmrerank.parts import printed
from mmrerank.prompting.files import PromptLayout, laid_out, read_prompt
from mmrerank.prompting.items import MAX_PIXELS, Display, Exhibit, ModalityChoice, open_within
from mmrerank.protocols import Backend
from mmrerank.rerankers._pointwise import Scores, log_odds, pointwise, sigmoid
from mmrerank.rerankers._rankings import with_messages
from mmrerank.rerankers._threshold import Threshold, fit_threshold
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Message, Modality, Part, Prompt, Query, Ranking

if TYPE_CHECKING:
    from PIL.Image import Image

CHOICES = ("Yes", "No")
PIECES: dict[str, set[str]] = {
    "caption": {"caption"},
    "question": {"query"},
    "with_caption": set(),
    "without_caption": set(),
    "wanted": {"query"},
    "matches": set(),
    "changed": {"query"},
    "is_changed": set(),
    "excluded": {"text"},
}
LOOKS_AT: frozenset[Modality] = frozenset({"image", "text"})


@dataclass(frozen=True, kw_only=True)
class Options:
    task: Literal["question", "caption"] = "question"  # what the query's text is: a question, or a caption to be matched
    layout: PromptLayout = "candidate_first"  # what the model reads first: kept for other queries, or shared by the candidates
    modality: ModalityChoice = "both"  # what of a candidate the model sees; "both" is with captions, "image" without
    threshold: float | str = 0.0  # eta; a path is a fitted one; 0 keeps everything
    prompt: str = "ragllava"
    max_pixels: int = MAX_PIXELS  # of each picture
    caption_words: int = 64  # of the text of what is no page
    page_words: int = 400  # of each page's text, as for mm_r5

    def __post_init__(self) -> None:
        if not isinstance(self.threshold, str) and not 0 <= self.threshold <= 1:
            raise InputError(f"threshold is a probability or the path of a fitted one; got {self.threshold}")


class RagLLaVA:
    """Reranks pointwise by P(Yes)."""

    pointwise = True  # a score depends on the query and this candidate alone

    def __init__(self, options: Options, backend: Backend) -> None:
        self.name = printed("ragllava", options)
        self.prompt = laid_out(read_prompt(options.prompt, PIECES), options.layout)
        self.backend = backend
        self._options = options
        self.eta = self._eta(options.threshold)

    def _eta(self, threshold: float | str) -> float:
        if isinstance(threshold, str):
            return Threshold.load(threshold, backend=self.backend.name, prompt_digest=self.prompt.digest).eta
        return threshold

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates by P(Yes), equal ones in the incoming order; those below eta are named in `notes.irrelevant`.

        A candidate that has nothing to show (no picture that opens, no text) is not asked about: it stays behind the others,
        without a score and with the reason.
        """
        display, reference = self._display(query, lazy=True), self._reference(query) if candidates else []

        def judge(exhibits: Sequence[Exhibit]) -> Scores:
            answers = self.backend.choice_logprobs([self._prompt(query, exhibit, reference) for exhibit in exhibits], CHOICES)
            return Scores(raw=log_odds(answers.logprobs), cost=answers.cost)

        ranking = pointwise(
            query,
            candidates,
            show=display.show,
            judge=judge,
            to_score=sigmoid,
            label="P(Yes)",
            unshown="not asked about",
            threshold=self.eta,
            backend=self.backend,
        )
        return with_messages(ranking, (*query.left_aside("text", "picture", "excluded text"), *display.choices))

    def fit_threshold(self, judged: Iterable[tuple[Query, Sequence[Candidate], Iterable[str]]]) -> Threshold:
        """The adaptive eta for this model and prompt; see `fit_threshold` in `_threshold.py`."""
        return fit_threshold(self, judged)

    def prompt_for(self, query: Query, candidate: Candidate, reference: Sequence[Image] = ()) -> Prompt:
        """What the model is asked about one candidate: its picture, then caption, question and request.

        Raises:
            InputError: the candidate does not have what it is to be shown by.
            FormatError: its picture cannot be opened.
        """
        return self._prompt(query, self._display(query).show(candidate.item), reference)

    # ------------------------------------------------------------------

    def _display(self, query: Query, *, lazy: bool = False) -> Display:
        o = self._options
        words = {"page_words": o.page_words, "caption_words": o.caption_words}
        return Display(query.text or "", o.modality, **words, max_pixels=o.max_pixels, lazy=lazy)

    def _reference(self, query: Query) -> list[Image]:
        return [open_within(image, self._options.max_pixels) for image in query.images]

    def _prompt(self, query: Query, exhibit: Exhibit, reference: Sequence[Image]) -> Prompt:
        text, words = self.prompt, query.text or ""
        caption = [text.fill("caption", caption=exhibit.text)] if exhibit.text else []
        excluded = [text.fill("excluded", text=exclusion) for exclusion in query.exclude_text]
        if reference:
            wish, request = text.fill("changed", query=words), text.pieces["is_changed"]
        elif self._options.task == "caption":
            wish, request, caption = text.fill("wanted", query=words), text.pieces["matches"], []
        else:
            wish, request = text.fill("question", query=words), text.pieces["with_caption" if caption else "without_caption"]
        question = "".join([wish, *excluded])
        if self._options.layout == "question_first":
            beginning: list[Part] = [*reference, "\n" * bool(reference) + question]
            ending = "\n" * bool(exhibit.pictures) + "".join([*caption, request])
            return (Message(role="user", parts=(*beginning, *exhibit.pictures, ending)),)
        pictures: list[Part] = [*reference, *exhibit.pictures]
        return (Message(role="user", parts=(*pictures, "\n" * bool(pictures) + "".join([*caption, question, request]))),)


def build(options: Options, backend: Backend) -> RagLLaVA:
    return RagLLaVA(options, backend)


def tiny() -> RagLLaVA:
    return build(Options(), FakeBackend())
