"""Every answerer keeps the contract; a new file in `mmrerank/answering/` is found by itself."""

from __future__ import annotations

import pytest

from mmrerank.parts import names
from mmrerank.testing import AnswererContract

ANSWERERS = names("answering")


class TestAnswerer(AnswererContract):
    @pytest.fixture(autouse=True, params=ANSWERERS)
    def _named(self, request: pytest.FixtureRequest) -> None:
        self.part = request.param

    def test_its_tiny_has_the_default_options(self) -> None:
        assert self.options() == self.module.Options()


def test_there_are_answerers_to_check() -> None:
    assert {"extractive", "generative"} <= set(ANSWERERS)
