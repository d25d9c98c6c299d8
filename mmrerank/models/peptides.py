"""Peptides and their spectra: tokens with masses, spectra as MGF files write them, and how far one sequence is from another.

    "AC+57.021DEK" -> ("A", "C+57.021", "D", "E", "K")        masses in Da; distances in units of 51.4238 Da, what a gap costs

Source: RankNovo (arXiv 2505.17552, code BEAM-Labs/denovo), by its note: the unit, the alignment and the offsets of prefixes, the list of
modifications. Ours: brackets and names of modifications beside bare numbers, as ProForma writes them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from mmrerank.errors import InputError, MissingExtra

Masses = npt.NDArray[np.float64]

UNIT = 51.4238  # Da
PROTON, WATER = 1.007276, 18.010565  # Da
RESIDUES = {  # monoisotopic, Da
    "A": 71.037114, "C": 103.009185, "D": 115.026943, "E": 129.042593, "F": 147.068414, "G": 57.021464, "H": 137.058912, "I": 113.084064,
    "K": 128.094963, "L": 113.084064, "M": 131.040485, "N": 114.042927, "P": 97.052764, "Q": 128.058578, "R": 156.101111, "S": 87.032028,
    "T": 101.047678, "V": 99.068414, "W": 186.079313, "Y": 163.063329,
}  # fmt: skip
MODIFIED = {"C+57.021": 57.021464, "M+15.995": 15.994915, "N+0.984": 0.984016, "Q+0.984": 0.984016}  # on a residue, Da
ENDINGS = {"+42.011": 42.010565, "+43.006-17.027": 25.979265, "+43.006": 43.005814, "-17.027": -17.026549}  # before the first residue
NAMES = {"Carbamidomethyl": "+57.021", "Oxidation": "+15.995", "Deamidated": "+0.984", "Acetyl": "+42.011", "Carbamyl": "+43.006"}
MASS_OF_MGF = "Expected BEGIN IONS, PEPMASS=..., CHARGE=2+, lines of m/z and intensity, END IONS."
_TOKEN = re.compile(r"([A-Z])((?:[+-]\d+(?:\.\d+)?)?)")
_BRACKET = re.compile(r"[\[(]([^\])]+)[\])]-?")
_ENDING = re.compile(r"(?:[+-]\d+(?:\.\d+)?)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrum:
    """Peaks of one fragmented peptide."""

    mz: Masses  # (P,) m/z, rising
    intensity: Masses  # (P,) above 0
    mass: float  # of the whole peptide, neutral, in Da
    charge: int

    @property
    def residue_mass(self) -> float:
        """Of its residues together: the whole without the water at its ends, in Da."""
        return self.mass - WATER


def read_spectrum(text: str) -> Spectrum:
    """The spectrum that a text in MGF holds.

    Raises:
        InputError: there is none, there are several, or it has no peaks, no mass or no charge.
        MissingExtra: pyteomics is not installed.
    """
    try:
        from pyteomics import mgf
    except ImportError as error:
        raise MissingExtra.of("pyteomics", "peptides", "reading a spectrum") from error
    try:
        records: list[dict[str, Any]] = list(mgf.read(io.StringIO(text), use_index=False, convert_arrays=1))
    except Exception as error:  # pyteomics has an error of its own for each kind of damage, and lets others through
        raise InputError(f"the query is no spectrum in MGF: {' '.join(str(error).split())[:200]}", hint=MASS_OF_MGF) from error
    if len(records) != 1:
        raise InputError(f"expected a query that is one spectrum in MGF; got {len(records)} of them", hint=MASS_OF_MGF)
    return _spectrum(records[0])


def _spectrum(record: dict[str, Any]) -> Spectrum:
    mz, intensity = np.asarray(record["m/z array"], float), np.asarray(record["intensity array"], float)
    precursor = (record["params"].get("pepmass") or (None,))[0]
    charge = next(iter(record["params"].get("charge") or ()), None)
    if not precursor or not charge:
        raise InputError(f"the spectrum has no {'PEPMASS' if not precursor else 'CHARGE'}", hint=MASS_OF_MGF)
    real = np.isfinite(mz) & np.isfinite(intensity) & (intensity > 0)
    if not real.any():
        raise InputError("the spectrum has no peaks", hint=MASS_OF_MGF)
    order = np.argsort(mz[real], kind="stable")
    charges = abs(int(charge))
    return Spectrum(mz=mz[real][order], intensity=intensity[real][order], mass=(float(precursor) - PROTON) * charges, charge=charges)


@cache
def masses() -> dict[str, float]:
    """Token -> mass in Da, of every token that a sequence may have."""
    return RESIDUES | {token: RESIDUES[token[0]] + more for token, more in MODIFIED.items()} | ENDINGS


def tokens_of(text: str) -> tuple[str, ...]:
    """The tokens of a sequence, as search engines and sequencing models write them.

    Raises:
        InputError: a sign that is no residue, or a modification that is not known.

    >>> tokens_of("C+57.021DM[Oxidation]K"), tokens_of("[+42.011]-AGK")
    (('C+57.021', 'D', 'M+15.995', 'K'), ('+42.011', 'A', 'G', 'K'))
    """
    plain = _BRACKET.sub(lambda match: NAMES.get(match[1], match[1]), "".join(text.split()))
    ending = _ENDING.match(plain)
    tokens = [ending[0]] if ending else []
    place = ending.end() if ending else 0
    while place < len(plain):
        match = _TOKEN.match(plain, place)
        if match is None:
            raise InputError(f"{text!r} is no peptide: {plain[place:][:10]!r} is no residue", hint=f"Residues: {''.join(RESIDUES)}.")
        tokens.append(match[1] + match[2])
        place = match.end()
    if tokens == ([ending[0]] if ending else []):
        raise InputError(f"{text!r} is no peptide: it has no residues")
    return tuple(_known(token, text) for token in tokens)


def _known(token: str, text: str) -> str:
    """The token of our list that this writes, to within .01 Da."""
    if token in masses():
        return token
    residue = token[0] if token[0].isalpha() else ""
    try:
        delta = float(token[len(residue) :])
    except ValueError:
        delta = float("nan")
    among = MODIFIED if residue else ENDINGS
    known = [name for name, more in among.items() if (not residue or name[0] == residue) and abs(more - delta) < 0.01]
    if not known:
        raise InputError(f"{text!r}: {token!r} is no residue or modification that is known", hint=f"There are: {', '.join(masses())}.")
    return known[0]


def weights(tokens: Sequence[str]) -> Masses:
    """(n,) masses of tokens, in units of 51.4238 Da."""
    return np.array([masses()[token] for token in tokens]) / UNIT


def peptide_distance(one: Masses, other: Masses) -> float:
    """How far two sequences are apart, from their (m,) and (n,) masses in units: the cheapest alignment, where a gap costs 1 and a pair
    the difference of its masses. 0 where they weigh the same throughout; at most m + n.

    >>> round(peptide_distance(weights("G"), weights("W")), 4), round(peptide_distance(weights("N"), weights("GG")), 4)
    (2.0, 2.1089)
    """
    row = np.arange(len(other) + 1, dtype=float)
    for weight in one:
        diagonal = row[:-1] + np.abs(weight - other)
        row = np.minimum(np.concatenate([[row[0] + 1], diagonal]), row + 1)
        row = np.minimum.accumulate(row - np.arange(len(row))) + np.arange(len(row))  # gaps in the first sequence
    return float(row[-1])


def prefix_offsets(one: Masses, target: Masses) -> Masses:
    """(m,) how far the mass up to each residue is from the nearest such mass of the target, signed, in units.

    >>> prefix_offsets(weights("GAS"), weights("GSA")).round(4) + 0.0
    array([ 0.   , -0.311,  0.   ])
    """
    ours, theirs = np.cumsum(one), np.cumsum(target)
    nearest = np.abs(ours[:, None] - theirs[None]).argmin(axis=1)
    offsets: Masses = ours - theirs[nearest]
    return offsets
