"""`ask` answers and refuses alike, however many pages lie beside the one that says it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from mmrerank import Collection

FACTS = (
    "The Ostrava foundry was opened in 1911.",
    "It employs 240 people in three halls.",
    "Bells are cast on Thursdays.",
    "A church bell costs about eight thousand crowns.",
    "The largest furnace holds nine tonnes of bronze.",
    "The oldest mould dates from 1923 and hangs in the entrance.",
    "Visitors may watch from the gallery on Fridays between ten and noon.",
    "Jana Novotna has been director of the foundry since 2015.",
    "Cooling a large bell takes four days.",
    "Bronze is bought from a smelter in Krompachy.",
    "The tuning of a bell is checked by ear and by fork.",
    "Broken bells are melted down free of charge.",
)
QUESTIONS = {
    "How much does a church bell cost?": "eight thousand",
    "On which day are bells cast?": "Thursdays",
    "When was the foundry opened?": "1911",
    "How many people does the foundry employ?": "240",
    "Who is the director of the foundry?": "Novotna",
    "How much bronze does the largest furnace hold?": "nine tonnes",
    "When can visitors watch?": "Fridays",
    "How long does a large bell take to cool?": "four days",
    "Where is the bronze bought?": "Krompachy",
    "How old is the oldest mould?": "1923",
    "How is the tuning of a bell checked?": "ear",
    "What is melted down free of charge?": "Broken bells",
}
STRANGE = (
    "What salary does the director receive?",
    "How many earthquakes were recorded in 2019?",
    "Who won the chess tournament in Paris?",
    "Which river flows past the foundry?",
    "What does a ticket for the museum cost?",
    "What is the telephone number of the office?",
)
COMMON = """
much day which cost river stone letter window garden engine market winter paper signal harbour colour people church open hold
large time work year old checked house bought long
"""


@pytest.fixture(scope="module", params=[0, 5, 200], ids=lambda count: f"{count} pages beside it")
def bells(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    folder = tmp_path_factory.mktemp("bells")
    write(folder / "bells.pdf", [FACTS])
    numbers = random.Random(0)
    others = [
        [" ".join(numbers.choice(COMMON.split()) for _ in range(9)).capitalize() + "." for _ in range(25)] for _ in range(request.param)
    ]
    if others:
        write(folder / "other.pdf", others)
    collection = Collection.create(tmp_path_factory.mktemp("made") / "c", encoders=[])
    collection.add([folder])
    return collection


def write(path: Path, pages: Sequence[Sequence[str]]) -> None:
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(path))
    for lines in pages:
        for n, line in enumerate(lines):
            canvas.drawString(60, 780 - 16 * n, line)
        canvas.showPage()
    canvas.save()


@pytest.mark.parametrize(("question", "key"), QUESTIONS.items(), ids=QUESTIONS)
def test_what_the_page_says_is_answered(bells: Collection, question: str, key: str) -> None:
    answer = bells.ask(question).answer
    assert key in answer.text, answer.notes
    assert answer.citations[0].item.item_id == "bells.pdf#page=1"


@pytest.mark.parametrize("question", STRANGE)
def test_what_no_page_says_is_refused_and_a_nearest_page_is_named_if_any_has_a_word(bells: Collection, question: str) -> None:
    answer = bells.ask(question).answer
    assert not answer.found, answer.text
    assert answer.citations == ()
    if answer.nearest is not None:
        assert "says nothing of" in answer.notes.reasons[answer.nearest.item.item_id]


def test_a_refusal_names_what_the_nearest_page_lacks(bells: Collection) -> None:
    answer = bells.ask("What salary does the director of the foundry receive?").answer
    assert answer.nearest is not None
    assert answer.nearest.item.item_id == "bells.pdf#page=1"
    assert "director" in answer.nearest.quote
    assert answer.notes.reasons == {"bells.pdf#page=1": "says nothing of 'salary', 'receive'"}
