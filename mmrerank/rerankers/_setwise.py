"""Setwise: the model names the best of a few candidates, and a sort over such answers gives the first of all.

    heap     a tree in which each parent has `children` children; the best rises to the root, is taken out, and the next one rises
    bubble   windows of children + 1 from the end to the head, each sharing one candidate with the next; the best of all reaches the head

Either orders the first `top` candidates; the others follow as they came. Where an answer cannot be read, or does not come in time, the
candidate that the first stage put highest wins ("first_stage"), so that a model that never answers changes nothing; or the one on top
of the tree or at the head of the window ("released"), as in the code of Rank-R1, where such a model promotes the tail.
Every comparison moves the sort forward whatever it says, so that contradictions and ties end it as well. The explanation of a candidate
has the comparisons that it was in, and who won them.

Used like this, with anything that chooses:

    choose = lambda texts: Choice(best=model(query.text, texts))
    ranking = setwise(query, candidates, show=lambda item: item.text, choose=choose, children=19, top=10)

Source: Zhuang et al. 2024 (setwise prompting), Rank-R1 (arXiv 2503.06034, code ielab/llm-rankers at b36517b), by its notes; the default
for unread answers and the windows that are left out because nothing in them has moved are ours.

Cost per query: one call of `choose` a comparison. For n = 100 in random order, children = 19 and top = 10 the heap takes 20 to 25,
with children = 3 75 to 86; bubble takes at most top times ceil((n - 1) / children), on what is sorted a fraction of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeAlias, TypeVar

from mmrerank.errors import InputError
from mmrerank.prompting.items import gather
from mmrerank.protocols import Backend
from mmrerank.rerankers._rankings import announce, attempt, obstacle_notes, unscored
from mmrerank.types import Candidate, Cost, Explanation, Item, Query, Ranking, Status

T = TypeVar("T")
Sort: TypeAlias = Literal["heap", "bubble"]
Unread: TypeAlias = Literal["first_stage", "released"]
Best: TypeAlias = Callable[[Sequence[int]], int]  # candidates -> the place among them of the best


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What came of one comparison."""

    best: int | None  # position among those shown, from 0; None, or one that is not there: no answer that can be read
    reason: str = ""  # what is said of the best
    cost: Cost = field(default_factory=Cost)


def setwise(
    query: Query,
    candidates: Sequence[Candidate],
    *,
    show: Callable[[Item], T],
    choose: Callable[[Sequence[T]], Choice],
    children: int = 19,
    top: int = 10,
    sort: Sort = "heap",
    unread: Unread = "first_stage",
    shuffle: bool = False,
    seed: int = 0,
    unshown: str = "not shown to the model",
    backend: Backend | None = None,
) -> Ranking:
    """The candidates with the first `top` in order and the rest as they came, without scores.

    Args:
        show: what of an item is compared; raises InputError or FormatError where it cannot be shown.
        choose: names the best of 2 to children + 1 that it is shown; a BackendError that is `retryable` is an answer that cannot be read.
        children: of a parent in the heap; one less than a window of the bubble sort.
        top: how many places are ordered.
        unread: who wins where no answer can be read.
        shuffle: whether each comparison shows its candidates in an order of its own, drawn from `seed`.
        unshown: what is said of a candidate that cannot be shown, before why.
        backend: the one that `choose` asks, to be told how many prompts may come.

    Raises:
        InputError: children or top is below 1.
        BackendError: the model cannot be reached or does not take the prompt.
    """
    if min(children, top) < 1:
        raise InputError(f"children and top count from 1; got {children} and {top}")
    exhibits, obstacles = gather(candidates, show)
    messages, reasons = obstacle_notes(candidates, obstacles, unshown)
    if obstacles and len(exhibits) < 2:  # nothing can be compared, so nothing was done
        return unscored(query, candidates, range(len(candidates)), status="fallback", messages=messages, reasons=reasons, cost=Cost())
    announce(backend, most_comparisons(len(exhibits), children, top, sort))
    chance = random.Random(f"{seed}/{query.query_id}") if shuffle else None
    referee = _Referee(exhibits, choose, unread, chance, [candidate.item.item_id for candidate in candidates])
    head = SORTS[sort](list(exhibits), referee.best, children, top)
    order = [*head, *(n for n in exhibits if n not in set(head)), *obstacles]
    return unscored(
        query,
        candidates,
        order,
        status=referee.status(moved=order != [*exhibits, *obstacles], whole=not obstacles),
        messages=[*messages, referee.message],
        reasons=referee.reasons | reasons,
        cost=referee.cost,
        explanations={n: Explanation(steps=tuple(lines)) for n, lines in referee.steps.items()},
    )


