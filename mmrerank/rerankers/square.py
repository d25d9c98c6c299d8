"""Tiles the best candidates into one grid with numbered marks and asks an MLLM once for the order of all of them.

    reference + request + grid of marks 1..K  ->  {"ranking": [7, 1, 3, ...]}  ->  the first K reordered, the tail as it was

Source: the second half (EBR) of SQUARE (arXiv 2509.26330), of which only the abstract and some second-hand notes could be
read: no reproduction. Read there: a grid of the top candidates, visual marks, one MLLM call that reasons over all of them.
Ours: everything else, such as K = 16, the look of the grid, the prompt, the answer's form, its parser, retries, shuffles.

It looks at pictures only, at pages too, and takes no `modality`: text has no place in a grid of marks. `ragllava` and `mm_r5` read.

It cannot lift what the first stage left beyond `depth`: R@k with k >= depth stays as it is, and the share of queries whose
target is within the depth is its ceiling. Small details vanish in a cell; look at the grids that `grids="FOLDER"` writes.
Weights of a query's pictures are not told to the model.

Cost per query: one generation with one grid, whatever the depth; `shuffles` of them where orders of several grids are merged.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mmrerank.errors import InputError
from mmrerank.parts import printed, runtime_option
from mmrerank.prompting.answers import Order, Reading, named_marks, order_as_it_came, order_of, read_marks, short, worst
from mmrerank.prompting.files import read_prompt
from mmrerank.prompting.grids import Layout, draw_grid, fitted, write_grid
from mmrerank.prompting.items import gather, picture_of
from mmrerank.prompting.queries import QUERY_PIECES, joined
from mmrerank.protocols import Backend
from mmrerank.rerankers._rankings import attempt, obstacle_notes, unscored
from mmrerank.testing.fakes import FakeBackend, turned
from mmrerank.types import (
    Candidate,
    Cost,
    Decoding,
    Generated,
    ImageHandle,
    Message,
    Modality,
    NotedPicture,
    Part,
    Prompt,
    Query,
    Ranking,
    Status,
)

if TYPE_CHECKING:
    from PIL.Image import Image

PIECES: dict[str, set[str]] = {"task": {"count"}, **QUERY_PIECES, "grid": set()}
MARKS_NAMED = 4  # in a reason
LOOKS_AT: frozenset[Modality] = frozenset({"image"})


@dataclass(frozen=True, kw_only=True)
class Options:
    depth: int = 16  # K, how many of the candidates are drawn
    prompt: str = "square"
    cell_px: int = 336  # side of a cell of the grid
    gutter_px: int = 8  # between cells
    reference_px: int = 336  # the longest side at which pictures of the query are shown
    shuffles: int = 0  # 0: one grid in the incoming order; n: n grids, each shuffled, their orders merged by mean place
    max_tokens: int = 512
    temperature: float = 0.0
    retries: int = 2  # after a refusal; after an unreadable answer only when the temperature is above 0; time-outs are the backend's
    seed: int = 0
    grids: str | None = runtime_option(None)  # folder to which every grid is written as QUERY_ID.png

    def __post_init__(self) -> None:
        Layout(side=1, cell_px=self.cell_px, gutter_px=self.gutter_px)  # complains of sizes out of range
        if min(self.depth, self.reference_px) < 1 or min(self.shuffles, self.retries) < 0:
            raise InputError(f"depth and reference_px count from 1, shuffles and retries from 0; got {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What came of one grid."""

    cells: tuple[int, ...]  # which of the drawn pictures is in each cell
    order: Order  # of the drawn pictures
    lines: Mapping[int, str]  # what the model says of a drawn picture before the JSON
    cost: Cost
    picture: NotedPicture


