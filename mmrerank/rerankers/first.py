"""Orders a window by one token: how likely each candidate's letter is as the first one that the model would write.

    ... [A] text  [B] text  [C] text ...   assistant: "["      s_i = logit of the letter of i as the next token      order: s falling

Source: FIRST (arXiv 2406.15657, code gangiswag/llm-reranker at 2d7cba4) and its reproduction (arXiv 2411.05508), by their notes. Read
there: letters A to T, windows of 20 with step 10, the opening bracket as the answer begun, the order of all logits of that position, 300
words a passage within 4,096 tokens, the whole order generated as the other way. Ours: the sentences of the prompt, pictures (the paper is
text only), reference pictures and exclusions, a last window as long as the others, and what is said where letters are missing.

The order is exactly that of the logits, and equal ones keep their order; it says who is likely to be first, which is not the likeliest
order of all. Log-probabilities of several windows do not compare, so nobody has a score; they are told as reasons. A server shows the
likeliest tokens only: letters that are not among them keep their order behind the others, and the notes say so. Where no log-probabilities
are to be had at all, the order is generated, and the notes say that too.

Cost per query: one forward pass a window, ceil((n - window) / step) + 1 windows, and one token of answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mmrerank.errors import BackendError, InputError
from mmrerank.parts import printed
from mmrerank.prompting.answers import Order, read_order
from mmrerank.prompting.files import read_prompt
from mmrerank.prompting.items import MAX_PIXELS, Display, Exhibit, ModalityChoice
from mmrerank.prompting.listings import TokenBudget, asking, listing, marks
from mmrerank.prompting.queries import QUERY_PIECES, query_lines, query_parts
from mmrerank.protocols import Backend
from mmrerank.rerankers._listwise import Reply, check_windows, listwise
from mmrerank.rerankers._rankings import with_messages
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Array, Candidate, ChoiceScores, Decoding, Message, Modality, Prompt, Query, Ranking

PIECES: dict[str, set[str]] = {
    **{"system": set(), "task": {"count"}, "page": {"mark"}, "again": set(), "request": {"count", "form"}},
    **QUERY_PIECES,
}
BEGUN = Message(role="assistant", parts=("[",))
LOOKS_AT: frozenset[Modality] = frozenset({"image", "text"})


@dataclass(frozen=True, kw_only=True)
class Options:
    window: int = 20  # candidates a forward pass
    step: int = 10  # shift between windows, from the last candidate to the first
    read: Literal["logits", "generation"] = "logits"  # the order of one position's logits, or the whole order written out
    identifiers: Literal["letters", "numbers"] = "letters"  # as the checkpoint was trained; each has to be one token
    modality: ModalityChoice = "auto"  # how a candidate is shown; the paper shows text
    prompt: str = "first"
    prompt_tokens: int | None = 4096  # texts are cut until a prompt has no more; None leaves them whole
    page_words: int = 300  # of each candidate's text
    max_pixels: int = MAX_PIXELS  # of each picture
    max_tokens: int = 256  # of an order that is generated

    def __post_init__(self) -> None:
        check_windows(self.window, self.step)
        marks(self.window, self.identifiers)  # complains of a window with more candidates than letters


class First:
    """Reranks listwise by the logits of one position."""

    def __init__(self, options: Options, backend: Backend) -> None:
        self.name = printed("first", options)
        self.prompt = read_prompt(options.prompt, PIECES)
        self.backend = backend
        self._options = options

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates in the order of the windows' logits, without scores; see `notes.status` and `notes.reasons`.

        Raises:
            InputError: an identifier is more than one token of the model.
            BackendError: the model cannot be reached or does not take the prompt.
        """
        options, obstacles = self._options, list[str]()
        display, budget = Display.of(query, options), TokenBudget(self.backend, options.prompt_tokens)

        def rank(pages: Sequence[Exhibit]) -> Reply:
            prompt = budget.fit(pages, lambda some: self.prompt_for(query, some))
            if options.read == "logits" and not obstacles:
                try:
                    return self._by_logits(prompt, len(pages))
                except BackendError as error:
                    if error.retryable:
                        raise
                    obstacles.append(f"no logits of the identifiers, so orders were generated: {error.message}")
            return self._by_generation(prompt, len(pages))

        ranking = listwise(query, candidates, show=display.show, rank=rank, window=options.window, step=options.step, backend=self.backend)
        return with_messages(ranking, [*obstacles, *budget.notes, *display.choices])

    def prompt_for(self, query: Query, pages: Sequence[Exhibit]) -> Prompt:
        """What the model is asked about one window: the query, each mark right before its candidate, and the query again."""
        text, names = self.prompt, marks(len(pages), self._options.identifiers)
        wish = query_parts(text, query, self._options.max_pixels)
        request = text.fill("request", count=len(pages), form=" > ".join(f"[{name}]" for name in names[1::-1]))
        tail = text.pieces["again"] + query_lines(text, query) + request
        return asking(text, text.fill("task", count=len(pages)), *wish, *listing(text, names, pages), tail)

    def _by_logits(self, prompt: Prompt, count: int) -> Reply:
        names = marks(count, self._options.identifiers)
        scores = self.backend.choice_logprobs([(*prompt, BEGUN)], names)
        check_single(names, scores)
        row = scores.logprobs[0]  # (count,)
        reasons = {n: f"[{names[n]}] comes first with log-probability {row[n]:.3f}" for n in range(count) if np.isfinite(row[n])}
        return Reply(order=order_of_logits(row), reasons=reasons, cost=scores.cost)

    def _by_generation(self, prompt: Prompt, count: int) -> Reply:
        (answer,) = self.backend.generate([prompt], Decoding(max_tokens=self._options.max_tokens))
        order = read_order(answer.text, count, identifiers=self._options.identifiers, cut=answer.finished == "length")
        return Reply(order=order, cost=answer.cost)


def check_single(names: Sequence[str], scores: ChoiceScores) -> None:
    """InputError unless each identifier is one token, where the backend tells: the logits of two would be those of half an identifier."""
    long = [name for name, length in zip(names, scores.lengths, strict=False) if length != 1]
    if long:
        hint = "Use identifiers='letters', or a smaller window, or read='generation'."
        raise InputError(f"an identifier has to be one token after '['; {long[0]!r} is several for this model", hint=hint)


def order_of_logits(row: Array) -> Order:
    """The positions by falling logit, exactly; equal ones as they came, and behind the others those that were not told (-inf).

    >>> order_of_logits(np.array([0.5, 2.0, -np.inf, 0.5], dtype=np.float32))
    Order(positions=(1, 0, 3, 2), status='completed', message='1 of 4 identifiers are not among the likeliest tokens and keep their order')
    """
    positions = tuple(int(n) for n in np.argsort(-row, kind="stable"))
    missing = int(np.count_nonzero(~np.isfinite(row)))
    message = f"{missing} of {len(row)} identifiers are not among the likeliest tokens and keep their order"
    return Order(positions=positions, status="completed" if missing else "ok", message=message if missing else "")


def build(options: Options, backend: Backend) -> First:
    return First(options, backend)


def tiny() -> First:
    return build(Options(), FakeBackend(choose=lambda prompt, choices: [n % 2 - n / 100 for n in range(len(choices))]))
