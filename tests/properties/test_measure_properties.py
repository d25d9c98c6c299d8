"""What holds for every measure: bounds, names that parse back, and indifference to all that a protocol does not look at."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrerank.measures.names import KNOWN, parse_measure
from mmrerank.measures.scoring import Judgements, score

NAMES = list(KNOWN)
IDS = [f"item {n}" for n in range(12)]
RANKINGS = st.permutations(IDS).flatmap(lambda ids: st.integers(0, len(ids)).map(lambda n: ids[:n]))
GRADES = st.dictionaries(st.sampled_from([*IDS, "not found"]), st.integers(-1, 2), min_size=1)  # 2 easy, 1 hard, -1 junk
CUTOFFS = st.integers(1, 2000)
few = settings(max_examples=60)


def values(rankings: dict[str, list[str]], qrels: dict[str, dict[str, int]], names: list[str]) -> dict[str, Any]:
    subsets = {query: frozenset(IDS[:6]) for query in qrels}
    return dict(score(rankings, Judgements(qrels=qrels, subsets=subsets, groups={query: query for query in qrels}), names).values)


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(np.array_equal(one[name], other[name], equal_nan=True) for name in one)


@given(RANKINGS, GRADES)
@few
def test_values_lie_between_0_and_1_or_do_not_count(ranking: list[str], grades: dict[str, int]) -> None:
    for name, found in values({"q": ranking}, {"q": grades}, NAMES).items():
        assert np.isnan(found[0]) or -1e-12 <= found[0] <= 1 + 1e-12, name


@given(GRADES)
@few
def test_the_best_order_is_worth_1(grades: dict[str, int]) -> None:
    judged = {item: grade for item, grade in grades.items() if item in IDS}
    if not any(grade > 0 for grade in judged.values()):
        return
    best = sorted(IDS, key=lambda item: -judged.get(item, 0))
    names = ["nDCG@10", "nDCG(dcg='exp-log2')@10", "RR@10", "AP", "mAP@5", "AUC", "mAP(medium)", "mP@5(medium)", "mAP(easy)", "Success@5"]
    for name, found in values({"q": best}, {"q": judged}, names).items():
        assert np.isnan(found[0]) or abs(found[0] - 1) < 1e-12, name


@given(RANKINGS, GRADES, st.randoms(use_true_random=False))
@few
def test_where_junk_stands_does_not_matter(ranking: list[str], grades: dict[str, int], random: Any) -> None:
    junk = [item for item in ranking if grades.get(item) == -1]
    moved = [item for item in ranking if grades.get(item) != -1]
    for item in junk:
        moved.insert(random.randint(0, len(moved)), item)
    assert same(values({"q": ranking}, {"q": grades}, NAMES), values({"q": moved}, {"q": grades}, NAMES))


@given(RANKINGS, GRADES)
@few
def test_a_measure_is_worth_the_same_alone_and_among_others(ranking: list[str], grades: dict[str, int]) -> None:
    together = values({"q": ranking}, {"q": grades}, NAMES)
    for name in NAMES:
        assert same(values({"q": ranking}, {"q": grades}, [name]), {name: together[name]}), name


@given(st.lists(st.tuples(RANKINGS, GRADES), min_size=2, max_size=4), st.randoms(use_true_random=False))
@few
def test_queries_do_not_touch_one_another(rows: list[Any], random: Any) -> None:
    rankings, qrels = {f"q{n}": ranking for n, (ranking, _) in enumerate(rows)}, {f"q{n}": grades for n, (_, grades) in enumerate(rows)}
    order = random.sample(list(qrels), len(qrels))
    together = values(rankings, {query: qrels[query] for query in order}, NAMES)
    for place, query in enumerate(order):
        assert same(values(rankings, {query: qrels[query]}, NAMES), {name: found[[place]] for name, found in together.items()})


@given(RANKINGS, GRADES, st.integers(0, 10))
@few
def test_a_positive_moved_up_never_costs(ranking: list[str], grades: dict[str, int], place: int) -> None:
    if place + 1 >= len(ranking) or grades.get(ranking[place + 1], 0) < 1 or grades.get(ranking[place], 0) != 0:
        return
    better = [*ranking[:place], ranking[place + 1], ranking[place], *ranking[place + 2 :]]
    before, after = values({"q": ranking}, {"q": grades}, NAMES), values({"q": better}, {"q": grades}, NAMES)
    for name in NAMES:
        assert np.isnan(before[name][0]) or after[name][0] >= before[name][0] - 1e-12, name


@given(
    st.one_of(
        st.builds("{}@{}".format, st.sampled_from(["nDCG", "RR", "R", "AP", "P", "Success", "mAP", "R_subset"]), CUTOFFS),
        st.builds("mAP({})".format, st.sampled_from(["easy", "medium", "hard"])),
        st.builds("mP@{}({})".format, CUTOFFS, st.sampled_from(["easy", "medium", "hard"])),
        st.builds("{}@{}({})".format, st.sampled_from(["page_recall", "R"]), CUTOFFS, st.sampled_from(["macro", "micro"])),
        st.builds("{}(rel={})@{}".format, st.sampled_from(["R", "P", "AP", "RR"]), st.integers(2, 4), CUTOFFS),
        st.builds("nDCG(dcg='exp-log2')@{}".format, CUTOFFS),
        st.sampled_from(["AP", "RR", "AUC"]),
    )
)
@few
def test_names_print_what_they_parse(name: str) -> None:
    measure = parse_measure(name)
    assert measure.name == name
    assert parse_measure(measure.name) == measure
