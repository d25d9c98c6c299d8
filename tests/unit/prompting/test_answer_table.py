"""The table of answers reads right, by itself and through every method that reads an order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tomllib
from makers import InMemory, coloured

from mmrerank.parts import make
from mmrerank.prompting.answers import grade_span, order_of, read_choice, read_grade, read_marks, read_order, read_scores, read_table
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Item, Query

TABLE: dict[str, list[dict[str, Any]]] = tomllib.loads((Path(__file__).parents[2] / "golden" / "answers.toml").read_text("utf-8"))
BY_NUMBERS = [row for row in TABLE["order"] if "letters" not in row and "cut" not in row]


def identifiers(row: dict[str, Any]) -> Any:
    return "letters" if row.get("letters") else "numbers"


def name(row: dict[str, Any]) -> str:
    return row["text"][:40] or "empty"


@pytest.mark.parametrize("row", TABLE["order"], ids=name)
def test_an_order(row: dict[str, Any]) -> None:
    count = row.get("count", 3)
    reading = read_marks(row["text"], count, identifiers=identifiers(row), cut=row.get("cut", False))
    assert list(reading.marks or ()) == row["marks"] * any(1 <= mark <= count for mark in row["marks"])
    assert bool(reading.why) == (reading.marks is None)
    order = read_order(row["text"], count, identifiers=identifiers(row), cut=row.get("cut", False))
    assert (order.positions, order.status) == (order_of(row["marks"], count).positions, order_of(row["marks"], count).status)


@pytest.mark.parametrize("method", ["square", "mm_r5", "dear_listwise"])
@pytest.mark.parametrize("row", BY_NUMBERS, ids=name)
def test_every_method_reads_it_alike(method: str, row: dict[str, Any]) -> None:
    candidates = [Candidate(item=Item(item_id=f"{n}", image=InMemory(coloured(n)))) for n in range(row.get("count", 3))]
    backend = FakeBackend(answer=lambda prompt: row["text"])
    ranking = make(method, station="rerankers", backend=backend).rerank(Query(text="a boat"), candidates)
    order = order_of(row["marks"], len(candidates))
    assert ranking.item_ids == tuple(f"{position}" for position in order.positions)
    assert ranking.notes.status == order.status


@pytest.mark.parametrize("row", TABLE["choice"], ids=name)
def test_a_choice(row: dict[str, Any]) -> None:
    assert read_choice(row["text"], 3, identifiers=identifiers(row)) == (row["mark"] - 1 if row["mark"] else None)


@pytest.mark.parametrize("row", TABLE["scores"], ids=name)
def test_scores(row: dict[str, Any]) -> None:
    reading = read_scores(row["text"], 3)
    assert {str(position + 1): score for position, score in reading.scores.items()} == row["scores"]
    assert reading.scores or reading.message


@pytest.mark.parametrize("row", TABLE["grade"], ids=name)
def test_a_grade(row: dict[str, Any]) -> None:
    grade = read_grade(row["text"])
    assert (-1 if grade is None else grade) == row["grade"]


@pytest.mark.parametrize("row", TABLE["grade"], ids=name)
def test_the_place_of_a_grade(row: dict[str, Any]) -> None:
    span = grade_span(row["text"])
    assert (-1 if span is None else int(row["text"][slice(*span)])) == row["grade"]


@pytest.mark.parametrize("row", TABLE["table"], ids=name)
def test_a_table(row: dict[str, Any]) -> None:
    reading = read_table(row["text"], 3, ["relevance", "depth"])
    assert {str(position + 1): dict(numbers) for position, numbers in reading.rows.items()} == row["rows"]
    assert reading.rows or reading.message


def test_the_table_is_no_smaller_than_it_was() -> None:
    """A golden table from which rows vanish proves less than it says."""
    assert [
        len(TABLE[kind]) >= least for kind, least in (("order", 170), ("choice", 24), ("scores", 18), ("grade", 24), ("table", 13))
    ] == [True] * 5
