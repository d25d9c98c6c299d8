"""Asks a small language model for 1 or 0 about each candidate, and orders by the first against the second.

    raw = z_1 - z_0          relevant when raw > 0          score = sigmoid(raw - m / 2), for show: m is 9 for base, 12 for large

Source: ProRank (arXiv 2506.03487), released as mxbai-rerank v2 (code mixedbread-ai/mxbai-rerank at 8e709dc). Read there: score, order of
lines, the limit of query and document alone, the query cut to three quarters of it and then the document alone, the shift of the shown
score. What surrounds them is never cut. The stock system turn is written by the checkpoint's own template. The paragraph that says what 1
and 0 mean is the checkpoint's: a template that takes a query and a document carries it and is used; else ours stands in for it, which
every ranking says. Ours too: exclusions in words; the instruction is never cut, where the code counts it to the query.

Cost per query: one forward pass a candidate, batched; no text is generated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from mmrerank.parts import printed
from mmrerank.prompting.recipes import read_recipe
from mmrerank.protocols import Backend
from mmrerank.rerankers._judging import Asking, Judge
from mmrerank.rerankers._pointwise import sigmoid
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Modality, Prompt, Query, Ranking

LOOKS_AT: frozenset[Modality] = frozenset({"text"})


@dataclass(frozen=True, kw_only=True)
class Options:
    instruction: str = ""  # the task in a sentence; without one its line is left out
    spread: float = 12.0  # m of the shown score: 9 for the base model, 12 for the large one; it moves no order
    words: Annotated[int, Field(ge=1)] = 800  # of each text, before tokens are counted
    prompt_tokens: Annotated[int, Field(ge=1)] = 8192  # of query and document


class ProRank:
    """Reranks pointwise by 1 against 0."""

    pointwise = True  # a score depends on the query and this candidate alone
    takes_instruction = True

    def __init__(self, options: Options, backend: Backend) -> None:
        self.name = printed("prorank", options)
        self.backend = backend
        self._spread = options.spread
        recipe = read_recipe("prorank")
        recipe = replace(recipe, limits=replace(recipe.limits, tokens=options.prompt_tokens))
        self._judge = Judge(recipe, backend, Asking(instruction=options.instruction, words=options.words))
        self.prompt = self._judge.prompt

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates by log-odds, equal ones in the incoming order.

        Raises:
            InputError: the query has no text.
        """
        return self._judge.rerank(query, candidates, to_score=lambda raw: sigmoid(raw - self._spread / 2), label="score")

    def prompt_for(self, query: Query, candidate: Candidate) -> Prompt:
        """What the model is asked about one candidate; errors as of `Judge.prompt_for`."""
        return self._judge.prompt_for(query, candidate.item)


def build(options: Options, backend: Backend) -> ProRank:
    return ProRank(options, backend)


def tiny() -> ProRank:
    return build(Options(), FakeBackend())
