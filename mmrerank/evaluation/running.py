"""A benchmark through a collection: first stage, rerankers, and the rankings after each of them.

What a protocol takes out of a ranking (CIRR's reference picture) is taken out of the first stage already, so that it wastes no
place of a reranker; queries with a gallery of their own are searched in it. Queries go through one after the other: how they
are batched inside a part is a matter of speed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Any

from mmrerank.collection import Collection
from mmrerank.errors import InputError
from mmrerank.evaluation.benchmark import Benchmark
from mmrerank.evaluation.runs import Run
from mmrerank.evaluation.sampling import evenly
from mmrerank.measures.names import parse_measure
from mmrerank.measures.scoring import Judgements, Scores, score
from mmrerank.parts import StagedReranker
from mmrerank.pipeline import order_after
from mmrerank.protocols import Backend, EmbeddingSpace, Reranker, Retriever, RowRetriever
from mmrerank.results import SearchResult
from mmrerank.types import Array, Candidate, Cost, Query, Ranking

DEPTH = 100
LENGTH = 1000  # candidates kept of a ranking where a measure wants it whole
LONG_LENGTH = 10_000  # and where it needs pictures however late they come: a small gallery's, or right ones far down
Progress = Callable[[int, int], Any]


@dataclass(frozen=True, kw_only=True)
class System:
    """The rankings after one stage, with what it took to get there, first stage included."""

    stages: tuple[str, ...]  # names, the first stage first
    rankings: Mapping[str, tuple[str, ...]]
    scores: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    reasons: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # query_id -> item_id -> what the last stage says of it
    cost: Cost = field(default_factory=Cost)
    seconds: float = 0.0  # over all queries
    notes: Mapping[str, int] = field(default_factory=dict)  # how much of the order is the last stage's -> for how many queries
    depth: int | None = None  # how many candidates its last stage saw, where that stage says so itself
    timed: bool = True  # whether cost and seconds are known; of a run that another system made they are not

    @property
    def name(self) -> str:
        """Its stages in a row."""
        return " > ".join(self.stages)

    @property
    def length(self) -> int:
        """The most items that it holds for a query."""
        return max(map(len, self.rankings.values()), default=0)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """First stage and what follows it, over the queries of one benchmark."""

    benchmark: Benchmark
    depth: int
    candidates: int  # over all queries, as the first stage gave them to the rerankers
    systems: tuple[System, ...]  # the first stage first
    others: tuple[System, ...] = ()  # runs of other systems, to be compared with the same first stage

    def scored(self) -> list[Scores]:
        """The values of each system and then of the others."""
        judged = judgements(self.benchmark)
        return [score(system.rankings, judged, self.benchmark.measures) for system in (*self.systems, *self.others)]


def part_of(stage: str) -> str:
    """The short name of a stage, for a column or a tag.

    >>> part_of("superglobal(neighbours=9)"), part_of("run/bm25")
    ('superglobal', 'run')
    """
    return re.split(r"[(/]", stage, maxsplit=1)[0]


def judgements(benchmark: Benchmark) -> Judgements:
    """What the rankings of a benchmark are measured against; its queries only."""
    query_ids = {query.query_id for query in benchmark.queries}
    return Judgements(
        qrels={query_id: benchmark.qrels[query_id] for query_id in benchmark.qrels if query_id in query_ids},
        removed=benchmark.removed,
        subsets=benchmark.subsets,
        groups=benchmark.groups,
        junk=benchmark.junk,
    )


def limited(benchmark: Benchmark, limit: int | None) -> Benchmark:
    """The benchmark with at most `limit` queries, evenly spread over it; fewer than all are nothing to submit to a server.

    Raises:
        InputError: the limit is below 1.
    """
    if limit is None or limit >= len(benchmark.queries):
        return benchmark
    if limit < 1:
        raise InputError(f"limit must be at least 1; got {limit}")
    return replace(benchmark, queries=tuple(evenly(benchmark.queries, limit)), server="")


class Restricted:
    """A first stage without what the protocol removes, searched in the query's own gallery where it has one."""

    def __init__(self, inner: Retriever, benchmark: Benchmark) -> None:
        self.name = inner.name
        self._inner, self._benchmark = inner, benchmark

    def retrieve(self, query: Query, k: int) -> Ranking:
        """The k best that may be found."""
        gone = self._benchmark.removed.get(query.query_id, frozenset())
        ranking = self._inner.retrieve(in_gallery(query, self._benchmark), k + len(gone))
        candidates = tuple(candidate for candidate in ranking.candidates if candidate.item.item_id not in gone)[:k]
        return replace(ranking, candidates=candidates)


