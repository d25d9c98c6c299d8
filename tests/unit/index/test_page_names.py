"""Which pages a question names, in which words."""

from __future__ import annotations

import pytest

from mmrerank.index import pages_named


@pytest.mark.parametrize(
    ("question", "pages"),
    [
        ("What is on page 5?", {5}),
        ("Slide 31 has a flag", {31}),
        ("page(1), p. 7 and pp. 9-11", {1, 7, 9, 10, 11}),
        ("from Page 3 to Page 6", {3, 4, 5, 6}),
        ("pages 15 and 16, page 2, page 4", {2, 4, 15, 16}),
        ("pages 3, 5 and 7", {3, 5, 7}),
        ("page 5, 10 pumps", {5}),
        ("pages 1 to 900", {1, 900}),
        ("pages 9 to 3", {3, 9}),
        ("the cover page and the second slide", {1, 2}),
        ("on the front page, page number 8", {1, 8}),
        ("page thirteen, page twenty-one", {13, 21}),
        ("the 7th page, the first two pages", {1, 2, 7}),
        ("Was steht auf Seite 7? S. 9 bis 11", {7, 9, 10, 11}),
        ("¿Qué dice la página 3?", {3}),
        ("how many pages; page 0; webpage 3; homepages 4; the 5 pages", set()),
        ("a table of 12 rows, Figure 3, in 2015; U.S. 7; the gene p53", set()),
        ("", set()),
    ],
)
def test_numbers_that_are_named(question: str, pages: set[int]) -> None:
    assert pages_named(question).numbers == pages


@pytest.mark.parametrize(
    ("question", "labels"),
    [
        ("page ii", {"ii"}),
        ("pages i-iv", {"i", "ii", "iii", "iv"}),
        ("page XIV and p. xc", {"xiv", "xc"}),
        ("page A-3, page 12a", {"a-3", "12a"}),
        ("page 007", {"7"}),
        ("page 3-4", {"3", "4", "3-4"}),  # a stretch, or page 4 of chapter 3
        ("the page I wrote, a page in the book, page mix", set()),
    ],
)
def test_what_is_printed_on_them(question: str, labels: set[str]) -> None:
    assert pages_named(question).labels == labels


@pytest.mark.parametrize(
    ("question", "places"),
    [
        ("the last page", {0}),
        ("What is on the final slide?", {0}),
        ("the last two pages", {0, 1}),
        ("the second last page", {1}),
        ("the penultimate page, next to last page", {1}),
        ("the back cover", {0}),
        ("the last word on page 3", set()),
    ],
)
def test_places_from_the_end(question: str, places: set[int]) -> None:
    assert pages_named(question).from_end == places


@pytest.mark.parametrize(
    ("question", "document"),
    [
        ("page 3 of report.pdf", "report.pdf"),
        ("In Annual.PDF, what is on page 3?", "annual.pdf"),
        ("page xii of 'my report.pdf'", "my report.pdf"),
        ("page 3 of the bells", "bells"),
        ("What is on page 3?", ""),
        ("report.pdf", ""),  # no page is named
    ],
)
def test_the_document_that_is_meant(question: str, document: str) -> None:
    assert pages_named(question).document == document


@pytest.mark.parametrize(
    "question", ["page 2", "What does page 3 say?", "Please show me the last page.", "what's on p. iv of a.pdf", "Was steht auf Seite 7?"]
)
def test_a_question_that_asks_for_a_page_alone(question: str) -> None:
    assert pages_named(question).alone


@pytest.mark.parametrize("question", ["Who signed page 15?", "the pump on page 3", "What does page 3 say of yeast?", "What is said?"])
def test_a_question_that_asks_for_more(question: str) -> None:
    assert not pages_named(question).alone
