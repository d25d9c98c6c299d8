"""The official protocols: Revisited Oxford against stored values, the others against values worked out by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmrerank.errors import UnknownName
from mmrerank.evaluation.benchmark import Benchmark
from mmrerank.evaluation.running import outcome_of
from mmrerank.evaluation.runs import Run
from mmrerank.evaluation.summary import summary
from mmrerank.measures.names import parse_measure
from mmrerank.measures.scoring import Judgements, score
from mmrerank.types import Query

GOLDEN = Path(__file__).parents[2] / "golden" / "revisited_oxford.json"
SETUPS = ("easy", "medium", "hard")


def value(ranking: Any, grades: dict[str, int], name: str, **judged: Any) -> float:
    """Of one query."""
    return score({"q": ranking}, Judgements(qrels={"q": grades}, **judged), [name]).mean(name)


# ---------------------------------------------------------------------- Revisited Oxford and Paris


def revisited() -> tuple[dict[str, Any], dict[str, list[str]], Judgements]:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    rankings = {str(n): [str(image) for image in query["ranking"]] for n, query in enumerate(golden["queries"])}
    grade = {"easy": 2, "hard": 1, "junk": -1}
    qrels = {str(n): {str(i): grade[kind] for kind in grade for i in query[kind]} for n, query in enumerate(golden["queries"])}
    return golden["expected"], rankings, Judgements(qrels=qrels)


@pytest.mark.parametrize("setup", SETUPS)
def test_revisited_oxford_as_the_official_script(setup: str) -> None:
    expected, rankings, judged = revisited()
    names = {f"mAP({setup})": ("mAP", "AP", None), **{f"mP@{k}({setup})": ("mP", "P", str(k)) for k in (1, 5, 10)}}
    scores = score(rankings, judged, list(names))
    for name, (mean, per_query, k) in names.items():
        values = expected[setup][per_query] if k is None else expected[setup][per_query][k]
        np.testing.assert_allclose(scores.values[name], np.array(values, dtype=float), rtol=0, atol=1e-9)  # null is NaN on both sides
        assert scores.mean(name) == pytest.approx(expected[setup][mean] if k is None else expected[setup][mean][k], abs=1e-9)
    uncounted = int(np.isnan(scores.values[f"mAP({setup})"]).sum())
    assert uncounted == {"easy": 3, "medium": 1, "hard": 4}[setup]


@pytest.mark.parametrize("setup", SETUPS)
def test_a_ranking_cut_behind_rank_10_changes_no_precision_at_10(setup: str) -> None:
    _, whole, judged = revisited()
    cut = {query: ids[:20] for query, ids in whole.items()}
    deep = {query: ids for query, ids in cut.items() if sum(item not in judged.qrels[query] for item in ids) >= 10}  # none passed over
    assert len(deep) > 5
    judgements, names = Judgements(qrels={query: judged.qrels[query] for query in deep}), [f"mP@{k}({setup})" for k in (1, 5, 10)]
    for name in names:
        np.testing.assert_array_equal(score(deep, judgements, names).values[name], score(whole, judgements, names).values[name])


# ---------------------------------------------------------------------- composed image retrieval


def test_circo_divides_by_k_where_there_are_more_positives() -> None:
    seven = dict.fromkeys("abcdefg", 1)
    assert value("abcde", seven, "mAP@5") == 1.0
    assert value("xaybz", seven, "mAP@5") == pytest.approx((1 / 2 + 2 / 4) / 5)
    assert value("xaybz", seven, "AP@5") == pytest.approx((1 / 2 + 2 / 4) / 7)  # trec_eval's, which is another measure


def test_circo_recall_is_of_the_annotated_target_alone() -> None:
    grades = {"target": 2, "other": 1, "third": 1}
    ranking = ["other", "x", "target", "third"]
    assert [value(ranking, grades, f"R(rel=2)@{k}") for k in (1, 2, 3)] == [0.0, 0.0, 1.0]
    assert value(ranking, grades, "mAP@3") == pytest.approx((1 + 2 / 3) / 3)  # all positives count here


def test_circo_keeps_the_reference_in_the_ranking() -> None:
    assert value(["reference", "a"], {"a": 1}, "mAP@5") == 0.5


def test_cirr_target_behind_the_reference_counts_one_rank_higher() -> None:
    gone = {"q": frozenset({"reference"})}
    ranking = ["reference", "x", "target", "y"]
    assert [value(ranking, {"target": 1}, f"R@{k}", removed=gone) for k in (1, 2)] == [0.0, 1.0]


def test_cirr_subset_recall_looks_at_the_five_others_of_the_group_only() -> None:
    group = {"removed": {"q": frozenset({"r"})}, "subsets": {"q": frozenset("rabcde")}}
    ranking = "zrazyxbtwcde".replace("t", "")  # of the group: r a b c d e
    assert [value(ranking, {"b": 1}, f"R_subset@{k}", **group) for k in (1, 2, 3)] == [0.0, 1.0, 1.0]
    assert value(ranking, {"b": 1}, "R@1", **group) == 0.0
    assert value("zyx", {"b": 1}, "R_subset@3", **group) == 0.0


def test_genecis_recall_in_small_galleries() -> None:
    galleries = {"p": "tabcdefghi", "q": "atbcdefghi", "r": "abctdefghi"}  # the target is first, second and fourth
    judged = Judgements(qrels={query: {"t": 1} for query in galleries})
    scores = score(galleries, judged, ["R@1", "R@2", "R@3"])
    assert [scores.mean(f"R@{k}") for k in (1, 2, 3)] == pytest.approx([1 / 3, 2 / 3, 2 / 3])


FASHION = {"dress": [1, 11, 60], "shirt": [9], "toptee": [50, 2]}  # category -> rank of the target of each query


def fashion() -> tuple[dict[str, tuple[str, ...]], dict[str, dict[str, int]], dict[str, str]]:
    rankings, groups = {}, {}
    for category, ranks in FASHION.items():
        for n, rank in enumerate(ranks):
            rankings[f"{category}-{n}"] = (*(f"other {place}" for place in range(1, rank)), "target", "last")
            groups[f"{category}-{n}"] = category
    return rankings, {query: {"target": 1} for query in rankings}, groups


def test_fashioniq_is_the_mean_over_its_three_categories() -> None:
    rankings, qrels, groups = fashion()
    scores = score(rankings, Judgements(qrels=qrels, groups=groups), ["R@10", "R@10(macro)", "R@50(macro)"])
    at_10, at_50 = (1 / 3 + 1 + 1 / 2) / 3, (2 / 3 + 1 + 1) / 3
    assert [scores.mean("R@10(macro)"), scores.mean("R@50(macro)")] == pytest.approx([at_10, at_50])
    assert scores.mean("R@10") == pytest.approx(3 / 6)  # over the queries, which is not what is published


def test_a_summary_tells_the_categories_and_their_mean() -> None:
    rankings, qrels, groups = fashion()
    queries = tuple(Query(query_id=query, text="in green") for query in rankings)
    benchmark = Benchmark(name="fashion", queries=queries, qrels=qrels, measures=("R@10", "R@50"), groups=groups)
    groups_by_name = summary(outcome_of(benchmark, Run(tag="t", rankings=rankings, scores={}), 10))["systems"][0]["groups"]
    assert groups_by_name["dress"] == pytest.approx({"R@10": 1 / 3, "R@50": 2 / 3}, abs=1e-6)
    assert groups_by_name["mean of groups"] == pytest.approx({"R@10": (1 / 3 + 1 + 1 / 2) / 3, "R@50": (2 / 3 + 1 + 1) / 3}, abs=1e-6)


# ---------------------------------------------------------------------- pages


def test_mmdocir_recall_is_a_share_of_the_gold_pages_by_domain_and_by_question() -> None:
    groups = {"a": "law", "b": "law", "c": "law", "d": "news"}
    gold = {"a": {"p1": 1, "p2": 1}, "b": {"p1": 1}, "c": {"p9": 1}, "d": {"p1": 1, "p2": 1, "p3": 1}}
    scores = score(
        dict.fromkeys(gold, ("p1", "p4", "p2", "p3")),
        Judgements(qrels=gold, groups=groups),
        [f"page_recall@{k}({how})" for k in (1, 3) for how in ("macro", "micro")],
    )
    assert scores.mean("page_recall@1(macro)") == pytest.approx(((1 / 2 + 1 + 0) / 3 + 1 / 3) / 2)
    assert scores.mean("page_recall@1(micro)") == pytest.approx((1 / 2 + 1 + 0 + 1 / 3) / 4)
    assert scores.mean("page_recall@3(macro)") == pytest.approx(((1 + 1 + 0) / 3 + 2 / 3) / 2)
    assert scores.mean("page_recall@3(micro)") == pytest.approx((1 + 1 + 0 + 2 / 3) / 4)


# ---------------------------------------------------------------------- measures of ir_measures, by hand


GRADED = {"a": 3, "b": 1, "c": 2, "gone": 2}
RANKING = ("b", "x", "a", "c")


def discounted(gains: list[float]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))


def test_ndcg_by_either_gain() -> None:
    assert value(RANKING, GRADED, "nDCG@3") == pytest.approx(discounted([1, 0, 3]) / discounted([3, 2, 2]))
    assert value(RANKING, GRADED, "nDCG@10") == pytest.approx(discounted([1, 0, 3, 2]) / discounted([3, 2, 2, 1]))
    exponential = discounted([1, 0, 7]) / discounted([7, 3, 3])
    assert value(RANKING, GRADED, "nDCG(dcg='exp-log2')@3") == pytest.approx(exponential, abs=1e-12)  # gdeval rounds to 5 digits


def test_exponential_ndcg_takes_ids_with_spaces_and_needs_no_perl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    name = "nDCG(dcg='exp-log2')@2"
    scores = score({"a query": ["of two words", "other"]}, Judgements(qrels={"a query": {"other": 2, "of two words": 1}}), [name])
    assert scores.mean(name) == pytest.approx(discounted([1, 3]) / discounted([3, 1]))


def test_both_gains_asked_for_together_are_told_apart() -> None:
    """ir_measures put a plain nDCG among the mapped grades of another, in an order that changes with every process."""
    for k in range(1, 31):
        names = [f"nDCG@{k}", f"nDCG(dcg='exp-log2')@{k}", f"nDCG(gains={{1:5}})@{k}"]
        together = score({"q": RANKING}, Judgements(qrels={"q": GRADED}), names)
        assert [together.mean(name) for name in names] == [value(RANKING, GRADED, name) for name in names]


def test_the_first_and_the_share_of_positives() -> None:
    assert value("xxab"[1:], {"a": 1, "b": 1}, "RR") == 1 / 2
    assert value("xyab", {"a": 1, "b": 1}, "RR@2") == 0.0
    assert [value("xyab", {"a": 1, "b": 1, "c": 1}, f"Success@{k}") for k in (2, 3)] == [0.0, 1.0]
    assert value("xyab", {"a": 1, "b": 1, "c": 1}, "P@5") == pytest.approx(2 / 5)
    assert value("xyab", {"a": 1, "b": 1, "c": 1}, "R@4") == pytest.approx(2 / 3)
    assert value("xyab", {"a": 1, "b": 1, "c": 1}, "AP") == pytest.approx((1 / 3 + 2 / 4) / 3)


def test_auc_by_hand_and_what_ties_come_to() -> None:
    assert value("axbyz", {"a": 1, "b": 1}, "AUC") == pytest.approx((3 + 2) / 6)
    assert value("xyzab", {"a": 1, "b": 1}, "AUC") == 0.0
    # A ranking has no ties. Where a and y have equal scores, the mean of their two orders is the area that counts a tie as one half.
    orders = [value("xayb", {"a": 1, "b": 1}, "AUC"), value("xyab", {"a": 1, "b": 1}, "AUC")]
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    assert np.mean(orders) == pytest.approx(metrics.roc_auc_score([0, 1, 0, 1], [3, 2, 2, 1]))


@pytest.mark.parametrize("seed", range(5))
def test_against_scikit_learn_on_random_rankings(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    generator = np.random.default_rng(seed)
    grades = generator.choice([0, 0, 1, 2, 3], 30)
    order = [f"item {n}" for n in generator.permutation(30)]
    ranked = np.array([grades[int(item.split()[1])] for item in order])
    judged, falling = {f"item {n}": int(grade) for n, grade in enumerate(grades)}, -np.arange(30.0)
    ours = {name: value(order, judged, name) for name in ("AUC", "AP", "nDCG@10", "nDCG(dcg='exp-log2')@10")}
    theirs = {
        "AUC": metrics.roc_auc_score(ranked > 0, falling),
        "AP": metrics.average_precision_score(ranked > 0, falling),
        "nDCG@10": metrics.ndcg_score([ranked], [falling], k=10),
        "nDCG(dcg='exp-log2')@10": metrics.ndcg_score([2.0**ranked - 1], [falling], k=10),
    }
    assert ours == pytest.approx(theirs, abs=1e-12)


# ---------------------------------------------------------------------- names


@pytest.mark.parametrize("name", ["R@0", "R", "P@-1", "nDCG@'a'", "nDCG(dcg='exp-log2',gains={1:2})@3", "R(rl=2)@3", "mAP@05", "ERR@10"])
def test_a_measure_that_cannot_be_computed_is_told_by_its_name(name: str) -> None:
    """R@0 ended the process in trec_eval; ERR@10 asks for perl."""
    with pytest.raises(UnknownName, match="no measure is called"):
        parse_measure(name)
