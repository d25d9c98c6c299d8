"""Rankings -> values per query, for any mix of measures; the one door to what a ranking is worth.

A ranking is a sequence of item ids, best first. Junk (items of grades below 0, unless the judgements hold these to be wrong, as
trec_eval does) and what `removed` names are taken out first; the measures of Revisited Oxford and Paris take out junk and more by
their own rule. A judged query without a ranking counts as 0; NaN where a protocol leaves the query out.
Cost: ir_measures sees the ranking down to the deepest cutoff asked for, and no further.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mmrerank.errors import InputError
from mmrerank.measures import own
from mmrerank.measures.names import Measure, parse_measure, provider
from mmrerank.types import Qrels

STANDARD = ("standard", "exponential", "group_recall")  # families that ir_measures computes
Values = npt.NDArray[np.float64]
Order = Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Judgements:
    """What rankings are measured against. `removed` are ids taken out of a query's ranking, `subsets` its small gallery."""

    qrels: Qrels
    removed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    subsets: Mapping[str, frozenset[str]] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    junk: bool = True  # whether items of grades below 0 are taken out; where not, they keep their places as wrong ones

    @property
    def query_ids(self) -> tuple[str, ...]:
        """The judged queries, in the order of the judgements."""
        return tuple(self.qrels)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """(n_queries,) float64 values of each measure, in the order of the queries; NaN where a query does not count."""

    query_ids: tuple[str, ...]
    values: Mapping[str, Values]
    groups: Mapping[str, str] = field(default_factory=dict)

    def mean(self, name: str) -> float:
        """The mean as the measure takes it: over the queries, or over the means of the groups."""
        values = self.values[name]
        weights = self.weights(name)
        if not np.isfinite(values).any():
            return float("nan")
        return float(np.nansum(values * weights) / weights.sum())  # whose rounding is the same, so that ones have the mean 1

    def weights(self, name: str) -> Values:
        """(n_queries,) what each query counts in the mean; they sum to 1, and are 0 where the value is NaN."""
        finite = np.isfinite(self.values[name])
        if not parse_measure(name).macro:
            return np.asarray(finite / max(finite.sum(), 1), dtype=np.float64)
        strata = self.strata(name)
        sizes = np.bincount(strata, weights=finite)
        weights: Values = finite / np.maximum(sizes[strata], 1) / max((sizes > 0).sum(), 1)
        return weights

    def strata(self, name: str) -> npt.NDArray[np.int64]:
        """(n_queries,) number of the group of each query; all 0 where the measure takes no heed of groups."""
        if not parse_measure(name).macro:
            return np.zeros(len(self.query_ids), dtype=np.int64)
        labels = [self.groups.get(query_id, "") for query_id in self.query_ids]
        return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def score(rankings: Mapping[str, Order], judgements: Judgements, names: Sequence[str]) -> Scores:
    """The values of every judged query by every measure.

    Raises:
        UnknownName: a measure that there is none of.
        InputError: no query is judged, or a measure needs subsets that the judgements lack.
    """
    if not judgements.qrels:
        raise InputError("there are no judged queries to measure on")
    measures = [parse_measure(name) for name in names]
    whole = {query_id: tuple(rankings.get(query_id, ())) for query_id in judgements.qrels}
    counted = {query_id: _without(ids, judgements, query_id, junk=judgements.junk) for query_id, ids in whole.items()}
    values: dict[str, Values] = {}
    values |= _standard([m for m in measures if m.family in STANDARD], counted, judgements)
    for measure in (m for m in measures if m.name not in values):
        rows = whole if measure.family.startswith("revisited") else counted
        values[measure.name] = np.array([_own(measure, rows[query_id], judgements, query_id) for query_id in rows])
    by_name = {name: values[measure.name] for name, measure in zip(names, measures, strict=True)}
    return Scores(query_ids=judgements.query_ids, values=by_name, groups=judgements.groups)


