"""Simulates spectra of random tryptic peptides, and six models that propose a sequence for each, every one with errors of its own.

A spectrum has the b and y ions of charge 1, some of them missing, with jitter, and noise beside them. Where fragments that would tell are
missing, real models err, and often alike. So a case has temptations, most of them at bonds of which little is seen: two residues are
swapped, a pair is taken for another of the same mass, one residue for another of nearly the same mass, a stretch at the start or the end
is shuffled, a residue is lost or doubled. Each model falls for each kind at a rate of its own; those that fall for the same temptation
make the same mistake, so that the majority can be wrong.

This is a simulation: what is learnt on it says nothing about how well real spectra would be ranked.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from mmrerank.models.peptides import MODIFIED, PROTON, RESIDUES, WATER, Spectrum, masses

ALPHABET = [residue for residue in RESIDUES if residue not in "CIKR"] + ["C+57.021"]  # I weighs what L weighs; K and R end a peptide
JITTER = 0.008  # Da, of a peak's place: standard deviation
MISSING, NOISE = 0.3, 20  # share of fragments that are not seen; peaks of noise, about


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A spectrum, what made it, and what each model proposes."""

    spectrum: Spectrum
    truth: tuple[str, ...]
    proposals: dict[str, tuple[str, ...]]  # name of the model -> tokens


def cases(seed: int, names: Sequence[str] | None = None) -> Iterator[Case]:
    """Cases without an end, the same for the same seed; of all models or of those named."""
    for number in itertools.count():
        yield case(f"{seed}/{number}", names)


def case(seed: str, names: Sequence[str] | None = None) -> Case:
    """The case of one seed."""
    dice = random.Random(seed)
    truth = _peptide(dice)
    spectrum, doubt = _spectrum(truth, dice)
    tempting = _temptations(doubt, dice)
    proposals = {name: _proposal(truth, tempting, MODELS[name], random.Random(f"{seed}/{name}")) for name in names or MODELS}
    return Case(spectrum=spectrum, truth=truth, proposals=proposals)


def mgf(case: Case, title: str) -> str:
    """The spectrum as MGF files write it."""
    s = case.spectrum
    peaks = "\n".join(f"{mz:.4f} {intensity:.1f}" for mz, intensity in zip(s.mz, s.intensity, strict=True))
    head = f"BEGIN IONS\nTITLE={title}\nPEPMASS={s.mass / s.charge + PROTON:.5f}\nCHARGE={s.charge}+"
    return f"{head}\n{peaks}\nEND IONS\n"


def _peptide(dice: random.Random) -> tuple[str, ...]:
    residues = [dice.choice(ALPHABET) for _ in range(dice.randint(6, 14))]
    residues = [f"{residue}+15.995" if residue == "M" and dice.random() < 0.3 else residue for residue in residues]
    return (*residues, dice.choice("KR"))


def _spectrum(truth: Sequence[str], dice: random.Random) -> tuple[Spectrum, list[float]]:
    """The spectrum, and for each bond how little is seen of it: 0 both ions, 1/2 one, 1 none."""
    weights = np.array([masses()[token] for token in truth])
    whole = float(weights.sum())
    before = np.cumsum(weights)[:-1]
    seen = np.array([[dice.random() >= MISSING for _ in before] for _ in "by"])
    places = np.concatenate([(before + PROTON)[seen[0]], (whole - before + WATER + PROTON)[seen[1]]])
    places = places + np.array([dice.gauss(0, JITTER) for _ in places])
    noise = [dice.uniform(60, whole) for _ in range(int(dice.gauss(NOISE, 5)) if NOISE else 0)]
    mz = np.concatenate([places, noise])
    intensity = np.array([dice.lognormvariate(4, 1) for _ in places] + [dice.lognormvariate(3, 1) for _ in noise])
    order = np.argsort(mz)
    spectrum = Spectrum(mz=mz[order], intensity=intensity[order], mass=whole + WATER, charge=dice.choice((2, 2, 3)))
    return spectrum, [1 - float(pair.mean()) for pair in seen.T]


