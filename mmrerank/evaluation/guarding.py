"""A guard from an evaluation: what the last reranker gained over the stage before it, on queries whose judgements are at hand."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Literal, TypeAlias

from mmrerank.errors import InputError
from mmrerank.evaluation.benchmark import Benchmark
from mmrerank.evaluation.evaluate import Evaluated
from mmrerank.rerankers.guard import Guard, Judgement, guard_from
from mmrerank.types import Candidate, Item

Half: TypeAlias = Literal["a", "b"]


def halved(benchmark: Benchmark, half: Half) -> Benchmark:
    """One half of the queries, to fit on one and to report the other: drawn by a hash of the id, so that a query keeps its half whatever
    stands beside it. A half is nothing to submit to a server."""
    queries = tuple(query for query in benchmark.queries if _half(query.query_id) == half)
    return replace(benchmark, queries=queries, server="")


def _half(query_id: str) -> Half:
    return "a" if hashlib.blake2b(query_id.encode(), digest_size=1).digest()[0] % 2 == 0 else "b"


def fitted_guard(evaluated: Evaluated) -> Guard:
    """The guard of the last reranker of an evaluation, by its first measure.

    Raises:
        InputError: nothing was reranked, there are no judgements, or fewer than ten queries.
    """
    outcome = evaluated.outcome
    if not evaluated.rerank or not outcome.benchmark.judged:
        lack = "nothing was reranked" if not evaluated.rerank else "there are no judgements here"
        raise InputError(f"a guard is fitted on what a reranker gained, and {lack}", hint="Expected --rerank NAME and a judged benchmark.")
    before, after = outcome.systems[-2:]
    depth = after.depth or outcome.depth
    rows = []
    for query in outcome.benchmark.queries:
        ids, scores = before.rankings[query.query_id][:depth], before.scores[query.query_id][:depth]
        head = [Candidate(item=Item(item_id=item_id), score=score) for item_id, score in zip(ids, scores, strict=True)]
        grades = outcome.benchmark.qrels.get(query.query_id, {})
        rows.append(Judgement(before=head, after=[one for one in after.rankings[query.query_id] if one in set(ids)], grades=grades))
    return guard_from(evaluated.rerank[-1], rows, measure=outcome.benchmark.measures[0])