def _without(ids: Order, judgements: Judgements, query_id: str, *, junk: bool) -> Order:
    absent = set(judgements.removed.get(query_id, ()))
    if junk:
        absent |= {item for item, grade in judgements.qrels[query_id].items() if grade < 0}
    return [item for item in ids if item not in absent] if absent else ids


def _own(measure: Measure, ids: Order, judgements: Judgements, query_id: str) -> float:
    grades = judgements.qrels[query_id]
    if measure.family.startswith("revisited"):
        places, count = own.revisited_places(_without(ids, judgements, query_id, junk=False), grades, measure.setting)
        if measure.family == "revisited_ap":
            return own.trapezoid_precision(places, count)
        return own.revisited_precision(places, count, measure.cutoff or 1)
    if measure.family == "subset":
        return _subset_recall(measure, ids, judgements, query_id)
    positives = {item for item, grade in grades.items() if grade > 0}
    places = np.array([place for place, item in enumerate(ids) if item in positives], dtype=np.int64)
    if measure.family == "circo":
        return own.circo_precision(places, len(positives), measure.cutoff or 1)
    return own.roc_auc(places, len(positives), len(ids))


def _subset_recall(measure: Measure, ids: Order, judgements: Judgements, query_id: str) -> float:
    if query_id not in judgements.subsets:
        raise InputError(f"{measure.name} needs the subset of every query; {query_id!r} has none")
    subset = judgements.subsets[query_id]
    first = [item for item in ids if item in subset][: measure.cutoff]
    positives = {item for item, grade in judgements.qrels[query_id].items() if grade > 0 and item in subset}
    return len(positives.intersection(first)) / max(len(positives), 1)


def _standard(measures: Sequence[Measure], rankings: Mapping[str, Order], judgements: Judgements) -> dict[str, Values]:
    """Values of the measures that ir_measures computes."""
    if not measures:
        return {}
    qrels = {query_id: dict(_grades(grades, judgements)) for query_id, grades in judgements.qrels.items()}
    metrics = [_computed(measure, qrels) for measure in measures]
    depth = None if any(m.cutoff is None for m in measures) else max(m.cutoff or 0 for m in measures)
    place = {query_id: n for n, query_id in enumerate(judgements.qrels)}
    values = {measure: np.zeros(len(place)) for measure in metrics}
    falling = [-float(n) for n in range(max((len(ids) for ids in rankings.values()), default=0))]
    run = {query_id: dict(zip(ids[:depth], falling, strict=False)) for query_id, ids in rankings.items() if ids}
    for together in _batches(list(values)):
        for metric in provider().iter_calc(together, qrels, run):
            if metric.query_id in place:
                values[metric.measure][place[metric.query_id]] = metric.value
    return {measure.name: values[metric] for measure, metric in zip(measures, metrics, strict=True)}


def _computed(measure: Measure, qrels: Qrels) -> Any:
    """What ir_measures is asked for. Exponential nDCG becomes the linear one of mapped grades: its own program (gdeval) needs perl,
    takes no ids with spaces and rounds to 5 digits."""
    if measure.family != "exponential":
        return measure.standard
    grades = sorted({grade for of_query in qrels.values() for grade in of_query.values() if grade > 0})
    return measure.standard(gains={grade: 2**grade - 1 for grade in grades})


def _batches(measures: Sequence[Any]) -> list[list[Any]]:
    """The measures in as few calls as are safe: ir_measures 0.4.3 may give a plain nDCG the mapped grades of another in its call."""
    plain = [measure for measure in measures if "gains" not in measure.params]
    return [*([measure] for measure in measures if "gains" in measure.params), *([plain] if plain else [])]


def _grades(grades: Mapping[str, int], judgements: Judgements) -> Iterator[tuple[str, int]]:
    return ((item, grade) for item, grade in grades.items() if grade >= 0 or not judgements.junk)
