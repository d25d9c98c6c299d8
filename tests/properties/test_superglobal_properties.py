"""What SuperGlobal's refinement keeps for any descriptors: finite scores, bounds, its limits, and indifference to order.

Rows of +-1/4 in 16 dims are of unit length and their products exact in float32, so ties are many and real, and no property
hangs on a rounding.
"""

from __future__ import annotations

import random
from typing import Literal

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmrerank.rerankers.superglobal import Options, _refined, refine
from mmrerank.types import Array

SIDES = st.integers(1, 14).flatmap(lambda size: arrays(np.bool_, (size + 1, 16)))
SETTINGS = settings(max_examples=60)
AGAINST: st.SearchStrategy[Literal["refined", "original"]] = st.sampled_from(["refined", "original"])


def unit_rows(sides: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    """(16,) query and (M, 16) shortlist, with cosines of either sign."""
    rows = np.where(sides, 0.25, -0.25).astype(np.float32)
    return rows[0], rows[1:]


def pooled_rows(sides: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    """(16,) query and (M, 16) shortlist of unit length without negative values, as pooled networks give them."""
    rows = np.where(sides, 1.0, 0.25)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return rows[0], rows[1:]


@given(sides=SIDES, neighbours=st.integers(0, 20), beta=st.floats(0, 3), against=AGAINST)
@SETTINGS
def test_published_scores_are_finite_where_cosines_are_not_negative(
    sides: npt.NDArray[np.bool_], neighbours: int, beta: float, against: Literal["refined", "original"]
) -> None:
    query, shortlist = pooled_rows(sides)
    scores = refine(query, shortlist, neighbours=neighbours, beta=beta, expanded_against=against)
    assert scores.shape == (len(shortlist),)
    assert np.isfinite(scores).all()


@given(sides=SIDES, beta=st.floats(0, 3), against=AGAINST)
@SETTINGS
def test_adaptive_scores_are_means_of_cosines(sides: npt.NDArray[np.bool_], beta: float, against: Literal["refined", "original"]) -> None:
    scores = refine(*unit_rows(sides), neighbours="adaptive", beta=beta, expanded_against=against)
    assert (np.abs(scores) <= 1 + 1e-6).all()


@given(sides=SIDES, order=st.randoms(use_true_random=False))
@SETTINGS
def test_adaptive_scores_do_not_depend_on_the_incoming_order(sides: npt.NDArray[np.bool_], order: random.Random) -> None:
    query, shortlist = unit_rows(sides)
    places = list(range(len(shortlist)))
    order.shuffle(places)
    scores = refine(query, shortlist, neighbours="adaptive")
    assert np.allclose(refine(query, shortlist[places], neighbours="adaptive"), scores[places], atol=1e-6)


@given(sides=SIDES, signs=arrays(np.bool_, 16))
@SETTINGS
def test_adaptive_scores_depend_on_cosines_alone(sides: npt.NDArray[np.bool_], signs: npt.NDArray[np.bool_]) -> None:
    query, shortlist = unit_rows(sides)
    mirror = np.where(signs, 1, -1).astype(np.float32)
    mirrored = refine(query * mirror, shortlist * mirror, neighbours="adaptive")
    assert np.allclose(mirrored, refine(query, shortlist, neighbours="adaptive"), atol=1e-6)


@given(sides=SIDES, neighbours=st.integers(0, 20), power=st.integers(-8, 8))
@SETTINGS
def test_the_length_of_the_query_scales_the_first_similarity_alone(sides: npt.NDArray[np.bool_], neighbours: int, power: int) -> None:
    query, shortlist = pooled_rows(sides)
    once, scaled = (_refined(query * np.float32(factor), shortlist, Options(neighbours=neighbours)) for factor in (1, 2.0**power))
    assert np.array_equal(scaled.to_expanded, once.to_expanded)
    first = 2 * once.scores - once.to_expanded
    assert np.allclose(2 * scaled.scores - scaled.to_expanded, first * 2.0**power, rtol=1e-5, atol=1e-5)


@given(sides=SIDES, power=st.integers(-8, 8))
@SETTINGS
def test_the_length_of_the_query_plays_no_part_in_adaptive_scores(sides: npt.NDArray[np.bool_], power: int) -> None:
    query, shortlist = unit_rows(sides)
    scaled = refine(query * np.float32(2.0**power), shortlist, neighbours="adaptive")
    assert np.array_equal(scaled, refine(query, shortlist, neighbours="adaptive"))


@given(sides=SIDES, neighbours=st.one_of(st.integers(0, 20), st.just("adaptive")))
@SETTINGS
def test_without_beta_the_first_similarity_is_that_of_the_first_stage(
    sides: npt.NDArray[np.bool_], neighbours: int | Literal["adaptive"]
) -> None:
    query, shortlist = unit_rows(sides)
    found = _refined(query, shortlist, Options(neighbours=neighbours, beta=0))
    assert np.allclose(2 * found.scores - found.to_expanded, shortlist @ query, atol=1e-6)


@given(sides=SIDES, beta=st.floats(0, 3))
@SETTINGS
def test_without_neighbours_the_best_row_is_the_expanded_query(sides: npt.NDArray[np.bool_], beta: float) -> None:
    query, shortlist = unit_rows(sides)
    best = shortlist[np.argmax(shortlist @ query)]
    assert np.allclose(refine(query, shortlist, neighbours=0, beta=beta), shortlist @ (query + best) / 2, atol=1e-6)
