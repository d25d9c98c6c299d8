"""The first stages over the shipped double of a collection, against hand-worked rows."""

from __future__ import annotations

import numpy as np
import pytest

from mmrerank.errors import InputError
from mmrerank.parts import make
from mmrerank.testing.fakes import HashEncoder, fake_corpus
from mmrerank.types import Query


class Blank:
    def __init__(self, shade: int) -> None:
        self.shade = shade

    def open(self):  # type: ignore[no-untyped-def]
        from PIL import Image

        return Image.new("RGB", (3, 2), (self.shade,) * 3)


def unit(row: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return row / np.linalg.norm(row)


ENCODER = HashEncoder()
TEXT = ENCODER.encode(["red door"])[0]
IMAGE = ENCODER.encode([Blank(9).open()])[0]
OTHER = ENCODER.encode([Blank(90).open()])[0]


def row(name: str, **fields: object) -> np.ndarray:  # type: ignore[type-arg]
    return make(name, corpus=fake_corpus()).query_row(Query(**fields))  # type: ignore[arg-type, no-any-return]


def test_dense_searches_with_the_text_or_the_mean_of_the_pictures() -> None:
    assert np.allclose(row("dense", text="red door"), TEXT)
    assert np.allclose(row("dense", images=(Blank(9), Blank(90))), unit((IMAGE + OTHER) / 2), atol=1e-6)
    assert np.allclose(row("dense", images=(Blank(9), Blank(90)), weights=(3.0, 1.0)), unit(3 * IMAGE + OTHER), atol=1e-6)


def test_exclusions_are_subtracted() -> None:
    expected = unit(TEXT - 0.25 * IMAGE)
    assert np.allclose(row("dense(exclude_weight=0.25)", text="red door", exclude_images=(Blank(9),)), expected, atol=1e-6)
    both = unit(TEXT - 0.5 * (IMAGE + ENCODER.encode(["blue"])[0]))
    assert np.allclose(row("dense", text="red door", exclude_text=("blue",), exclude_images=(Blank(9),)), both, atol=1e-6)


@pytest.mark.parametrize("name", ["dense", "composed"])
def test_a_picture_that_cannot_be_hashed_is_encoded_once(name: str) -> None:
    class Once(Blank):
        __hash__ = None  # type: ignore[assignment]
        opened = 0

        def open(self):  # type: ignore[no-untyped-def]
            Once.opened += 1
            return super().open()

    retriever, query = make(name, corpus=fake_corpus()), Query(images=(Once(9),))
    assert np.array_equal(retriever.query_row(query), retriever.query_row(query))
    assert Once.opened == 1


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_alpha_weights_the_text(alpha: float) -> None:
    expected = unit((1 - alpha) * IMAGE + alpha * TEXT)
    assert np.allclose(row(f"composed(alpha={alpha})", text="red door", images=(Blank(9),)), expected, atol=1e-6)


def test_the_two_normalisations_differ_when_the_lengths_do() -> None:
    class Uneven(HashEncoder):
        def encode(self, values, *, normalise=True):  # type: ignore[no-untyped-def]
            rows = super().encode(values)
            return rows if normalise or isinstance(values[0], str) else rows * 10.0

    corpus = fake_corpus()
    corpus._space.encoder = Uneven()  # type: ignore[attr-defined]
    query = Query(text="red door", images=(Blank(9),))
    first = make("composed(alpha=0.8)", corpus=corpus).query_row(query)
    second = make("composed(alpha=0.8, normalise_inputs=False)", corpus=corpus).query_row(query)
    assert np.allclose(first, unit(0.2 * IMAGE + 0.8 * TEXT), atol=1e-6)
    assert np.allclose(second, unit(0.2 * 10 * IMAGE + 0.8 * TEXT), atol=1e-6)
    assert not np.allclose(first, second, atol=1e-2)


def test_composed_takes_a_query_of_one_modality_as_it_is() -> None:
    assert np.allclose(row("composed(alpha=0.9)", text="red door"), TEXT, atol=1e-6)
    assert np.allclose(row("composed(alpha=0.9)", images=(Blank(9),)), IMAGE, atol=1e-6)


@pytest.mark.parametrize("alpha", [-0.1, 1.1])
def test_alpha_outside_0_to_1_is_refused(alpha: float) -> None:
    with pytest.raises(InputError, match=r"0\.\.1"):
        make(f"composed(alpha={alpha})", corpus=fake_corpus())


def test_lexical_leaves_out_matches_of_an_exclusion() -> None:
    ranking = make("lexical", corpus=fake_corpus()).retrieve(Query(text="red", exclude_text=("door", "boat")), 10)
    assert ranking.item_ids == ("red-bird", "red-chair", "red-lamp")


def test_lexical_needs_text() -> None:
    with pytest.raises(InputError, match="dense"):
        make("lexical", corpus=fake_corpus()).retrieve(Query(images=(Blank(1),)), 3)


def test_hybrid_names_the_rank_in_each_part_and_never_adds_scores() -> None:
    ranking = make("hybrid(constant=1.0)", corpus=fake_corpus()).retrieve(Query(text="red door"), 5)
    best = ranking.candidates[0]
    assert best.item.item_id == "red-door"
    assert best.score == pytest.approx(1.0)  # 1/(1+1) from each part, whatever BM25 and the cosine were
    assert ranking.notes.reasons["red-door"] == "lexical rank 1, dense rank 1"


def test_hybrid_weights_its_parts() -> None:
    only_lexical = make("hybrid(weights=(1.0, 0.0))", corpus=fake_corpus()).retrieve(Query(text="red door"), 3)
    lexical = make("lexical", corpus=fake_corpus()).retrieve(Query(text="red door"), 3)
    assert only_lexical.item_ids == lexical.item_ids


def test_weights_that_cancel_are_refused() -> None:
    with pytest.raises(InputError, match="sum to 0"):
        row("dense", images=(Blank(9), Blank(90)), weights=(1.0, -1.0))
