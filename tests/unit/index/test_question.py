"""What a question says of the answer's form."""

from __future__ import annotations

import pytest

from mmrerank.index import subject


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
