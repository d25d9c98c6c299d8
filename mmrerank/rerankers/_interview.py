"""One query's interview of a model that writes: what it is shown of candidates, within which budget, and what there is to say of that.

The methods that have a model write about a window, a group or a comparison are set up alike, from options that they all have:

    interview = Interview(query, options, backend, tokens=options.prompt_tokens)
    rank = lambda pages: Reply(order=order_of(interview.answer(pages, prompt_for).text))
    ranking = listwise(query, candidates, show=interview.show, rank=rank, window=20, step=10)
    with_messages(ranking, interview.notes)

Source: ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from mmrerank.prompting.items import Display, DisplayOptions, Exhibit
from mmrerank.prompting.listings import TokenBudget
from mmrerank.protocols import Backend
from mmrerank.types import Decoding, Generated, Item, Prompt, Query


class InterviewOptions(DisplayOptions, Protocol):
    """Options of a method that has a model write."""

    @property
    def max_tokens(self) -> int: ...  # of an answer

    @property
    def temperature(self) -> float: ...

    @property
    def seed(self) -> int: ...


class Interview:
    """Shows the items of one query, and asks about them."""

    def __init__(self, query: Query, options: InterviewOptions, backend: Backend, *, tokens: int | None = None) -> None:
        """
        Args:
            tokens: texts are cut until a prompt of `answer` has no more; None leaves them whole.
        """
        self._query, self._backend = query, backend
        self._display, self._budget = Display.of(query, options), TokenBudget(backend, tokens)
        self._decoding = Decoding(max_tokens=options.max_tokens, temperature=options.temperature, seed=options.seed)

    def show(self, item: Item) -> Exhibit:
        """As `Display.show`.

        Raises:
            InputError: the item does not have what it is to be shown by.
            FormatError: its picture cannot be opened.
        """
        return self._display.show(item)

    def answer(self, pages: Sequence[Exhibit], prompt_for: Callable[[Query, Sequence[Exhibit]], Prompt]) -> Generated:
        """What the model writes about these pages, whose texts are cut to the budget.

        Raises:
            BackendError: as of `Backend.generate`.
        """
        (answer,) = self.answers([self._budget.fit(pages, lambda some: prompt_for(self._query, some))])
        return answer

    def answers(self, prompts: Sequence[Prompt]) -> list[Generated]:
        """What the model writes to each of these prompts, which no budget cuts; errors as of `answer`."""
        return self._backend.generate(prompts, self._decoding)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was cut, and how items were shown, in lines; none where there is nothing to say."""
        return (*self._budget.notes, *self._display.choices)