class RestrictedRows(Restricted):
    """The same for a first stage that searches with descriptors, and shows them."""

    _inner: RowRetriever

    def query_row(self, query: Query) -> Array:
        return self._inner.query_row(query)

    def space(self, query: Query) -> EmbeddingSpace:
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
        self.name = f"run/{run.name}"
        self._run, self._collection = run, collection

    def retrieve(self, query: Query, k: int) -> Ranking:
        """The first k of the run that the query may find, as items of the collection.

        Raises:
            InputError: the collection lacks one of them.
        """
        ids = self._run.rankings.get(query.query_id, ())
        pairs = list(zip(ids, self._run.scores.get(query.query_id) or (None,) * len(ids), strict=True))
        if query.filter is not None:
            allowed = {item.item_id for item in self._collection.items(query.filter)}
            pairs = [pair for pair in pairs if pair[0] in allowed]
        candidates = tuple(Candidate(item=self._collection.item(item_id), score=score) for item_id, score in pairs[:k])
        return Ranking(query_id=query.query_id, candidates=candidates)


class FromRunRows(FromRun):
    """The same, with the descriptors of a first stage of ours for rerankers that work on them."""

    def __init__(self, run: Run, collection: Collection, rows: RowRetriever) -> None:
        super().__init__(run, collection)
        self._rows = rows

    def query_row(self, query: Query) -> Array:
        return self._rows.query_row(query)

    def space(self, query: Query) -> EmbeddingSpace:
        return self._rows.space(query)


def first_stage(
    benchmark: Benchmark, collection: Collection, *, name: str | None = None, run: Run | None = None, backend: Backend | None = None
) -> Retriever:
    """The first stage: the named one, else the benchmark's, or the run of another system.

    Raises:
        InputError: the run holds no query of the benchmark.
    """
    inner: Retriever = collection.version.retriever(name or benchmark.retriever, backend)
    if run is not None and own_rankings(benchmark, run):
        inner = FromRunRows(run, collection, inner) if isinstance(inner, RowRetriever) else FromRun(run, collection)
    return RestrictedRows(inner, benchmark) if isinstance(inner, RowRetriever) else Restricted(inner, benchmark)


def run_benchmark(
    benchmark: Benchmark,
    collection: Collection,
    first: Retriever,
    *,
    rerank: Sequence[Reranker] = (),
    depth: int = DEPTH,
    progress: Progress | None = None,
) -> Outcome:
    """The rankings of all queries after every stage.

    Args:
        depth: how many candidates those rerankers see whose names say no depth of their own.
        progress: called with the queries done and expected.
    """
    deepest = max((_own_depth(part) or depth for part in rerank), default=depth)
    length = max(deepest, _length(benchmark.measures, len(collection)))
    results: list[SearchResult] = []
    for done, query in enumerate(benchmark.queries, 1):
        results.append(_without_pictures(collection.search(query, k=length, retriever=first, rerank=rerank, depth=depth)))
        if progress is not None:
            progress(done, len(benchmark.queries))
    names = [first.name, *(part.name for part in rerank)]
    depths = [None, *(_own_depth(part) for part in rerank)]
    systems = tuple(replace(_system(tuple(names[: n + 1]), results), depth=depths[n]) for n in range(len(names)))
    count = sum(min(deepest, len(result.stages[0].ranking.candidates)) for result in results)
    return Outcome(benchmark=benchmark, depth=deepest, candidates=count, systems=systems)


