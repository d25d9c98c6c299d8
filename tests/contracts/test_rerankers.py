"""Every reranker keeps the contract; a new file in `mmrerank/rerankers/` is found by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from mmrerank.parts import module, names
from mmrerank.testing import RerankerContract, samples
from mmrerank.types import Candidate, Query

RERANKERS = names("rerankers")
COMPARES_PICTURES = ("same_object",)  # refuse a query without one
SPECTRUM = "BEGIN IONS\nPEPMASS=500.25\nCHARGE=2+\n147.11 60\n204.13 50\n361.2 70\n474.3 40\nEND IONS\n"
READS_SPECTRA = ("ranknovo",)  # refuses every other query; its candidates are peptides


class TestReranker(RerankerContract):
    @pytest.fixture(autouse=True, params=RERANKERS)
    def _named(self, request: pytest.FixtureRequest) -> None:
        self.part = request.param

    def query(self) -> Query:
        pictures = (samples.InMemory(samples.coloured(3)),) if self.part in COMPARES_PICTURES else ()
        return replace(super().query(), images=pictures, **({"text": SPECTRUM} if self.part in READS_SPECTRA else {}))

    def texts(self) -> Sequence[str]:
        return (SPECTRUM,) if self.part in READS_SPECTRA else super().texts()

    def candidates(self, count: int) -> list[Candidate]:
        if self.part not in READS_SPECTRA:
            return super().candidates(count)
        texts = ("".join("GASPVTLNDQ"[(n * step) % 10] for step in (1, 3, 7)) + "K" for n in range(count))
        return [replace(one, item=replace(one.item, text=text)) for one, text in zip(super().candidates(count), texts, strict=True)]

    def test_its_tiny_has_the_default_options(self) -> None:
        assert self.options() == self.module.Options()


def test_there_are_rerankers_to_check() -> None:
    assert {"bm25", "mm_r5", "ragllava", "square", "superglobal"} <= set(RERANKERS)


def test_those_that_score_each_candidate_alone_say_so() -> None:
    """Or the contract would not hold them to it."""
    assert module("ragllava", station="rerankers").tiny().pointwise
    assert module("calibrated", station="rerankers").tiny().pointwise
