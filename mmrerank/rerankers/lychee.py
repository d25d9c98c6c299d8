"""Asks Lychee-rerank-mm whether each candidate meets an instruction and a query, text, one picture or both on either side.

    sft   raw = z_yes - z_no, score = sigmoid(raw)     the released checkpoint
    cl    raw = z_yes                                  the paper's models trained by contrast

Source: GMR / Lychee-rerank-mm (arXiv 2510.14824). Read, in a public script that runs the checkpoint: the layout (in the recipe `lychee`),
the pixels of pictures, the score; second-hand: the score of the contrastive models, 3,200 tokens in training. It is trained with an
instruction for each task: `task` names one of ours (`search`, `page`, `caption`, `describe`, `changed`, `alike`), `instruction` says any
other. Ours too: a query with several pictures is refused, and a picture that does not open costs its candidate the place, where the
script skips the pair; texts are cut by the budget, query to three quarters and then the document.

Cost per query: one forward pass a candidate, batched; no text is generated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from mmrerank.parts import printed
from mmrerank.prompting.items import ModalityChoice
from mmrerank.prompting.recipes import AnswerForm, read_recipe
from mmrerank.protocols import Backend
from mmrerank.rerankers._judging import Asking, Judge
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Modality, Prompt, Query, Ranking

LOOKS_AT: frozenset[Modality] = frozenset({"image", "text"})


@dataclass(frozen=True, kw_only=True)
class Options:
    task: Literal["auto", "search", "page", "caption", "describe", "changed", "alike"] = "auto"  # whose instruction; by what the query has
    instruction: str = ""  # the task in a sentence, in place of that of `task`
    score: Literal["sft", "cl"] = "sft"  # yes against no, or the logit of yes, which a server does not show
    modality: ModalityChoice = "both"  # what of a candidate the model sees
    words: Annotated[int, Field(ge=1)] = 400  # of each text, before tokens are counted
    prompt_tokens: Annotated[int, Field(ge=1)] = 3200  # of a prompt
    max_pixels: Annotated[int, Field(ge=1)] = 1_003_520  # of each picture


class Lychee:
    """Reranks pointwise by yes against no."""

    pointwise = True  # a score depends on the query and this candidate alone
    takes_instruction = True

    def __init__(self, options: Options, backend: Backend) -> None:
        self.name = printed("lychee", options)
        self.backend = backend
        recipe = read_recipe("lychee")
        recipe = replace(recipe, limits=replace(recipe.limits, tokens=options.prompt_tokens))
        if options.score == "cl":
            recipe = replace(recipe, answer=AnswerForm(choices=("yes",), read="logit"))
        asking = Asking(
            instruction=options.instruction,
            task=options.task,
            modality=options.modality,
            words=options.words,
            max_pixels=options.max_pixels,
        )
        self._judge = Judge(recipe, backend, asking)
        self.prompt = self._judge.prompt

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates by raw score, equal ones in the incoming order.

        Raises:
            InputError: the query has several pictures.
        """
        return self._judge.rerank(query, candidates)

    def prompt_for(self, query: Query, candidate: Candidate) -> Prompt:
        """What the model is asked about one candidate; errors as of `Judge.prompt_for`."""
        return self._judge.prompt_for(query, candidate.item)


def build(options: Options, backend: Backend) -> Lychee:
    """The reranker.

    Raises:
        InputError: it is to read a logit, and the backend shows none.
    """
    return Lychee(options, backend)


def tiny() -> Lychee:
    return build(Options(), FakeBackend())
