"""Raw scores -> probabilities of relevance, fitted on judged candidates.

    platt      p = sigmoid(a raw + b), by maximum likelihood            two numbers: for log-odds, and wherever there is little data
    isotonic   the rising steps that come nearest to the judgements     any rising shape; wants some thousand candidates

Platt's targets are not 0 and 1 but (N₊ + 1) / (N₊ + 2) and 1 / (N₋ + 2), so that groups that lie apart do not make b and a infinite.

How good it is stands in the file: Brier's score (the mean of (p - y)², .25 for who always says .5) and the expected calibration error
(how far p lies from the share of relevant ones, in ten bins of p), both on queries that the fit had not seen, five parts in turn.

Source: Platt 1999; Lin, Lin & Weng 2007 (the targets, Newton's steps); Zadrozny & Elkan 2002 (isotonic); cited, not re-read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from mmrerank.errors import InputError
from mmrerank.protocols import Reranker
from mmrerank.rerankers._fitted import Judged, judged_values, load, method_of, origin, save

Numbers: TypeAlias = npt.NDArray[np.float64]
Method: TypeAlias = Literal["platt", "isotonic"]
Groups: TypeAlias = "Sequence[tuple[Sequence[float], Sequence[float]]]"  # of each query: raw scores of relevant and of other candidates
PARTS = 5
BINS = 10
STEPS = 100
SETTLED = 1e-10


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What turns the raw scores of one reranker, model and prompt into probabilities."""

    method: Method
    reranker: str = ""  # its printed name
    backend: str = ""
    prompt_digest: str = ""
    slope: float = 0.0  # a of platt
    offset: float = 0.0  # b
    raw: tuple[float, ...] = ()  # of isotonic: raw scores, rising,
    probability: tuple[float, ...] = ()  # and what they are worth; between two of them on a line
    relevant: int = 0  # how many judged candidates it was fitted on
    irrelevant: int = 0
    brier: float = 0.0
    calibration_error: float = 0.0
    unseen_queries: bool = True  # False: there was one query only, and both are of the data of the fit

    def __post_init__(self) -> None:
        for name in ("raw", "probability"):  # a file gives lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        numbers = (self.slope, self.offset, *self.raw, *self.probability)
        if self.method not in get_args(Method) or not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
            raise InputError(f"a calibration is {' or '.join(get_args(Method))}, of finite numbers; got {self.method!r} of {numbers[:4]}")

    def probabilities(self, raw: npt.ArrayLike) -> Numbers:
        """(n,) probabilities of (n,) raw scores; never falling while those rise."""
        values = np.asarray(raw, dtype=np.float64)
        if self.method == "isotonic":
            return np.interp(values, self.raw, self.probability)
        return np.asarray(np.exp(-np.logaddexp(0, -(self.slope * values + self.offset))))

    def save(self, path: str | Path) -> None:
        """Writes it as TOML, for `calibrated(calibration=PATH)`."""
        save(self, path)

    @classmethod
    def load(cls, path: str | Path, *, reranker: str, backend: str, prompt_digest: str) -> Calibration:
        """The calibration in a file.

        Raises:
            FormatError: the file is absent or not of that form.
            ManifestError: it was fitted with another reranker, model or prompt, whose scores mean something else.
        """
        hint, otherwise = "Fit one: fit_calibration(reranker, judged).save(PATH).", "Fit it again with these."
        now = {"reranker": reranker, "backend": backend, "prompt_digest": prompt_digest}
        return load(cls, path, "calibration", hint=hint, otherwise=otherwise, now=now)


def fit_calibration(reranker: Reranker, judged: Judged, *, method: Method = "platt") -> Calibration:
    """The calibration of a reranker that gives raw scores.

    Args:
        judged: queries, their candidates, and the ids of those that are relevant. Never from the set that is reported.
        method: "platt" or "isotonic".

    Raises:
        InputError: there is no relevant or no irrelevant candidate with a raw score, or scores do not rise with relevance.
    """
    groups = judged_values(reranker, judged, lambda candidate: candidate.raw_score)
    raw, labels = _flat(groups)
    relevant = int(labels.sum())
    if not 0 < relevant < len(labels):
        message = f"a calibration needs relevant and irrelevant candidates with raw scores; got {relevant} and {len(labels) - relevant}"
        raise InputError(message, hint=f"{reranker.name} may give an order only, or the ids of the relevant ones may be of another set.")
    curve = _curve(raw, labels, method)
    if method == "platt" and curve.slope <= 0:
        raise InputError(f"the raw scores of {reranker.name} do not rise with relevance; no probability can be had from them")
    predictions, unseen_queries = _predictions(groups, method)
    backend, prompt_digest = origin(reranker)
    return replace(
        curve,
        reranker=method_of(reranker).name,
        backend=backend,
        prompt_digest=prompt_digest,
        relevant=relevant,
        irrelevant=len(labels) - relevant,
        brier=brier(predictions, labels),
        calibration_error=calibration_error(predictions, labels),
        unseen_queries=unseen_queries,
    )


