"""Every backend keeps the contract; a new file in `mmrerank/backends/` is found by itself."""

from __future__ import annotations

import pytest

from mmrerank.parts import names
from mmrerank.testing import BackendContract

BACKENDS = names("backends")


class TestBackend(BackendContract):
    @pytest.fixture(autouse=True, params=BACKENDS)
    def _named(self, request: pytest.FixtureRequest) -> None:
        self.part = request.param


def test_there_are_backends_to_check() -> None:
    assert {"chat_http", "local", "mini", "replay", "scripted"} <= set(BACKENDS)
