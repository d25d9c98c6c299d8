"""A benchmark through a collection: what a protocol removes, galleries, and that nothing hangs on how the work is cut."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from emoji_benchmark import write_benchmark
from PIL import Image

from mmrerank.collection import Collection
from mmrerank.errors import FormatError, InputError
from mmrerank.evaluation.benchmark import Benchmark, open_benchmark
from mmrerank.evaluation.evaluate import evaluate
from mmrerank.evaluation.report import render
from mmrerank.evaluation.running import Outcome, first_stage, limited, outcome_of, run_benchmark
from mmrerank.evaluation.runs import Run
from mmrerank.pipeline import rerankers_of
from mmrerank.types import Candidate, NotedPicture, Notes, Query, Ranking


@pytest.fixture(scope="module")
def benchmark_(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    return open_benchmark(write_benchmark(tmp_path_factory.mktemp("few"), queries=6, others=30))


def collected(benchmark: Benchmark, folder: Path, encoder: str = "openclip/mini") -> Collection:
    collection = Collection.create(folder, encoders=[encoder])
    collection.add(benchmark.sources)
    return collection


@pytest.fixture(scope="module")
def collection(benchmark_: Benchmark, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return collected(benchmark_, tmp_path_factory.mktemp("collection") / "c")


def outcome(benchmark: Benchmark, collection: Collection) -> Outcome:
    first = first_stage(benchmark, collection)
    return run_benchmark(benchmark, collection, first, rerank=rerankers_of(["superglobal"], first), depth=10)


def test_shards_and_batch_sizes_change_no_ranking(benchmark_: Benchmark, collection: Collection, tmp_path: Path) -> None:
    whole = outcome(benchmark_, collection).systems[-1].rankings
    other = collected(benchmark_, tmp_path / "c", "openclip/mini(batch_size=3)")
    shards = [replace(benchmark_, queries=benchmark_.queries[start::2]) for start in (0, 1)]
    parts = [outcome(shard, other).systems[-1].rankings for shard in shards]
    assert {**parts[0], **parts[1]} == dict(whole)


def test_pictures_that_rerankers_note_are_not_kept_for_every_query(benchmark_: Benchmark, collection: Collection) -> None:
    class Drawing:
        """Notes a picture of each query."""

        name = "drawing"

        def __init__(self) -> None:
            self.pictures: list[weakref.ref[Image.Image]] = []

        def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
            picture = Image.new("RGB", (10, 10))
            self.pictures.append(weakref.ref(picture))
            notes = Notes(pictures=(NotedPicture(name=query.query_id, picture=picture),))
            return Ranking(query_id=query.query_id, candidates=tuple(candidates), notes=notes)

    drawing, alive = Drawing(), list[int]()

    def progress(done: int, expected: int) -> None:
        gc.collect()
        alive.append(sum(picture() is not None for picture in drawing.pictures))

    run_benchmark(benchmark_, collection, first_stage(benchmark_, collection), rerank=[drawing], depth=5, progress=progress)
    assert len(drawing.pictures) == len(benchmark_.queries)
    assert max(alive) <= 1


def test_what_the_protocol_removes_wastes_no_place(benchmark_: Benchmark, collection: Collection) -> None:
    first = first_stage(benchmark_, collection)
    for query in benchmark_.queries:
        ids = first.retrieve(query, 10).item_ids
        assert len(ids) == 10
        assert not benchmark_.removed[query.query_id] & set(ids)


def test_a_query_with_a_gallery_is_searched_in_it(benchmark_: Benchmark, collection: Collection) -> None:
    query = benchmark_.queries[0]
    gallery = tuple(item.item_id for item in collection.items()[:7])
    narrowed = replace(benchmark_, galleries={query.query_id: gallery}, removed={})
    assert set(first_stage(narrowed, collection).retrieve(query, 50).item_ids) == set(gallery)


def test_a_run_is_kept_to_the_gallery_of_its_query_reranked_or_not(benchmark_: Benchmark, collection: Collection) -> None:
    query = benchmark_.queries[0]
    ids = [item.item_id for item in collection.items()]
    narrowed = replace(benchmark_, queries=(query,), galleries={query.query_id: tuple(ids[:5])}, removed={})
    run = Run(tag="whole", rankings={query.query_id: tuple(reversed(ids))})
    inside = tuple(reversed(ids[:5]))
    assert first_stage(narrowed, collection, run=run).retrieve(query, 9).item_ids == inside
    assert outcome_of(narrowed, run, 10).systems[0].rankings[query.query_id] == inside


@pytest.mark.parametrize("line", ['{"split": "test"}', '{"split": "test", "query_id": "q", "text": "x", "relevant": [["a"]]}'])
def test_a_line_that_lacks_its_fields_is_named(tmp_path: Path, line: str) -> None:
    card = write_benchmark(tmp_path, queries=2, others=3)
    (tmp_path / "queries.jsonl").write_text(line, encoding="utf-8")
    with pytest.raises(FormatError, match=r"queries\.jsonl"):
        open_benchmark(card)


def test_a_limited_benchmark_is_spread_over_the_whole(benchmark_: Benchmark) -> None:
    assert [q.query_id for q in limited(benchmark_, 3).queries] == [q.query_id for q in benchmark_.queries[::2]]
    with pytest.raises(InputError, match="at least 1"):
        limited(benchmark_, 0)


def test_a_run_about_other_queries_is_refused(benchmark_: Benchmark) -> None:
    with pytest.raises(InputError, match="no query of few-emoji"):
        outcome_of(benchmark_, Run(tag="other", rankings={"stranger": ("a",)}), 10)


def test_without_a_collection_only_a_run_can_be_measured(benchmark_: Benchmark) -> None:
    query = benchmark_.queries[0].query_id
    run = Run(tag="bm25", rankings={query: tuple(benchmark_.qrels[query])})
    evaluated = evaluate(benchmark_, None, run=run)
    assert evaluated.result["measures"]["R@1"]["value"] == pytest.approx(1 / 6, abs=1e-6)
    with pytest.raises(InputError, match="nothing to index"):
        evaluate(benchmark_, None)


def test_the_ceiling_holds_every_system(benchmark_: Benchmark, collection: Collection) -> None:
    result = evaluate(benchmark_, collection, rerank=["superglobal"], depth=10).result
    for system in result["systems"]:
        assert all(system["measures"][name]["value"] <= result["ceiling"][name] + 1e-9 for name in result["measures"])


def test_the_ceiling_of_a_run_alone_leaves_out_what_the_protocol_removes(benchmark_: Benchmark) -> None:
    """The reference once took one of the places that the best order has to give, and its score stayed in the run."""
    query = benchmark_.queries[0]
    (reference,), right = benchmark_.removed[query.query_id], next(iter(benchmark_.qrels[query.query_id]))
    run = Run(tag="t", rankings={query.query_id: (reference, "wrong", right)}, scores={query.query_id: (3.0, 2.0, 1.0)})
    evaluated = evaluate(replace(benchmark_, queries=(query,)), None, run=run, depth=2)
    assert evaluated.result["ceiling"]["R@1"] == 1.0
    assert evaluated.outcome.systems[0].rankings[query.query_id] == ("wrong", right)
    assert evaluated.outcome.systems[0].scores[query.query_id] == (2.0, 1.0)


def test_the_report_shows_words_as_words(benchmark_: Benchmark, collection: Collection) -> None:
    hostile = replace(benchmark_, queries=tuple(replace(q, text="<script>alert(1)</script>") for q in benchmark_.queries))
    evaluated = evaluate(hostile, collection, rerank=["superglobal"], depth=10)
    page = render(evaluated.result, evaluated.outcome, collection.item)
    assert "<script>" not in page
