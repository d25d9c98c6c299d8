"""The generated answer: what the model is shown, and what of its citations survives."""

from __future__ import annotations

import numpy as np
import pytest
from makers import InMemory, coloured
from PIL import Image

from mmrerank.answering._page_marks import cited, without_marks
from mmrerank.answering.extractive import NOT_FOUND
from mmrerank.answering.generative import Options, build
from mmrerank.errors import FormatError, InputError
from mmrerank.parts import make
from mmrerank.prompting.items import ModalityChoice, way_of
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Answer, Candidate, Item, Prompt, Query

QUERY = Query(text="When was the mill built?")


def page(number: int, text: str | None = "The mill was built in 1870.", *, picture: bool = True) -> Candidate:
    image = InMemory(coloured(number)) if picture else None
    return Candidate(item=Item(item_id=f"d#page={number}", document_id="d.pdf", page_number=number, text=text, image=image), score=0.5)


def texts(prompt: Prompt) -> str:
    return "".join(part for part in prompt[-1].parts if isinstance(part, str))


def pictures(prompt: Prompt) -> int:
    return sum(not isinstance(part, str) for part in prompt[-1].parts)


def test_the_model_sees_each_page_with_its_number_and_its_citations_are_pages() -> None:
    double = FakeBackend(answer=lambda prompt: "In 1870 [2].")
    answer = build(Options(), double).answer(QUERY, [page(4), page(9)])
    assert (answer.text, [citation.item.page_number for citation in answer.citations]) == ("In 1870.", [9])
    assert answer.citations[0].quote == "The mill was built in 1870."
    assert "Page 1, d.pdf:" in texts(double.prompts[0])
    assert texts(double.prompts[0]).endswith("Question: When was the mill built?")
    assert answer.notes.cost.calls == 1


def test_a_page_that_was_not_shown_is_never_cited() -> None:
    answer = build(Options(), FakeBackend(answer=lambda prompt: "In 1870 [3, 1].")).answer(QUERY, [page(4), page(9)])
    assert [citation.item.page_number for citation in answer.citations] == [4]
    assert any("[3]" in message for message in answer.notes.messages)


def said(text: str, *pages: Candidate) -> Answer:
    return build(Options(modality="text"), FakeBackend(answer=lambda prompt: text)).answer(QUERY, pages or [page(4), page(9)])


def test_an_answer_without_marks_cites_the_page_that_has_its_words() -> None:
    pages = [page(4, "When was the mill built? See below."), page(9, "Bread rose in 1870."), page(7, "The mill was built in 1870.")]
    answer = said("It was built in 1870.", *pages)
    assert [citation.item.page_number for citation in answer.citations] == [7]
    assert answer.notes.messages == ("the model cited no page: the one that has its words is named",)


@pytest.mark.parametrize("text", ["In 1912.", "Yes.", "The pages do not mention a year.", "In 1912 [7]."])
def test_an_answer_without_marks_whose_words_no_page_has_cites_none(text: str) -> None:
    answer = said(text)
    assert (answer.text, answer.found, answer.citations) == (text, True, ())
    assert any("none is named" in message for message in answer.notes.messages)


@pytest.mark.parametrize("words", ["", "  ", NOT_FOUND, "not in these documents", "Not in these documents [1]."])
def test_no_answer_is_an_honest_no(words: str) -> None:
    answer = said(words)
    assert (answer.found, answer.text, answer.citations) == (False, NOT_FOUND, ())


def test_a_no_that_says_more_keeps_its_words() -> None:
    answer = said("Not in these documents. They are about mills.")
    assert (answer.found, answer.text, answer.citations) == (False, "Not in these documents. They are about mills.", ())


def test_an_answer_that_begins_like_a_no_and_cites_a_page_is_an_answer() -> None:
    answer = said("Not in these documents as a table, but the keeper's parrot was Rufus [1].")
    assert answer.text == "Not in these documents as a table, but the keeper's parrot was Rufus."
    assert (answer.found, [citation.item.page_number for citation in answer.citations]) == (True, [4])


