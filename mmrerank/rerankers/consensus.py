"""Another reranker asked several times, with the candidates in other orders or with other draws, and one order made of its orders.

    consensus(rerank='mm_r5', shuffles=4)                          as they came, and four times shuffled
    consensus(rerank='mm_r5(temperature=0.7)', samples=5)          the same question five times, a seed each

A model that orders what it sees together leans towards places: what stands first, or last, is preferred whatever it is. Over shuffled
orders that averages out (permutation self-consistency); over sampled answers chance does. Candidates are shuffled within blocks of
neighbours, so that windows see what the first stage holds to be alike. A run whose order is not the model's (fallback) has no voice;
where none has one, the first stage's order stays.

    places       mean place over the runs
    reciprocal   sum of 1 / (60 + rank)
    pairs        how many others it beats in more runs than it loses to them (Copeland), then the mean place

Source: Tang et al., arXiv 2310.07712 (permutation self-consistency: shuffled orders, one central ranking), cited, not re-read; there
the order nearest to all by Kendall's distance, which `pairs` comes near to. Blocks, and runs without a voice, are ours.

Cost per query: (1 + shuffles) times samples that of the other reranker.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np

from mmrerank.errors import InputError
from mmrerank.fusion import reciprocal_rank_fusion
from mmrerank.parts import module, options_of, parse, printed, stage_of
from mmrerank.protocols import Backend, DescriptorSource, PointwiseReranker, Reranker
from mmrerank.rerankers._around import made_within, name_within
from mmrerank.testing.fakes import FakeBackend, turned
from mmrerank.types import Candidate, Cost, Notes, Query, Ranking, Status

Order: TypeAlias = Sequence[str]  # item ids, best first


@runtime_checkable
class Drawing(Protocol):
    """Options of a reranker whose answers are drawn."""

    temperature: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Options:
    rerank: str = "mm_r5"  # the other reranker, with its options
    shuffles: int = 4  # runs over shuffled candidates, beside the one in the order that came
    samples: int = 1  # runs over each order, each with a seed of its own
    block: int = 20  # shuffled within so many neighbours; 0: all together
    rule: Literal["places", "reciprocal", "pairs"] = "places"  # how one order is made of many
    seed: int = 0

    def __post_init__(self) -> None:
        if self.shuffles < 0 or self.samples < 1 or self.block < 0 or (self.shuffles, self.samples) == (0, 1):
            message = f"{self.shuffles} shuffles, {self.samples} samples and blocks of {self.block}"
            raise InputError(f"{message} are no several runs", hint="Expected shuffles=4, or samples=5, and block=20 or 0.")


class Consensus:
    """The order that several runs of a reranker agree on best."""

    def __init__(self, options: Options, runs: Sequence[Reranker]) -> None:
        self.name = printed("consensus", options)
        self.within = runs[0]
        self._runs, self._options = runs, options

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates by the rule over all runs, without scores."""
        rankings = [run.rerank(query, order) for order in self._orders(query, candidates) for run in self._runs]
        voices = [ranking for ranking in rankings if ranking.notes.status != "fallback"]
        by_id = {candidate.item.item_id: candidate.item for candidate in candidates}
        ids: Order = RULES[self._options.rule](list(by_id), [ranking.item_ids for ranking in voices]) if voices else list(by_id)
        notes = Notes(
            status=_status(len(voices), rankings),
            messages=(*self._count(len(voices), len(rankings)), *dict.fromkeys(m for one in rankings for m in one.notes.messages)),
            reasons=_reasons(ids, voices),
            cost=sum((ranking.notes.cost for ranking in rankings), Cost()),
            pictures=rankings[0].notes.pictures,
        )
        return Ranking(query_id=query.query_id, candidates=tuple(Candidate(item=by_id[item_id]) for item_id in ids), notes=notes)

    def _orders(self, query: Query, candidates: Sequence[Candidate]) -> list[list[Candidate]]:
        """The candidates as they came, then shuffled; the same for the same query, whatever came before."""
        block = self._options.block or max(len(candidates), 1)
        orders = [list(candidates)]
        for n in range(self._options.shuffles):
            generator = random.Random(f"{self._options.seed}/{query.query_id}/{n}")
            blocks = [list(candidates[start : start + block]) for start in range(0, len(candidates), block)]
            for one in blocks:
                generator.shuffle(one)
            orders.append([candidate for one in blocks for candidate in one])
        return orders

    def _count(self, voices: int, runs: int) -> list[str]:
        return [] if voices == runs else [f"{runs - voices} of {runs} runs gave no order and have no voice"]