def platt(raw: Numbers, labels: Numbers) -> tuple[float, float]:
    """(a, b) of the likeliest p = sigmoid(a raw + b).

    Args:
        raw: (n,) raw scores.
        labels: (n,) 1 for relevant, 0 for not.
    """
    centre, spread = float(raw.mean()), float(raw.std()) or 1.0
    design = np.stack([(raw - centre) / spread, np.ones_like(raw)], axis=1)  # (n, 2)
    relevant, other = float(labels.sum()), float((1 - labels).sum())
    target = np.where(labels > 0, (relevant + 1) / (relevant + 2), 1 / (other + 2))

    def loss(weights: Numbers) -> float:
        z = design @ weights
        return float((np.logaddexp(0, z) - target * z).sum())

    weights = np.array([0.0, np.log((relevant + 1) / (other + 1))])
    for _ in range(STEPS):
        p = np.exp(-np.logaddexp(0, -(design @ weights)))
        gradient = design.T @ (p - target)
        curvature = (design * (p * (1 - p))[:, None]).T @ design + 1e-12 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while loss(weights - size * step) > loss(weights) - 1e-4 * size * float(gradient @ step) and size > SETTLED:
            size /= 2  # Newton's step may be too long where the curve is flat
        weights = weights - size * step
        if float(np.abs(size * step).max()) < SETTLED:
            break
    return float(weights[0]) / spread, float(weights[1]) - float(weights[0]) * centre / spread


def isotonic(raw: Numbers, labels: Numbers) -> tuple[Numbers, Numbers]:
    """Raw scores, rising, and the rising probabilities that come nearest to the labels there: neighbours that fall are pooled.

    >>> x, p = isotonic(np.array([1.0, 2, 3, 4]), np.array([0.0, 1, 0, 1]))
    >>> x.tolist(), p.tolist()
    ([1.0, 2.0, 3.0, 4.0], [0.0, 0.5, 0.5, 1.0])
    """
    values, places = np.unique(raw, return_inverse=True)
    pools: list[tuple[float, float, int]] = []  # (sum of labels, candidates, raw scores) of each step
    for label, count in zip(np.bincount(places, labels), np.bincount(places), strict=True):
        pool = (float(label), float(count), 1)
        while pools and pools[-1][0] * pool[1] >= pool[0] * pools[-1][1]:
            before = pools.pop()
            pool = (before[0] + pool[0], before[1] + pool[1], before[2] + pool[2])
        pools.append(pool)
    steps = np.repeat([total / count for total, count, _ in pools], [wide for _, _, wide in pools])
    edges = np.flatnonzero(np.diff(steps, prepend=-1.0, append=2.0))
    corners = sorted({*edges[:-1].tolist(), *(edges[1:] - 1).tolist()})  # the first and last of each step say it all
    return values[corners], steps[corners]


def brier(p: Numbers, labels: Numbers) -> float:
    """The mean square of p less what came; 0 is a prophet."""
    return float(((p - labels) ** 2).mean())


def calibration_error(p: Numbers, labels: Numbers) -> float:
    """How far p lies from the share of relevant ones, in bins of equal width, weighted by how many stand in each.

    >>> calibration_error(np.array([0.75, 0.75, 0.75, 0.75]), np.array([1.0, 1, 1, 0]))
    0.0
    """
    bins = np.minimum((p * BINS).astype(int), BINS - 1)
    apart = np.abs(np.bincount(bins, p - labels, minlength=BINS))
    return float(apart.sum() / len(p))


def _curve(raw: Numbers, labels: Numbers, method: Method) -> Calibration:
    """A calibration that says where raw scores lead, and nothing of whose they are."""
    if method == "isotonic":
        values, steps = isotonic(raw, labels)
        return Calibration(method=method, raw=tuple(values.tolist()), probability=tuple(steps.tolist()))
    slope, offset = platt(raw, labels)
    return Calibration(method=method, slope=slope, offset=offset)


def _predictions(groups: Groups, method: Method) -> tuple[Numbers, bool]:
    """The probability of each candidate by a fit on the other queries, in the order of `_flat`; with one query by a fit on itself."""
    parts = min(PARTS, len(groups))
    predictions: list[Numbers] = [np.zeros(0)] * len(groups)
    for part in range(parts):
        others = [group for n, group in enumerate(groups) if n % parts != part] or groups
        curve = _curve(*_flat(others), method)
        for n in range(part, len(groups), parts):
            predictions[n] = curve.probabilities(_flat([groups[n]])[0])
    return np.concatenate(predictions), parts > 1


def _flat(groups: Groups) -> tuple[Numbers, Numbers]:
    """Raw scores and labels of all queries."""
    raw = [score for good, bad in groups for score in (*good, *bad)]
    labels = [label for good, bad in groups for label in (*[1.0] * len(good), *[0.0] * len(bad))]
    return np.array(raw, dtype=np.float64), np.array(labels, dtype=np.float64)