class Square:
    """Reranks the head of a ranking by one look at all of it."""

    def __init__(self, options: Options, backend: Backend) -> None:
        self.name = printed("square", options)
        self.prompt = read_prompt(options.prompt, PIECES)
        self.backend = backend
        self._options = options
        self._decoding = Decoding(max_tokens=options.max_tokens, temperature=options.temperature, seed=options.seed)

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates with their first `depth` in the model's order, all without scores; see `notes.status`.

        Marks the model left out follow in the incoming order. A candidate of the head whose picture does not open is not
        drawn and stays right behind the head. Without a usable answer everything stays as it came (`fallback`). The grids are
        among the notes.

        Raises:
            FormatError: a picture of the query cannot be opened.
            BackendError: the model cannot be reached or does not take the prompt, so that asking again is of no use.
        """
        count = min(self._options.depth, len(candidates))
        pictures, obstacles = gather(candidates, lambda item: fitted(picture_of(item), self._options.cell_px), range(count))
        rounds = self._rounds(query, list(pictures.values()))
        answered = [one for one in rounds if one.order.status != "fallback"]
        drawn, head, why, reasons = list(pictures), list(range(count)), "", dict[int, str]()
        undrawn, undrawn_reasons = obstacle_notes(candidates, obstacles, "not in the grid")
        if answered:
            moved = [drawn[n] for n in mean_places([one.order.positions for one in answered])]
            head = [*moved, *obstacles]
            reasons = {n: _reason(answered, drawn.index(n), rank, n + 1) for rank, n in enumerate(moved, 1)} | undrawn_reasons
        elif rounds or obstacles:
            why = rounds[0].order.message if rounds else "fewer than two pictures can be drawn"
            reasons = {n: f"keeps its place: {undrawn_reasons.get(n, why)}" for n in head}
        return unscored(
            query,
            candidates,
            [*head, *range(count, len(candidates))],
            status="fallback" if why else _status(rounds, whole=not obstacles),
            messages=[*(_mended(rounds) if rounds else [why]), *undrawn],
            reasons=reasons,
            cost=sum((one.cost for one in rounds), Cost()),
            pictures=[one.picture for one in rounds],
        )

    def prompt_for(self, query: Query, grid: Image, count: int) -> Prompt:
        """What the model is asked about one grid: the task, the query with its pictures, and last the grid."""
        text = self.prompt
        parts: list[Part] = [text.fill("task", count=count)]
        for number, handle in enumerate(query.images, 1):
            parts += [text.fill("reference", number=f" {number}" if len(query.images) > 1 else ""), self._reference(handle)]
        if query.text:
            parts.append(text.fill("changed" if query.images else "wanted", query=query.text))
        else:
            parts.append(text.pieces["alike"])
        parts += [text.fill("excluded", text=excluded) for excluded in query.exclude_text]
        for handle in query.exclude_images:
            parts += [text.pieces["excluded_picture"], self._reference(handle)]
        return (Message(role="user", parts=(*joined([*parts, text.pieces["grid"]]), grid)),)

    # ------------------------------------------------------------------

    def _rounds(self, query: Query, pictures: Sequence[Image]) -> list[Round]:
        """One round, or one for each shuffle; none where there is nothing to order."""
        return [self._round(query, pictures, n) for n in range(max(1, self._options.shuffles))] if len(pictures) > 1 else []

    def _round(self, query: Query, pictures: Sequence[Image], number: int) -> Round:
        """Draws one grid and asks for its order."""
        options = self._options
        cells = list(range(len(pictures)))
        if options.shuffles:
            random.Random(f"{options.seed}/{number}/{query.query_id}").shuffle(cells)
        grid = draw_grid([pictures[n] for n in cells], cell_px=options.cell_px, gutter_px=options.gutter_px)
        name = query.query_id + (f"-{number + 1}" if options.shuffles else "")
        if options.grids is not None:
            write_grid(grid, Path(options.grids), name)
        reading, text, cost = self._answer(self.prompt_for(query, grid, len(cells)), len(cells))
        # marks become numbers of drawn pictures before the missing ones are added, which then follow as they came
        marks = [cells[mark - 1] + 1 if 1 <= mark <= len(cells) else 0 for mark in reading.marks or ()]
        return Round(
            cells=tuple(cells),
            order=order_of(marks, len(cells)) if marks else order_as_it_came(len(cells), reading.why),
            lines={cells[mark - 1]: line for mark, line in named_marks(text, len(cells)).items()},
            cost=cost,
            picture=NotedPicture(name=name, picture=grid),
        )

    def _answer(self, prompt: Prompt, count: int) -> tuple[Reading, str, Cost]:
        """What could be read of an answer, its text, and the cost of all attempts.

        A greedy answer that cannot be read would come back word for word, from the cache or anew: it is not asked for again. Nor is
        one that did not come in time, which the backend has tried again itself.
        """
        reading, text, cost = Reading(marks=None), "", Cost()
        for number in range(1 + self._options.retries):
            decoding = replace(self._decoding, seed=self._decoding.seed + number)
            answers, silence = attempt(partial(self.backend.generate, [prompt], decoding))
            if answers is None:
                return Reading(marks=None, why=silence), "", cost
            (answer,) = answers
            text, reading, cost = answer.text, _read(answer, count), cost + answer.cost
            if reading.marks is not None or (answer.finished != "refused" and not self._options.temperature):
                break
        return reading, text, cost

    def _reference(self, handle: ImageHandle) -> Image:
        picture = handle.open()
        return fitted(picture, self._options.reference_px) if max(picture.size) > self._options.reference_px else picture


def mean_places(orders: Sequence[Sequence[int]]) -> list[int]:
    """The positions of several complete orders by the sum of their places (Borda's count), equal ones as they came.

    >>> mean_places([[2, 0, 1], [0, 2, 1]])
    [0, 2, 1]
    """
    places = [0] * len(orders[0])
    for order in orders:
        for place, position in enumerate(order):
            places[position] += place
    return sorted(range(len(places)), key=places.__getitem__)


def _read(answer: Generated, count: int) -> Reading:
    """The marks of an answer, or why there are none with the beginning of what came instead."""
    reading = read_marks(answer.text, count, cut=answer.finished == "length")
    if reading.marks is not None:
        return reading
    why = "the model refused" if answer.finished == "refused" else reading.why
    return replace(reading, why=why + (f": {short(answer.text)}" if answer.text.strip() else ""))


def _mended(rounds: Sequence[Round]) -> list[str]:
    """What was mended in each round."""
    if len(rounds) == 1:
        return [rounds[0].order.message]
    return [f"grid {n}: {one.order.message}" for n, one in enumerate(rounds, 1) if one.order.message]


def _status(rounds: Sequence[Round], *, whole: bool) -> Status:
    """The gravest of the rounds, of which a lost one beside answered ones is a repair; at least `completed` unless the head is whole."""
    statuses: list[Status] = ["repaired" if one.order.status == "fallback" else one.order.status for one in rounds]
    return worst([*statuses, "ok" if whole else "completed"])


def _reason(rounds: Sequence[Round], drawn: int, rank: int, before: int) -> str:
    """Why a candidate stands where it stands, and what the model says of it."""
    marks = ", ".join(str(one.cells.index(drawn) + 1) for one in rounds[:MARKS_NAMED])
    marks += ", …" if len(rounds) > MARKS_NAMED else ""
    grids = "the grid" if len(rounds) == 1 else f"{len(rounds)} grids"
    line = next((one.lines[drawn] for one in rounds if drawn in one.lines), "")
    move = f"mark {marks} in {grids}, placed {_ordinal(rank)}; was {_ordinal(before)}"
    return f"{move}: {line}" if line else move


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def build(options: Options, backend: Backend) -> Square:
    return Square(options, backend)


def tiny() -> Square:
    return build(Options(), FakeBackend(answer=turned(r"a grid of (\d+) pictures", '{"ranking": [{}]}')))
