"""What can be told before anything is searched: files, encoders and right items that are not there, queries that a run lacks.

Without these looks a benchmark and a collection whose items have other names give a figure all the same: 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmrerank.collection import Collection
from mmrerank.errors import InputError
from mmrerank.evaluation.benchmark import Benchmark
from mmrerank.evaluation.running import own_rankings
from mmrerank.evaluation.runs import Run
from mmrerank.protocols import Backend, CompositeRetriever, RowRetriever


def nothing_to_index(benchmark: Benchmark) -> InputError:
    """The error of a benchmark whose pictures or texts are needed and not there; it names them and says where to get them."""
    absent = f": there is no {' and no '.join(map(str, benchmark.missing))}" if benchmark.missing else ""
    hint = f"{benchmark.get_it} A --collection that holds its items will do too; a --run alone is measured without.".lstrip()
    return InputError(f"{benchmark.name} has nothing to index here{absent}.", hint=hint)


def check_encoders(benchmark: Benchmark, collection: Collection, retriever: str, backend: Backend | None = None) -> None:
    """Nothing where the collection, which may be empty still, has the encoder that the first stage wants.

    Raises:
        InputError: it has none, or none that takes what the first query is made of.
    """
    first = collection.version.retriever(retriever, backend)
    for part in first.parts if isinstance(first, CompositeRetriever) else (first,):
        if not isinstance(part, RowRetriever) or not benchmark.queries:
            continue
        if not collection.manifest.encoders:
            hint = "Name one with --encoder, such as openclip/ViT-B-32.laion2b_s34b_b79k@224, or a --retriever that needs none."
            raise InputError(f"the first stage {first.name!r} of {benchmark.name} needs an encoder; the card names none.", hint=hint)
        part.space(benchmark.queries[0])


def unfindable(benchmark: Benchmark, collection: Collection) -> list[str]:
    """A note where some of the right items of the queries are not in the collection.

    Raises:
        InputError: none of them is.
    """
    judged = [benchmark.qrels.get(query.query_id, {}) for query in benchmark.queries]
    right = list(dict.fromkeys(item for grades in judged for item, grade in grades.items() if grade > 0))
    missing = len(right) - len(collection.version.snapshot.known(right))
    if right and missing == len(right):
        raise _strangers(benchmark, collection, right)
    return [f"{missing} of {len(right)} right items are not in the collection"] if missing else []


def _strangers(benchmark: Benchmark, collection: Collection, right: Sequence[str]) -> InputError:
    snapshot = collection.version.snapshot
    known = [str(row["item_id"]) for row in snapshot.records(snapshot.keys[:1])]
    holds = f"it holds items such as {known[0]!r}" if known else "it is empty"
    message = (
        f"none of the {len(right)} right items of {benchmark.name}, such as {right[0]!r}, is in the collection {collection.path}; {holds}."
    )
    sources = " ".join(map(str, benchmark.sources))
    index = f"Leave --collection out, or index what the benchmark searches: mmrerank index {sources} --into COLLECTION"
    return InputError(message, hint=index if sources else benchmark.get_it)


def unasked(benchmark: Benchmark, runs: Sequence[Run]) -> list[str]:
    """A note for each run that lacks some of the benchmark's queries.

    Raises:
        InputError: one holds no query of it.
    """
    count, rest = len(benchmark.queries), "; the rest count 0" if benchmark.judged else ""
    return [
        f"the run {run.name!r} holds {len(own)} of {count} queries{rest}"
        for run in runs
        if len(own := own_rankings(benchmark, run)) < count
    ]


def below_zero(benchmark: Benchmark) -> list[str]:
    """A note where items of the queries have grades below 0: evaluators differ in what they do with them."""
    own = [benchmark.qrels.get(query.query_id, {}) for query in benchmark.queries]
    counts = [count for count in (sum(grade < 0 for grade in grades.values()) for grades in own) if count]
    if not counts:
        return []
    how = "are taken out of rankings before measuring" if benchmark.junk else "keep their places as wrong answers, as for trec_eval"
    return [f"{sum(counts)} items of {len(counts)} queries have grades below 0, and {how}"]
