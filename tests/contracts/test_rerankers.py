"""Every reranker keeps the contract; a new file in `mmrerank/rerankers/` is found by itself."""

from __future__ import annotations

import pytest

from mmrerank.parts import module, names
from mmrerank.testing import RerankerContract

RERANKERS = names("rerankers")


class TestReranker(RerankerContract):
    @pytest.fixture(autouse=True, params=RERANKERS)
    def _named(self, request: pytest.FixtureRequest) -> None:
        self.part = request.param
        if (request.param, request.function.__name__) == ("mm_r5", "test_it_sees_more_than_the_order_that_came"):
            request.applymarker(pytest.mark.xfail(strict=True, reason="mm_r5.tiny() answers what nobody can read"))

    def test_its_tiny_has_the_default_options(self) -> None:
        assert self.options() == self.module.Options()


def test_there_are_rerankers_to_check() -> None:
    assert {"bm25", "mm_r5", "ragllava", "square", "superglobal"} <= set(RERANKERS)


def test_those_that_score_each_candidate_alone_say_so() -> None:
    """Or the contract would not hold them to it."""
    assert module("ragllava", station="rerankers").tiny().pointwise
