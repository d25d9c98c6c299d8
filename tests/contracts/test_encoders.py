"""Every encoder keeps the contract; a new file in `mmrerank/encoders/` is found by itself."""

from __future__ import annotations

import pytest

from mmrerank.parts import names
from mmrerank.testing import EncoderContract

ENCODERS = names("encoders")


class TestEncoder(EncoderContract):
    @pytest.fixture(autouse=True, params=ENCODERS)
    def _named(self, request: pytest.FixtureRequest) -> None:
        if request.param == "sentence":
            pytest.importorskip("sentence_transformers", reason="the extra `sentence` is not installed")
        self.part = request.param

    def test_its_weights_are_told_by_a_hash(self) -> None:
        """The contract asks for no hash of an encoder without weights; each of ours has some."""
        assert int(self.tiny().weights_hash, 16) >= 0


def test_there_are_encoders_to_check() -> None:
    assert {"gem", "multivector", "openclip", "sentence"} <= set(ENCODERS)
