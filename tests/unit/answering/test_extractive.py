"""The extractive answer: the passage that covers the question, quoted with its page, or an honest no."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from mmrerank.answering._passages import LONGEST, matches, passages_of
from mmrerank.answering.extractive import NOT_FOUND, Options, build
from mmrerank.errors import InputError
from mmrerank.types import Candidate, Item, Query


def page(number: int, text: str) -> Candidate:
    return Candidate(item=Item(item_id=f"d#page={number}", document_id="d", page_number=number, text=text), score=2.0 - number / 10)


def test_the_passage_that_answers_is_quoted_with_its_page() -> None:
    pages = [
        page(1, "The harbour was dredged in May. The gauge was painted."),
        page(2, "Costs rose. The new tide gauge cost 4,200 euros in 1994. It was paid by the county."),
    ]
    answer = build(Options()).answer(Query(text="What did the tide gauge cost in 1994?"), pages)
    assert answer.text == "The new tide gauge cost 4,200 euros in 1994."
    assert answer.citations[0].item.page_number == 2
    assert answer.citations[0].score == 1.8
    assert answer.found


def test_what_no_page_says_is_not_answered() -> None:
    answer = build(Options()).answer(Query(text="Who won the chess tournament in Paris?"), [page(1, "The tide gauge was painted.")])
    assert (answer.text, answer.found, answer.citations) == (NOT_FOUND, False, ())


def test_pages_without_text_are_named() -> None:
    answer = build(Options()).answer(Query(text="tide gauge"), [page(1, " \n"), page(2, "The tide gauge.")])
    assert answer.notes.messages == ("1 of 2 pages have no text to quote",)
    assert answer.citations[0].item.page_number == 2


def test_of_equal_pages_the_better_ranked_one_is_quoted_and_both_are_cited() -> None:
    answer = build(Options()).answer(Query(text="tide gauge"), [page(1, "A tide gauge."), page(2, "A tide gauge.")])
    assert [citation.item.page_number for citation in answer.citations] == [1, 2]


def test_passages_are_short_and_do_not_run_over_paragraphs() -> None:
    text = "One. Two. Three.\n\nFour.\n• Five has a bullet.\n" + "\n".join(f"row {n} of a table without ends" for n in range(30))
    found = list(passages_of(text, 0))
    assert {passage.text for passage in found} >= {"One.", "One. Two. Three.", "Four."}
    assert not any("Three. Four." in passage.text for passage in found)
    assert max(len(passage.text.split()) for passage in found) <= LONGEST


@pytest.mark.parametrize(
    "sentences",
    [
        ["Маяк построен в 1887 году.", "Его высота 42 метра!", "Кто смотритель?"],
        ["Der Turm ist alt.", "Österreicher bauten ihn, ca. in einem Jahr.", "«Überall» liegt Schnee."],
        ["यह दिल्ली है।", "वह नदी है।"],
        ["המגדלור ישן.", "השומר הוא דוד."],
        ["¿Qué altura tiene el faro?", "Él mide 42 metros."],
    ],
)
def test_sentences_of_other_languages_end_where_theirs_do(sentences: list[str]) -> None:
    found = [passage.text for passage in passages_of(" ".join(sentences), 0)]
    assert set(found) >= {*sentences, " ".join(sentences[:2])}
    assert len(found) == {2: 3, 3: 6}[len(sentences)]


def test_chinese_sentences_need_no_space_and_lines_join_without_one() -> None:
    text = "本报告介绍了灯塔的历史。灯塔建于一八\n八七年。看守人名叫“奥拉夫。”他每天\n点灯。"
    found = [passage.text for passage in passages_of(text, 0)]
    assert {"灯塔建于一八八七年。", "灯塔建于一八八七年。看守人名叫“奥拉夫。”", "他每天点灯。"} <= set(found)
    answer = build(Options()).answer(Query(text="灯塔建于一八八七年吗"), [page(1, text)])
    assert answer.text == "灯塔建于一八八七年。"


def test_chinese_without_full_stops_is_cut_by_length() -> None:
    found = [passage.text for passage in passages_of("灯塔" * 500 + "\n第二行\n", 0)]
    assert max(map(len, found)) <= 2 * LONGEST
    assert "第二行" in found


def test_a_long_table_is_quoted_in_its_own_order_and_whole() -> None:
    rows = [f"Paris {n} of the long table that has no sentence ends" for n in range(30)]
    text = "Paris\nIntroduction ends here. Then\n" + "\n".join(rows)
    single = {passage.text for passage in passages_of(text, 0)}
    assert {"Paris Introduction ends here.", "Then", *rows, f"Then {rows[0]} {rows[1]}"} <= single
    assert "Paris" not in single, "a line from elsewhere that is said again in a sentence is no part of it"


def test_the_steps_that_cutting_a_page_takes_grow_with_its_length_only() -> None:
    few, many = (_steps(_long_page(sentences)) for sentences in (50, 200))
    assert many < 5 * few, "4 times the text; with every line sought for every sentence it took 16 times the steps"
    assert "and number 177." in matches("number 177", [_long_page(200)])[0].passage.text


def _long_page(sentences: int) -> str:
    row = "A row of nine words in a long list,\n"
    return "".join(f"{row * 8}and number {n}.\n" for n in range(sentences))


def _steps(text: str) -> int:
    """How many lines of Python run, each turn of a loop counted: a measure of time that no other process changes."""
    count = 0

    def step(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        count += 1
        return step

    before = sys.gettrace()
    sys.settrace(step)
    try:
        list(passages_of(text, 0))
    finally:
        sys.settrace(before)
    return count


def test_rare_words_weigh_more_and_coverage_is_a_share() -> None:
    found = matches("gauge zephyr", ["The gauge.\n\nA gauge.", "The zephyr."])
    assert found[0].passage.page == 1
    assert 0.5 < found[0].coverage < 1
    assert matches("zephyr", ["a zephyr."])[0].coverage == pytest.approx(1)
    assert matches("anything", [""]) == []


class Rarities:
    """A corpus that knows how rare words are, and nothing else."""

    def __init__(self, idf: dict[str, float]) -> None:
        self._rarity = idf

    def idf(self, text: str) -> dict[str, float]:
        return {word: self._rarity[word] for word in text.lower().split()}


def test_words_weigh_what_they_do_in_the_whole_collection() -> None:
    pages = [page(1, "The pump."), page(2, "The head.")]
    for idf, number in (({"pump": 5.0, "head": 1.0}, 1), ({"pump": 1.0, "head": 5.0}, 2)):
        answer = build(Options(), Rarities(idf)).answer(Query(text="pump head"), pages)  # type: ignore[arg-type]
        assert [citation.item.page_number for citation in answer.citations] == [number]
        assert answer.notes.reasons == {f"d#page={number}": "covers 83% of the question"}


def test_a_word_that_no_page_has_beside_the_others_makes_an_honest_no() -> None:
    corpus = Rarities({"pump": 6.0, "boat": 1.0, "head": 2.0})
    pages = [page(1, "Foreword by the boat.")]
    assert not build(Options(), corpus).answer(Query(text="pump boat head"), pages).found  # type: ignore[arg-type]
    assert build(Options(least=0.1, threshold=3.0), corpus).answer(Query(text="pump boat head"), pages).found  # type: ignore[arg-type]


def test_a_threshold_outside_of_its_range_is_refused() -> None:
    with pytest.raises(InputError, match="0 and above"):
        Options(threshold=-1)


def test_a_price_is_that_of_what_stands_beside_it() -> None:
    """A line on the logger of the gauge was once the answer to what a new gauge costs."""
    pages = [
        page(1, "The Trust buys a logger for the tide gauge, 1,150 pounds.\n\nA new bench came in May."),
        page(2, "New tide gauges cost a lot."),
    ]
    assert not build(Options()).answer(Query(text="What did the new tide gauge cost?"), pages).found
    answer = build(Options()).answer(Query(text="What did the logger for the tide gauge cost?"), pages)
    assert "1,150 pounds" in answer.text


def test_of_the_lines_of_a_page_the_one_with_the_value_is_quoted() -> None:
    pages = [page(1, "When the mill was built is known.\n\nThe mill was built in 1870.")]
    assert build(Options()).answer(Query(text="When was the mill built?"), pages).text == "The mill was built in 1870."


def test_a_page_that_is_asked_for_alone_is_quoted_from_its_beginning() -> None:
    pages = [page(7, "Tides\n\nThe tide turns twice a day."), page(8, "What is on a page is said.")]
    answer = build(Options()).answer(Query(text="What is on page 7?"), pages)
    assert (answer.text, answer.citations[0].item.page_number) == ("Tides The tide turns twice a day.", 7)
    assert len(answer.citations) == 1


def test_a_page_without_words_that_is_asked_for_is_named() -> None:
    answer = build(Options()).answer(Query(text="page 7"), [page(7, "")])
    assert not answer.found
    assert answer.nearest is not None
    assert answer.nearest.item.page_number == 7


def test_a_refusal_names_the_nearest_page() -> None:
    pages = [page(1, "Fog lay long."), page(2, "The Station Head signed it.")]
    answer = build(Options()).answer(Query(text="What salary did the Station Head receive in 2024?"), pages)
    assert answer.nearest is not None
    assert (answer.found, answer.nearest.item.page_number) == (False, 2)
    assert answer.notes.reasons == {"d#page=2": "says nothing of 'salary', '2024', 'receive'"}
