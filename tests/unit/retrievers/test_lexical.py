"""BM25 over the pages of a real collection: filters by document, pages that are named, fusion over them."""

from __future__ import annotations

import json

import pytest

from mmrerank.collection import Collection
from mmrerank.errors import InputError
from mmrerank.parts import make
from mmrerank.types import Query

WORDS = "pump valve seal motor"


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Two reports of 30 pages of the same words; page 7 of each speaks of the pump twice, its O'Hara one has roman labels."""
    from reportlab.pdfgen.canvas import Canvas

    folder = tmp_path_factory.mktemp("reports")
    for name in ("first.pdf", "o'hara.pdf"):
        canvas = Canvas(str(folder / name))
        for number in range(1, 31):
            canvas.drawString(72, 700, f"{WORDS} {'pump' if number == 7 else 'hall'}")
            if name != "first.pdf":
                canvas.addPageLabel(number - 1, style="ARABIC", start=number + 100)
            canvas.showPage()
        canvas.save()
    collection = Collection.create(tmp_path_factory.mktemp("made") / "c", encoders=[])
    collection.add([folder])
    return collection


def best(collection: Collection, name: str, k: int = 3, **query: str) -> list[str]:
    return list(make(name, corpus=collection.version).retrieve(Query(**query), k).item_ids)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["lexical", "hybrid(parts=('lexical', 'lexical(page=0)'), weights=(2.0, 1.0))"])
@pytest.mark.parametrize("document", ["first.pdf", "o'hara.pdf"])
def test_a_filter_keeps_to_one_document(reports: Collection, name: str, document: str) -> None:
    quoted = document.replace("'", "''")
    ids = best(reports, name, 40, text="pump seal", filter=f"document_id = '{quoted}'")
    assert ids[0] == f"{document}#page=7"
    assert len(ids) == 30
    assert {item_id.split("#")[0] for item_id in ids} == {document}


def test_a_page_that_is_named_comes_first(reports: Collection) -> None:
    filter = "document_id = 'first.pdf'"
    assert best(reports, "lexical", 1, text="the pump on page 21", filter=filter) == ["first.pdf#page=21"]
    assert best(reports, "lexical", 1, text="the pump", filter=filter) == ["first.pdf#page=7"]
    assert best(reports, "lexical(page=0)", 1, text="the pump on page 21", filter=filter) == ["first.pdf#page=7"]
    assert set(best(reports, "lexical", 2, text="the pump on page 21")) == {"first.pdf#page=21", "o'hara.pdf#page=21"}
    assert best(reports, "lexical", 1, text="pump, slide 112") == ["o'hara.pdf#page=12"]  # as printed on it


def test_a_named_page_outside_the_filter_stays_out(reports: Collection) -> None:
    ids = best(reports, "lexical", 40, text="pump on page 21", filter="page_number < 10 OR page_number = 15")
    assert len(ids) == 20
    assert not any(item_id.endswith("=21") for item_id in ids)


