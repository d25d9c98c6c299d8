"""Another reranker, whose raw scores also become probabilities of relevance that were fitted on judged candidates.

    calibrated(rerank='ragllava', calibration='ragllava.toml')        raw_score --Calibration--> calibrated_score

The order, scores, notes and cost are the other reranker's; nothing moves. What it needs (a backend, descriptors, a key) is passed on to
it. A calibration is fitted once per reranker, model and prompt, and refused for any other:

    from mmrerank.rerankers.calibrated import fit_calibration
    fit_calibration(make("ragllava", backend=backend), judged).save("ragllava.toml")

Anything with a raw score can be calibrated: `ragllava`, `bm25`, `superglobal`, `rerank_http`.

Source: see `_calibration.py`.  Cost per query: the other reranker's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mmrerank.errors import InputError
from mmrerank.parts import make, printed
from mmrerank.protocols import Backend, DescriptorSource, PointwiseReranker, Reranker
from mmrerank.rerankers._around import made_within, name_within
from mmrerank.rerankers._calibration import Calibration, fit_calibration
from mmrerank.rerankers._fitted import method_of, origin
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Query, Ranking

__all__ = ["Calibrated", "Calibration", "Options", "build", "fit_calibration", "tiny"]


@dataclass(frozen=True, kw_only=True)
class Options:
    rerank: str = "ragllava"  # the other reranker, with its options
    calibration: str = ""  # file that `Calibration.save` wrote


class Calibrated:
    """A reranker with probabilities."""

    def __init__(self, options: Options, reranker: Reranker, calibration: Calibration) -> None:
        self.name = printed("calibrated", options)
        self.pointwise = isinstance(reranker, PointwiseReranker) and reranker.pointwise
        self.within = reranker
        self._calibration = calibration

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The other reranker's ranking, each candidate with `calibrated_score` where it has a raw score."""
        ranking = self.within.rerank(query, candidates)
        ranked = tuple(self._calibrated(candidate) for candidate in ranking.candidates)
        reasons = {**ranking.notes.reasons, **self._reasons(ranked, ranking.notes.reasons)}
        return replace(ranking, candidates=ranked, notes=replace(ranking.notes, reasons=reasons))

    def _calibrated(self, candidate: Candidate) -> Candidate:
        if candidate.raw_score is None:
            return replace(candidate, calibrated_score=None)
        return replace(candidate, calibrated_score=float(self._calibration.probabilities([candidate.raw_score])[0]))

    def _reasons(self, ranked: Sequence[Candidate], reasons: Mapping[str, str]) -> dict[str, str]:
        """Of each candidate with a probability the other reranker's reason, and that."""
        return {
            c.item.item_id: "; ".join(filter(None, (reasons.get(c.item.item_id), f"relevant with probability {c.calibrated_score:.2f}")))
            for c in ranked
            if c.calibrated_score is not None
        }


def inner(options: Options) -> str:
    """The name of the reranker within, whose needs are this one's.

    Raises:
        InputError: no calibration is named, or a calibrated one is to be calibrated.
    """
    if not options.calibration:
        raise InputError("calibrated needs the file of a calibration", hint="Fit one: fit_calibration(reranker, judged).save(PATH).")
    return name_within("calibrated", options.rerank)


def build(
    options: Options, backend: Backend | None = None, descriptors: DescriptorSource | None = None, api_key: str | None = None
) -> Calibrated:
    """The reranker with its calibration.

    Raises:
        InputError: as of `inner`.
        FormatError, ManifestError: the file is not of that form, or was fitted with another reranker, model or prompt.
    """
    reranker = made_within(inner(options), backend, descriptors, api_key)
    model, digest = origin(reranker)
    name = method_of(reranker).name
    return Calibrated(options, reranker, Calibration.load(options.calibration, reranker=name, backend=model, prompt_digest=digest))


def tiny() -> Calibrated:
    """Over `ragllava` with a fake model, by a calibration that nobody fitted."""
    reranker: Reranker = make("ragllava", station="rerankers", backend=FakeBackend())
    return Calibrated(Options(), reranker, Calibration(method="platt", slope=0.5, offset=-1.0))
