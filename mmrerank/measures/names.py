"""Measures have names, and a name parses back to its measure: every parameter that moves the number is in it.

nDCG@10  RR@10  R@1  AP  AP@5  P@5  Success@1      computed by ir_measures
R(rel=2)@5                                         CIRCO: recall of the one image that a query was written for, of grade 2
mAP@5                                              CIRCO: divisor min(k, positives)
R@10(macro)                                        FashionIQ: mean over the means of dress, shirt and toptee
R_subset@1                                         CIRR: recall inside the small gallery of a query
mAP(easy|medium|hard)   mP@10(easy|medium|hard)    Revisited Oxford and Paris
page_recall@5(macro|micro)                         MMDocIR: mean over the groups' means, or over the questions
AUC                                                share of pairs (positive, other) in the right order
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from mmrerank.errors import UnknownName

KNOWN = {  # how a name looks -> what it says
    "nDCG@10": "discounted gain over the best possible, to rank 10; gain is the grade (ir_measures)",
    "nDCG(dcg='exp-log2')@10": "the same with gain 2^grade - 1 (ir_measures)",
    "RR@10": "reciprocal of the rank of the first positive, 0 beyond rank 10 (ir_measures)",
    "R@10": "share of the positives in the first 10 (ir_measures)",
    "R@10(macro)": "FashionIQ: R@10 as mean over the groups' means",
    "R(rel=2)@5": "CIRCO: whether the image that the query was written for, of grade 2, is in the first 5 (ir_measures)",
    "AP": "mean precision at the positives; AP@5 divides by all positives (ir_measures)",
    "P@5": "share of positives in the first 5 (ir_measures)",
    "Success@5": "whether a positive is in the first 5 (ir_measures)",
    "mAP@5": "CIRCO: precision at the positives in the first 5, summed, over min(5, positives)",
    "R_subset@1": "CIRR: share of the positives in the first of the query's small gallery",
    "mAP(easy)": "Revisited Oxford and Paris: trapezoid AP; also medium and hard",
    "mP@10(easy)": "Revisited Oxford and Paris: precision at min(10, rank of the last positive); also medium and hard",
    "page_recall@5(macro)": "MMDocIR: R@5 as mean over the groups' means",
    "page_recall@5(micro)": "MMDocIR: R@5 as mean over the questions",
    "AUC": "share of pairs of a positive and another candidate in which the positive stands ahead",
}
_OWN = (
    ("circo", re.compile(r"mAP@(?P<k>[1-9]\d*)")),
    ("subset", re.compile(r"R_subset@(?P<k>[1-9]\d*)")),
    ("revisited_ap", re.compile(r"mAP\((?P<setting>easy|medium|hard)\)")),
    ("revisited_precision", re.compile(r"mP@(?P<k>[1-9]\d*)\((?P<setting>easy|medium|hard)\)")),
    ("group_recall", re.compile(r"(?:page_recall|R)@(?P<k>[1-9]\d*)\((?P<setting>macro|micro)\)")),
    ("auc", re.compile("AUC")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One measure: its family, where it stops, and the setting or averaging that its name carries."""

    name: str
    family: str
    cutoff: int | None = None
    setting: str = ""
    standard: Any = None  # the measure of ir_measures behind it

    @property
    def macro(self) -> bool:
        """Whether the mean is taken over the groups' means."""
        return self.setting == "macro"


def parse_measure(name: str) -> Measure:
    """The measure of this name.

    Raises:
        UnknownName: there is none, or not with such options.

    >>> parse_measure("mP@10(hard)").cutoff
    10
    >>> parse_measure("nDCG@10").family
    'standard'
    """
    import ir_measures

    for family, pattern in _OWN:
        if match := pattern.fullmatch(name):
            options = match.groupdict()
            cutoff = int(options["k"]) if options.get("k") else None
            recall = ir_measures.R @ cutoff if family == "group_recall" else None
            return Measure(name=name, family=family, cutoff=cutoff, setting=options.get("setting") or "", standard=recall)
    try:
        return _standard(name)
    except (NameError, ValueError, SyntaxError, TypeError) as error:
        raise UnknownName(f"no measure is called {name!r}: {error}", hint=f"Such as {', '.join(KNOWN)}.") from error


def _standard(name: str) -> Measure:
    import ir_measures

    measure = ir_measures.parse_measure(name)
    cutoff, family, metric = measure.params.get("cutoff"), "standard", measure
    if cutoff is not None and cutoff < 1:
        raise ValueError("its cutoff is below 1")  # trec_eval would end the process
    if measure.NAME == "nDCG" and measure.params.get("dcg") == "exp-log2" and "gains" not in measure.params:
        family, metric = "exponential", ir_measures.nDCG(**{key: value for key, value in measure.params.items() if key != "dcg"})
    try:
        if not provider().supports(metric):
            raise ValueError("ir_measures does not compute it by itself")
    except AssertionError as error:
        raise ValueError("it lacks an option or has one of a wrong kind") from error
    return Measure(name=str(measure), family=family, cutoff=cutoff, standard=metric)


@cache
def provider() -> Any:
    """The parts of ir_measures that need no other program and no other library, so that values are the same everywhere."""
    import ir_measures

    return ir_measures.providers.FallbackProvider([ir_measures.pytrec_eval, ir_measures.judged, ir_measures.msmarco])
