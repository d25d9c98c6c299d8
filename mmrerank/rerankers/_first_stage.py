"""The scores of a first stage as the numbers of a prompt: brought to one scale over all candidates, printed to three decimals.

    scores b of the candidates --g--> raw, unit, percent, maxdiv, zscore, rank --> "0.913", or "not available"

Every scale keeps the order. Scores of any first stage will do: BM25, cosines, log-odds, negative ones too.

Source: the ablation of InsertRank (arXiv 2506.14086) over scaled scores, by its notes; which scales it had could not be
read, these are ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from mmrerank.errors import InputError
from mmrerank.types import Candidate

Numbers: TypeAlias = npt.NDArray[np.float64]
Scale: TypeAlias = Literal["raw", "unit", "percent", "maxdiv", "zscore", "rank", "none"]
MEANINGS: dict[Scale, str] = {
    "raw": "higher is better",
    "unit": "from 0 to 1, higher is better",
    "percent": "from 0 to 100, higher is better",
    "maxdiv": "a share of the best one, higher is better",
    "zscore": "in standard deviations from the mean, higher is better",
    "rank": "its place in that system's list, 1 is best",
}
UNKNOWN = "not available"  # a zero would read as evidence against


def printed_scores(candidates: Sequence[Candidate], scale: Scale) -> tuple[Mapping[str, str], list[str]]:
    """What stands below each candidate that has a score, by item_id, and a message on those that have none."""
    scores = {c.item.item_id: float(c.score) for c in candidates if c.score is not None and math.isfinite(c.score)}
    if scale == "none":
        return {}, []
    lacking = len(candidates) - len(scores)
    values = scaled(np.array(list(scores.values()), dtype=np.float64), scale)
    lines = {item_id: f"{value:.0f}" if scale == "rank" else f"{value:.3f}" for item_id, value in zip(scores, values, strict=True)}
    return lines, [f"{lacking} of {len(candidates)} candidates have no score of the first stage; the prompt says so"] if lacking else []


def scaled(scores: Numbers, scale: Scale) -> Numbers:
    """(n,) the scores b as g(b) prints them: equal ones are 1 by `unit`, 100 by `percent` and 0 by `zscore`, never NaN.

    Raises:
        InputError: `maxdiv`, and some score is not above 0.

    >>> scaled(np.array([6.0, 4.0, 2.0]), "unit").tolist(), scaled(np.array([3.0, 3.0]), "percent").tolist()
    ([1.0, 0.5, 0.0], [100.0, 100.0])
    """
    if scale in ("raw", "none") or not len(scores):
        return scores
    if scale == "rank":
        return np.asarray(np.argsort(np.argsort(-scores, kind="stable")) + 1, dtype=np.float64)
    if scale == "maxdiv":
        if scores.min() <= 0:
            raise InputError(f"scale='maxdiv' takes scores above 0; got {scores.min():.3f}", hint="Use scale='unit'.")
        return np.asarray(scores / scores.max())
    if scale == "zscore":
        return np.asarray((scores - scores.mean()) / (scores.std() or 1.0))
    span = scores.max() - scores.min()
    unit = (scores - scores.min()) / span if span else np.ones_like(scores)
    return np.asarray(unit * 100 if scale == "percent" else unit)
