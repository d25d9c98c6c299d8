"""A recipe in use: an MLLM is asked about each candidate as the recipe says, and what it answers first is the score.

    query, candidate --Display--> sides --fit--> within the budget --prompt_of--> one prompt each --answer--> raw scores --> pointwise

What is read is the recipe's: the log-odds of two choices, the mean of graded ones, or of a single one its logit or log-probability; in
float64 of the backend's float32, and ranking is by that. Methods over it say which recipe, and what of it their options change.

Source: ours; the layouts are in the recipes.  Cost per query: one forward pass a candidate, batched; no text is generated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL.Image import Resampling

from mmrerank.errors import InputError
from mmrerank.prompting.budget import fit, measure_of
from mmrerank.prompting.items import MAX_PIXELS, Display, Exhibit, ModalityChoice, open_within
from mmrerank.prompting.recipes import AnswerForm, Recipe, Side, in_our_words, of_checkpoint, prompt_of, prompt_text
from mmrerank.protocols import Backend, CheckpointBackend, LogitBackend, front_to_back
from mmrerank.rerankers._pointwise import LEAST, Scores, log_odds, pointwise, sigmoid
from mmrerank.rerankers._rankings import with_messages
from mmrerank.types import Candidate, ChoiceScores, Item, Prompt, Query, Ranking

if TYPE_CHECKING:
    from PIL.Image import Image

AUTO = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What of a recipe a user may change."""

    instruction: str = ""  # the task in a sentence; "": the recipe's
    task: str = AUTO  # which of the recipe's instructions
    modality: ModalityChoice = "both"
    words: int = 400  # of each item's text, before tokens are counted
    max_pixels: int | None = None  # of each picture; None: the recipe's


class Judge:
    """A backend that is asked by a recipe."""

    def __init__(self, recipe: Recipe, backend: Backend, asking: Asking) -> None:
        """Raises InputError where the backend cannot give what the recipe reads, or the recipe has no such task."""
        self.recipe = of_checkpoint(recipe, backend)
        self.prompt = prompt_text(self.recipe)
        self.backend = backend
        self._asking = asking
        self._measure = measure_of(backend)
        self._shows_pictures = self.recipe.limits.pictures != 0 and _takes_pictures(backend)
        self._ask = _asks(self.recipe, backend)
        self._max_pixels = asking.max_pixels or self.recipe.limits.max_pixels or MAX_PIXELS
        if asking.task != AUTO and asking.task not in self.recipe.instructions:
            tasks = ", ".join([AUTO, *sorted(self.recipe.instructions)])
            raise InputError(
                f"the recipe {recipe.name!r} has no task {asking.task!r}; it has {tasks}", hint="Or say it: instruction='...'."
            )

    def rerank(
        self, query: Query, candidates: Sequence[Candidate], *, to_score: Callable[[float], float] | None = None, label: str = ""
    ) -> Ranking:
        """The candidates by raw score; those that cannot be shown behind, without a score and with the reason.

        Args:
            to_score: a raw score on the scale that is shown; by what the recipe reads where it is left out.
            label: what that scale is called.

        Raises:
            InputError: the recipe cannot carry the query.
        """
        answer, sheet = self.recipe.answer, self._sheet(query, opened=bool(candidates))

        def judge(prompts: Sequence[Prompt]) -> Scores:
            scores = self._ask(prompts, answer.choices)
            raw = read_scores(self.recipe, scores.logprobs)
            return Scores(raw=raw, cost=scores.cost, reasons=_grades(answer, raw))

        ranking = pointwise(
            query,
            candidates,
            show=sheet.prompt_of,
            judge=judge,
            to_score=to_score or _scale(answer),
            label=label or (f"P({answer.choices[0]})" if answer.read == "log-odds" else answer.read),
            unshown="not asked about",
            backend=self.backend,
        )
        return with_messages(
            ranking, filter(None, (*sheet.messages, self._blindness(candidates), in_our_words(self.recipe) * bool(candidates)))
        )

    def _blindness(self, candidates: Sequence[Candidate]) -> str:
        """That pictures of candidates are not shown to a model that takes none; "" where nobody expects them to be."""
        expected = not self._shows_pictures and self.recipe.limits.pictures != 0 and self._asking.modality != "text"
        is_blind = expected and any(candidate.item.image is not None for candidate in candidates)
        return "the model takes no pictures: items are shown by their text" if is_blind else ""

    def prompt_for(self, query: Query, item: Item) -> Prompt:
        """What the model is asked about one item.

        Raises:
            InputError: the item or the query does not have what it is to be shown by.
            FormatError: a picture cannot be opened.
        """
        return self._sheet(query).prompt_of(item)

    def instruction_for(self, query: Query) -> str:
        """The task: the query's own sentence, that of the options, or the recipe's for what the query consists of."""
        tasks = self.recipe.instructions
        task = ("changed" if query.text else "alike") if query.images else "search"
        task = self._asking.task if self._asking.task != AUTO else task if task in tasks else "search"
        return query.instruction or self._asking.instruction or tasks.get(task, "")

    def _sheet(self, query: Query, *, opened: bool = True) -> Sheet:
        asking = self._asking
        modality: ModalityChoice = asking.modality if self._shows_pictures else "text"
        display = Display(query.text or "", modality, page_words=asking.words, max_pixels=self._max_pixels)
        side, notes = self._query_side(query, modality, opened=opened)
        return Sheet(self, display, side, self.instruction_for(query), notes)

    def _query_side(self, query: Query, modality: ModalityChoice, *, opened: bool) -> tuple[Side, list[str]]:
        """What of the query is shown, and what of it is not.

        Raises:
            InputError: it has more pictures than the recipe takes, or nothing but pictures where those are not shown.
        """
        limits, notes = self.recipe.limits, []
        if modality == "text" and query.images:
            if not query.text:
                raise InputError("the query has pictures alone, and the model is shown texts", hint="Give it a text, or modality='both'.")
            notes.append("the pictures of the query are not shown: the model is shown texts")
        elif limits.pictures is not None and len(query.images) > limits.pictures:
            message = f"the recipe {self.recipe.name!r} takes {limits.pictures} picture a side; the query has {len(query.images)}"
            raise InputError(message, hint="Ask with one of them.")
        if query.exclude_images:
            notes.append("pictures that the result must not be like are not shown to the model")
        if query.exclude_text and "excluded" not in self.recipe.words:
            notes.append("what must not be there is not told to the model: its recipe has no words for it")
        handles = query.images if modality != "text" and opened else ()
        pictures = tuple(self.sized(open_within(image, self._max_pixels)) for image in handles)
        excluded = [self.recipe.words["excluded"].format(text=text) for text in query.exclude_text if "excluded" in self.recipe.words]
        return Side(pictures=pictures, text="".join([query.text or "", *excluded]).strip()), notes

    def sized(self, picture: Image) -> Image:
        """The picture with at least as many pixels as the recipe says, aspect kept."""
        pixels, fewest = picture.width * picture.height, self.recipe.limits.min_pixels
        if pixels >= fewest:
            return picture
        scale = math.sqrt(fewest / pixels)
        return picture.resize((math.ceil(picture.width * scale), math.ceil(picture.height * scale)), Resampling.BICUBIC)


