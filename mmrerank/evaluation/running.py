"""A benchmark through a collection: first stage, rerankers, and the rankings after each of them.

What a protocol takes out of a ranking (CIRR's reference picture) is taken out of the first stage already, so that it wastes no
place of a reranker; queries with a gallery of their own are searched in it. Queries go through one after the other: how they
are batched inside a part is a matter of speed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mmrerank.collection import Collection
from mmrerank.errors import InputError
from mmrerank.evaluation.benchmark import Benchmark
from mmrerank.evaluation.runs import Run
from mmrerank.measures.names import parse_measure
from mmrerank.measures.scoring import Judgements, Scores, score
from mmrerank.pipeline import SearchResult, Stage
from mmrerank.types import Array, Backend, Candidate, Cost, Query, Ranking, Reranker, Retriever, RowRetriever, Space

DEPTH = 100
KEPT = 1000  # candidates kept of a ranking where a measure wants it whole
KEPT_WHOLE = 10_000  # and where it needs pictures however late they come: a small gallery's, or right ones far down
Progress = Callable[[int, int], Any]


@dataclass(frozen=True, kw_only=True)
class System:
    """The rankings after one stage, with what it took to get there, first stage included."""

    name: str
    rankings: Mapping[str, tuple[str, ...]]
    scores: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    seconds: float = 0.0  # over all queries
    notes: Mapping[str, int] = field(default_factory=dict)  # what a stage had to say -> for how many queries


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """First stage and what follows it, over the queries of one benchmark."""

    benchmark: Benchmark
    depth: int
    candidates: int  # over all queries, as the first stage gave them to the rerankers
    systems: tuple[System, ...]  # the first stage first

    def scored(self) -> list[Scores]:
        return [score(system.rankings, judgements(self.benchmark), self.benchmark.measures) for system in self.systems]


def judgements(benchmark: Benchmark) -> Judgements:
    """What the rankings of a benchmark are measured against; its queries only."""
    asked = {query.query_id for query in benchmark.queries}
    return Judgements(
        qrels={query_id: benchmark.qrels[query_id] for query_id in benchmark.qrels if query_id in asked},
        removed=benchmark.removed,
        subsets=benchmark.subsets,
        groups=benchmark.groups,
    )


def limited(benchmark: Benchmark, limit: int | None) -> Benchmark:
    """The benchmark with at most `limit` queries, evenly spread over it; fewer than all are nothing to submit to a server."""
    if limit is None or limit >= len(benchmark.queries):
        return benchmark
    if limit < 1:
        raise InputError(f"limit must be at least 1; got {limit}")
    places = [n * len(benchmark.queries) // limit for n in range(limit)]
    return replace(benchmark, queries=tuple(benchmark.queries[place] for place in places), server="")


class Restricted:
    """A first stage without what the protocol removes, searched in the query's own gallery where it has one."""

    def __init__(self, inner: Retriever, benchmark: Benchmark) -> None:
        self.name = inner.name
        self._inner, self._benchmark = inner, benchmark

    def retrieve(self, query: Query, k: int) -> Ranking:
        """The k best that may be found."""
        gone = self._benchmark.removed.get(query.query_id, frozenset())
        found = self._inner.retrieve(in_gallery(query, self._benchmark), k + len(gone))
        kept = tuple(candidate for candidate in found.candidates if candidate.item.item_id not in gone)[:k]
        return replace(found, candidates=kept)


class RestrictedRows(Restricted):
    """The same for a first stage that searches with descriptors, and shows them."""

    _inner: RowRetriever

    def query_row(self, query: Query) -> Array:
        return self._inner.query_row(query)

    def space(self, query: Query) -> Space:
        return self._inner.space(query)


def in_gallery(query: Query, benchmark: Benchmark) -> Query:
    """The query with a filter for its gallery, where it has one."""
    gallery = benchmark.galleries.get(query.query_id)
    if not gallery:
        return query
    listed = ", ".join("'" + item.replace("'", "''") + "'" for item in gallery)
    own = f"item_id IN ({listed})"
    return replace(query, filter=f"({query.filter}) AND {own}" if query.filter else own)


class FromRun:
    """A first stage that another system ran."""

    def __init__(self, run: Run, collection: Collection) -> None:
        self.name = f"run/{run.tag}"
        self._run, self._collection = run, collection

    def retrieve(self, query: Query, k: int) -> Ranking:
        """The first k of the run, as items of the collection.

        Raises:
            InputError: the collection lacks one of them.
        """
        ids = self._run.rankings.get(query.query_id, ())[:k]
        scores = self._run.scores.get(query.query_id) or (None,) * len(ids)
        pairs = zip(ids, scores, strict=False)
        return Ranking(query_id=query.query_id, candidates=tuple(Candidate(item=self._collection.item(item), score=s) for item, s in pairs))