# ---------------------------------------------------------------------- errors: (tokens, place, dice) -> tokens


def _swap(tokens: list[str], place: int, dice: random.Random) -> list[str]:
    return [*tokens[:place], tokens[place + 1], tokens[place], *tokens[place + 2 :]]


def _same_mass(tokens: list[str], place: int, dice: random.Random) -> list[str]:
    pair = tokens[place : place + 2]
    others = [other for other in _pairs() if abs(_weight(other) - _weight(pair)) < 0.06 and sorted(other) != sorted(pair)]
    return [*tokens[:place], *(dice.choice(others) if others else pair[::-1]), *tokens[place + 2 :]]


def _near_mass(tokens: list[str], place: int, dice: random.Random) -> list[str]:
    weight = masses()[tokens[place]]
    others = sorted((abs(masses()[other] - weight), other) for other in [*ALPHABET, *MODIFIED] if other != tokens[place])
    return [*tokens[:place], dice.choice(others[:2])[1], *tokens[place + 1 :]]


def _shuffled_start(tokens: list[str], place: int, dice: random.Random) -> list[str]:
    length = min(dice.randint(2, 4), len(tokens) - 1)
    return [*dice.sample(tokens[:length], length), *tokens[length:]]


def _shuffled_end(tokens: list[str], place: int, dice: random.Random) -> list[str]:
    length = min(dice.randint(2, 4), len(tokens) - 1)
    return [*tokens[: -length - 1], *dice.sample(tokens[-length - 1 : -1], length), tokens[-1]]


def _lost(tokens: list[str], place: int, dice: random.Random) -> list[str]:
    return [*tokens[:place], *tokens[place + 1 :]]


def _doubled(tokens: list[str], place: int, dice: random.Random) -> list[str]:
    return [*tokens[: place + 1], *tokens[place:]]


@cache
def _pairs() -> list[tuple[str, ...]]:
    """One and two residues."""
    return [(one,) for one in ALPHABET] + list(itertools.product(ALPHABET, repeat=2))


def _weight(tokens: Sequence[str]) -> float:
    return sum(masses()[token] for token in tokens)


ERRORS = (_swap, _same_mass, _near_mass, _shuffled_start, _shuffled_end, _lost, _doubled)


def _temptations(doubt: Sequence[float], dice: random.Random) -> list[tuple[int, int, int]]:
    """(place, number of the error, seed of what comes of it), from the end to the start: more of them where less is seen."""
    places = [place for place in range(len(doubt) - 1) if dice.random() < 0.04 + 0.5 * doubt[place] ** 2]  # the enzyme tells the last
    return [(place, dice.choices(range(len(ERRORS)), COMMON)[0], dice.getrandbits(32)) for place in reversed(places)]


def _proposal(
    truth: Sequence[str], tempting: Sequence[tuple[int, int, int]], rates: Sequence[float], dice: random.Random
) -> tuple[str, ...]:
    """The truth with the mistakes that a model falls for, at its rates of the errors."""
    tokens = list(truth)
    for place, error, seed in tempting:
        if dice.random() < rates[error] and place < len(tokens) - 2:
            tokens = ERRORS[error](tokens, place, random.Random(seed))
    return tuple(tokens)


COMMON = (4, 2, 2, 1, 1, 0.5, 0.5)  # how common the errors are, in their order
MODELS = {  # rate of each error, in their order
    "swaps": (0.7, 0.2, 0.2, 0.3, 0.3, 0.1, 0.1),
    "pairs": (0.4, 0.6, 0.2, 0.2, 0.3, 0.1, 0.1),
    "neighbours": (0.4, 0.2, 0.6, 0.3, 0.2, 0.2, 0.1),
    "starts": (0.45, 0.3, 0.1, 0.8, 0.2, 0.1, 0.1),
    "ends": (0.45, 0.2, 0.3, 0.2, 0.8, 0.1, 0.1),
    "lengths": (0.35, 0.2, 0.2, 0.2, 0.2, 0.7, 0.7),
}
