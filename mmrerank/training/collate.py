"""What a reranker asks its model about candidates, caught on the way to the model: training sends what inference sends.

    query, candidates --reranker.rerank--> Listener --> prompts, choices        no prompt is written here

So whatever a reranker writes, with all its options, is what is trained on, byte for byte, one of somebody else's too. What comes back to
the reranker meanwhile means nothing, and its ranking is thrown away.

    choices, a prompt a candidate     the query itself (several tokens): its likelihood; two words: their log-odds; one: its logit
    choices, one prompt               an identifier a candidate: the logit of each
    states                            the last prompt is the query's, the others are the candidates': cosines
    answers                           a text that is taught, see `answers`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from transformers import PreTrainedTokenizerBase

from mmrerank.errors import InputError
from mmrerank.parts import make
from mmrerank.protocols import Backend, TrainableBackend, front_to_back
from mmrerank.training.answers import answers_for
from mmrerank.types import Array, Candidate, ChoiceScores, Decoding, Generated, Prompt, Query

Kind: TypeAlias = Literal["choices", "states", "answers"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the model is asked about the candidates of one query."""

    kind: Kind
    prompts: tuple[Prompt, ...]  # one a candidate, in their order, or one for all; of states one more, the query's, as the last
    choices: tuple[str, ...] = ()  # what the likelihood of is asked, the same behind every prompt
    decoding: Decoding | None = None  # of answers
    left_aside: tuple[str, ...] = ()  # what of the query no prompt has, in sentences


