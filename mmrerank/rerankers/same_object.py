"""Asks an MLLM whether a candidate's picture and the query's show the same thing: the companion of `superglobal` for instance search.

    raw = z_Yes - z_No of one prompt with both pictures          of several query pictures the best, or their weighted mean

A picture of the query at a time stands beside the candidate's, which comes first. Models prefer one of two places: `both_ways` asks again
with the two changed over, and takes the mean. A text of the query says what both should show; exclusions are not told to the model, which
is noted. A candidate without a picture stays behind the others.

Source: ours.  Cost per query: one forward pass a candidate and query picture, batched, two with `both_ways`; no text is generated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from mmrerank.errors import InputError
from mmrerank.parts import printed
from mmrerank.prompting.items import MAX_PIXELS, open_within, picture_of, within
from mmrerank.prompting.recipes import Side, in_our_words, prompt_of, prompt_text, read_recipe
from mmrerank.protocols import Backend
from mmrerank.rerankers._judging import read_scores
from mmrerank.rerankers._pointwise import AT_ONCE, Scores, pointwise, sigmoid
from mmrerank.rerankers._rankings import with_messages
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Item, Modality, Prompt, Query, Ranking

if TYPE_CHECKING:
    from PIL.Image import Image

LOOKS_AT: frozenset[Modality] = frozenset({"image"})


@dataclass(frozen=True, kw_only=True)
class Options:
    recipe: str = "same_object"  # a shipped one of two choices, or the path of a TOML file
    combine: Literal["best", "mean"] = "best"  # of a query with several pictures; "mean" is weighted as the query says
    both_ways: bool = False  # whether each pair is asked in both orders
    max_pixels: Annotated[int, Field(ge=1)] = MAX_PIXELS  # of each picture


class SameObject:
    """Reranks pointwise by P(Yes) that two pictures show the same thing."""

    pointwise = True  # a score depends on the query and this candidate alone

    def __init__(self, options: Options, backend: Backend) -> None:
        self.name = printed("same_object", options)
        self.backend = backend
        self.recipe = read_recipe(options.recipe)
        if self.recipe.answer.read != "log-odds":
            raise InputError(f"same_object reads the log-odds of two choices; the recipe {options.recipe!r} has {self.recipe.answer.read}")
        self.prompt = prompt_text(self.recipe)
        self._options = options

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates by P(Yes), equal ones in the incoming order; those without a picture behind, with the reason.

        Raises:
            InputError: the query has no picture.
            FormatError: a picture of the query cannot be opened.
        """
        if not query.images:
            raise InputError("same_object compares pictures, and the query has none", hint="For a text, use judge or ragllava.")
        pictures = [open_within(image, self._options.max_pixels) for image in query.images if candidates]
        prompts_each = len(pictures) * (2 if self._options.both_ways else 1)

        def judge(sheets: Sequence[Sequence[Prompt]]) -> Scores:
            scores = self.backend.choice_logprobs([prompt for prompts in sheets for prompt in prompts], self.recipe.answer.choices)
            raw = read_scores(self.recipe, scores.logprobs).reshape(len(sheets), len(pictures), -1).mean(axis=2)
            best = raw.max(axis=1) if self._options.combine == "best" else np.average(raw, axis=1, weights=query.weights or None)
            return Scores(raw=best, cost=scores.cost)

        ranking = pointwise(
            query,
            candidates,
            show=lambda item: self._prompts(item, pictures, query.text or ""),
            judge=judge,
            to_score=sigmoid,
            label="P(same)",
            unshown="not compared",
            at_once=max(1, AT_ONCE // max(prompts_each, 1)),
            backend=self.backend,
        )
        unheeded = ["exclusions are not told to the model"] if query.exclude_text or query.exclude_images else []
        return with_messages(ranking, [*unheeded, *filter(None, [in_our_words(self.recipe)])])

    def _prompts(self, item: Item, pictures: Sequence[Image], text: str) -> list[Prompt]:
        """A prompt for each picture of the query, each followed by the other order where both are asked."""
        candidate = Side(pictures=(within(picture_of(item), self._options.max_pixels),), text=text)
        prompts: list[Prompt] = []
        for picture in pictures:
            other = Side(pictures=(picture,), text=text)
            prompts.append(prompt_of(self.recipe, other, candidate, ""))
            if self._options.both_ways:
                prompts.append(prompt_of(self.recipe, candidate, other, ""))
        return prompts


def build(options: Options, backend: Backend) -> SameObject:
    """The reranker.

    Raises:
        UnknownName, FormatError: the recipe does not ship, or its file is none.
        InputError: it reads other than two choices.
    """
    return SameObject(options, backend)


def tiny() -> SameObject:
    return build(Options(), FakeBackend())
