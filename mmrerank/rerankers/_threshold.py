"""The adaptive threshold of RagLLaVA: fitted on judged probabilities, saved beside what it was fitted with, applied."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mmrerank.errors import InputError
from mmrerank.protocols import Reranker
from mmrerank.rerankers._fitted import Judged, judged_values, load, origin, save

NATURAL = 0.5


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Where "relevant" begins, for one model and one prompt."""

    eta: float  # relevant when P(Yes) >= eta
    backend: str
    prompt_digest: str
    relevant: int  # how many judged probabilities it was fitted on
    irrelevant: int

    def save(self, path: str | Path) -> None:
        """Writes it as TOML, for `ragllava(threshold=PATH)`."""
        save(self, path)

    @classmethod
    def load(cls, path: str | Path, *, backend: str, prompt_digest: str) -> Threshold:
        """The threshold in a file.

        Raises:
            FormatError: the file is absent or not of that form.
            ManifestError: it was fitted with another model or prompt, whose probabilities mean something else.
        """
        hint, otherwise = "Fit one: ragllava's fit_threshold(...).save(PATH).", "Fit it again, or use threshold=0.5."
        return load(cls, path, "threshold", hint=hint, otherwise=otherwise, now={"backend": backend, "prompt_digest": prompt_digest})


def fit_threshold(reranker: Reranker, judged: Judged) -> Threshold:
    """The adaptive eta for a reranker whose scores are probabilities.

    Args:
        judged: queries, their candidates, and the ids of those that are relevant. Never from the set that is reported.

    Raises:
        InputError: there is no relevant or no irrelevant candidate among them.
    """
    values = judged_values(reranker, judged, lambda candidate: candidate.score)
    good, bad = (list(chain.from_iterable(side)) for side in zip(*values, strict=True)) if values else ([], [])
    backend, prompt_digest = origin(reranker)
    eta = equal_error_threshold(good, bad)
    return Threshold(eta=eta, backend=backend, prompt_digest=prompt_digest, relevant=len(good), irrelevant=len(bad))


def equal_error_threshold(relevant: npt.ArrayLike, irrelevant: npt.ArrayLike) -> float:
    """The eta at which the share of relevant ones above it equals the share of irrelevant ones below it.

    With A(t) = share of relevant p >= t (falling) and B(t) = share of irrelevant p < t (rising), the middle of where
    |A - B| is least. 0.5 when the relevant ones do not stand above the irrelevant ones at all.

    Raises:
        InputError: one of the two is empty, or a value is no probability.

    Source: the crossing is second-hand from reviews of the paper, these curves are our reading (notes on RagLLaVA, 3).

    >>> equal_error_threshold([0.8, 0.9], [0.1, 0.2])
    0.5
    """
    good, bad = _probabilities(relevant, "relevant"), _probabilities(irrelevant, "irrelevant")
    above = np.searchsorted(bad, good, side="left").sum() + np.searchsorted(bad, good, side="right").sum()
    if above <= len(good) * len(bad):  # area under the ROC curve <= 0.5
        return NATURAL
    edges = np.unique(np.concatenate([[0.0], good, bad, [1.0]]))
    middles = (edges[:-1] + edges[1:]) / 2  # A - B is constant between two edges
    above_eta = 1 - np.searchsorted(good, middles, side="left") / len(good)
    below_eta = np.searchsorted(bad, middles, side="left") / len(bad)
    apart = np.abs(above_eta - below_eta)
    least = np.flatnonzero(apart <= apart.min() + 1e-12)
    return float((edges[least[0]] + edges[least[-1] + 1]) / 2)


def _probabilities(values: npt.ArrayLike, what: str) -> npt.NDArray[np.float64]:
    probabilities = np.sort(np.asarray(values, dtype=np.float64).ravel())
    if not len(probabilities):
        raise InputError(f"a threshold needs probabilities of {what} candidates; got none")
    low, high = probabilities[0], probabilities[-1]
    if not (np.isfinite(probabilities).all() and low >= 0 and high <= 1):
        raise InputError(f"probabilities lie in 0..1; those of {what} candidates run from {low} to {high}")
    return probabilities