@pytest.mark.parametrize(
    ("text", "left", "pages"),
    [
        ("Founded in [1887], rebuilt in [1921] [2].", "Founded in [1887], rebuilt in [1921].", [9]),
        ("Rufus [1-2].", "Rufus.", [4, 9]),
        ("Rufus [p. 2]", "Rufus", [9]),
        ("Rufus [Page 2], the parrot [pp. 1–2].", "Rufus, the parrot.", [9, 4]),
        ("Rufus [pages 1 and 2].", "Rufus.", [4, 9]),
        ("It is [sic] Rufus [note 1][2].", "It is [sic] Rufus [note 1].", [9]),
        ("As page [2] says, Rufus [1].", "As page [2] says, Rufus [1].", [9, 4]),
        ("According to [1] and [2], Rufus.", "According to [1] and [2], Rufus.", [4, 9]),
        ("[2] names Rufus.", "[2] names Rufus.", [9]),
        ("[2] The parrot is Rufus.", "The parrot is Rufus.", [9]),
    ],
)
def test_marks_of_pages_leave_the_text_and_nothing_else_does(text: str, left: str, pages: list[int]) -> None:
    answer = said(text)
    assert (answer.text, [citation.item.page_number for citation in answer.citations]) == (left, pages)


@pytest.mark.parametrize(
    ("question", "text", "picture", "asked", "shown"),
    [
        ("When was it built?", "words", True, "auto", "text"),
        ("When was it built?", " ", True, "auto", "image"),
        ("What does the table say?", "words", True, "auto", "both"),
        ("What does the table say?", "words", False, "auto", "text"),
        ("What does the table say?", None, True, "auto", "image"),
        ("When?", "words", True, "image", "image"),
        ("When?", "words", True, "both", "both"),
        ("When?", "words", False, "both", "text"),
    ],
)
def test_how_a_page_is_shown(question: str, text: str | None, picture: bool, asked: ModalityChoice, shown: str) -> None:
    assert way_of(page(1, text, picture=picture).item, question, asked) == shown


def test_a_page_that_lacks_what_was_asked_for_is_left_out_and_named() -> None:
    with pytest.raises(InputError, match="no text"):
        way_of(page(1, " ").item, "When?", "text")
    double = FakeBackend(answer=lambda prompt: "Yes [1].")
    answer = build(Options(modality="image"), double).answer(QUERY, [page(4, None, picture=False), page(9)])
    assert [citation.item.page_number for citation in answer.citations] == [9]
    assert any("d#page=4: not shown" in message for message in answer.notes.messages)


def test_a_picture_that_does_not_open_costs_one_page_only() -> None:
    class Broken:
        def open(self):  # type: ignore[no-untyped-def]
            raise FormatError("truncated", path="d.pdf")

    broken = Candidate(item=Item(item_id="b", image=Broken()))
    double = FakeBackend(answer=lambda prompt: "Yes [1].")
    assert [c.item.page_number for c in build(Options(), double).answer(QUERY, [broken, page(9)]).citations] == [9]
    assert pictures(double.prompts[0]) == 0
    nothing = build(Options(), double).answer(QUERY, [broken])
    assert not nothing.found


def test_a_page_is_the_same_picture_to_an_answer_as_to_a_reranker() -> None:
    """Answers brought pages to size by another filter."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 60, 3), dtype=np.uint8))
    pages = [Candidate(item=Item(item_id=f"{n}", image=InMemory(noise))) for n in range(2)]
    answering, reranking = FakeBackend(), FakeBackend()
    build(Options(modality="image", max_pixels=1350), answering).answer(QUERY, pages)
    make("mm_r5(max_pixels=1350)", station="rerankers", backend=reranking).rerank(QUERY, pages)
    answered, reranked = ([part for part in double.prompts[0][-1].parts if not isinstance(part, str)] for double in (answering, reranking))
    assert [picture.size for picture in answered] == [(30, 45)] * 2
    assert answered == reranked


def test_what_was_chosen_is_said() -> None:
    answer = build(Options(), FakeBackend(answer=lambda prompt: "x [1]")).answer(QUERY, [page(4), page(9, None)])
    assert answer.notes.messages == ("shown as image: d#page=9", "shown as text: d#page=4")


def test_citations_are_read_once_each() -> None:
    assert cited("a [1], b [1, 2] and [0] [99]", 2) == ([1, 2], [0, 99])
    assert cited("a [note] 1", 3) == ([], [])


def test_a_range_of_any_length_names_the_pages_that_were_shown_and_its_ends() -> None:
    assert cited("[2-999999]", 3) == ([2, 3], [999999])
    assert cited("[3-2] [1914-1918]", 3) == ([2, 3], [1914, 1918])
    assert without_marks("x [1914-1918]", 3) == "x [1914-1918]"
