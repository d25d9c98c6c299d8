"""Orders peptides that several models propose for one spectrum: a network sees all of them beside its peaks, and says how far each is off.

    query: a spectrum in MGF        candidates: sequences, "AC+57.021DEK" or "AC[Carbamidomethyl]DEK"
    distance of each (0: the truth; 1: about a residue lost) -> the nearest first; raw score = - distance

    mmrerank rerank --query spectrum.json --candidates proposals.jsonl --with ranknovo/mini

Source: RankNovo (arXiv 2505.17552, code BEAM-Labs/denovo), by its note; the network is `models/ranknovo.py`. Read there: the smallest
predicted distance wins, the first of equal ones; what several models propose stands there as often as they do, and how often is evidence.
Ours: an order of all candidates, the place of each that seems furthest off as the reason, candidates that are no peptides left behind
with what is wrong with them.

`ranknovo/mini` takes the small network that ships, which was trained on simulated spectra: its card says what it reaches there, and that
it is not for spectra of instruments. `ranknovo/FOLDER` takes one that `mmrerank train` wrote.

Cost per query: one forward pass over candidates x residues; no model calls. Scores of two queries do not compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmrerank.errors import InputError
from mmrerank.ordering import MODEL_ROUNDING, best_first, levelled
from mmrerank.parts import printed
from mmrerank.prompting.items import gather
from mmrerank.rerankers._rankings import obstacle_notes
from mmrerank.types import Candidate, Explanation, Item, Modality, Notes, Query, Ranking

if TYPE_CHECKING:
    from mmrerank.models.ranknovo import RankNovoNetwork

LOOKS_AT: frozenset[Modality] = frozenset({"text"})
SHIPPED = "mini"  # the network that ships
WEIGHTS = Path(__file__).parents[1] / "mini" / "ranknovo"


@dataclass(frozen=True, kw_only=True)
class Options:
    checkpoint: str = ""  # folder of a trained network; mini: the one that ships


class RankNovo:
    """Reranks peptides by their predicted distance from the truth."""

    def __init__(self, options: Options, network: RankNovoNetwork) -> None:
        self.name = printed("ranknovo", options, argument=True) if options.checkpoint else "ranknovo"
        self._network = network

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates, the nearest to the truth first, equal ones in the incoming order; those that are no peptides behind.

        Raises:
            InputError: the query is no spectrum in MGF.
            MissingExtra: pyteomics is not installed.
        """
        from mmrerank.models.peptides import read_spectrum

        spectrum = read_spectrum(query.text or "")
        sequences, obstacles = gather(candidates, self._sequence)
        distances, offsets = self._network.distances(spectrum, list(sequences.values()))
        level = levelled(-distances, rounding=MODEL_ROUNDING)
        order = [list(sequences)[place] for place in best_first(level)]
        raw = dict(zip(sequences, level.tolist(), strict=True))
        notices, why = obstacle_notes(candidates, obstacles, "no peptide")
        doubts = {n: _doubt(sequences[n], one) for n, one in zip(sequences, offsets, strict=True)}
        ranked = [Candidate(item=candidates[n].item, score=raw[n], raw_score=raw[n]) for n in order]
        reasons = {n: f"{-raw[n]:.2f} residues from the truth, as predicted; {doubts[n]}" for n in order} | why
        notes = Notes(
            status="ok" if not obstacles else "completed" if order else "fallback",
            messages=(*query.left_aside("text"), *notices),
            reasons={candidates[n].item.item_id: reason for n, reason in reasons.items()},
            explanations={candidates[n].item.item_id: Explanation(scores={"distance": -raw[n]}) for n in order},
        )
        behind = [Candidate(item=candidates[n].item) for n in obstacles]
        return Ranking(query_id=query.query_id, candidates=(*ranked, *behind), notes=notes)

    def _sequence(self, item: Item) -> tuple[str, ...]:
        from mmrerank.models.peptides import tokens_of

        if not item.text:
            raise InputError("it has no text, where its sequence would stand")
        tokens = tokens_of(item.text)
        if len(tokens) > self._network.config.length:
            raise InputError(f"it has {len(tokens)} residues; the network reads up to {self._network.config.length}")
        return tokens


def _doubt(sequence: Sequence[str], offsets: np.ndarray) -> str:
    """Where the masses up to a residue are off the most."""
    place = int(np.abs(offsets).argmax())
    return f"furthest off at {sequence[place]} ({place + 1} of {len(sequence)})"


def build(options: Options) -> RankNovo:
    """The reranker with its network.

    Raises:
        InputError: no network is named.
        FormatError: the folder holds none.
    """
    if not options.checkpoint:
        raise InputError("ranknovo needs a network", hint=f"Write ranknovo/{SHIPPED}, or ranknovo/FOLDER.")
    return RankNovo(options, _network(WEIGHTS if options.checkpoint == SHIPPED else Path(options.checkpoint)))


def _network(folder: Path) -> RankNovoNetwork:
    from mmrerank.models.ranknovo import RankNovoNetwork

    return RankNovoNetwork.load(folder)


def tiny() -> RankNovo:
    """The network that ships."""
    return RankNovo(Options(), _network(WEIGHTS))
