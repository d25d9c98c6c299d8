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

from mmrerank.errors import BackendError, FormatError, InputError
from mmrerank.parts import printed
from mmrerank.prompting.answers import Order, announce, order_of, unscored, worst
from mmrerank.prompting.files import read_prompt
from mmrerank.prompting.items import Asked, Shown, choices, picture_of, shown_as, within
from mmrerank.rerankers._windows import windows
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Backend, Candidate, Cost, Decoding, Message, Modality, Part, Prompt, Query, Ranking, Status

PIECES: dict[str, set[str]] = {"system": set(), "task": set(), "question": {"query"}, "mapping": {"count"}, "page": {"number"}}
REASON_LETTERS = 240
LOOKS_AT: frozenset[Modality] = frozenset({"image", "text"})


@dataclass(frozen=True, kw_only=True)
class Options:
    window: int = 10  # pages per call
    step: int = 5  # shift between calls, from the last page to the first
    parser: Literal["hardened", "strict"] = "hardened"  # strict reads as the released code does
    modality: Asked = "image"  # how a page is shown; the paper shows pictures
    prompt: str = "mm_r5"
    max_pixels: int = 1_003_520  # of each page; 1,280 tokens of 28 x 28
    page_words: int = 400  # of each page's text, where that is shown
    max_tokens: int = 2048
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        windows(0, self.window, self.step)  # complains of a step that leaves gaps
        if self.window < 2:
            raise InputError(f"a window orders at least 2 pages; got window={self.window}")


