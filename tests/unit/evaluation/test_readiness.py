"""What is told before anything is searched: a figure of 0 for want of a common name, a missing query or a missing file is no figure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from emoji_benchmark import write_benchmark
from trees import cirr, opened

from mmrerank.collection import Collection
from mmrerank.errors import InputError
from mmrerank.evaluation.benchmark import Benchmark, open_benchmark
from mmrerank.evaluation.evaluate import collection_for, evaluate
from mmrerank.evaluation.runs import Run


@pytest.fixture(scope="module")
def benchmark_(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    return open_benchmark(write_benchmark(tmp_path_factory.mktemp("few"), queries=4, others=10))


@pytest.fixture(scope="module")
def collection(benchmark_: Benchmark, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    collected, _ = collection_for(benchmark_, tmp_path_factory.mktemp("collections"))
    assert collected is not None
    return collected


def right_of(benchmark: Benchmark) -> dict[str, tuple[str, ...]]:
    return {query.query_id: tuple(benchmark.qrels[query.query_id]) for query in benchmark.queries}


# ---------------------------------------------------------------------- right items


def test_a_collection_whose_items_have_other_names_is_no_figure_of_0(benchmark_: Benchmark, collection: Collection) -> None:
    moved = {query: {item.replace("pictures", "photos"): 1 for item in grades} for query, grades in benchmark_.qrels.items()}
    with pytest.raises(InputError, match=r"none of the \d+ right items .* 'photos\.parquet::.* it holds items such as 'pictures") as raised:
        evaluate(replace(benchmark_, qrels=moved), collection)
    assert str(benchmark_.sources[0]) in raised.value.hint  # what is to be indexed


def test_an_empty_collection_holds_no_right_item(benchmark_: Benchmark, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it is empty"):
        evaluate(benchmark_, Collection.create(tmp_path / "c", encoders=["openclip/mini"]))


def test_right_items_that_cannot_be_found_are_counted(benchmark_: Benchmark, collection: Collection) -> None:
    first = benchmark_.queries[0].query_id
    more = replace(benchmark_, qrels={**benchmark_.qrels, first: {**benchmark_.qrels[first], "stranger": 1, "wrong": 0}})
    count = len({item for ids in right_of(benchmark_).values() for item in ids}) + 1
    assert evaluate(more, collection).result["notes"] == [f"1 of {count} right items are not in the collection"]
    assert evaluate(benchmark_, collection).result["notes"] == []


# ---------------------------------------------------------------------- runs


def test_queries_that_a_run_lacks_are_told_and_count_0(benchmark_: Benchmark, collection: Collection) -> None:
    right = right_of(benchmark_)
    half = Run(tag="half", rankings=dict(list(right.items())[:2]))
    whole = Run(tag="whole", rankings=right)
    note = "the run 'half' holds 2 of 4 queries; the rest count 0"
    no_gap = "no composition gap: it takes runs of text alone and of pictures alone beside"
    judged = replace(benchmark_, measures=("R@10", "AUC"))
    alone = evaluate(judged, None, run=half)
    assert alone.result["notes"] == [note, no_gap]
    assert alone.result["measures"]["R@10"]["value"] == 0.5
    assert evaluate(judged, None, run=whole, compare=[half]).result["notes"] == [note, no_gap]
    assert evaluate(judged, collection, run=half, rerank=["superglobal"]).result["notes"] == [note]


def test_a_run_about_other_queries_is_no_first_stage(benchmark_: Benchmark, collection: Collection) -> None:
    with pytest.raises(InputError, match="holds no query of few-emoji"):
        evaluate(benchmark_, collection, run=Run(tag="other", rankings={"stranger": ("a",)}), rerank=["superglobal"])


def test_a_run_in_names_that_nothing_knows_is_refused_without_a_list_of_items(benchmark_: Benchmark) -> None:
    assert benchmark_.items == ()
    with pytest.raises(InputError, match="holds no item of few-emoji"):
        evaluate(benchmark_, None, run=Run(tag="other", rankings=dict.fromkeys(right_of(benchmark_), ("a", "b"))))


def test_a_run_that_found_nothing_right_in_the_files_of_the_benchmark_is_measured(benchmark_: Benchmark) -> None:
    run = Run(tag="t", rankings=dict.fromkeys(right_of(benchmark_), ("pictures.parquet::other",)))
    assert evaluate(benchmark_, None, run=run).result["measures"]["R@1"]["value"] == 0.0


# ---------------------------------------------------------------------- files and encoders


def test_what_is_missing_is_named_with_where_to_get_it(tmp_path: Path) -> None:
    data = cirr(tmp_path / "data")
    for picture in sorted((data / "img_raw/dev").iterdir()):
        picture.unlink()
    (data / "img_raw/dev").rmdir()
    benchmark = opened(tmp_path, "cirr")
    assert (benchmark.sources, benchmark.missing) == ((), (data / "img_raw/dev",))
    with pytest.raises(InputError, match=r"nothing to index here: there is no .*img_raw/dev") as raised:
        evaluate(benchmark, None)
    assert "NLVR2" in raised.value.hint


@pytest.mark.parametrize("retriever", ["composed", "hybrid(parts=('lexical', 'dense'))"])
def test_a_missing_encoder_is_told_before_anything_is_indexed(benchmark_: Benchmark, tmp_path: Path, retriever: str) -> None:
    bare = replace(benchmark_, encoder=None)
    with pytest.raises(InputError, match="needs an encoder; the card names none") as raised:
        collection_for(bare, tmp_path, searched_by=retriever)
    assert "--encoder" in raised.value.hint
    assert not any(len(Collection.open(place)) for place in tmp_path.iterdir())


def test_an_encoder_that_does_not_take_the_queries_is_told_before_anything_is_indexed(benchmark_: Benchmark, tmp_path: Path) -> None:
    from mmrerank.encoders.sentence import save_tiny

    save_tiny(tmp_path / "model", seed=0)
    texts = replace(benchmark_, encoder=f"sentence/{tmp_path / 'model'}")
    with pytest.raises(InputError, match="takes image"):
        collection_for(texts, tmp_path / "c", searched_by="composed")
    assert not any(len(Collection.open(place)) for place in (tmp_path / "c").iterdir())


def test_what_needs_no_encoder_is_indexed_without(benchmark_: Benchmark, tmp_path: Path) -> None:
    collected, report = collection_for(replace(benchmark_, encoder="none"), tmp_path, searched_by="lexical")
    assert collected is not None
    assert report is not None
    assert (collected.manifest.encoders, report.added) == ((), len(collected))