@pytest.fixture(scope="module")
def brewery(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """A book of six pages, the first three in Roman numerals, and a leaflet of four whose numbers are only printed at the foot."""
    from reportlab.pdfgen.canvas import Canvas

    folder = tmp_path_factory.mktemp("brewery")
    canvas = Canvas(str(folder / "brew.pdf"))
    for number, line in enumerate(("Thanks to them.", "Hops, barley.", "Oak casks.", "Yeast multiplies.", "The mash tun.", "Excise rose.")):
        canvas.drawString(70, 700, line)
        canvas.addPageLabel(number, style="ROMAN_LOWER" if number < 3 else "ARABIC", start=number % 3 + 1)
        canvas.showPage()
    canvas.save()
    canvas = Canvas(str(folder / "leaflet.pdf"))
    for number, line in enumerate(("Visit us.", "Open on Mondays.", "Tours at nine.", "Ring the bell.")):
        canvas.drawString(70, 700, line)
        canvas.drawString(70, 30, f"- {number} -" if number else "")
        canvas.showPage()
    canvas.save()
    collection = Collection.create(tmp_path_factory.mktemp("made") / "c", encoders=[])
    collection.add([folder])
    return collection


@pytest.mark.parametrize(
    ("question", "pages"),
    [
        ("What does page 3 say of brew.pdf?", ["brew.pdf#page=6", "brew.pdf#page=3", "leaflet.pdf#page=4"]),  # printed, numbered, said
        ("What is on page ii?", ["brew.pdf#page=2"]),
        ("page III", ["brew.pdf#page=3"]),
        ("the last page of brew", ["brew.pdf#page=6"]),
        ("the second last page of leaflet.pdf", ["leaflet.pdf#page=3"]),
        ("Was steht auf Seite 3 von leaflet.pdf?", ["leaflet.pdf#page=4", "leaflet.pdf#page=3"]),
        ("the last page", ["brew.pdf#page=6", "leaflet.pdf#page=4"]),
        ("the cover page", ["brew.pdf#page=1", "leaflet.pdf#page=1"]),
        ("page 5", ["brew.pdf#page=5"]),
        ("page 5 of no-such-file.pdf", ["brew.pdf#page=5"]),
        ("page 77", []),
    ],
)
def test_a_page_that_is_named_is_found_whatever_its_words(brewery: Collection, question: str, pages: list[str]) -> None:
    assert best(brewery, "lexical", 5, text=question) == pages


def test_a_page_that_several_documents_have_is_said(brewery: Collection) -> None:
    ranking = make("lexical", corpus=brewery.version).retrieve(Query(text="What is on page 2?"), 5)
    assert len(ranking.notes.messages) == 1
    assert "2 documents have a page of that name: brew.pdf, leaflet.pdf" in ranking.notes.messages[0]
    assert make("lexical", corpus=brewery.version).retrieve(Query(text="page 2 of brew.pdf"), 5).notes.messages == ()
    filter = "document_id = 'brew.pdf'"
    assert make("lexical", corpus=brewery.version).retrieve(Query(text="page 2", filter=filter), 5).notes.messages == ()


def test_a_page_without_words_is_found_by_its_name(tmp_path_factory: pytest.TempPathFactory) -> None:
    from reportlab.pdfgen.canvas import Canvas

    folder = tmp_path_factory.mktemp("drawn")
    canvas = Canvas(str(folder / "d.pdf"))
    for _ in range(3):
        canvas.rect(70, 70, 200, 200)
        canvas.showPage()
    canvas.save()
    collection = Collection.create(tmp_path_factory.mktemp("made") / "c", encoders=[])
    collection.add([folder])
    assert best(collection, "lexical", 5, text="what is drawn on page 2?") == ["d.pdf#page=2"]


def test_scores_tell_the_match_from_what_was_added(reports: Collection) -> None:
    ranking = make("lexical(page=2.5)", corpus=reports.version).retrieve(Query(text="pump on page 21"), 60)
    scores = [candidate.score for candidate in ranking.candidates]
    assert scores == sorted(scores, reverse=True)
    added = {c.item.item_id: round((c.score or 0) - (c.raw_score or 0), 4) for c in ranking.candidates}
    assert {item_id for item_id, more in added.items() if more} == {"first.pdf#page=21", "o'hara.pdf#page=21"}
    assert added["first.pdf#page=21"] == 2.5
    assert ranking.notes.reasons["first.pdf#page=21"].endswith("and page 21 is named")


@pytest.mark.parametrize("text", ["pump on page 21", "pump", "slide 112 and pages 3 to 9, seal", "the cover page"])
def test_asking_for_more_changes_nothing_before(reports: Collection, text: str) -> None:
    longest = best(reports, "lexical", 60, text=text)
    assert all(best(reports, "lexical", k, text=text) == longest[:k] for k in (1, 2, 5, 17, 40))


def test_the_form_of_the_answer_is_not_searched_for(reports: Collection) -> None:
    text = "Which hall? Answer in seal format."
    assert make("lexical", corpus=reports.version).retrieve(Query(text=text), 1).candidates[0].raw_score == pytest.approx(
        make("lexical", corpus=reports.version).retrieve(Query(text="Which hall?"), 1).candidates[0].raw_score
    )
    assert best(reports, "lexical(wording=all)", 60, text=text) != best(reports, "lexical", 58, text=text)


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Five short notes and 400 of the same words, all about a gauge."""
    texts = ["the tide gauges at the harbour", "a rain gauge", "the tide table", "pump TG-204", "pump 204 of the gauge house"]
    rows = [{"id": f"n{n}", "text": text} for n, text in enumerate([*texts, *["a rain gauge on a hill"] * 400])]
    path = tmp_path_factory.mktemp("notes") / "notes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    collection = Collection.create(tmp_path_factory.mktemp("made") / "c", encoders=[])
    collection.add([path])
    return collection


@pytest.mark.parametrize(
    ("excluded", "expected"),
    [
        (("tide gauge",), {"n1", "n2", "n3", "n4"}),  # once every item that shared a single word was left out
        (("tide",), {"n1", "n3", "n4"}),
        (("gauge",), {"n2", "n3"}),
        (("the tides of a gauge",), {"n1", "n2", "n3", "n4"}),
        (("TG-204",), {"n0", "n1", "n2", "n4"}),
        (("tide table", "rain gauge"), {"n0", "n3", "n4"}),
        (("?!",), {"n0", "n1", "n2", "n3", "n4"}),
    ],
)
def test_what_holds_all_words_of_an_exclusion_is_left_out(notes: Collection, excluded: tuple[str, ...], expected: set[str]) -> None:
    query = Query(text="tide gauge pump", exclude_text=excluded)
    ids = make("lexical", corpus=notes.version).retrieve(query, 500).item_ids
    assert {item_id.partition("::")[2] for item_id in ids} & {f"n{n}" for n in range(5)} == expected


def test_an_exclusion_of_most_matches_leaves_as_many_as_asked_for(notes: Collection) -> None:
    query = Query(text="rain gauge", exclude_text=("hill",))
    assert [i.partition("::")[2] for i in make("lexical", corpus=notes.version).retrieve(query, 3).item_ids] == ["n1", "n0", "n4"]


def test_weights_that_do_not_fit_are_refused_when_a_hybrid_is_made(reports: Collection) -> None:
    with pytest.raises(InputError, match="2 retrievers"):
        make("hybrid(weights=(1.0,))", corpus=reports.version)
    with pytest.raises(InputError, match="negative"):
        make("hybrid(weights=(1.0, -1.0))", corpus=reports.version)
    with pytest.raises(InputError, match="all 0"):
        make("hybrid(weights=(0.0, 0.0))", corpus=reports.version)
