"""Asks an MLLM of each candidate whether it is relevant, and orders by the probability of "Yes" against "No".

    p = softmax([z_Yes, z_No])_0 = 1 / (1 + exp(z_No - z_Yes))   at the first generated position; relevant when p >= eta

Source: RagLLaVA / RagVL (arXiv 2407.21439, code IDEA-FinAI/RagLLaVA at d31de67). Read there: the score, the order of picture,
caption and question, the two labels, keep-then-threshold. Second-hand: the natural threshold 0.5 and the adaptive one. Ours:
the sentences of the prompt, candidates in batches, composed queries, exclusions, captions cut to `caption_words` and the text of
pages to `page_words`.

Cost per query: one forward pass a candidate, batched; no text is generated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from mmrerank.errors import FormatError, InputError
from mmrerank.ordering import MODEL_ROUNDING, best_first, levelled
from mmrerank.parts import printed
from mmrerank.prompting.answers import announce
from mmrerank.prompting.files import read_prompt
from mmrerank.prompting.items import Asked, Shown, choices, open_within, picture_of, shown_as, within
from mmrerank.rerankers._threshold import Threshold, equal_error_threshold
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Backend, Candidate, Cost, Message, Notes, Part, Prompt, Query, Ranking

if TYPE_CHECKING:
    from PIL.Image import Image

CHOICES = ("Yes", "No")
AT_ONCE = 64  # candidates whose pictures are held in memory together
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


@dataclass(frozen=True, kw_only=True)
class Options:
    task: Literal["question", "caption"] = "question"  # what the query's text is: a question, or a caption to be matched
    modality: Asked = "both"  # what of a candidate the model sees; "both" is with captions, "image" without
    threshold: float | str = 0.0  # eta; a path is a fitted one; 0 keeps everything
    prompt: str = "ragllava"
    max_pixels: int = 1_003_520  # of each picture; 1,280 tokens of 28 x 28
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
        self.prompt = read_prompt(options.prompt, PIECES)
        self._options, self._backend = options, backend
        self.eta = self._eta(options.threshold)

    def _eta(self, threshold: float | str) -> float:
        if isinstance(threshold, str):
            return Threshold.load(threshold, backend=self._backend.name, prompt_digest=self.prompt.digest).eta
        return threshold

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates by P(Yes), equal ones in the incoming order; those below eta are named in `notes.irrelevant`.

        A candidate that has nothing to show (no picture that opens, no text) is not asked about: it stays behind the others,
        without a score and with the reason.
        """
        margins, messages, cost = self._margins(query, candidates)
        margins = levelled(margins, rounding=MODEL_ROUNDING)
        order = best_first(margins)
        ranked = tuple(_scored(candidates[n], float(margins[n])) for n in order)
        irrelevant = frozenset(c.item.item_id for c in ranked if c.score is not None and c.score < self.eta)
        if ranked and len(irrelevant) == sum(c.score is not None for c in ranked) > 0:
            messages = [*messages, f"nothing relevant: the best P(Yes) is {ranked[0].score:.3f}, below eta {self.eta:.3f}"]
        notes = Notes(
            status="completed" if np.isneginf(margins).any() else "ok",
            messages=tuple(messages),
            reasons={c.item.item_id: self._reason(c) for c in ranked},
            irrelevant=irrelevant,
            cost=cost,
        )
        return Ranking(query_id=query.query_id, candidates=ranked, notes=notes)

    def fit_threshold(self, judged: Iterable[tuple[Query, Sequence[Candidate], Iterable[str]]]) -> Threshold:
        """The adaptive eta for this model and prompt.

        Args:
            judged: queries, their candidates, and the ids of those that are relevant. Never from the set that is reported.

        Raises:
            InputError: there is no relevant or no irrelevant candidate among them.
        """
        good: list[float] = []
        bad: list[float] = []
        for query, candidates, relevant in judged:
            wanted = set(relevant)
            for candidate in self.rerank(query, candidates).candidates:
                if candidate.score is not None:
                    (good if candidate.item.item_id in wanted else bad).append(candidate.score)
        return Threshold(
            eta=equal_error_threshold(good, bad),
            backend=self._backend.name,
            prompt_digest=self.prompt.digest,
            relevant=len(good),
            irrelevant=len(bad),
        )

    # ------------------------------------------------------------------

    def _margins(self, query: Query, candidates: Sequence[Candidate]) -> tuple[npt.NDArray[np.float64], list[str], Cost]:
        """z_Yes - z_No of each candidate, -inf for those that could not be asked about; why, and what `auto` chose; the cost."""
        margins = np.full(len(candidates), -np.inf)
        messages: list[str] = []
        ways: list[tuple[str, Shown]] = []
        cost = Cost()
        announce(self._backend, len(candidates))
        reference = [open_within(image, self._options.max_pixels) for image in query.images] if candidates else []
        for start in range(0, len(candidates), AT_ONCE):
            prompts: dict[int, Prompt] = {}
            for n in range(start, min(start + AT_ONCE, len(candidates))):
                item = candidates[n].item
                try:
                    prompts[n] = self.prompt_for(query, candidates[n], reference)
                    ways.append((item.item_id, shown_as(item, query.text or "", self._options.modality)))
                except (FormatError, InputError) as error:
                    messages.append(f"{item.item_id}: not asked about: {error.message}")
            if prompts:
                scores = self._backend.choice_logprobs(list(prompts.values()), CHOICES)
                margins[list(prompts)] = _margin(scores.logprobs)
                cost += scores.cost
        chosen = choices(ways) if self._options.modality == "auto" else ()
        return margins, [*messages, *chosen], cost

    def prompt_for(self, query: Query, candidate: Candidate, reference: Sequence[Image] = ()) -> Prompt:
        """What the model is asked about one candidate: its picture, then caption, question and request.

        Raises:
            InputError: the candidate does not have what it is to be shown by.
            FormatError: its picture cannot be opened.
        """
        item, text = candidate.item, self.prompt
        how = shown_as(item, query.text or "", self._options.modality)
        most = self._options.caption_words if item.page_number is None else self._options.page_words
        words = (item.text or "").split()[:most] if how != "image" else []
        pictures: list[Part] = list(reference)
        pictures += [within(picture_of(item), self._options.max_pixels)] if how != "text" else []
        lines = [text.fill("caption", caption=" ".join(words))] if words else []
        asked = query.text or ""
        if reference:
            lines += [text.fill("changed", query=asked), *self._exclusions(query), text.pieces["is_changed"]]
        elif self._options.task == "caption":
            lines = [text.fill("wanted", query=asked), *self._exclusions(query), text.pieces["matches"]]
        else:
            request = text.pieces["with_caption" if words else "without_caption"]
            lines += [text.fill("question", query=asked), *self._exclusions(query), request]
        return (Message(role="user", parts=(*pictures, "\n" + "".join(lines) if pictures else "".join(lines))),)

    def _exclusions(self, query: Query) -> list[str]:
        return [self.prompt.fill("excluded", text=text) for text in query.exclude_text]

    def _reason(self, candidate: Candidate) -> str:
        if candidate.score is None:
            return "nothing to show the model"
        below = f", below eta {self.eta:.3f}" if candidate.score < self.eta else ""
        return f"P(Yes) {candidate.score:.3f}{below}"


def _margin(logprobs: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Yes minus No; a choice that a server did not report counts as far less likely than the other."""
    yes, no = np.maximum(logprobs.astype(np.float64), -1e4).T
    return np.asarray(yes - no)


def _scored(candidate: Candidate, margin: float) -> Candidate:
    if np.isneginf(margin):
        return replace(candidate, score=None, raw_score=None, calibrated_score=None)
    p = float(np.exp(-np.logaddexp(0, -margin)))
    return replace(candidate, score=p, raw_score=margin, calibrated_score=None)


def build(options: Options, backend: Backend) -> RagLLaVA:
    return RagLLaVA(options, backend)


def tiny() -> RagLLaVA:
    return build(Options(), FakeBackend())
