"""mtm: what of an item is a sentence, what is told of a choice, and orders that depend on nothing beside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmrerank.errors import InputError
from mmrerank.parts import make
from mmrerank.rerankers.mtm import Mtm, Options, _tiny, sentences_of
from mmrerank.types import Candidate, Item, Query

TEXTS = (
    "It is made of cheese. Nobody ate it.",
    "the tower\nis not made of milk",
    "weather",
    "A. B. C. d",
    "Mr. Bean said: no! Why not? 12 of them.",
)
QUERY = Query(text="the tower is made of cheese")
CANDIDATES = [Candidate(item=Item(item_id=f"i{n}", text=text)) for n, text in enumerate(TEXTS)]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! “Three?” Four", ["One.", "Two!", "“Three?”", "Four"]),
        ("no capital. follows", ["no capital. follows"]),
        ("line\n\n  other   line ", ["line", "other line"]),
        ("Über uns. Ärger!", ["Über uns.", "Ärger!"]),
        ("", []),
        ("  \n ", []),
    ],
)
def test_sentences(text: str, sentences: list[str]) -> None:
    assert sentences_of(Item(item_id="a", text=text)) == sentences


def test_the_title_is_a_sentence_of_its_own() -> None:
    assert sentences_of(Item(item_id="a", text="No.", metadata={"title": "Is it cheese?"})) == ["Is it cheese?", "No."]


def test_what_was_read_is_told_with_its_weight_and_its_pattern() -> None:
    ranking = Mtm(Options(), _tiny()).rerank(QUERY, CANDIDATES)
    steps = ranking.notes.explanations["i0"].steps
    chosen = _tiny().selected(QUERY.text or "", sentences_of(CANDIDATES[0].item))
    assert len(steps) == 2
    assert steps[0] == f"{chosen.weights[0]:.2f}, pattern {chosen.patterns[0]}: {sentences_of(CANDIDATES[0].item)[chosen.places[0]]}"


def test_batches_change_no_score() -> None:
    results = [
        {c.item.item_id: c.raw_score for c in Mtm(Options(batch_size=size), _tiny()).rerank(QUERY, CANDIDATES).candidates}
        for size in (1, 2, 16)
    ]
    for one in CANDIDATES:
        values = [result[one.item.item_id] for result in results]
        np.testing.assert_allclose(values, values[0], atol=1e-5)


def test_a_saved_network_is_loaded_by_its_name(tmp_path: Path) -> None:
    _tiny().save(tmp_path)
    loaded, ours = make(f"mtm/{tmp_path}", station="rerankers"), Mtm(Options(), _tiny())
    assert loaded.rerank(QUERY, CANDIDATES).item_ids == ours.rerank(QUERY, CANDIDATES).item_ids
    with pytest.raises(InputError, match="needs a network"):
        make("mtm", station="rerankers")
