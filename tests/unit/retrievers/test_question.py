"""What a question says of pages and of the answer's form."""

from __future__ import annotations

import pytest

from mmrerank.retrievers._question import pages_named, subject


@pytest.mark.parametrize(
    ("question", "pages"),
    [
        ("What is on page 5?", {5}),
        ("Slide 31 has a flag", {31}),
        ("page(1), p. 7 and pp. 9-11", {1, 7, 9, 10, 11}),
        ("from Page 3 to Page 6", {3, 4, 5, 6}),
        ("pages 15 and 16, page 2, page 4", {2, 4, 15, 16}),
        ("pages 1 to 900", {1, 900}),
        ("pages 9 to 3", {3, 9}),
        ("the cover page and the second slide", {1, 2}),
        ("on the front page, page number 8", {1, 8}),
        ("how many pages; page 0; webpage 3; homepages 4; the 5 pages", set()),
        ("a table of 12 rows, Figure 3, in 2015", set()),
        ("", set()),
    ],
)
def test_pages_that_are_named(question: str, pages: set[int]) -> None:
    assert pages_named(question) == pages


@pytest.mark.parametrize(
    ("question", "rest"),
    [
        ("How many bars? Please write the answer in integer format.", "How many bars?"),
        ("What is the debt?Answer in millions.", "What is the debt?"),
        ("What is the ratio? Round to 2 decimals. And of which year?", "What is the ratio? And of which year?"),
        ('Which? List them in a list. e.g., ["1", "2"]', "Which?"),
    ],
)
def test_the_form_of_the_answer_is_left_out(question: str, rest: str) -> None:
    assert subject(question) == rest


@pytest.mark.parametrize(
    "question",
    [
        "Write the answer in integer format.",  # nothing else is asked
        "The pump leaks. List the seals of hall 2.",
        "Give the format of the log file.",
        "Which page? The answer is in the report",
        "see e.g. page 3; round table; list of pumps",
        "Vergleiche Seite 3. Schreibe die Antwort als Zahl.",
        "",
    ],
)
def test_anything_else_stays_as_it_is(question: str) -> None:
    assert subject(question) == question
