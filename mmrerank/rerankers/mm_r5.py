"""Lets an MLLM look at all pages of a window at once, reason about them, and write their order.

    <think> what each page shows and why it helps </think><answer>[3, 1, 2]</answer>      ids from 1, best first

Source: MM-R5 (arXiv 2506.12364, code i2vec/MM-R5 at 0806019). Read there: two messages, a label before each picture, the
tags, the released parser and its quirks (`parse_released`), sampling at temperature 0.3 with up to 8,192 tokens. Ours: the
sentences of the prompt (the released checkpoint was tuned on its authors' own: give them with `prompt=PATH.toml`), the hardened
parser, windows for more pages than fit (tuned on 5 pages, evaluated on 10 there), greedy decoding, the pixel budget.

Cost per query: one generation a window; ceil((n - window) / step) + 1 windows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mmrerank.parts import printed
from mmrerank.prompting.answers import Order, order_of, read_order
from mmrerank.prompting.files import read_prompt
from mmrerank.prompting.items import MAX_PIXELS, Exhibit, ModalityChoice
from mmrerank.prompting.reasoning import passages
from mmrerank.protocols import Backend
from mmrerank.rerankers._interview import Interview
from mmrerank.rerankers._listwise import Reply, check_windows, listwise
from mmrerank.rerankers._rankings import with_messages
from mmrerank.testing.fakes import FakeBackend, turned
from mmrerank.types import Candidate, Message, Modality, Part, Prompt, Query, Ranking

PIECES: dict[str, set[str]] = {"system": set(), "task": set(), "question": {"query"}, "mapping": {"count"}, "page": {"number"}}
LOOKS_AT: frozenset[Modality] = frozenset({"image", "text"})


@dataclass(frozen=True, kw_only=True)
class Options:
    window: int = 10  # pages per call
    step: int = 5  # shift between calls, from the last page to the first
    parser: Literal["hardened", "strict"] = "hardened"  # strict reads as the released code does
    modality: ModalityChoice = "image"  # how a page is shown; the paper shows pictures
    prompt: str = "mm_r5"
    max_pixels: int = MAX_PIXELS  # of each page
    page_words: int = 400  # of each page's text, where that is shown
    max_tokens: int = 2048
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_windows(self.window, self.step)


class MMR5:
    """Reranks pages listwise, with the model's reasoning as the reason of each."""

    def __init__(self, options: Options, backend: Backend) -> None:
        self.name = printed("mm_r5", options)
        self.prompt = read_prompt(options.prompt, PIECES)
        self.backend = backend
        self._options = options

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates in the order the model gave, without scores. What it left out keeps its order; see `notes.status`.

        A page whose picture does not open stays behind the others, with the reason.
        """
        options = self._options
        interview = Interview(query, options, self.backend)

        def rank(pages: Sequence[Exhibit]) -> Reply:
            (answer,) = interview.answers([self.prompt_for(query, [page.parts for page in pages])])
            if options.parser == "strict":
                order = parse_strictly(answer.text, len(pages))
            else:
                order = read_order(answer.text, len(pages), cut=answer.finished == "length")
            return Reply(order=order, reasons=passages(answer.text, len(pages)), cost=answer.cost)

        ranking = listwise(
            query, candidates, show=interview.show, rank=rank, window=options.window, step=options.step, noun="pages", backend=self.backend
        )
        return with_messages(ranking, (*query.left_aside("text"), *interview.notes))

    def prompt_for(self, query: Query, pages: Sequence[Sequence[Part]]) -> Prompt:
        """What the model is asked about one window: the task, then each label right before its page."""
        text = self.prompt
        head = text.pieces["task"] + text.fill("question", query=query.text or "") + text.fill("mapping", count=len(pages))
        parts: list[Part] = [head]
        for number, page in enumerate(pages, 1):
            parts += [text.fill("page", number=number), *page]
        return (Message(role="system", parts=(text.pieces["system"],)), Message(role="user", parts=tuple(parts)))


def parse_released(text: str, count: int) -> list[int]:
    """Positions from 0 exactly as the released code reads them: the first block whose brackets touch the tags, on one line.

    Repeats stay, so the list may be longer than `count`; anything unreadable gives the order as it came.

    >>> parse_released("<answer>[3, 3, 1]</answer>", 3)
    [2, 2, 0, 1]
    """
    positions = [number - 1 for number in _released_numbers(text) if 1 <= number <= count]
    return positions + [n for n in range(count) if n not in positions]


def _released_numbers(text: str) -> list[int]:
    block = re.search(r"<answer>\[(.*?)\]</answer>", text)
    try:
        return [int(piece) for piece in block[1].split(",") if piece.strip()] if block else []
    except ValueError:
        return []


def parse_strictly(text: str, count: int) -> Order:
    """As released, but each position once, since a ranking has no repeats, and not silent about what cannot be read."""
    released = parse_released(text, count)
    positions = tuple(dict.fromkeys(released))
    if count and not _released_numbers(text):
        return order_of(None, count)
    if len(positions) < len(released):
        return Order(positions=positions, status="repaired", message=f"{len(released) - len(positions)} repeated marks dropped")
    return Order(positions=positions, status="ok")


def build(options: Options, backend: Backend) -> MMR5:
    return MMR5(options, backend)


def tiny() -> MMR5:
    return build(Options(), FakeBackend(answer=turned(r"There are (\d+) images", "<think>Image 2 fits.</think><answer>[{}]</answer>")))