class Listener:
    """Stands in front of a model, writes down what it is asked, and answers nothing of worth."""

    def __init__(self, inner: Backend) -> None:
        self.name = inner.name
        self.inner = inner
        self.heard: list[Request] = []

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        """An empty answer to each."""
        self.heard.append(Request(kind="answers", prompts=tuple(prompts), decoding=decoding))
        return [Generated(text="") for _ in prompts]

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        """Zero for each; every choice counts as one token."""
        self.heard.append(Request(kind="choices", prompts=tuple(prompts), choices=tuple(choices)))
        return ChoiceScores(logprobs=np.zeros((len(prompts), len(choices)), dtype=np.float32), lengths=(1,) * len(choices))

    def choice_logits(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        """As `choice_logprobs`."""
        return self.choice_logprobs(prompts, choices)

    def embed(self, prompts: Sequence[Prompt]) -> Array:
        """The same row for each."""
        self.heard.append(Request(kind="states", prompts=tuple(prompts)))
        return np.ones((len(prompts), 2), dtype=np.float32)


def request_of(reranker: str, query: Query, candidates: Sequence[Candidate], backend: Backend) -> Request:
    """What this reranker asks about these candidates.

    Args:
        reranker: its name; it is made anew, so that nothing it remembers is left out.

    Raises:
        InputError: it asks no model, asks several times, or does not show every candidate.
    """
    listener = Listener(backend)
    ranking = make(reranker, station="rerankers", backend=listener).rerank(query, list(candidates))
    heard = listener.heard
    if not heard or {one.kind for one in heard} != {heard[0].kind} or len({one.choices for one in heard}) > 1:
        raise InputError(
            f"{reranker!r} asks its model nothing, or of several kinds, about query {query.query_id!r}: it cannot be trained so"
        )
    prompts = tuple(prompt for one in heard for prompt in one.prompts)
    wanted = (1, len(candidates)) if heard[0].kind != "states" else (len(candidates) + 1,)
    if len(prompts) not in wanted:
        message = f"{reranker!r} sends {len(prompts)} prompts about {len(candidates)} candidates of query {query.query_id!r}"
        raise InputError(message, hint="Draw as many candidates as one prompt of it holds, all of which have what it shows.")
    aside = tuple(message for message in ranking.notes.messages if message.startswith("left aside"))
    return Request(kind=heard[0].kind, prompts=prompts, choices=heard[0].choices, decoding=heard[0].decoding, left_aside=aside)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A query with the candidates of one group, in the order in which they are shown."""

    query: Query
    candidates: tuple[Candidate, ...]
    grades: tuple[float, ...]
    teacher: tuple[float, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """What the candidates say; "" where one says nothing."""
        return tuple(one.item.text or "" for one in self.candidates)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """One batch: a row is a prompt and what follows it."""

    prompts: tuple[Prompt, ...]
    following: tuple[tuple[int, ...], ...]  # tokens behind each prompt: the query, or the answer that is taught
    choices: tuple[tuple[int, ...], ...]  # single tokens whose logits are read right behind each prompt
    groups: tuple[tuple[int, ...], ...]  # rows of each group
    kind: Literal["likelihood", "pointwise", "listwise", "states", "answers"]
    samples: tuple[Sample, ...] = field(repr=False)
    beside: Rows | None = None  # the same samples as another reranker asks about them


class Collator:
    """Samples -> rows, by the prompts of a reranker."""

    def __init__(self, reranker: str, backend: Backend, *, answer: str = "", beside: str = "") -> None:
        """
        Args:
            answer: the form of the text that is taught; "" where none is.
            beside: another reranker that asks about the same candidates; "" where none does.

        Raises:
            InputError: no model in this process stands behind the backend.
        """
        self._reranker, self._backend = reranker, backend
        self._model = trainable(backend)
        self._write = answers_for(answer) if answer else None
        self._beside = Collator(beside, backend) if beside else None

    def __call__(self, samples: Sequence[Sample]) -> Rows:
        """One batch of samples, all asked about in the same way."""
        rows = [self._rows(sample) for sample in samples]
        starts = np.cumsum([0, *(len(row.prompts) for row in rows)])
        return Rows(
            prompts=tuple(prompt for row in rows for prompt in row.prompts),
            following=tuple(tokens for row in rows for tokens in row.following),
            choices=tuple(tokens for row in rows for tokens in row.choices),
            groups=tuple(tuple(range(int(start), int(start) + len(row.prompts))) for start, row in zip(starts, rows, strict=False)),
            kind=rows[0].kind,
            samples=tuple(samples),
            beside=None if self._beside is None else self._beside(samples),
        )

    def _rows(self, sample: Sample) -> Rows:
        """The rows of one group."""
        heard = request_of(self._reranker, sample.query, sample.candidates, self._backend)
        following: list[tuple[int, ...]] = [()] * len(heard.prompts)
        choices: list[tuple[int, ...]] = [()] * len(heard.prompts)
        kind: Any = heard.kind
        if heard.kind == "choices":
            tokens = [tuple(self._model.answer_tokens(choice, prompt) for choice in heard.choices) for prompt in heard.prompts]
            single = all(len(one) == 1 for row in tokens for one in row)
            is_likelihood = len(heard.choices) == 1 and heard.choices[0] == sample.query.text
            kind = "likelihood" if is_likelihood else "pointwise" if len(heard.prompts) == len(sample.candidates) else "listwise"
            if is_likelihood:
                following = [row[0] for row in tokens]
            elif single:
                choices = [tuple(one[0] for one in row) for row in tokens]
            else:
                raise InputError(f"{self._reranker!r} asks for {list(heard.choices)}, which are more than one token each to the model")
        if self._write is not None:
            following = [
                self._taught(text, prompt) for text, prompt in zip(self._write(sample, len(heard.prompts)), heard.prompts, strict=True)
            ]
        elif kind == "answers":
            raise InputError(f"{self._reranker!r} has its model write, and the recipe does not say what", hint="Set answer in [[stages]].")
        return Rows(prompts=heard.prompts, following=tuple(following), choices=tuple(choices), groups=(), kind=kind, samples=(sample,))

    def _taught(self, text: str, prompt: Prompt) -> tuple[int, ...]:
        """The tokens of an answer, with the one that ends it."""
        processor = self._model.processor
        tokenizer = processor if isinstance(processor, PreTrainedTokenizerBase) else processor.tokenizer
        return (*self._model.answer_tokens(text, prompt), tokenizer.eos_token_id)


def trainable(backend: Backend) -> TrainableBackend:
    """The model in this process that stands behind a backend.

    Raises:
        InputError: there is none.
    """
    for one in front_to_back(backend):
        if isinstance(one, TrainableBackend):
            return one
    raise InputError(f"{backend.name!r} is no model in this process, and cannot be trained", hint="Name one: local/PATH, or mini.")
