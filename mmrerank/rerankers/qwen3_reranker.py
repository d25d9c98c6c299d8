"""Asks a Qwen3-Reranker or Qwen3-VL-Reranker whether each candidate meets an instruction and a query, and orders by yes against no.

    raw = z_yes - z_no          score = sigmoid(raw)          at the last position of the prompt

Source: Qwen3 Embedding (arXiv 2506.05176; code QwenLM/Qwen3-Embedding at f4ad0c4) and Qwen3-VL-Embedding (code at 8ce3aab). Read there: the
score, the layouts (in the recipes `qwen3_reranker` and `qwen3_vl_reranker`), the limits, NULL for an empty side of the second, that what
surrounds the pair is counted first and never cut. Ranking is by the log-odds, in float32 and above, since the sigmoid flattens. Ours: a
document is cut at its end, where the code of the second keeps special tokens and fills up from the left; texts come with one blank
between words; a picture that does not open costs its candidate the place, where the code scores a literal NULL; exclusions in words.

The sentences are the checkpoint's: releases whose chat template takes a query and a document carry them, and they are used. For others put
theirs into a file of `judge`, since ours stand in for them here, which every ranking says.

Cost per query: one forward pass a candidate, batched; no text is generated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from mmrerank.parts import printed
from mmrerank.prompting.recipes import Recipe, read_recipe
from mmrerank.protocols import Backend
from mmrerank.rerankers._judging import Asking, Judge
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Modality, Prompt, Query, Ranking

RECIPES = {"text": "qwen3_reranker", "pictures": "qwen3_vl_reranker"}
LOOKS_AT: frozenset[Modality] = frozenset({"image", "text"})


@dataclass(frozen=True, kw_only=True)
class Options:
    layout: Literal["text", "pictures"] = "text"  # of Qwen3-Reranker, or of Qwen3-VL-Reranker, which takes pictures and texts
    instruction: str = ""  # the task in a sentence; the checkpoint's own where it is empty
    blank_lines: bool = False  # between instruction, query and document, as in the makers' evaluation; text layout only
    words: Annotated[int, Field(ge=1)] = 800  # of each text, before tokens are counted
    prompt_tokens: Annotated[int, Field(ge=1)] = 8192  # of a prompt; the makers take 10,240 for pictures
    max_pixels: Annotated[int, Field(ge=1)] = 1_843_200  # of each picture


class Qwen3Reranker:
    """Reranks pointwise by yes against no."""

    pointwise = True  # a score depends on the query and this candidate alone
    takes_instruction = True

    def __init__(self, options: Options, backend: Backend) -> None:
        self.name = printed("qwen3_reranker", options)
        self.backend = backend
        recipe = read_recipe(RECIPES[options.layout])
        recipe = replace(recipe, limits=replace(recipe.limits, tokens=options.prompt_tokens))
        if options.blank_lines:
            recipe = with_blank_lines(recipe)
        asking = Asking(instruction=options.instruction, words=options.words, max_pixels=options.max_pixels)
        self._judge = Judge(recipe, backend, asking)
        self.prompt = self._judge.prompt

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates by log-odds, equal ones in the incoming order.

        Raises:
            InputError: the query is pictures alone, and the layout is of texts.
        """
        return self._judge.rerank(query, candidates)

    def prompt_for(self, query: Query, candidate: Candidate) -> Prompt:
        """What the model is asked about one candidate; errors as of `Judge.prompt_for`."""
        return self._judge.prompt_for(query, candidate.item)


def with_blank_lines(recipe: Recipe) -> Recipe:
    """The recipe with a second line break behind the instruction and behind the query, where each has one."""

    def wider(part: str) -> str:
        return part + "\n" if part.endswith(("{instruction}\n", "{query}\n")) else part

    turns = tuple(replace(turn, parts=tuple(map(wider, turn.parts))) for turn in recipe.layout.turns)
    return replace(recipe, layout=replace(recipe.layout, turns=turns))


def build(options: Options, backend: Backend) -> Qwen3Reranker:
    return Qwen3Reranker(options, backend)


def tiny() -> Qwen3Reranker:
    return build(Options(), FakeBackend())
