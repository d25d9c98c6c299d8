"""What a question asks: its words with their weights, and the kind of value that would answer it."""

from __future__ import annotations

import pytest

from mmrerank.answering._values import value_of
from mmrerank.answering._wording import FORM, HEAD, NAME, PLAIN, missing_words, weighed, words_of


def factors(question: str) -> dict[str, float]:
    return {word.text: word.factor for word in words_of(question)}


def test_names_and_what_is_asked_for_weigh_more_and_words_of_asking_less() -> None:
    words = factors("According to the report, which paper boats did Grace Okoro launch on 12 June?")
    forms, names = dict.fromkeys(("According", "report", "paper"), FORM), dict.fromkeys(("Grace", "Okoro", "12", "June"), NAME)
    assert words == {**forms, **names, "boats": HEAD, "launch": PLAIN}


@pytest.mark.parametrize(
    ("question", "word", "factor"),
    [
        ("Harbour masters earn what?", "Harbour", PLAIN),  # a capital at the beginning is no name
        ("WHICH YEAR DID IT OPEN TO VISITORS", "VISITORS", PLAIN),
        ("What does Figure 3 show?", "Figure", FORM),
        ("What does Figure 3 show?", "3", NAME),
        ("How many tide gauges are there?", "gauges", HEAD),
    ],
)
def test_kinds_of_words(question: str, word: str, factor: float) -> None:
    assert factors(question)[word] == factor


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("TG-204", "the TG-204"),
        ("TG-204", "the gauge TG 204"),
        ("co-author", "a coauthor"),
        ("sales in FY2021", "sales of fiscal 2021"),
        ("the pumps", "a pump"),
    ],
)
def test_a_word_that_is_said_otherwise_is_not_missing(question: str, text: str) -> None:
    assert missing_words(question, text) == []


def test_the_form_of_the_answer_is_not_asked_for() -> None:
    assert list(factors("Which pump leaks? Please write the answer as YYYY-MM-DD.")) == ["pump", "leaks"]


def test_of_two_questions_with_the_same_share_left_open_the_longer_one_leaves_more() -> None:
    short, long = (weighed(words_of(question), {}) for question in ("pump valve", "pump valve seal motor"))
    assert short.coverage(frozenset({"pump"})) == long.coverage(frozenset({"pump", "valv"})) == 0.5
    assert long.gap(0.5) > short.gap(0.5)


@pytest.mark.parametrize(
    ("question", "with_value", "without"),
    [
        ("What did the new gauge cost?", "It cost £4,200.", "The new gauge, at a high cost, is 3 m high."),
        ("How much do tickets cost?", "Tickets are free on Mondays, otherwise six euros.", "Tickets cost what they did in 2019."),
        ("When was the mill built?", "The mill was built in 1870.", "The mill was built by Sefton."),
        ("On which day are bells cast?", "Bells are cast on Thursdays.", "Bells are cast with care."),
        ("In which year did the 1911 foundry close?", "It closed in 1984.", "The foundry of 1911 closed."),
        ("How many boats were launched?", "Twelve boats were launched.", "The boats were launched."),
        ("How deep is the well?", "The well is 11 m deep.", "The well is deep."),
    ],
)
def test_a_line_that_shares_the_words_but_lacks_the_value(question: str, with_value: str, without: str) -> None:
    value = value_of(question)
    assert value is not None
    assert value.stands_in(with_value)
    assert not value.stands_in(without)


@pytest.mark.parametrize("question", ["Who built the mill?", "What costs were there?", "Was kostet die Mühle?", ""])
def test_a_question_of_another_kind_asks_for_no_value(question: str) -> None:
    assert value_of(question) is None
