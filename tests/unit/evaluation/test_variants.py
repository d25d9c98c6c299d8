"""Variants: each changes what it says and nothing else, and what it does to the rankings is measured."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from emoji_benchmark import write_benchmark

from mmrerank.collection import Collection
from mmrerank.errors import FormatError, InputError, UnknownName
from mmrerank.evaluation.benchmark import Benchmark, open_benchmark
from mmrerank.evaluation.cards import DATASETS
from mmrerank.evaluation.evaluate import collection_for, evaluate
from mmrerank.evaluation.running import Outcome, first_stage, limited, outcome_of, run_benchmark
from mmrerank.evaluation.runs import Run
from mmrerank.evaluation.stability import kendall_tau, stability
from mmrerank.evaluation.variants import VARIANTS, Setting, altered, make_variant, suitable
from mmrerank.types import Candidate, Query, Ranking


@pytest.fixture(scope="module")
def benchmark_(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    return open_benchmark(write_benchmark(tmp_path_factory.mktemp("few"), queries=4, others=30))


@pytest.fixture(scope="module")
def collection(benchmark_: Benchmark, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    collected = Collection.create(tmp_path_factory.mktemp("collection") / "c", encoders=["openclip/mini"])
    collected.add(benchmark_.sources)
    return collected


class Reversing:
    """A reranker whose output hangs on the order of its input."""

    name = "reversing"

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        return Ranking(query_id=query.query_id, candidates=tuple(reversed(candidates)))


class ByName:
    """A reranker that takes no heed of the order of its input."""

    name = "by_name"

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        return Ranking(query_id=query.query_id, candidates=tuple(sorted(candidates, key=lambda c: c.item.item_id)))


def changed(benchmark: Benchmark, collection: Collection, variant: str) -> Benchmark:
    first = first_stage(benchmark, collection)
    plain = run_benchmark(benchmark, collection, first)
    return altered(make_variant(variant), Setting(benchmark=benchmark, first=first, rerank=()), collection.version, plain).benchmark


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_runs_by_its_name_and_prints_one_that_parses_back(name: str, benchmark_: Benchmark, collection: Collection) -> None:
    result = evaluate(benchmark_, collection, rerank=["superglobal"], depth=10, variant=name).result
    assert make_variant(result["variant"]["name"]) == make_variant(name)
    own = {"paraphrased": {"spread", "wordings"}, "hard_negatives": {"negatives_10"}}.get(name.partition("(")[0], set())
    assert set(result["variant"]) == {"name", "same_first", "overlap_10", "kendall_tau", "unchanged", "change", *own}
    assert result["made_by"]["variant"] == result["variant"]["name"]


def test_shuffling_shows_which_reranker_hangs_on_the_order(benchmark_: Benchmark, collection: Collection) -> None:
    options: dict[str, Any] = {"depth": 10, "variant": "shuffled"}
    assert evaluate(benchmark_, collection, rerank=[ByName()], **options).result["variant"]["kendall_tau"] == 1.0
    assert evaluate(benchmark_, collection, rerank=[Reversing()], **options).result["variant"]["kendall_tau"] < 0.9


def test_paraphrases_keep_everything_but_the_words(benchmark_: Benchmark, collection: Collection) -> None:
    for before, after in zip(benchmark_.queries, changed(benchmark_, collection, "paraphrased").queries, strict=True):
        assert before.text != after.text
        assert (before.query_id, before.images) == (after.query_id, after.images)


def test_paraphrases_from_a_file(benchmark_: Benchmark, collection: Collection, tmp_path: Path) -> None:
    own = benchmark_.queries[0].query_id
    (tmp_path / "words.jsonl").write_text(json.dumps({"query_id": own, "text": "other words"}), encoding="utf-8")
    queries = changed(benchmark_, collection, f"paraphrased(file='{tmp_path / 'words.jsonl'}')").queries
    assert [query.text for query in queries] == ["other words", *(query.text for query in benchmark_.queries[1:])]


def test_a_broken_file_of_paraphrases_is_named(benchmark_: Benchmark, collection: Collection, tmp_path: Path) -> None:
    (tmp_path / "words.jsonl").write_text("no json", encoding="utf-8")
    with pytest.raises(FormatError, match=r"words\.jsonl"):
        changed(benchmark_, collection, f"paraphrased(file='{tmp_path / 'words.jsonl'}')")


@pytest.mark.parametrize("k", [4, 20])  # as deep as the rerankers look, and deeper: the negatives once stood where none looked
def test_hard_negatives_stand_where_rerankers_look_and_no_right_answer_gives_way(
    benchmark_: Benchmark, collection: Collection, k: int
) -> None:
    first = first_stage(benchmark_, collection)
    plain = run_benchmark(benchmark_, collection, first, depth=4)
    before = Setting(benchmark=benchmark_, first=first, rerank=())
    setting = altered(make_variant("hard_negatives(count=8)"), before, collection.version, plain)
    new = 0
    for query in benchmark_.queries:
        before, after = first.retrieve(query, k).item_ids, setting.first.retrieve(query, k).item_ids
        added = [item for item in after[:4] if item not in before[:4]]
        right = set(benchmark_.qrels[query.query_id])
        new += len(added)
        assert len(set(after)) == len(after) == k
        assert list(after[4 - len(added) : 4]) == added
        assert not set(added) & right
        assert right & set(after[:4]) == right & set(before[:4])
    assert new > 0


def test_hard_negatives_keep_to_the_gallery_of_the_query(benchmark_: Benchmark, collection: Collection) -> None:
    query = benchmark_.queries[0]
    (right, *_) = benchmark_.qrels[query.query_id]
    gallery = (right, *(item.item_id for item in collection.items() if item.item_id != right))[:6]
    narrowed = replace(benchmark_, queries=(query,), galleries={query.query_id: gallery}, removed={})
    first = first_stage(narrowed, collection)
    plain = run_benchmark(narrowed, collection, first, depth=2)
    setting = altered(make_variant("hard_negatives"), Setting(benchmark=narrowed, first=first, rerank=()), collection.version, plain)
    assert set(setting.first.retrieve(query, 20).item_ids) == set(gallery)


def test_the_second_picture_is_no_answer(benchmark_: Benchmark, collection: Collection) -> None:
    for query in changed(benchmark_, collection, "two_pictures").queries:
        assert len(query.images) == 2
        right = [collection.item(item).image for item in benchmark_.qrels[query.query_id]]
        assert query.images[1] not in right


def test_what_is_excluded_is_the_best_placed_wrong_item(benchmark_: Benchmark, collection: Collection) -> None:
    first = first_stage(benchmark_, collection)
    for query in changed(benchmark_, collection, "exclusions").queries:
        ids = first.retrieve(query, 20).item_ids
        wrong = next(item for item in ids if item not in benchmark_.qrels[query.query_id])
        assert len(query.exclude_images) == 1
        assert collection.item(wrong).image is not None
    by_text = changed(benchmark_, collection, "exclusions(by=text)").queries
    assert all(query.exclude_text and not query.exclude_images for query in by_text)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Benchmark, Collection]:
    """Six questions of the handbook over its pages, which have text and pictures; `lexical` searches."""
    questions = limited(open_benchmark(DATASETS / "handbook" / "card.toml"), 6)
    collection, _ = collection_for(questions, tmp_path_factory.mktemp("handbook"))
    assert collection is not None
    return questions, collection


def test_exclusions_that_the_first_stage_passes_over_are_refused_before_anything_runs(pages: tuple[Benchmark, Collection]) -> None:
    """Shares of 1.000 once said that BM25 was stable, and it had not looked at the excluded pictures."""
    steps: list[int] = []
    with pytest.raises(InputError, match=r"exclusions\(by='picture'\): lexical.* takes no heed"):
        evaluate(*pages, variant="exclusions", progress=lambda done, _: steps.append(done))
    assert steps == []


def test_exclusions_that_no_reranker_heeds_are_told(pages: tuple[Benchmark, Collection]) -> None:
    (note,) = evaluate(*pages, rerank=["bm25"], depth=5, variant="exclusions").result["notes"]
    assert "neither first stage nor rerankers take heed" in note


def test_excluding_a_few_words_takes_out_their_page_and_leaves_the_rest(pages: tuple[Benchmark, Collection]) -> None:
    """The whole text of a page once was the exclusion, and every page that shared a word with it was gone."""
    evaluated = evaluate(*pages, variant="exclusions(by=text)")
    plain = evaluate(*pages).outcome.systems[0].rankings
    for query in evaluated.outcome.benchmark.queries:
        before, after = plain[query.query_id], evaluated.outcome.systems[0].rankings[query.query_id]
        wrong = next(item for item in before if item not in evaluated.outcome.benchmark.qrels[query.query_id])
        assert len(query.exclude_text[0].split()) == 5
        assert wrong not in after
        assert len(before) - len(after) <= 3
    assert 0.5 < evaluated.result["variant"]["overlap_10"] < 1
    assert evaluated.result["notes"] == []


def test_without_a_picture_or_a_text_nothing_is_excluded(benchmark_: Benchmark, collection: Collection) -> None:
    everything_right = {q.query_id: {item.item_id: 1 for item in collection.items()} for q in benchmark_.queries}
    with pytest.raises(InputError, match=r"nothing wrong that composed.* finds has a picture to be excluded by"):
        evaluate(replace(benchmark_, qrels=everything_right), collection, variant="exclusions")


def test_the_second_picture_is_not_the_first_where_the_reference_stays_in_the_ranking(
    benchmark_: Benchmark, collection: Collection
) -> None:
    """CIRCO, FashionIQ: the nearest neighbour of a reference picture that can be found is itself."""
    unfiltered = replace(benchmark_, removed={})
    for query in changed(unfiltered, collection, "two_pictures").queries:
        own, other = (image.open().convert("RGB").tobytes() for image in query.images)
        assert own != other


@pytest.mark.parametrize(
    "variant", ["suffled", "shuffled", "paraphrased(file='none.jsonl')", "paraphrased(file='strangers.jsonl')", "two_pictures"]
)
def test_a_variant_that_cannot_be_is_told_before_anything_runs(
    benchmark_: Benchmark, collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "strangers.jsonl").write_text(json.dumps({"query_id": "stranger", "text": "x"}), encoding="utf-8")
    steps: list[int] = []
    without = replace(benchmark_.queries[-1], images=())
    altered_benchmark = replace(benchmark_, queries=(*benchmark_.queries[:-1], without)) if variant == "two_pictures" else benchmark_
    with pytest.raises((InputError, UnknownName)):
        evaluate(altered_benchmark, collection, variant=variant, progress=lambda done, _: steps.append(done))
    assert steps == []


def test_a_variant_that_does_not_suit_the_queries_says_so(benchmark_: Benchmark, collection: Collection) -> None:
    worded = Benchmark(name="w", queries=(Query(query_id="q", text="a cat"),), qrels={"q": {"x": 1}}, measures=("R@1",))
    with pytest.raises(InputError, match="no picture"):
        suitable("two_pictures", worded, ())
    with pytest.raises(UnknownName, match="shuffled"):
        make_variant("shufled")


def test_the_order_of_what_two_rankings_share_counts_where_they_share_two() -> None:
    queries = tuple(Query(query_id=name, text="x") for name in ("apart", "turned"))
    benchmark = Benchmark(name="b", queries=queries, qrels={query.query_id: {"a": 1} for query in queries}, measures=("R@1",))

    def outcome(**rankings: tuple[str, ...]) -> Outcome:
        return outcome_of(benchmark, Run(tag="t", rankings=rankings), 10)

    before = outcome(apart=("a", "b"), turned=("a", "b"))
    assert stability(before, outcome(apart=("c", "d"), turned=("b", "a")))["kendall_tau"] == -1.0
    assert stability(before, outcome(apart=("c",), turned=("a",))) == {"same_first": 0.5, "overlap_10": 0.25, "kendall_tau": None}


def test_kendall_by_hand() -> None:
    assert kendall_tau("abcd", "abdc") == pytest.approx((5 - 1) / 6)
    assert math.isnan(kendall_tau("ab", "cd"))


def test_all_wordings_of_a_query_are_run_and_their_spread_is_told(benchmark_: Benchmark, collection: Collection, tmp_path: Path) -> None:
    """Of several lines for one query the last alone once counted."""
    query = benchmark_.queries[0]
    words = [query.text, "something else altogether", query.text]
    (tmp_path / "words.jsonl").write_text("".join(json.dumps({"query_id": query.query_id, "text": text}) + "\n" for text in words))
    result = evaluate(benchmark_, collection, variant=f"paraphrased(file='{tmp_path / 'words.jsonl'}')").result
    variant = result["variant"]
    assert variant["wordings"] == 4
    assert all(gain["value"] == 0 for gain in variant["change"].values())  # the first wording is the query's own
    assert max(variant["spread"].values()) > 0


def test_negatives_that_stay_in_front_are_counted(benchmark_: Benchmark, collection: Collection) -> None:
    shares = evaluate(benchmark_, collection, depth=10, variant="hard_negatives(count=5)").result["variant"]["negatives_10"]
    assert 0 < shares["first_stage"] <= 0.9
    assert shares["first_stage"] == shares["last_stage"]
