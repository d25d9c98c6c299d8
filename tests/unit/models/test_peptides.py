"""Sequences, their masses and distances, against the values of the note."""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt
import pytest

from mmrerank.errors import InputError
from mmrerank.models.peptides import RESIDUES, WATER, peptide_distance, prefix_offsets, read_spectrum, tokens_of, weights

MGF = "BEGIN IONS\nTITLE=one\nPEPMASS=500.25 12\nCHARGE=2+\n200.2 6\n100.1 5\n150.0 0\nEND IONS\n"


@pytest.mark.parametrize(
    ("one", "other", "distance", "offsets"),
    [
        ("GA", "GA", 0, [0, 0]),
        ("AG", "GA", 0.5451, [0.2726, 0]),
        ("G", "GG", 1, [0]),
        ("G", "W", 2, [-2.5097]),
        ("N", "GG", 2.1089, [0]),
        ("GG", "N", 2.1089, [-1.1089, 0]),
        ("GAS", "GSA", 0.6221, [0, -0.3110, 0]),
        ("GV", "GA", 0.5451, [0, 0.5451]),
    ],
)
def test_distances_and_offsets_are_those_of_the_note(one: str, other: str, distance: float, offsets: list[float]) -> None:
    assert peptide_distance(weights(one), weights(other)) == pytest.approx(distance, abs=5e-5)
    assert prefix_offsets(weights(one), weights(other)) == pytest.approx(offsets, abs=5.1e-5)


def _by_the_recursion(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    table = np.zeros((len(one) + 1, len(other) + 1))
    table[:, 0], table[0] = np.arange(len(one) + 1), np.arange(len(other) + 1)
    for i, j in np.ndindex(len(one), len(other)):
        pair = table[i, j] + abs(one[i] - other[j])
        table[i + 1, j + 1] = min(table[i, j + 1] + 1, table[i + 1, j] + 1, pair)
    return float(table[-1, -1])


def test_the_distance_is_a_metric_and_that_of_the_recursion() -> None:
    dice = random.Random(3)
    for _ in range(60):
        a, b, c = (weights(dice.choices(list(RESIDUES), k=dice.randint(1, 9))) for _ in range(3))
        assert peptide_distance(a, b) == pytest.approx(_by_the_recursion(a, b)) == pytest.approx(peptide_distance(b, a))
        assert 0 <= peptide_distance(a, c) <= peptide_distance(a, b) + peptide_distance(b, c) + 1e-9
        assert peptide_distance(a, b) <= len(a) + len(b)
        assert np.abs(prefix_offsets(a, a)).max() == 0


def test_residues_weigh_what_pyteomics_says() -> None:
    from pyteomics.mass import std_aa_mass

    assert {residue: std_aa_mass[residue] for residue in RESIDUES} == pytest.approx(RESIDUES, abs=1e-6)
    assert len(RESIDUES) == 20


def test_leucine_weighs_what_isoleucine_weighs() -> None:
    assert peptide_distance(weights("PIK"), weights("PLK")) == 0


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("AGK", ("A", "G", "K")),
        ("C+57.021DK", ("C+57.021", "D", "K")),
        ("C[+57.0215]D K", ("C+57.021", "D", "K")),
        ("M[Oxidation]C(Carbamidomethyl)R", ("M+15.995", "C+57.021", "R")),
        ("[Acetyl]-AK", ("+42.011", "A", "K")),
        ("+43.006-17.027AK", ("+43.006-17.027", "A", "K")),
        ("-17.027QK", ("-17.027", "Q", "K")),
    ],
)
def test_sequences_are_read_as_they_are_written(text: str, tokens: tuple[str, ...]) -> None:
    assert tokens_of(text) == tokens


@pytest.mark.parametrize("text", ["", "  ", "AXK", "agk", "A-K", "C+99.9K", "[Phospho]-AK", "+42.011"])
def test_what_is_no_peptide_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"no peptide|no residue"):
        tokens_of(text)


def test_a_spectrum_is_read() -> None:
    spectrum = read_spectrum(MGF)
    assert spectrum.mz.tolist() == [100.1, 200.2]  # rising, and what has no intensity is no peak
    assert spectrum.intensity.tolist() == [5, 6]
    assert spectrum.charge == 2
    assert spectrum.mass == pytest.approx((500.25 - 1.007276) * 2)
    assert spectrum.residue_mass == pytest.approx(spectrum.mass - WATER)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a red door", "got 0 of them"),
        (MGF + MGF, "got 2 of them"),
        (MGF.replace("CHARGE=2+\n", ""), "no CHARGE"),
        (MGF.replace("PEPMASS=500.25 12\n", ""), "no PEPMASS"),
        ("BEGIN IONS\nPEPMASS=500\nCHARGE=2+\nEND IONS", "no peaks"),
        (MGF.replace("200.2 6", "200.2 six"), "no spectrum in MGF"),
    ],
    ids=["words", "two", "no charge", "no mass", "no peaks", "no number"],
)
def test_what_is_no_spectrum_is_refused(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        read_spectrum(text)
