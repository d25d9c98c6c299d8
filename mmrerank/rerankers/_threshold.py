"""The adaptive threshold of RagLLaVA: fitted on judged probabilities, saved beside what it was fitted with, applied."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mmrerank.errors import FormatError, InputError, ManifestError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NATURAL = 0.5


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Where "relevant" begins, for one model and one prompt."""

    eta: float  # kept when P(Yes) >= eta
    backend: str
    prompt_digest: str
    relevant: int  # how many judged probabilities it was fitted on
    irrelevant: int

    def save(self, path: str | Path) -> None:
        """Writes it as TOML, for `ragllava(threshold=PATH)`."""
        import tomli_w

        Path(path).write_text(tomli_w.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path, *, backend: str, prompt_digest: str) -> Threshold:
        """The threshold in a file.

        Raises:
            FormatError: the file is absent or not of that form.
            ManifestError: it was fitted with another model or prompt, whose probabilities mean something else.
        """
        try:
            found = cls(**tomllib.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            hint = "Fit one: ragllava's fit_threshold(...).save(PATH)."
            raise FormatError(f"no threshold can be read: {error}", path=path, hint=hint) from error
        if (found.backend, found.prompt_digest) != (backend, prompt_digest):
            raise ManifestError(
                f"the threshold in {path} was fitted with {found.backend!r} and prompt {found.prompt_digest}; "
                f"now it is {backend!r} and prompt {prompt_digest}.",
                hint="Fit it again, or use threshold=0.5.",
            )
        return found


def equal_error_threshold(relevant: npt.ArrayLike, irrelevant: npt.ArrayLike) -> float:
    """The eta at which the share of relevant ones kept equals the share of irrelevant ones dropped.

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
    kept = 1 - np.searchsorted(good, middles, side="left") / len(good)
    dropped = np.searchsorted(bad, middles, side="left") / len(bad)
    apart = np.abs(kept - dropped)
    least = np.flatnonzero(apart <= apart.min() + 1e-12)
    return float((edges[least[0]] + edges[least[-1] + 1]) / 2)


def _probabilities(values: npt.ArrayLike, what: str) -> npt.NDArray[np.float64]:
    found = np.sort(np.asarray(values, dtype=np.float64).ravel())
    if not len(found):
        raise InputError(f"a threshold needs probabilities of {what} candidates; got none")
    if not (np.isfinite(found).all() and found[0] >= 0 and found[-1] <= 1):
        raise InputError(f"probabilities lie in 0..1; those of {what} candidates run from {found[0]} to {found[-1]}")
    return found
