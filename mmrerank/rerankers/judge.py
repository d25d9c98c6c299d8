"""Asks an MLLM about each candidate as a recipe says, and orders by what it answers first.

    judge/local/PATH                                                 yes or no, in our words, by any model
    judge(recipe=qwen3_reranker)/local/PATH                          as that checkpoint was trained
    judge(recipe='mine.toml', instruction='Find ...')/local/PATH     a layout and words of your own

Recipes that ship: `yes_no`, `graded` (a mean over the grades 0 to 3) and those of released checkpoints; the guide on models lists them, and
`mmrerank/prompting/recipes.py` says what stands in one. Where a checkpoint's own template takes a query and a document, it writes the
prompt; where a recipe has our words for trained ones, every ranking says so.

The instruction is the query's, where it has one; else that of the options; else the recipe's for its task: `search`, `changed` for a
picture with a text, `alike` for pictures alone. Exclusions are told in words behind the query; pictures of them cannot be, which is noted.
Texts come with one blank between words, cut first by words, then by the recipe's budget of tokens: the query to its share, then the
document, never what surrounds them.

Source: ours; the layouts of others are facts in their recipes.  Cost per query: one forward pass a candidate, batched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from mmrerank.parts import printed
from mmrerank.prompting.files import PromptLayout
from mmrerank.prompting.items import ModalityChoice
from mmrerank.prompting.recipes import read_recipe, rearranged
from mmrerank.protocols import Backend
from mmrerank.rerankers._judging import Asking, Judge
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Modality, Prompt, Query, Ranking

LOOKS_AT: frozenset[Modality] = frozenset({"image", "text"})


@dataclass(frozen=True, kw_only=True)
class Options:
    recipe: str = "yes_no"  # a shipped one, or the path of a TOML file
    instruction: str = ""  # the task in a sentence; the recipe's where it is empty
    layout: PromptLayout | Literal["recipe"] = "recipe"  # what stands first; checkpoints of recipes as they were trained
    task: str = "auto"  # which of the recipe's instructions; by what the query has
    modality: ModalityChoice = "both"  # what of a candidate the model sees; recipes over texts see no picture
    words: Annotated[int, Field(ge=1)] = 400  # of each text, before tokens are counted
    prompt_tokens: Annotated[int, Field(ge=0)] = 0  # of a prompt; 0: the recipe's
    max_pixels: Annotated[int, Field(ge=0)] = 0  # of each picture; 0: the recipe's


class RecipeJudge:
    """Reranks pointwise by a recipe."""

    pointwise = True  # a score depends on the query and this candidate alone
    takes_instruction = True

    def __init__(self, options: Options, backend: Backend) -> None:
        self.name = printed("judge", options)
        self.backend = backend
        recipe = read_recipe(options.recipe)
        if options.layout != "recipe":
            recipe = rearranged(recipe, options.layout)
        if options.prompt_tokens:
            recipe = replace(recipe, limits=replace(recipe.limits, tokens=options.prompt_tokens))
        asking = Asking(
            instruction=options.instruction,
            task=options.task,
            modality=options.modality,
            words=options.words,
            max_pixels=options.max_pixels or None,
        )
        self._judge = Judge(recipe, backend, asking)
        self.recipe, self.prompt = self._judge.recipe, self._judge.prompt

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates by the recipe's score, equal ones in the incoming order.

        Raises:
            InputError: the recipe cannot carry the query.
        """
        return self._judge.rerank(query, candidates)

    def prompt_for(self, query: Query, candidate: Candidate) -> Prompt:
        """What the model is asked about one candidate; errors as of `Judge.prompt_for`."""
        return self._judge.prompt_for(query, candidate.item)


def build(options: Options, backend: Backend) -> RecipeJudge:
    """The reranker.

    Raises:
        UnknownName, FormatError: the recipe does not ship, or its file is none.
        InputError: the backend cannot give what the recipe reads, or the recipe has no such task.
    """
    return RecipeJudge(options, backend)


def tiny() -> RecipeJudge:
    return build(Options(), FakeBackend())