class FromRunRows(FromRun):
    """The same, with the descriptors of a first stage of ours for rerankers that work on them."""

    def __init__(self, run: Run, collection: Collection, rows: RowRetriever) -> None:
        super().__init__(run, collection)
        self._rows = rows

    def query_row(self, query: Query) -> Array:
        return self._rows.query_row(query)

    def space(self, query: Query) -> Space:
        return self._rows.space(query)


def first_stage(
    benchmark: Benchmark, collection: Collection, *, name: str | None = None, run: Run | None = None, backend: Backend | None = None
) -> Retriever:
    """The first stage: the named one, else the benchmark's, or the run of another system."""
    inner: Retriever = collection.view.retriever(name or benchmark.retriever, backend)
    if run is not None:
        inner = FromRunRows(run, collection, inner) if isinstance(inner, RowRetriever) else FromRun(run, collection)
    return RestrictedRows(inner, benchmark) if isinstance(inner, RowRetriever) else Restricted(inner, benchmark)


def run_benchmark(
    benchmark: Benchmark,
    collection: Collection,
    first: Retriever,
    *,
    rerank: Sequence[str | Reranker] = (),
    backend: Backend | None = None,
    depth: int = DEPTH,
    progress: Progress | None = None,
) -> Outcome:
    """The rankings of all queries after every stage.

    Args:
        depth: how many candidates the rerankers see.
        progress: called with the queries done and expected.
    """
    kept = max(depth, _kept(benchmark.measures, len(collection)))
    results: list[SearchResult] = []
    for done, query in enumerate(benchmark.queries, 1):
        results.append(collection.search(query, k=kept, retriever=first, rerank=rerank, backend=backend, depth=depth))
        if progress is not None:
            progress(done, len(benchmark.queries))
    names = _names([stage.name for stage in results[0].stages]) if results else [first.name]
    systems = tuple(_system(name, n, results) for n, name in enumerate(names))
    seen = sum(min(depth, len(result.stages[0].ranking.candidates)) for result in results)
    return Outcome(benchmark=benchmark, depth=depth, candidates=seen, systems=systems)


def _names(stages: Sequence[str]) -> list[str]:
    return [" > ".join(stages[: n + 1]) for n in range(len(stages))]


def _kept(measures: Iterable[str], size: int) -> int:
    parsed = [parse_measure(name) for name in measures]
    if any(measure.family.startswith("revisited") or measure.family == "subset" for measure in parsed):
        return min(size, KEPT_WHOLE)
    if any(measure.cutoff is None for measure in parsed):
        return min(size, KEPT)
    return max((measure.cutoff or 1 for measure in parsed), default=1)


def _system(name: str, n: int, results: Sequence[SearchResult]) -> System:
    ordered = {result.query.query_id: _ordered(result.stages[: n + 1]) for result in results}
    used = [stage for result in results for stage in result.stages[: n + 1]]
    notes: dict[str, int] = {}
    for result in results:
        status = result.stages[n].ranking.notes.status
        notes[status] = notes.get(status, 0) + 1
    return System(
        name=name,
        rankings={query_id: tuple(c.item.item_id for c in candidates) for query_id, candidates in ordered.items()},
        scores={query_id: tuple(c.score for c in candidates) for query_id, candidates in ordered.items()},
        cost=sum((stage.cost for stage in used), Cost()),
        seconds=sum(stage.seconds for stage in used),
        notes=notes,
    )


def _ordered(stages: Sequence[Stage]) -> tuple[Candidate, ...]:
    """What the search would show after these stages: the reranked head, then the rest of the first stage without scores."""
    irrelevant = set().union(*(stage.ranking.notes.irrelevant for stage in stages))
    head = tuple(c for c in stages[-1].ranking.candidates if c.item.item_id not in irrelevant)
    if len(stages) == 1 or irrelevant:
        return head
    held = {candidate.item.item_id for candidate in head}
    rest = (c for c in stages[0].ranking.candidates if c.item.item_id not in held)
    return (*head, *(replace(c, score=None) for c in rest))


def given_run(benchmark: Benchmark, run: Run, depth: int) -> Outcome:
    """A run of another system, measured as it is; what the protocol removes is taken out by the measures."""
    asked = {query.query_id for query in benchmark.queries}
    rankings = {query_id: ids for query_id, ids in run.rankings.items() if query_id in asked}
    if not rankings:
        raise InputError(f"the run {run.tag!r} holds no query of {benchmark.name}")
    system = System(name=f"run/{run.tag}", rankings=rankings, scores=run.scores)
    return Outcome(benchmark=benchmark, depth=depth, candidates=sum(min(depth, len(ids)) for ids in rankings.values()), systems=(system,))