class Sheet:
    """Writes the prompts of one query, and remembers what it had to cut."""

    def __init__(self, judge: Judge, display: Display, query: Side, instruction: str, notes: Sequence[str]) -> None:
        self._judge, self._display, self._query, self._instruction = judge, display, query, instruction
        self._notes = list(notes)
        self._cuts: list[str] = []

    @property
    def messages(self) -> tuple[str, ...]:
        """What was not shown, what was cut, and how items were shown that were not shown as the modality says."""
        return (*self._notes, *self._cuts, *self._display.choices)

    def prompt_of(self, item: Item) -> Prompt:
        """What the model is asked about an item."""
        view, limits = self._display.show(item), self._judge.recipe.limits
        if limits.tokens is None:
            return self._write(view, self._query.text, view.text)
        pair = fit(
            lambda query, document: self._write(view, query, document),
            self._query.text,
            view.text,
            tokens=limits.tokens,
            measure=self._judge._measure,
            pair_alone=limits.pair_alone,
            query_share=limits.query_share,
        )
        if pair.message:
            self._cuts.append(f"{item.item_id}: {pair.message}, for a limit of {limits.tokens} tokens")
        return self._write(view, pair.query, pair.document)

    def _write(self, view: Exhibit, query: str, document: str) -> Prompt:
        pictures = () if view.picture is None else (self._judge.sized(view.picture),)
        sides = replace(self._query, text=query), Side(pictures=pictures, text=document)
        return prompt_of(self._judge.recipe, *sides, self._instruction)


def _takes_pictures(backend: Backend) -> bool:
    """Whether pictures can be shown to the model, as far as it tells."""
    checkpoints = [one for one in front_to_back(backend) if isinstance(one, CheckpointBackend)]
    return all("image" in checkpoint.takes for checkpoint in checkpoints)


def _asks(recipe: Recipe, backend: Backend) -> Callable[[Sequence[Prompt], Sequence[str]], ChoiceScores]:
    """What is called for the answers: logits where the recipe reads them, else log-probabilities.

    Raises:
        InputError: it reads logits, and the backend shows none.
    """
    if recipe.answer.read != "logit":
        return backend.choice_logprobs
    source = next((one for one in front_to_back(backend) if isinstance(one, LogitBackend)), None)
    if source is None:
        hint = "Use local/PATH, or a recipe with read = 'log-probability', which ranks otherwise."
        raise InputError(
            f"the recipe {recipe.name!r} reads the logit of {recipe.answer.choices[0]!r}, and {backend.name!r} shows none", hint=hint
        )
    return source.choice_logits


def _scale(answer: AnswerForm) -> Callable[[float], float]:
    """What makes a shown score of a raw one: within 0 and 1 where there is such a scale."""
    if answer.read == "expectation":
        low, high = min(answer.values), max(answer.values)
        return lambda raw: (raw - low) / (high - low)
    return sigmoid if answer.read == "log-odds" else float


def _grades(answer: AnswerForm, raw: npt.NDArray[np.float64]) -> list[str]:
    """Of graded answers each grade in words."""
    return [f"grade {grade:.2f} of {max(answer.values):g}" for grade in raw] if answer.read == "expectation" else []


def read_scores(recipe: Recipe, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """(n,) raw scores of (n, n_choices) log-probabilities or logits.

    >>> from mmrerank.prompting.recipes import read_recipe
    >>> read_scores(read_recipe("graded"), np.log(np.array([[0.1, 0.1, 0.2, 0.1]], dtype=np.float32))).round(6).tolist()
    [1.6]
    """
    if recipe.answer.read == "log-odds":
        return log_odds(values)
    numbers = np.maximum(values.astype(np.float64), LEAST)
    if recipe.answer.read != "expectation":
        return np.asarray(numbers[:, 0])
    weights = np.exp(numbers - numbers.max(axis=1, keepdims=True))
    return np.asarray(weights @ np.array(recipe.answer.values) / weights.sum(axis=1))
