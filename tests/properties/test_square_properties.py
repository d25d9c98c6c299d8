"""Whatever a model says of a grid: a permutation comes back, the tail is untouched, and nothing is silent."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from makers import InMemory, coloured

from mmrerank.prompting.answers import named_marks, read_marks
from mmrerank.prompting.grids import Layout, fitted_size
from mmrerank.rerankers import square
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Item, Query

PIECES = st.sampled_from(
    ["{", "}", '"ranking"', ":", "[", "]", ",", '"', " ", "\n", "1", "2", "3", "-7", "999", "0.5", "1e3", "null", "```"]
)
ENTRIES = st.one_of(st.integers(-3, 12), st.text(max_size=4), st.floats(), st.booleans(), st.none(), st.integers(1, 9).map(str))
RANKINGS = st.lists(ENTRIES, max_size=12).map(lambda entries: "so: " + json.dumps({"ranking": entries}))
ANSWERS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=25).map("".join), RANKINGS)


@given(said=ANSWERS, count=st.integers(0, 11), depth=st.integers(1, 8), shuffles=st.integers(0, 3))
@settings(max_examples=150)
def test_any_answer_leaves_a_permutation_and_the_tail(said: str, count: int, depth: int, shuffles: int) -> None:
    given_ = [Candidate(item=Item(item_id=f"{n}", image=InMemory(coloured(n))), score=-n) for n in range(count)]
    before = list(given_)
    options = square.Options(depth=depth, shuffles=shuffles, cell_px=24, gutter_px=0)
    ranking = square.build(options, FakeBackend(answer=lambda prompt: said)).rerank(Query(text="q"), given_)
    ids = [c.item.item_id for c in given_]
    assert sorted(ranking.item_ids) == sorted(ids)
    assert list(ranking.item_ids[depth:]) == ids[depth:]
    assert given_ == before
    assert (ranking.notes.status == "ok") == (not ranking.notes.messages)
    if ranking.notes.status == "fallback":
        assert list(ranking.item_ids) == ids
    assert ranking.notes.cost.calls == (max(1, shuffles) if min(count, depth) > 1 else 0)


@given(text=ANSWERS, count=st.integers(1, 9))
def test_the_parsers_take_any_text(text: str, count: int) -> None:
    marks = read_marks(text, count).marks
    assert marks is None or all(type(mark) is int for mark in marks)
    assert all(1 <= mark <= count and len(line) <= 80 for mark, line in named_marks(text, count).items())


@given(order=st.permutations(range(1, 10)), before=st.text(max_size=30), after=st.text(alphabet="abc .!\n", max_size=30))
def test_a_whole_ranking_is_read_back_through_any_prose(order: list[int], before: str, after: str) -> None:
    answer = f"{before}{json.dumps({'ranking': order})}{after}"
    assert list(read_marks(answer, 9).marks or ()) == order


@given(orders=st.lists(st.permutations(range(6)), min_size=1, max_size=5))
def test_merged_orders_are_complete_and_do_not_depend_on_the_order_of_the_rounds(orders: list[list[int]]) -> None:
    merged = square.mean_places(orders)
    assert sorted(merged) == list(range(6))
    assert merged == square.mean_places(orders[::-1])
    assert square.mean_places([orders[0]] * 3) == list(orders[0])


@given(side=st.integers(1, 9), cell_px=st.integers(24, 400), gutter_px=st.integers(0, 20))
def test_cells_tile_the_canvas_without_touching(side: int, cell_px: int, gutter_px: int) -> None:
    layout = Layout(side=side, cell_px=cell_px, gutter_px=gutter_px)
    cover = np.zeros((side * 2 + 1, side * 2 + 1), dtype=int)
    edges = sorted({gutter_px + n * (cell_px + gutter_px) for n in range(side)})
    for position in range(side**2):
        left, top, right, bottom = layout.cell(position)
        assert (right - left, bottom - top) == (cell_px, cell_px)
        cover[edges.index(top), edges.index(left)] += 1
    assert cover.max() == 1
    assert layout.cell(side**2 - 1)[2] + gutter_px == layout.canvas_px


@given(width=st.integers(1, 5000), height=st.integers(1, 5000), side_px=st.integers(24, 500))
def test_a_fitted_picture_touches_the_square_keeps_its_aspect_and_stays(width: int, height: int, side_px: int) -> None:
    fitted = fitted_size((width, height), side_px)
    assert max(fitted) == side_px
    scale = side_px / max(width, height)
    assert abs(fitted[0] - width * scale) <= 1
    assert abs(fitted[1] - height * scale) <= 1
    assert fitted_size(fitted, side_px) == fitted