def _own_depth(reranker: Reranker) -> int | None:
    """The depth that a stage's name says; None where its reranker has an option of that name: then it says how far it looks itself."""
    return reranker.depth if isinstance(reranker, StagedReranker) and not reranker.stage.own_depth else None


def _without_pictures(result: SearchResult) -> SearchResult:
    """The result without the pictures that rerankers noted: a grid for each of thousands of queries is gigabytes."""
    rankings = [replace(stage.ranking, notes=replace(stage.ranking.notes, pictures=())) for stage in result.stages]
    return replace(result, stages=tuple(replace(stage, ranking=one) for stage, one in zip(result.stages, rankings, strict=True)))


def _length(measures: Iterable[str], size: int) -> int:
    parsed = [parse_measure(name) for name in measures]
    if any(measure.family.startswith("revisited") or measure.family == "subset" for measure in parsed):
        return min(size, LONG_LENGTH)
    if any(measure.cutoff is None for measure in parsed):
        return min(size, LENGTH)
    return max((measure.cutoff or 1 for measure in parsed), default=1)


def _system(names: tuple[str, ...], results: Sequence[SearchResult]) -> System:
    ordered = {result.query.query_id: order_after(result.stages[len(names) - 1]) for result in results}
    used = [stage for result in results for stage in result.stages[: len(names)]]
    last = {result.query.query_id: result.stages[len(names) - 1].ranking.notes for result in results}
    return System(
        stages=names,
        rankings={query_id: tuple(c.item.item_id for c in candidates) for query_id, candidates in ordered.items()},
        scores={query_id: tuple(c.score for c in candidates) for query_id, candidates in ordered.items()},
        cost=sum((stage.cost for stage in used), Cost()),
        seconds=sum(stage.seconds for stage in used),
        reasons={query_id: dict(notes.reasons) for query_id, notes in last.items()},
        notes=Counter(notes.status for notes in last.values()),
        timed=not names[-1].startswith("run/"),
    )


def own_rankings(benchmark: Benchmark, run: Run) -> dict[str, tuple[str, ...]]:
    """The rankings of a run for the queries of the benchmark.

    Raises:
        InputError: it holds none of them.
    """
    query_ids = {query.query_id for query in benchmark.queries}
    rankings = {query_id: ids for query_id, ids in run.rankings.items() if query_id in query_ids}
    if not rankings:
        raise InputError(f"the run {run.name!r} holds no query of {benchmark.name}")
    return rankings


def system_of(benchmark: Benchmark, run: Run) -> System:
    """A run of another system, within the galleries of the queries and without what the protocol removes.

    Raises:
        InputError: it holds no query of the benchmark.
    """
    rankings = own_rankings(benchmark, run)
    scores = {query_id: run.scores.get(query_id) or (None,) * len(ids) for query_id, ids in rankings.items()}
    for query_id, ids in rankings.items():
        gallery, gone = set(benchmark.galleries.get(query_id, ())), benchmark.removed.get(query_id, frozenset())
        counted = [item_id not in gone and (not gallery or item_id in gallery) for item_id in ids]
        rankings[query_id] = tuple(compress(ids, counted))
        scores[query_id] = tuple(compress(scores[query_id], counted))
    return System(stages=(f"run/{run.name}",), rankings=rankings, scores=scores, timed=False)


def outcome_of(benchmark: Benchmark, run: Run, depth: int) -> Outcome:
    """A run of another system as the first stage, with nothing after it."""
    system = system_of(benchmark, run)
    count = sum(min(depth, len(ids)) for ids in system.rankings.values())
    return Outcome(benchmark=benchmark, depth=depth, candidates=count, systems=(system,))