def by_places(ids: Order, orders: Sequence[Order]) -> list[str]:
    """By mean place; equal ones in the order of `ids`.

    >>> by_places("abc", ["abc", "bca", "bac"])
    ['b', 'a', 'c']
    """
    places = _places(ids, orders)
    return [ids[n] for n in np.argsort(places.mean(axis=0), kind="stable")]


def by_reciprocal_ranks(ids: Order, orders: Sequence[Order]) -> list[str]:
    """By reciprocal rank fusion; equal ones in the order of `ids`."""
    fused = dict(reciprocal_rank_fusion(orders))
    return sorted(ids, key=lambda item_id: -fused[item_id])


def by_pairs(ids: Order, orders: Sequence[Order]) -> list[str]:
    """By how many others each beats in more orders than it loses to them, then by mean place, then in the order of `ids`.

    >>> by_pairs("abc", ["bac", "bca", "cab"])
    ['b', 'c', 'a']
    """
    places = _places(ids, orders)
    before = (places[:, :, None] < places[:, None, :]).sum(axis=0)  # (n, n) orders in which a row stands before a column
    beaten = (before > before.T).sum(axis=1)
    return [ids[n] for n in np.lexsort((places.mean(axis=0), -beaten))]


def _places(ids: Order, orders: Sequence[Order]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """(n_orders, n_ids) the place of each id in each order."""
    places = [{item_id: place for place, item_id in enumerate(order)} for order in orders]
    return np.array([[row[item_id] for item_id in ids] for row in places], dtype=np.int64).reshape(len(orders), len(ids))


RULES: Mapping[str, Callable[[Order, Sequence[Order]], list[str]]] = {
    "places": by_places,
    "reciprocal": by_reciprocal_ranks,
    "pairs": by_pairs,
}


def _status(voices: int, rankings: Sequence[Ranking]) -> Status:
    if not voices:
        return "fallback"
    if all(ranking.notes.status == "ok" for ranking in rankings):
        return "ok"
    return "repaired" if any(ranking.notes.status == "repaired" for ranking in rankings) else "completed"


def _reasons(ids: Order, rankings: Sequence[Ranking]) -> dict[str, str]:
    """Of each candidate the places that the runs gave it, and what the first run that says something says of it."""
    reasons = {}
    for item_id in ids if rankings else ():
        places = ", ".join(str(ranking.item_ids.index(item_id) + 1) for ranking in rankings)
        words = next((why for ranking in rankings if (why := ranking.notes.reasons.get(item_id))), "")
        reasons[item_id] = f"places {places} of {len(rankings)} runs" + (f"; {words}" if words else "")
    return reasons


def inner(options: Options) -> str:
    """The name of the reranker within, whose needs are this one's.

    Raises:
        InputError: it is a consensus itself, or several samples are wanted and it draws nothing.
    """
    rerank = name_within("consensus", options.rerank)
    own = options_of(stage_of(rerank).part, module(rerank, station="rerankers").Options)
    if options.samples > 1 and not (isinstance(own, Drawing) and own.temperature > 0):
        hint = "Name a reranker that samples, such as mm_r5(temperature=0.7), or use shuffles."
        raise InputError(f"{options.samples} samples of {rerank!r} would all be the same: it draws nothing", hint=hint)
    return rerank


def build(
    options: Options, backend: Backend | None = None, descriptors: DescriptorSource | None = None, api_key: str | None = None
) -> Consensus:
    """The runs of the other reranker, one for each seed.

    Raises:
        InputError: as of `inner`, or candidates are shuffled for one that scores each alone.
    """
    rerank = inner(options)
    runs = [made_within(_seeded(rerank, n), backend, descriptors, api_key) for n in range(options.samples)]
    if options.shuffles and isinstance(runs[0], PointwiseReranker) and runs[0].pointwise:
        raise InputError(f"{runs[0].name} scores each candidate alone: shuffled ones get the same scores", hint="Use it as it is.")
    return Consensus(options, runs)


def _seeded(rerank: str, n: int) -> str:
    """The name with its seed moved by n."""
    if n == 0:
        return rerank
    name = parse(rerank)
    return str(replace(name, options={**name.options, "seed": int(name.options.get("seed", 0)) + n}))


def tiny() -> Consensus:
    """Over `mm_r5` with a fake model that puts the even pages first, wherever they come from."""
    answer = turned(r"There are (\d+) images", "<think>Image 2 fits.</think><answer>[{}]</answer>")
    return Consensus(Options(), [made_within("mm_r5", FakeBackend(answer=answer), None, None)])
