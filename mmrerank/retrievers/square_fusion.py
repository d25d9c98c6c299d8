"""Picture and text in one query, enriched with an MLLM's description of the picture that is wished for.

    q = unit( (1 - beta) unit((1 - alpha) image + alpha text) + beta text(caption) ),  then less the exclusions, as in `composed`

Source: the first half (SQAF) of SQUARE (arXiv 2509.26330), of which only the abstract and some second-hand notes could be
read: no reproduction. Read there: the query's row is enriched with the row of a caption of the target; second-hand: the
weighted sum of image and text, in which alpha weights the text. Ours: how the caption comes in (beta), unit length before
each sum, the defaults, the prompt, what counts as a caption. With `normalise_inputs=False` image and text are summed as the
encoder leaves them, as the predecessor's code does, where alpha=0.8 is usual; the caption is of unit length either way.

One bad caption can ruin a query: an empty, cut or overlong one, a refusal or a time-out gives beta = 0, the row of `composed`,
and the notes say so. A query without a picture or without text asks for no caption and is searched as by `composed`.
Exclusions stay out of the prompt, since encoders read "no door" as a door; they are subtracted.

Cost per query: one generation with the reference picture (`captions` of them), three encoder calls, one index search.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmrerank.errors import BackendError, InputError
from mmrerank.parts import printed
from mmrerank.prompting.files import read_prompt
from mmrerank.protocols import Backend, Corpus, CorpusCapabilities, EmbeddingSpace
from mmrerank.retrievers._query_rows import QueryCache, modalities, summed_row, text_row, unit_row, without_excluded
from mmrerank.testing.fakes import fake_corpus
from mmrerank.types import Array, ChoiceScores, Cost, Decoding, Generated, ImageHandle, Message, Notes, Part, Prompt, Query, Ranking

if TYPE_CHECKING:
    from PIL.Image import Image

PIECES: dict[str, set[str]] = {"task": set(), "reference": {"number"}, "change": {"query"}}
REASON_LETTERS = 80
REFUSALS = re.compile(
    r"(i['’]?m sorry|sorry\b|i am sorry|i can(no|['’])t|i am unable|i['’]m unable|unable to|as an ai\b|i won['’]t)", re.IGNORECASE
)
LABEL = re.compile(r"(?:target |new |resulting )?(?:image |picture )?(?:description|caption|picture|image)\s*:\s*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Options:
    alpha: float = 0.5  # weight of the text beside the image, 0..1
    beta: float = 0.5  # weight of the caption beside both, 0..1
    normalise_inputs: bool = True
    exclude_weight: float = 0.5
    encoder: str | None = None
    prompt: str = "square_fusion"
    captions: int = 1  # several are averaged and need a temperature
    max_words: int = 50  # a longer caption is none; encoders of the CLIP kind read about as much
    max_tokens: int = 128
    reference_px: int = 672  # the longest side at which pictures of the query are shown to the model
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.alpha <= 1 and 0 <= self.beta <= 1):
            raise InputError(f"alpha weights the text and beta the caption, both in 0..1; got {self.alpha} and {self.beta}")
        if min(self.captions, self.max_words, self.reference_px) < 1:
            raise InputError(f"captions, max_words and reference_px count from 1; got {self}")
        if self.captions > 1 and self.temperature == 0:
            raise InputError(f"{self.captions} greedy captions are one and the same", hint="Give a temperature above 0.")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryDescription:
    """What became of a query: its row, and the captions in it or why there are none."""

    row: Array  # (dimension,) unit
    captions: tuple[str, ...]
    problems: tuple[str, ...]  # why captions that were asked for are not used
    cost: Cost


class SquareFusion:
    """Retrieves by a row for pictures and text, with captions of what is wished for in it."""

    def __init__(self, options: Options, corpus: Corpus, backend: Backend) -> None:
        self.name = printed("square_fusion", options)
        self.prompt = read_prompt(options.prompt, PIECES)
        self._options, self._corpus, self._backend = options, corpus, backend
        self.description = QueryCache(self._describe)

    def retrieve(self, query: Query, k: int) -> Ranking:
        """The k items nearest to the enriched query; the caption is among the messages and in each reason.

        Raises:
            InputError: no encoder of the collection takes both pictures and text, or the parts cancel out.
            BackendError: the model cannot be reached or does not take the prompt; a time-out is a missing caption.
        """
        description = self.description(query)
        candidates = self.space(query).nearest(description.row, k, filter=query.filter)
        towards = f" to the wished-for picture: {_short(' / '.join(description.captions))}" if description.captions else ""
        towards += " (no caption)" if description.problems and not description.captions else ""
        notes = Notes(
            status=("completed" if description.captions else "fallback") if description.problems else "ok",
            messages=(*(f"caption: {caption}" for caption in description.captions), *description.problems),
            reasons={c.item.item_id: f"cosine {c.score:.3f}{towards}" for c in candidates},
            cost=description.cost,
        )
        return Ranking(query_id=query.query_id, candidates=tuple(candidates), notes=notes)

    def query_row(self, query: Query) -> Array:
        """(dimension,) unit row that `retrieve` searches with."""
        return self.description(query).row

    def space(self, query: Query) -> EmbeddingSpace:
        """The space of the encoder that takes what the query is made of."""
        return self._corpus.space(takes=modalities(query), encoder=self._options.encoder)

    def prompt_for(self, query: Query) -> Prompt:
        """What the model is asked: the task, the reference picture, the change."""
        head, parts = self.prompt.pieces["task"], list[Part]()
        for number, handle in enumerate(query.images, 1):
            label = self.prompt.fill("reference", number=f" {number}" if len(query.images) > 1 else "")
            parts += [head + label, self._reference_picture(handle)]
            head = ""
        return (Message(role="user", parts=(*parts, self.prompt.fill("change", query=query.text or ""))),)

    # ------------------------------------------------------------------

    def _describe(self, query: Query) -> QueryDescription:
        options, encoder = self._options, self.space(query).encoder
        row = summed_row(encoder, query, alpha=options.alpha, normalise=options.normalise_inputs)
        captions, problems, cost = self._captions(query) if query.images and query.text and options.beta else ([], [], Cost())
        if captions:
            row = unit_row((1 - options.beta) * row + options.beta * text_row(encoder, captions))
        row = without_excluded(row, encoder, query, options.exclude_weight)
        return QueryDescription(row=row, captions=tuple(captions), problems=tuple(problems), cost=cost)

    def _captions(self, query: Query) -> tuple[list[str], list[str], Cost]:
        """The usable captions, why others are not, and the cost of all."""
        options, prompt = self._options, self.prompt_for(query)
        captions: list[str] = []
        problems: list[str] = []
        cost = Cost()
        for n in range(options.captions):
            decoding = Decoding(max_tokens=options.max_tokens, temperature=options.temperature, seed=options.seed + n)
            try:
                (answer,) = self._backend.generate([prompt], decoding)
            except BackendError as error:
                if not error.retryable:
                    raise
                problems.append(f"no caption: {error.message}")
                continue
            cost += answer.cost
            caption, why = caption_of(answer, max_words=options.max_words)
            (problems if why else captions).append(f"no caption: {why}" if why else caption)
        return captions, problems, cost

    def _reference_picture(self, handle: ImageHandle) -> Image:
        picture = handle.open().copy()
        picture.thumbnail((self._options.reference_px, self._options.reference_px))
        return picture


def caption_of(answer: Generated, *, max_words: int) -> tuple[str, str]:
    """The caption in an answer, or "" and why there is none: its first line of text, without a label, quotes or emphasis.

    >>> caption_of(Generated(text='Here it is:\\n**Description:** "A green door."'), max_words=50)
    ('A green door.', '')
    >>> caption_of(Generated(text="I'm sorry, I can't help with that."), max_words=50)
    ('', "the model refused: I'm sorry, I can't help with that.")
    """
    text = answer.text.rpartition("</think>")[2]
    lines = [re.sub(r"[*`]+", "", line).strip() for line in text.splitlines()]
    lines = [LABEL.sub("", line, count=1) if LABEL.match(line) else line for line in lines]
    caption = next((line.strip(' "“”') for line in lines if re.search(r"\w", line) and not line.endswith(":")), "")
    if answer.finished == "refused" or REFUSALS.match(caption):
        return "", f"the model refused: {_short(caption)}" if caption else "the model refused"
    if not caption:
        return "", "the answer is empty"
    if answer.finished == "length" or len(caption.split()) > max_words:
        return "", f"the answer is longer than {max_words} words or was cut: {_short(caption)}"
    return caption, ""


def _short(text: str) -> str:
    return text if len(text) <= REASON_LETTERS else text[: REASON_LETTERS - 1].rstrip() + "…"


def works_on(corpus: CorpusCapabilities) -> bool:
    return corpus.takes("image", "text")


def build(options: Options, corpus: Corpus, backend: Backend) -> SquareFusion:
    return SquareFusion(options, corpus, backend)


class FakeCaptioner:
    """A fake MLLM that describes everything alike. Shipped so that nobody patches."""

    name = "double"

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        return [Generated(text="a red door", cost=Cost(calls=1, generated_tokens=3)) for _ in prompts]

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        raise BackendError("this double only writes captions")


def tiny() -> SquareFusion:
    return build(Options(), fake_corpus(), FakeCaptioner())
