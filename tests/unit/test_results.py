"""Results iterate, have a length, and show themselves as a table and in a notebook."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from makers import ColourEncoder, InMemory, picture

import mmrerank
from mmrerank.collection import Collection
from mmrerank.errors import FormatError
from mmrerank.results import Hit, SearchResult, Stage
from mmrerank.results.showing import MOST_ROWS
from mmrerank.types import Item, Notes, Query, Ranking


class Broken:
    def open(self):  # type: ignore[no-untyped-def]
        raise FormatError("cut short", path="x.png")


def hit(rank: int, name: str, **fields: object) -> Hit:
    item = Item(item_id=name, **fields)  # type: ignore[arg-type]
    return Hit(rank=rank, item=item, score=1 / rank, raw_score=None, calibrated_score=None, reason=f"for <b>{name}</b>")


def result(*hits: Hit, notes: tuple[str, ...] = ()) -> SearchResult:
    stage = Stage(name="dense(k=1)", seconds=0.1, notes=notes, ranking=Ranking(query_id="q", candidates=(), notes=Notes()))
    return SearchResult(query=Query(text="a <door>", exclude_text=("glass",)), hits=hits, stages=(stage,))


def test_a_result_is_a_row_of_hits() -> None:
    found = result(hit(1, "a"), hit(2, "b"))
    assert [one.item.item_id for one in found] == ["a", "b"]
    assert len(found) == 2
    assert found[1].rank == 2
    assert bool(found)
    assert not result()


def test_a_terminal_gets_a_line_a_hit_no_wider_than_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = str(result(hit(1, "a" * 90), hit(2, "b"), notes=("one page has no words",))).splitlines()
    assert lines[0] == "a <door> + not glass: 2 hits by dense"
    assert lines[1].startswith(" 1.   1.000  …aaa")
    assert all(len(line) <= 60 for line in lines[1:3])
    assert lines[-1].strip() == "dense: one page has no words"


def test_a_notebook_gets_pictures_and_nothing_of_what_it_shows_is_markup() -> None:
    html = result(hit(1, "a<script>", image=InMemory(picture(1)), text="x" * 900), hit(2, "b", image=Broken()))._repr_html_()
    assert html.count("data:image/png;base64,") == 1
    assert "<script" not in html
    assert "a &lt;door&gt;" in html
    assert "cut short" in html
    assert "x" * 200 not in html
    assert re.search(r'width="(\d+)" height="(\d+)"', html)


def test_a_long_result_says_how_many_more_there_are() -> None:
    html = result(*(hit(n, f"item {n}") for n in range(1, MOST_ROWS + 6)))._repr_html_()
    assert "and 5 more" in html


def test_a_search_an_answer_and_a_reranking_show_themselves(tmp_path: Path, photos: Path, colour: ColourEncoder) -> None:
    collection = Collection.create(tmp_path / "c", encoders=[colour])
    collection.add([photos])
    html = collection.search(image=picture(3), k=3)._repr_html_()
    assert html.count("<img") == 3
    answer = collection.ask("What?")
    assert answer.answer.text in str(answer)
    assert "<table" in answer._repr_html_()
    reranked = mmrerank.rerank("red", ["a red door", picture(1)])
    assert str(reranked).splitlines()[0] == "red: 2 hits by bm25"
    assert reranked._repr_html_().count("<img") == 1
