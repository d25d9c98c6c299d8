"""The best passage scores its page: a collection of long pages against a plain twin in numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from reportlab.pdfgen.canvas import Canvas

pytest.importorskip("sentence_transformers", reason="the extra `sentence` is not installed")

from mmrerank import Collection, Query
from mmrerank.encoders import sentence
from mmrerank.errors import ManifestError

WORDS, STEP, PAGES = 6, 4, 9
QUESTION = "q7 of z3"


def words_of(page: int) -> list[str]:
    """Words of one page, 1 to 25 of them, all over the alphabet."""
    random = np.random.default_rng(page)
    return ["".join(random.choice(list("abcdefgqz0379"), 2)) for _ in range(1 + 3 * page)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> sentence.Sentence:
    folder = tmp_path_factory.mktemp("model")
    sentence.save_tiny(folder, seed=3)
    return sentence.build(sentence.Options(checkpoint=str(folder), device="cpu", words=WORDS, step=STEP))


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory, encoder: sentence.Sentence) -> Collection:
    place = tmp_path_factory.mktemp("reports")
    canvas = Canvas(str(place / "report.pdf"))
    for page in range(PAGES):
        for line, word in enumerate(words_of(page)):
            canvas.drawString(72, 800 - 20 * line, word)
        canvas.showPage()
    canvas.save()
    reports = Collection.create(place / "c", encoders=[encoder])
    reports.add([place / "report.pdf"])
    return reports


def twin(encoder: sentence.Sentence) -> dict[str, float]:
    """The largest cosine over the passages of each page, one text at a time."""
    query = encoder.encode_queries([QUESTION])[0]
    scores = {}
    for page in range(PAGES):
        pieces = words_of(page)
        starts = [0, *(start for start in range(STEP, len(pieces), STEP) if start + WORDS - STEP < len(pieces))]
        cut = [" ".join(pieces[start : start + WORDS]) for start in starts]
        scores[f"report.pdf#page={page + 1}"] = max(float(encoder.encode([passage])[0] @ query) for passage in cut)
    return scores


def test_the_best_passage_scores_its_page(collection: Collection, encoder: sentence.Sentence) -> None:
    expected = twin(encoder)
    hits = Collection.open(collection.path).search(QUESTION, k=PAGES, retriever="dense").hits
    assert {hit.item.item_id: hit.score for hit in hits} == pytest.approx(expected, abs=1e-3)  # kept as float16
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)  # type: ignore[type-var]
    assert [hit.reason for hit in hits] == [f"best passage {hit.score:.3f}" for hit in hits]


def test_late_interaction_over_passages_is_the_same(collection: Collection) -> None:
    one, other = (collection.search(QUESTION, k=PAGES, retriever=name).hits for name in ("dense", "late_interaction"))
    assert [hit.item.item_id for hit in one] == [hit.item.item_id for hit in other]
    assert [hit.score for hit in one] == pytest.approx([hit.score for hit in other], abs=1e-6)  # the query is encoded in two ways


def test_only_proposals_are_compared_and_filters_hold(collection: Collection) -> None:
    first = collection.search(QUESTION, k=1, retriever="dense(proposals=1)").hits[0]
    mean = collection.version.space_of(collection.manifest.encoders[0])
    row = mean.encoder.encode_queries([QUESTION])[0]  # type: ignore[attr-defined]
    assert first.item.item_id == mean.nearest(row, 1)[0].item.item_id
    hits = collection.search(Query(text=QUESTION, filter="page_number > 7"), k=9, retriever="dense").hits
    assert sorted(hit.item.page_number for hit in hits) == [8, 9]  # type: ignore[type-var]


def test_an_exclusion_is_subtracted_before_passages_are_compared(collection: Collection, encoder: sentence.Sentence) -> None:
    plain, other = encoder.encode_queries([QUESTION, "q7"])
    row = plain - 0.5 * other
    hits = collection.search(Query(text=QUESTION, exclude_text=("q7",)), k=1, retriever="dense").hits
    best = encoder.encode_tokens([hits[0].item.text])[0] @ (row / np.linalg.norm(row))
    assert hits[0].score == pytest.approx(float(best.max()), abs=2e-3)


def test_it_fuses_with_words(collection: Collection) -> None:
    hits = collection.search(words_of(8)[0], k=3, retriever="hybrid(weights=(2.0, 1.0))").hits
    assert all("dense rank" in hit.reason for hit in hits)


class OneRow:
    """The encoder as it was before there were passages: one row a page, under a name that does not say so."""

    takes, reads = sentence.Sentence.takes, sentence.Sentence.reads

    def __init__(self, inner: sentence.Sentence) -> None:
        self.name, self.dimension, self.weights_hash = f"sentence/{inner.folder}", inner.dimension, inner.weights_hash
        self.prepare, self.encode = inner.prepare, inner.encode


def test_a_collection_of_one_row_a_page_is_not_taken_for_one_of_passages(tmp_path: Path, encoder: sentence.Sentence) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "1", "text": "a tide gauge"}')
    Collection.create(tmp_path / "c", encoders=[OneRow(encoder)]).add([tmp_path / "a.jsonl"])
    old = Collection.open(tmp_path / "c")
    for use in (lambda: old.search("gauge", retriever="dense"), lambda: old.add([tmp_path / "a.jsonl"])):
        with pytest.raises(ManifestError, match=r"loaded now is 'sentence/.*\(words=100, step=50\)'") as caught:
            use()
        assert "new collection" in str(caught.value.hint)
    assert [hit.item.text for hit in old.search("gauge", retriever="lexical").hits] == ["a tide gauge"]


def test_pages_added_later_have_passages_too(tmp_path: Path, encoder: sentence.Sentence) -> None:
    for name in ("one", "two"):
        canvas = Canvas(str(tmp_path / f"{name}.pdf"))
        canvas.drawString(72, 700, f"{name} " * 20)
        canvas.save()
        notes = Collection.open_or_create(tmp_path / "c")
        notes.add([tmp_path / f"{name}.pdf"], encoders=[encoder])
    assert len(notes.search("two", k=5, retriever="dense").hits) == 2
