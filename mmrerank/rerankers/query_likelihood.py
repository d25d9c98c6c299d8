"""Orders candidates by how likely a model is to write the query once it has seen the candidate.

    l(t | d) = 1/n Σ log p(t_i | d, request, t_<i)         mean over the n tokens of a text t, after candidate d and a short request
    raw      = l(query | d) - Σ max(0, l(e | d) - l(e | nothing))         over the excluded texts e
    score    = exp(raw)                                    the geometric mean of the tokens' probabilities

The request asks for a question, a caption, or (behind reference pictures) a change, so that the same score reads "would one ask this
of this text or picture". Small models that cannot judge still can write: this needs no answer in words, and no training.

An excluded text takes away what the candidate adds to its likelihood over the bare request, never more than that and never less than
nothing. Excluded pictures have no words whose likelihood could be measured; a query without a text has none either, and is refused.

Source: Ponte & Croft 1998 (query likelihood), Sachan et al. 2022 (UPR, arXiv 2204.07496): the mean log-probability of the question
given the passage, zero-shot. Ours: the wording, pictures, changes, exclusions, the score, and the request in front of the candidate
(`layout=question_first`), which all candidates then share; the query is what is written, and so is last in both.

Cost per query: one forward pass a candidate, batched, and with exclusions one more; no text is generated. A server (vLLM) is asked twice a
candidate: for how long the prompt is, and for what the query comes to behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mmrerank.errors import BackendError, InputError
from mmrerank.parts import printed
from mmrerank.prompting.files import PromptLayout, laid_out, read_prompt
from mmrerank.prompting.items import MAX_PIXELS, Display, Exhibit, ModalityChoice, Way, open_within
from mmrerank.protocols import Backend, CuttingBackend, LikelihoodBackend, front_to_back
from mmrerank.rerankers._pointwise import Scores, pointwise
from mmrerank.rerankers._rankings import with_messages
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Cost, Message, Modality, Part, Prompt, Query, Ranking

if TYPE_CHECKING:
    from PIL.Image import Image

Means: TypeAlias = npt.NDArray[np.float64]
PIECES: dict[str, set[str]] = {
    "passage": {"text"},
    "caption": {"text"},
    "question_of_text": set(),
    "question_of_picture": set(),
    "question_of_both": set(),
    "caption_of_text": set(),
    "caption_of_picture": set(),
    "changed": set(),
}
LOOKS_AT: frozenset[Modality] = frozenset({"image", "text"})
NO_PICTURES_EXCLUDED = "excluded pictures are not looked at: they have no words whose likelihood could be measured"


@dataclass(frozen=True, kw_only=True)
class Options:
    task: Literal["question", "caption"] = "question"  # what the query's text is, and so what the model is asked to write
    layout: PromptLayout = "candidate_first"  # whether the candidate or the request stands first; behind both comes the query
    modality: ModalityChoice = "both"  # what of a candidate the model sees; "both" is its picture with its text as the caption
    prompt: str = "query_likelihood"
    max_pixels: int = MAX_PIXELS  # of each picture
    passage_words: Annotated[int, Field(ge=1)] = 100  # of the text of what is no page
    page_words: Annotated[int, Field(ge=1)] = 400  # of each page's text


class QueryLikelihood:
    """Reranks pointwise by the likelihood of the query's text."""

    pointwise = True  # a score depends on the query and this candidate alone

    def __init__(self, options: Options, backend: Backend) -> None:
        self.name = printed("query_likelihood", options)
        self.prompt = laid_out(read_prompt(options.prompt, PIECES), options.layout)
        self.backend = backend
        self._options = options

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates by the mean log-probability of the query, equal ones in the incoming order.

        A candidate that has nothing to show stays behind the others, without a score and with the reason.

        Raises:
            InputError: the query has no text, or the backend does not tell the likelihood of texts of several tokens.
        """
        if not query.text:
            message = f"query {query.query_id!r} has no text, and a likelihood is one of words"
            raise InputError(message, hint="Give it a text, or use a reranker that compares pictures.")
        texts = (query.text, *query.exclude_text)
        display, reference = self._display(query), self._reference(query) if candidates else []
        bare: dict[Way, Means] = {}  # what the texts come to after a request alone, where some are excluded

        def judge(exhibits: Sequence[Exhibit]) -> Scores:
            means, cost = self._means([self._prompt(exhibit, reference) for exhibit in exhibits], texts)
            ways = sorted({exhibit.way for exhibit in exhibits} - set(bare)) if query.exclude_text else []
            if ways:
                rows, further = self._means([self._prompt(Exhibit(way=way), reference) for way in ways], texts)
                bare.update(zip(ways, rows, strict=True))
                cost += further
            added = [row[1:] - bare[exhibit.way][1:] if bare else [] for row, exhibit in zip(means, exhibits, strict=True)]
            return Scores(raw=means[:, 0] - np.maximum(added, 0).sum(axis=1), cost=cost)

        ranking = pointwise(
            query,
            candidates,
            show=display.show,
            judge=judge,
            to_score=lambda raw: float(np.exp(raw)),
            label="mean p(token)",
            unshown="not shown to the model",
            backend=self.backend,
        )
        messages = (*display.choices, *([NO_PICTURES_EXCLUDED] if query.exclude_images else []))
        return with_messages(ranking, messages)

    def prompt_for(self, query: Query, candidate: Candidate) -> Prompt:
        """What stands before the query for one candidate.

        Raises:
            InputError: the candidate does not have what it is to be shown by.
            FormatError: its picture cannot be opened.
        """
        return self._prompt(self._display(query).show(candidate.item), self._reference(query))

    # ------------------------------------------------------------------

    def _display(self, query: Query) -> Display:
        o = self._options
        words = {"page_words": o.page_words, "caption_words": o.passage_words}
        return Display(query.text or "", o.modality, **words, max_pixels=o.max_pixels, lazy=True)

    def _reference(self, query: Query) -> list[Image]:
        return [open_within(image, self._options.max_pixels) for image in query.images]

    def _prompt(self, exhibit: Exhibit, reference: Sequence[Image]) -> Prompt:
        """Reference pictures, the candidate, the request; an exhibit that shows nothing leaves the request alone."""
        text = self.prompt
        pictures: list[Part] = [*reference, *exhibit.pictures]
        content = [text.fill("passage" if exhibit.way == "text" else "caption", text=exhibit.text)] if exhibit.text else []
        request = text.pieces[self._request(exhibit.way, changed=bool(reference))]
        if self._options.layout == "question_first":
            words = "".join(content).rstrip()
            ends = request + "\n\n" * bool(pictures or words), "\n" * bool(pictures and words) + words
            return (Message(role="user", parts=(ends[0], *pictures, ends[1])),)
        return (Message(role="user", parts=(*pictures, "\n" * bool(pictures) + "".join([*content, request]))),)

    def _request(self, way: Way, *, changed: bool) -> str:
        """The piece that asks for what the query is."""
        if changed:
            return "changed"
        if self._options.task == "caption":
            return "caption_of_text" if way == "text" else "caption_of_picture"
        return {"text": "question_of_text", "image": "question_of_picture", "both": "question_of_both"}[way]

    def _means(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> tuple[Means, Cost]:
        """(n_prompts, n_texts) mean log-probabilities of a token.

        Raises:
            InputError: the backend does not tell how many tokens a text has, and so perhaps only of its first what it comes to.
        """
        try:
            source = next((one for one in front_to_back(self.backend) if isinstance(one, LikelihoodBackend)), None)
            answers = self.backend.choice_logprobs(prompts, texts) if source is None else source.text_logprobs(prompts, texts)
        except BackendError as error:
            if error.retryable or any(isinstance(one, CuttingBackend) for one in front_to_back(self.backend)):
                raise
            raise self._first_tokens_only(str(error)) from error  # a server, which reports the likeliest first tokens
        if len(answers.lengths) != len(texts):
            raise self._first_tokens_only()
        return answers.logprobs.astype(np.float64) / np.asarray(answers.lengths, dtype=np.float64), answers.cost

    def _first_tokens_only(self, why: str = "") -> InputError:
        message = f"{self.backend.name} does not tell the likelihood of a text of several tokens, which query_likelihood orders by"
        hint = "Ask a vLLM server, run the model here with local/PATH, or take a reranker that asks for one word."
        return InputError(f"{message}: {why}" if why else message, hint=hint)


def build(options: Options, backend: Backend) -> QueryLikelihood:
    return QueryLikelihood(options, backend)


def tiny() -> QueryLikelihood:
    return build(Options(), FakeBackend())