class MMR5:
    """Reranks pages listwise, with the model's reasoning as the reason of each."""

    def __init__(self, options: Options, backend: Backend) -> None:
        self.name = printed("mm_r5", options)
        self.prompt = read_prompt(options.prompt, PIECES)
        self._options, self._backend = options, backend
        self._decoding = Decoding(max_tokens=options.max_tokens, temperature=options.temperature, seed=options.seed)

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates in the order the model gave, without scores. What it left out keeps its order; see `notes.status`.

        A page whose picture does not open stays behind the others, with the reason.
        """
        pages, broken, notes = self._pages(query, candidates)
        order, reasons, cost = list(pages), dict(broken), Cost()
        answers: list[Order] = []
        spans = windows(len(order), self._options.window, self._options.step) if len(order) > 1 else []
        announce(self._backend, len(spans))
        for start, stop in spans:
            shown = order[start:stop]
            answer, passages, spent = self._ask(query, [pages[n] for n in shown])
            order[start:stop] = [shown[p] for p in answer.positions]
            reasons |= {candidates[shown[p]].item.item_id: text for p, text in passages.items()}
            notes += [f"pages {start + 1}-{stop}: {answer.message}"] if answer.message else []
            answers.append(answer)
            cost += spent
        everything = [*order, *(n for n in range(len(candidates)) if n not in pages)]
        statuses: list[Status] = [answer.status for answer in answers] + (["completed"] if broken else [])
        return unscored(query, candidates, everything, status=worst(statuses), messages=notes, reasons=reasons, cost=cost)

    def prompt_for(self, query: Query, pages: Sequence[Sequence[Part]]) -> Prompt:
        """What the model is asked about one window: the task, then each label right before its page."""
        text = self.prompt
        head = text.pieces["task"] + text.fill("question", query=query.text or "") + text.fill("mapping", count=len(pages))
        parts: list[Part] = [head]
        for number, page in enumerate(pages, 1):
            parts += [text.fill("page", number=number), *page]
        return (Message(role="system", parts=(text.pieces["system"],)), Message(role="user", parts=tuple(parts)))

    def _ask(self, query: Query, pages: Sequence[Sequence[Part]]) -> tuple[Order, dict[int, str], Cost]:
        """The order of one window, a passage of reasoning for each position that has one, and the cost."""
        count = len(pages)
        try:
            (answer,) = self._backend.generate([self.prompt_for(query, pages)], self._decoding)
        except BackendError as error:
            if not error.retryable:
                raise
            order = order_of(None, count)
            return Order(positions=order.positions, status=order.status, message=f"no answer: {error.message}"), {}, Cost()
        order = parse_answer(answer.text, count) if self._options.parser == "hardened" else _strict(answer.text, count)
        return order, passages(answer.text, count), answer.cost

    def _pages(self, query: Query, candidates: Sequence[Candidate]) -> tuple[dict[int, list[Part]], dict[str, str], list[str]]:
        """The pages that can be shown, by position; why the others cannot, by id; and what there is to say of both."""
        pages: dict[int, list[Part]] = {}
        ways: list[tuple[str, Shown]] = []
        broken: dict[str, str] = {}
        for n, candidate in enumerate(candidates):
            item = candidate.item
            try:
                how = shown_as(item, query.text or "", self._options.modality)
                pages[n] = [within(picture_of(item), self._options.max_pixels)] if how != "text" else []
                pages[n] += [" ".join((item.text or "").split()[: self._options.page_words])] if how != "image" else []
                ways.append((item.item_id, how))
            except (FormatError, InputError) as error:
                broken[item.item_id] = f"not shown to the model: {error.message}"
        chosen = choices(ways) if self._options.modality == "auto" else ()
        return pages, broken, [*(f"{key}: {why}" for key, why in broken.items()), *chosen]


def parse_answer(text: str, count: int) -> Order:
    """The order in the last answer block after the reasoning; whatever else stands around the numbers is passed over."""
    after = text.rpartition("</think>")[2]
    blocks = re.findall(r"<answer>(.*?)</answer>", after, re.DOTALL)
    return order_of([int(number) for number in re.findall(r"-?\d{1,9}", blocks[-1])] if blocks else None, count)


def parse_released(text: str, count: int) -> list[int]:
    """Positions from 0 exactly as the released code reads them: the first block whose brackets touch the tags, on one line.

    Repeats stay, so the list may be longer than `count`; anything unreadable gives the order as it came.

    >>> parse_released("<answer>[3, 3, 1]</answer>", 3)
    [2, 2, 0, 1]
    """
    found = re.search(r"<answer>\[(.*?)\]</answer>", text)
    try:
        numbers = [int(piece) - 1 for piece in found[1].split(",") if piece.strip()] if found else None
    except ValueError:
        numbers = None
    if numbers is None:
        return list(range(count))
    kept = [number for number in numbers if 0 <= number < count]
    return kept + [n for n in range(count) if n not in kept]


def _strict(text: str, count: int) -> Order:
    """As released, but each position once: a ranking has no repeats."""
    released = parse_released(text, count)
    positions = tuple(dict.fromkeys(released))
    if len(positions) < len(released):
        return Order(positions=positions, status="repaired", message=f"{len(released) - len(positions)} repeated marks dropped")
    return Order(positions=positions, status="ok")


def passages(text: str, count: int) -> dict[int, str]:
    """What the reasoning says of each page, by position from 0: the line or sentences that name its number."""
    think = text.partition("<think>")[2].partition("</think>")[0] or text.partition("</think>")[0].partition("<answer>")[0]
    found: dict[int, list[str]] = {}
    for sentence in re.split(r"(?<=[.!?])\s+|\n+", think.strip()):
        for number in _named(sentence):
            if 1 <= number <= count:
                found.setdefault(number - 1, []).append(sentence.strip())
    return {position: _short(" ".join(sentences)) for position, sentences in found.items()}


def _named(sentence: str) -> list[int]:
    """The page numbers after the word image or images: "Image 3: ...", "images 2, 4 and 5"."""
    lists = re.findall(r"\bimages?\s+#?(\d{1,4}(?:\s*(?:,|and|&|,\s*and)\s*#?\d{1,4})*)", sentence, re.IGNORECASE)
    return [int(number) for numbers in lists for number in re.findall(r"\d+", numbers)]


def _short(text: str) -> str:
    return text if len(text) <= REASON_LETTERS else text[: REASON_LETTERS - 1].rstrip() + "…"


def build(options: Options, backend: Backend) -> MMR5:
    return MMR5(options, backend)


def tiny() -> MMR5:
    return build(Options(), FakeBackend())
