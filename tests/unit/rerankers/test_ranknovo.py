"""ranknovo: from a spectrum in the query's text to an order of peptides, with what is no peptide behind."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from mmrerank.errors import FormatError, InputError
from mmrerank.models.peptides import read_spectrum, tokens_of
from mmrerank.models.ranknovo import RankNovoNetwork
from mmrerank.parts import make
from mmrerank.rerankers.ranknovo import WEIGHTS, RankNovo, tiny
from mmrerank.types import Candidate, Item, Query

FOLDER = Path(__file__).parents[3] / "demos" / "peptides"
SPECTRUM = (FOLDER / "spectra.mgf").read_text(encoding="utf-8").split("\n\n")[0]
with (FOLDER / "proposals.csv").open(encoding="utf-8", newline="") as file:
    SEQUENCES = [row["sequence"] for row in csv.DictReader(file) if row["spectrum"] == "test-2"]


def candidates(*texts: str | None) -> list[Candidate]:
    return [Candidate(item=Item(item_id=f"m{n}", text=text)) for n, text in enumerate(texts)]


@pytest.fixture(scope="module")
def ranknovo() -> RankNovo:
    return tiny()


def test_the_nearest_to_the_truth_is_first(ranknovo: RankNovo) -> None:
    ranking = ranknovo.rerank(Query(text=SPECTRUM), candidates(*SEQUENCES))
    distances, _ = RankNovoNetwork.load(WEIGHTS).distances(read_spectrum(SPECTRUM), [tokens_of(text) for text in SEQUENCES])
    assert ranking.candidates[0].item.text == SEQUENCES[int(distances.argmin())]
    scores = [hit.raw_score for hit in ranking.candidates]
    assert scores == sorted(scores, reverse=True)  # type: ignore[type-var]
    np.testing.assert_allclose(sorted(scores), sorted(-distances), atol=1e-3)  # type: ignore[type-var]
    assert "residues from the truth, as predicted; furthest off at" in ranking.notes.reasons["m0"]


def test_notations_of_one_sequence_have_one_score(ranknovo: RankNovo) -> None:
    ranking = ranknovo.rerank(Query(text=SPECTRUM), candidates("AC+57.021DM+15.995K", "AC[Carbamidomethyl]DM[Oxidation]K", "AGGK"))
    scores = {hit.item.item_id: hit.raw_score for hit in ranking.candidates}
    assert scores["m0"] == scores["m1"] != scores["m2"]


def test_what_is_no_peptide_stays_behind_and_is_told(ranknovo: RankNovo) -> None:
    ranking = ranknovo.rerank(Query(text=SPECTRUM), candidates("a red door", SEQUENCES[0], None, "G" * 99))
    assert ranking.item_ids == ("m1", "m0", "m2", "m3")
    assert ranking.notes.status == "completed"
    assert "no residue" in ranking.notes.reasons["m0"]
    assert "no text" in ranking.notes.reasons["m2"]
    assert "99 residues" in ranking.notes.reasons["m3"]
    assert all(hit.raw_score is None for hit in ranking.candidates[1:])


def test_a_query_that_is_no_spectrum_is_refused(ranknovo: RankNovo) -> None:
    with pytest.raises(InputError, match="expected a query that is one spectrum in MGF"):
        ranknovo.rerank(Query(text="a red door"), candidates(*SEQUENCES))


def test_a_folder_without_a_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no network of ranknovo"):
        make(f"ranknovo/{tmp_path}", station="rerankers")
