"""Composed queries: one row of an encoder that fuses, a sum with any other, exclusions, several pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from mmrerank.errors import InputError
from mmrerank.protocols import EmbeddingSpace
from mmrerank.retrievers import composed
from mmrerank.testing import FakeCorpus, FakeSpace, HashEncoder
from mmrerank.testing.samples import InMemory, coloured
from mmrerank.types import Array, Item, Modality, Part, Query

RED, BLUE = InMemory(coloured(1)), InMemory(coloured(2))


class Fusing(HashEncoder):
    """A double that makes one row of all parts, and remembers what it was asked."""

    reads_both = True

    def __init__(self) -> None:
        self.questions: list[tuple[list[Any], str | None]] = []

    def prepare_fused(self, parts: Sequence[Part]) -> Any:
        return parts

    def encode_fused(self, values: Sequence[Any], *, normalise: bool = True) -> Array:
        return self.encode([self._joined(value) for value in values], normalise=normalise)

    def encode_fused_queries(self, values: Sequence[Sequence[Part]], *, instruction: str | None = None, normalise: bool = True) -> Array:
        self.questions += [(list(value), instruction) for value in values]
        return self.encode_fused(values, normalise=normalise)

    def encode_queries(self, values: Sequence[Any], *, normalise: bool = True) -> Array:
        return self.encode_fused([(value,) for value in values], normalise=normalise)

    def _joined(self, parts: Sequence[Part]) -> str:
        return "|".join(part if isinstance(part, str) else part.tobytes().hex() for part in parts)


class Corpus(FakeCorpus):
    def __init__(self, encoder: HashEncoder) -> None:
        super().__init__({"a": "red door", "b": "blue boat"})
        self._place = FakeSpace([Item(item_id="a", text="red door"), Item(item_id="b", text="blue boat")])
        self._place.encoder = encoder

    def space(self, *, takes: frozenset[Modality], encoder: str | None = None) -> EmbeddingSpace:
        return self._place


def retriever(encoder: HashEncoder, **options: Any) -> composed.Composed:
    return composed.build(composed.Options(**options), Corpus(encoder))


def test_an_encoder_that_fuses_is_asked_for_one_row() -> None:
    encoder = Fusing()
    query = Query(text="in red", images=(RED, BLUE))
    row = retriever(encoder, instruction="Find it.").query_row(query)
    ((parts, instruction),) = encoder.questions
    assert [part if isinstance(part, str) else part.getpixel((0, 0)) for part in parts] == [
        RED.open().getpixel((0, 0)),
        BLUE.open().getpixel((0, 0)),
        "in red",
    ]
    assert instruction == "Find it."
    np.testing.assert_allclose(row, encoder.encode_fused([(RED.open(), BLUE.open(), "in red")])[0], atol=1e-6)
    assert np.linalg.norm(row) == pytest.approx(1, abs=1e-5)


def test_exclusions_are_subtracted_from_the_fused_row() -> None:
    encoder = Fusing()
    plain = Query(text="in red", images=(RED,))
    less = Query(text="in red", images=(RED,), exclude_text=("door",), exclude_images=(BLUE,))
    part = retriever(encoder, exclude_weight=0.25)
    expected = part.query_row(plain) - 0.25 * (encoder.encode_queries(["door"])[0] + encoder.encode_queries([BLUE.open()])[0])
    np.testing.assert_allclose(part.query_row(less), expected / np.linalg.norm(expected), atol=1e-6)


def test_fuse_off_sums_as_with_any_other_encoder() -> None:
    query = Query(text="in red", images=(RED, BLUE), weights=(0.7, 0.3))
    row = retriever(Fusing(), fuse=False, alpha=0.4).query_row(query)
    encoder = Fusing()
    image = 0.7 * encoder.encode_queries([RED.open()])[0] + 0.3 * encoder.encode_queries([BLUE.open()])[0]
    expected = 0.6 * image / np.linalg.norm(image) + 0.4 * encoder.encode_queries(["in red"])[0]
    np.testing.assert_allclose(row, expected / np.linalg.norm(expected), atol=1e-6)


def test_an_encoder_that_does_not_fuse_gets_its_sum() -> None:
    encoder = HashEncoder()
    row = retriever(encoder).query_row(Query(text="in red", images=(RED,)))
    expected = encoder.encode(["in red"])[0] + encoder.encode([RED.open()])[0]
    np.testing.assert_allclose(row, expected / np.linalg.norm(expected), atol=1e-6)


@pytest.mark.parametrize("query", [Query(text="in red"), Query(images=(RED,)), Query(images=(RED, BLUE))])
def test_a_query_of_one_modality_is_one_row_too(query: Query) -> None:
    encoder = Fusing()
    parts = [*(image.open() for image in query.images), *([query.text] if query.text else [])]
    np.testing.assert_allclose(retriever(encoder).query_row(query), encoder.encode_fused([parts])[0], atol=1e-6)


def test_what_cannot_be_followed_is_refused() -> None:
    uneven = Query(text="in red", images=(RED, BLUE), weights=(0.7, 0.3))
    with pytest.raises(InputError, match=r"weighs its pictures .*composed\(fuse=False\)"):
        retriever(Fusing()).query_row(uneven)
    retriever(Fusing()).query_row(Query(text="in red", images=(RED, BLUE), weights=(1.0, 1.0)))
    with pytest.raises(InputError, match="instruction is for an encoder that fuses"):
        retriever(HashEncoder(), instruction="Find it.").query_row(Query(text="in red"))
