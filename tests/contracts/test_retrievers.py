"""Every retriever keeps the contract; a new file in `mmrerank/retrievers/` is found by itself."""

from __future__ import annotations

import pytest

from mmrerank.parts import names
from mmrerank.testing import RetrieverContract

RETRIEVERS = names("retrievers")


class TestRetriever(RetrieverContract):
    @pytest.fixture(autouse=True, params=RETRIEVERS)
    def _named(self, request: pytest.FixtureRequest) -> None:
        self.part = request.param

    def test_its_tiny_has_the_default_options(self) -> None:
        assert self.options() == self.module.Options()


def test_there_are_retrievers_to_check() -> None:
    assert {"composed", "dense", "hybrid", "late_interaction", "lexical", "square_fusion"} <= set(RETRIEVERS)
