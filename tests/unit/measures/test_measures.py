"""Measures: names that parse back, hand-worked values, and each measure against an independent transcription."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrerank.errors import InputError, UnknownName
from mmrerank.measures.names import KNOWN, parse_measure
from mmrerank.measures.scoring import Judgements, score


@pytest.mark.parametrize("name", [*KNOWN, "mAP(medium)", "mP@1(hard)", "R@1", "RR"])
def test_names_parse_back(name: str) -> None:
    assert parse_measure(parse_measure(name).name) == parse_measure(name)


def test_an_unknown_measure_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="mAP@5"):
        parse_measure("mAQ@5")


def test_circo_hits_at_1_and_4_of_two_positives() -> None:
    judged = Judgements(qrels={"q": {"a": 1, "d": 1}})
    assert score({"q": "abcd"}, judged, ["mAP@5"]).mean("mAP@5") == 0.75


def test_cirr_the_reference_in_front_does_not_count() -> None:
    judged = Judgements(qrels={"q": {"t": 1}}, removed={"q": frozenset("r")}, subsets={"q": frozenset("tx")})
    scores = score({"q": "rtx"}, judged, ["R@1", "R_subset@1"])
    assert (scores.mean("R@1"), scores.mean("R_subset@1")) == (1.0, 1.0)


def test_page_recall_macro_is_the_mean_of_groups_of_unequal_size() -> None:
    judged = Judgements(qrels={q: {"a": 1} for q in "xyz"}, groups={"x": "tax", "y": "tax", "z": "law"})
    scores = score({"x": "ab", "y": "ba", "z": "ba"}, judged, ["page_recall@1(macro)", "page_recall@1(micro)"])
    assert scores.mean("page_recall@1(macro)") == pytest.approx(0.25)
    assert scores.mean("page_recall@1(micro)") == pytest.approx(1 / 3)


def test_a_judged_query_without_a_ranking_counts_as_0() -> None:
    scores = score({"q": "a"}, Judgements(qrels={"q": {"a": 1}, "p": {"a": 1}}), ["R@1", "mAP@5"])
    assert (scores.mean("R@1"), scores.mean("mAP@5")) == (0.5, 0.5)


def test_auc_of_a_query_that_a_run_lacks_is_0_and_not_passed_over() -> None:
    judged = Judgements(qrels={"q1": {"a": 1}, "q2": {"a": 1}, "q3": {"a": 0}})
    scores = score({"q1": "ab", "q3": "ab"}, judged, ["AUC"])
    assert scores.values["AUC"][:2].tolist() == [1.0, 0.0]
    assert scores.mean("AUC") == 0.5  # the third has nothing right, and no pair


def test_no_subset_is_an_error() -> None:
    with pytest.raises(InputError, match="subset"):
        score({"q": "a"}, Judgements(qrels={"q": {"a": 1}}), ["R_subset@1"])


@given(st.permutations("abcdefgh"), st.sets(st.sampled_from("abcdefgh")))
def test_auc_is_the_share_of_pairs_in_order(order: list[str], positives: set[str]) -> None:
    value = score({"q": order}, Judgements(qrels={"q": dict.fromkeys(positives, 1)}), ["AUC"]).values["AUC"][0]
    pairs = [order.index(p) < order.index(o) for p in positives for o in order if o not in positives]
    assert (np.isnan(value) and not pairs) or value == pytest.approx(np.mean(pairs))


@given(st.permutations("abcdefgh"), st.sets(st.sampled_from("abcdefghyz"), min_size=1), st.integers(1, 9))
def test_circo_against_a_plain_loop(order: list[str], positives: set[str], k: int) -> None:
    hits, total = 0, 0.0
    for rank, item in enumerate(order[:k], 1):
        if item in positives:
            hits += 1
            total += hits / rank
    value = score({"q": order}, Judgements(qrels={"q": dict.fromkeys(positives, 1)}), [f"mAP@{k}"]).mean(f"mAP@{k}")
    assert value == pytest.approx(total / min(k, len(positives)))


def published(ranks: np.ndarray[Any, Any], positive: list[int], junk: list[int], k: int) -> tuple[float, float]:
    """The published definition, step by step: counters over positives and junk, trapezoids, min(k, last positive)."""
    if not positive:
        return float("nan"), float("nan")
    places = np.flatnonzero(np.isin(ranks, positive))
    passed = np.flatnonzero(np.isin(ranks, junk))
    places = np.array([place - (passed < place).sum() for place in places])
    total = 0.0
    for j, rank in enumerate(places):
        before = 1.0 if rank == 0 else j / rank
        total += (before + (j + 1) / (rank + 1)) / (2 * len(positive))
    cut = min(int(places.max()) + 1, k)
    return total, float((places + 1 <= cut).sum() / cut)


@pytest.mark.parametrize("seed", range(20))
def test_revisited_oxford_against_the_published_definition(seed: int) -> None:
    generator = np.random.default_rng(seed)
    ranks, grades = generator.permutation(60), generator.choice([0, 0, 0, 1, 2, -1], 60)
    ids = {grade: np.flatnonzero(grades == grade).tolist() for grade in (1, 2, -1)}
    settings = {"easy": (ids[2], ids[1] + ids[-1]), "medium": (ids[1] + ids[2], ids[-1]), "hard": (ids[1], ids[2] + ids[-1])}
    qrels = {"q": {str(n): int(grade) for n, grade in enumerate(grades)}}
    for setting, (positive, junk) in settings.items():
        names = [f"mAP({setting})", *(f"mP@{k}({setting})" for k in (1, 5, 10))]
        scores = score({"q": [str(n) for n in ranks]}, Judgements(qrels=qrels), names)
        expected = [published(ranks, positive, junk, 1)[0], *(published(ranks, positive, junk, k)[1] for k in (1, 5, 10))]
        np.testing.assert_allclose([scores.values[name][0] for name in names], expected, atol=1e-9)


def test_a_query_without_hard_positives_is_left_out_of_hard() -> None:
    scores = score({"p": "ab", "q": "ab"}, Judgements(qrels={"p": {"a": 2}, "q": {"a": 1}}), ["mAP(hard)"])
    assert np.isnan(scores.values["mAP(hard)"][0])
    assert scores.mean("mAP(hard)") == 1.0


def test_bm25_on_trec_dl19_as_published(real_data: Path) -> None:
    file = real_data / "text_rerank" / "trec_dl19" / "dev.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
    rankings = {str(row["id"]): [str(candidate["id"]) for candidate in row["candidates"]] for row in rows}
    qrels = {str(row["id"]): {str(item): int(grade) for item, grade in row["qrels"].items()} for row in rows}
    assert round(score(rankings, Judgements(qrels=qrels), ["nDCG@10"]).mean("nDCG@10"), 4) == 0.5058


def test_the_mean_of_ones_is_one_however_many_there_are() -> None:
    for count in range(1, 400):
        queries = [str(n) for n in range(count)]
        scores = score(dict.fromkeys(queries, ("a",)), Judgements(qrels={query: {"a": 1} for query in queries}), ["R@1"])
        assert scores.mean("R@1") == 1.0, count


def test_grades_below_0_stay_as_wrong_answers_where_trec_eval_s_rule_holds() -> None:
    """They were always taken out, so that what stood behind them moved up."""
    qrels, rankings = {"q": {"junk": -2, "right": 1}}, {"q": ("junk", "right")}
    names = ("RR@10", "nDCG@10", "P@1", "AUC", "mAP@5")
    removed, wrong = (score(rankings, Judgements(qrels=qrels, junk=junk), names) for junk in (True, False))
    assert [removed.mean(name) for name in names[:3]] == [1, 1, 1]
    assert [round(wrong.mean(name), 4) for name in names] == [0.5, 0.6309, 0, 0, 0.5]
