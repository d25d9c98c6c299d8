"""Submissions to the servers that keep the judgements of a benchmark: JSON files, checked before they are written.

    cirr     test1_recall.json          {"version": "rc2", "metric": "recall", pair: [50 pictures]}
             test1_recall_subset.json   {"version": "rc2", "metric": "recall_subset", pair: [3 of the pair's group]}
             without the reference picture; at most 5 MB a file
    circo    test_circo.json            {query: [50 picture numbers]}

Source: Test-split_server.md of Cuberick-Orion/CIRR, README.md of miccunifi/CIRCO. What a server would refuse is an error here, with the
query that it is about. Cost: none beside the run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from mmrerank.errors import InputError, UnknownName
from mmrerank.evaluation.benchmark import Benchmark

Rankings: TypeAlias = Mapping[str, Sequence[str]]
CIRR_VERSION, CIRR_RECALL, CIRR_SUBSET, CIRR_BYTES = "rc2", 50, 3, 5_000_000
CIRCO_RETRIEVED = 50


def submission(benchmark: Benchmark, rankings: Rankings) -> dict[str, dict[str, Any]]:
    """File name -> content of what the benchmark's server takes, made of item ids, best first.

    Raises:
        UnknownName: the benchmark has no server, or one that nothing is known of.
        InputError: a query has no ranking, too few pictures, one twice, or one that is not in the benchmark.
    """
    if benchmark.server not in SERVERS:
        raise UnknownName.among("server", benchmark.server, SERVERS)
    return SERVERS[benchmark.server](benchmark, rankings)


def submission_texts(benchmark: Benchmark, rankings: Rankings) -> dict[str, str]:
    """File name -> text of a submission.

    Raises:
        InputError: as `submission`, or the server would not take a file of its size.
    """
    texts = {name: json.dumps(content, separators=(",", ":")) for name, content in submission(benchmark, rankings).items()}
    large = next((name for name, text in texts.items() if benchmark.server == "cirr" and len(text) > CIRR_BYTES), None)
    if large is not None:
        raise InputError(f"{large} has {len(texts[large])} bytes; the server takes {CIRR_BYTES}")
    return texts


def _cirr(benchmark: Benchmark, rankings: Rankings) -> dict[str, dict[str, Any]]:
    split = benchmark.name.rpartition("/")[2]
    head = {"version": CIRR_VERSION}
    gone = benchmark.removed
    groups = {query_id: group - gone.get(query_id, frozenset()) for query_id, group in benchmark.subsets.items()}
    return {
        f"{split}_recall.json": {**head, "metric": "recall"} | _first(benchmark, rankings, CIRR_RECALL),
        f"{split}_recall_subset.json": {**head, "metric": "recall_subset"} | _first(benchmark, rankings, CIRR_SUBSET, groups),
    }


def _circo(benchmark: Benchmark, rankings: Rankings) -> dict[str, dict[str, Any]]:
    firsts = _first(benchmark, rankings, CIRCO_RETRIEVED)
    return {f"{benchmark.name.rpartition('/')[2]}_circo.json": {q: [_whole(name, q) for name in names] for q, names in firsts.items()}}


def _whole(name: str, query_id: str) -> int:
    if not name.isdecimal():
        raise InputError(f"query {query_id!r} has {name!r}; the server takes picture numbers")
    return int(name)


SERVERS: Mapping[str, Callable[[Benchmark, Rankings], dict[str, dict[str, Any]]]] = {"cirr": _cirr, "circo": _circo}


def _first(
    benchmark: Benchmark, rankings: Rankings, count: int, within: Mapping[str, frozenset[str]] | None = None
) -> dict[str, list[str]]:
    """Query -> official ids of the first `count` that may stand in its ranking: not removed, and `within` its group."""
    known, firsts = frozenset(benchmark.items), {}
    for query in benchmark.queries:
        gone = benchmark.removed.get(query.query_id, frozenset())
        ids = [item for item in rankings.get(query.query_id, ()) if item not in gone]
        ids = [item for item in ids if within is None or item in within[query.query_id]][:count]
        if len(ids) < count:
            lack = "no ranking" if query.query_id not in rankings else f"{len(ids)} pictures that count"
            raise InputError(
                f"query {query.query_id!r} has {lack}; the server wants {count}", hint="Search deeper, and search every query."
            )
        twice = next((item for n, item in enumerate(ids) if item in ids[:n]), None)
        strange = next((item for item in ids if known and item not in known), None)
        if twice is not None or strange is not None:
            lack = f"{twice!r} twice" if twice is not None else f"{strange!r}, which is no picture of {benchmark.name}"
            raise InputError(f"query {query.query_id!r} has {lack}")
        firsts[query.query_id] = [benchmark.names.get(item, item) for item in ids]
    return firsts
