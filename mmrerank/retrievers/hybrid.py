"""Several retrievers fused by reciprocal rank: their scores have unlike scales, so only their orders meet.

A part that is worse by itself costs precision at the top when it weighs as much as the better one: on 244 questions over pages,
`lexical` alone had R@1 .360, equal weights with a small sentence encoder (R@1 .196) .301, and no weight came above .360. Give the better
part the larger weight, such as weights=(8.0, 1.0), and measure: tests/bench/bench_hybrid.py chooses weights by cross-validation.

Source: Cormack, Clarke & Büttcher 2009.  Cost per query: that of its parts.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmrerank.errors import InputError
from mmrerank.fusion import reciprocal_rank_fusion
from mmrerank.parts import make, printed
from mmrerank.protocols import Corpus, CorpusCapabilities, Retriever
from mmrerank.testing.fakes import fake_corpus
from mmrerank.types import Candidate, Notes, Query, Ranking


@dataclass(frozen=True, kw_only=True)
class Options:
    parts: tuple[str, ...] = ("lexical", "dense")  # retrievers by name
    weights: tuple[float, ...] = ()  # one per part; empty: all 1
    constant: float = 60.0  # of reciprocal rank: weight / (constant + rank)
    pool: int = 100  # how deep each part is asked, at least k


class Hybrid:
    """Retrieves by the rankings of several retrievers, fused by reciprocal rank."""

    def __init__(self, options: Options, corpus: Corpus) -> None:
        if len(options.parts) < 2:
            raise InputError(f"hybrid fuses at least two retrievers; got {options.parts}")
        if options.weights and (len(options.weights) != len(options.parts) or min(options.weights) < 0 or not any(options.weights)):
            kind = "one weight each, none negative and not all 0"
            raise InputError(f"hybrid fuses {len(options.parts)} retrievers, so it takes {kind}; got {options.weights}")
        self.name = printed("hybrid", options)
        self._options = options
        self.parts: list[Retriever] = [make(part, station="retrievers", corpus=corpus) for part in options.parts]

    def retrieve(self, query: Query, k: int) -> Ranking:
        """The k best by fused rank; the reason of each names its rank in every part."""
        options = self._options
        depth = max(k, options.pool)
        orders = [part.retrieve(query, depth) for part in self.parts]
        pairs = reciprocal_rank_fusion([o.item_ids for o in orders], constant=options.constant, weights=options.weights or None)[:k]
        items = {c.item.item_id: c.item for order in orders for c in order.candidates}
        candidates = tuple(Candidate(item=items[item_id], score=score) for item_id, score in pairs)
        reasons = {item_id: self._reason(item_id, orders) for item_id, _ in pairs}
        return Ranking(query_id=query.query_id, candidates=candidates, notes=Notes(reasons=reasons))

    def _reason(self, item_id: str, orders: list[Ranking]) -> str:
        places = [
            f"{part.name.split('(')[0]} rank {order.item_ids.index(item_id) + 1}"
            for part, order in zip(self.parts, orders, strict=True)
            if item_id in order.item_ids
        ]
        return ", ".join(places)


def works_on(corpus: CorpusCapabilities) -> bool:
    return corpus.has_text and corpus.takes("text")


def build(options: Options, corpus: Corpus) -> Hybrid:
    return Hybrid(options, corpus)


def tiny() -> Hybrid:
    return Hybrid(Options(), fake_corpus())