class _Referee(Generic[T]):
    """Asks which of some candidates is best, and remembers what came of it."""

    def __init__(
        self,
        exhibits: dict[int, T],
        choose: Callable[[Sequence[T]], Choice],
        unread: Unread,
        chance: random.Random | None,
        names: Sequence[str],
    ) -> None:
        self.reasons: dict[int, str] = {}
        self.steps: dict[int, list[str]] = {}
        self.cost = Cost()
        self._exhibits, self._choose, self._unread, self._chance, self._names = exhibits, choose, unread, chance, names
        self._comparisons, self._failures = 0, list[str]()

    def best(self, positions: Sequence[int]) -> int:
        """The place of the best among these candidates."""
        places = list(range(len(positions)))
        if self._chance is not None:
            self._chance.shuffle(places)
        choice, why = attempt(lambda: self._choose([self._exhibits[positions[place]] for place in places]))
        self._comparisons += 1
        self.cost += Cost() if choice is None else choice.cost
        if choice is None or choice.best is None or not 0 <= choice.best < len(places):
            self._failures.append(why or "no choice in the answer")
            place = positions.index(min(positions)) if self._unread == "first_stage" else 0
            self._note(positions, place, " without an answer")
            return place
        place = places[choice.best]
        if choice.reason:
            self.reasons[positions[place]] = choice.reason
        self._note(positions, place)
        return place

    def _note(self, positions: Sequence[int], winner: int, how: str = "") -> None:
        """What the comparison was for each of its candidates."""
        for place, position in enumerate(positions):
            result = f"best of {len(positions)}" if place == winner else f"behind {self._names[positions[winner]]}"
            self.steps.setdefault(position, []).append(f"comparison {self._comparisons}: {result}{how}")

    @property
    def message(self) -> str:
        """How many answers could not be read, and who won there."""
        if not self._failures:
            return ""
        winner = "the best of the first stage" if self._unread == "first_stage" else "the first one"
        return f"{len(self._failures)} of {self._comparisons} comparisons: {self._failures[0]}; {winner} won there"

    def status(self, *, moved: bool, whole: bool) -> Status:
        """`fallback` where no answer could be read and nothing moved; `repaired` where some could not."""
        if self._failures:
            return "repaired" if moved or len(self._failures) < self._comparisons else "fallback"
        return "ok" if whole else "completed"


def heap_top(items: Sequence[int], best: Best, children: int, top: int) -> list[int]:
    """The first `top` items by a heap whose parents have so many children.

    >>> heap_top([3, 1, 2], lambda few: few.index(min(few)), children=2, top=2)
    [1, 2]
    """
    heap = list(items)

    def sift(parent: int, size: int) -> None:
        while children * parent + 1 < size:
            family = [parent, *range(children * parent + 1, min(children * (parent + 1) + 1, size))]
            winner = family[best([heap[n] for n in family])]
            if winner == parent:
                return
            heap[parent], heap[winner] = heap[winner], heap[parent]
            parent = winner  # deeper each time, so that it ends whatever the answers are

    for parent in range(len(heap) // children, -1, -1):
        sift(parent, len(heap))
    size = len(heap)
    while size and len(heap) - size < top:
        if size < len(heap):
            sift(0, size)
        size -= 1
        heap[0], heap[size] = heap[size], heap[0]
    return heap[size:][::-1]


def bubble_top(items: Sequence[int], best: Best, children: int, top: int) -> list[int]:
    """The first `top` items by windows of children + 1 that carry the best to the head, once for each place.

    A window that shows what it showed before, with the best in front, is not asked about again.

    >>> bubble_top([3, 1, 2], lambda few: few.index(min(few)), children=1, top=2)
    [1, 2]
    """
    order = list(items)
    unmoved: set[tuple[int, ...]] = set()
    for place in range(min(top, len(order) - 1)):
        stop = len(order)
        for start in [*range(len(order) - 1 - children, place, -children), place]:
            window = tuple(order[start:stop])
            stop = start + 1
            if len(window) < 2 or window in unmoved:
                continue
            winner = start + best(window)
            order[start], order[winner] = order[winner], order[start]
            unmoved.add(tuple(order[start : start + len(window)]))
    return order[:top]


SORTS: dict[Sort, Callable[[Sequence[int], Best, int, int], list[int]]] = {"heap": heap_top, "bubble": bubble_top}


def most_comparisons(count: int, children: int, top: int, sort: Sort) -> int:
    """How many comparisons a sort takes at most, for an estimate of the time.

    >>> most_comparisons(20, 19, 1, "heap"), most_comparisons(100, 19, 10, "bubble")
    (1, 60)
    """
    if sort == "bubble":
        return min(top, max(count - 1, 0)) * -(-(count - 1) // children)
    parents = range(-(-(count - 1) // children))
    return sum(_height(parent, count, children) for parent in parents) + (min(top, count) - 1) * _height(0, count, children)


def _height(parent: int, count: int, children: int) -> int:
    """How many levels of a heap of `count` lie below a parent."""
    height = 0
    while children * parent + 1 < count:
        parent, height = children * parent + 1, height + 1
    return height
