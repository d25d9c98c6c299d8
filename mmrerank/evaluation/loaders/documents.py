"""Questions about documents -> the pages with the evidence: a JSON list or JSON lines, a question or a document a record.

The layout of MMLongBench-Doc (a record is a question, documents are PDFs) and MMDocIR (a record is a document with its questions, pages
are rows of one table). What is asked is asked of one document, or of all: `within`. Questions without evidence are passed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrerank.errors import FormatError, InputError
from mmrerank.evaluation.loaders._loaded import Loaded, below, id_of, named, needed, options_from, rows_of, unique, value_of, word
from mmrerank.types import Query

OPTIONS: Mapping[str, Any] = {
    "queries": ...,  # file of records; `{part}` in this and in `folder` is
    "part": "",  # where the card calls the split otherwise
    "questions": "",  # field with the questions of a document; empty: every record is a question
    "query_id": "",  # field; empty: the place in the file, from 0, over all documents
    "text": ...,  # field
    "document": ...,  # field with the name of the document
    "evidence": ...,  # field with page numbers: a list, or a list written as text
    "first_page": 1,  # number of a document's first page in that field
    "group": "",  # field
    "within": "document",  # or "corpus"
    "folder": "",  # folder of PDFs; or
    "table": "",  # table of pages, with
    "rows": "",  # field of a document with the numbers of its first and last row, from 0
    "read_with": "",  # reader of either, with options
}


@dataclass(frozen=True)
class _Question:
    """A question with the record of its document, which is the same record where a record is a question."""

    query_id: str
    row: Mapping[str, Any]
    document: Mapping[str, Any]


@dataclass(frozen=True)
class _Entry:
    """A question that counts, with its pages."""

    query: Query
    grades: dict[str, int]
    gallery: tuple[str, ...]  # empty: all there is
    group: str


def load(data: Path, split: str, options: Mapping[str, Any]) -> Loaded:
    """Questions with evidence, and the pages that carry it.

    Raises:
        InputError: a file is not there, or the card's options do not fit.
        FormatError: a record lacks a field, an id comes twice, or a page is none of the document.
    """
    options = _options(options, split)
    path = needed(data, options["queries"])
    rows = rows_of(path)
    pages = _Pages(data, options, path)
    questions = list(_questions(rows, options, path))
    unique([question.query_id for question in questions], "query", path)
    entries = [entry for question in questions if (entry := _entry(question, pages, options, path))]
    return Loaded(
        queries=tuple(entry.query for entry in entries),
        qrels={entry.query.query_id: entry.grades for entry in entries},
        sources=pages.sources(rows),
        galleries={entry.query.query_id: entry.gallery for entry in entries if entry.gallery},
        groups={entry.query.query_id: entry.group for entry in entries if options["group"]},
        read_with=(options["read_with"],) if options["read_with"] else (),
    )


def _options(options: Mapping[str, Any], split: str) -> Mapping[str, Any]:
    """All options of the card, checked, with the part of the data in the names of files."""
    whole = options_from(options, OPTIONS, "documents")
    if whole["within"] not in ("document", "corpus") or bool(whole["folder"]) == bool(whole["table"]):
        raise InputError("the layout documents takes within = 'document' or 'corpus', and either a folder or a table")
    return {**whole, **{name: named(whole[name], part=whole["part"] or split) for name in ("queries", "folder")}}


def _questions(rows: list[dict[str, Any]], options: Mapping[str, Any], path: Path) -> Iterator[_Question]:
    place = 0
    for document in rows:
        for row in value_of(document, options["questions"], list, path) if options["questions"] else [document]:
            if not isinstance(row, dict):
                raise FormatError(f"a question is a {type(row).__name__}; expected an object", path=path)
            query_id = id_of(row, options["query_id"], "query", path) if options["query_id"] else str(place)
            yield _Question(query_id, row, document)
            place += 1


def _entry(question: _Question, pages: _Pages, options: Mapping[str, Any], path: Path) -> _Entry | None:
    """What the benchmark has of a question; None where no page answers it."""
    evidence = pages.labelled(_numbers(value_of(question.row, options["evidence"], (list, str), path), path))
    if not evidence:
        return None
    text, narrowed = value_of(question.row, options["text"], str, path), options["within"] == "document"
    return _Entry(
        query=Query(query_id=question.query_id, text=text, filter=pages.filter(question.document) if narrowed else None),
        grades={pages.item(question.document, number): 1 for number in evidence},
        gallery=pages.gallery(question.document) if narrowed else (),
        group=word(value_of(question.document, options["group"], str, path), "group", path) if options["group"] else "",
    )


def _numbers(value: list[Any] | str, path: Path) -> list[int]:
    """Page numbers, of a list or of a list written as text."""
    try:
        numbers = json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise FormatError(f"the evidence {value!r:.60} is no list of page numbers", path=path) from error
    if not isinstance(numbers, list) or not all(isinstance(number, int) and not isinstance(number, bool) for number in numbers):
        raise FormatError(f"the evidence {value!r:.60} is no list of page numbers", path=path)
    return numbers


class _Pages:
    """Where the pages of documents are: in PDFs of a folder, or in rows of a table."""

    def __init__(self, data: Path, options: Mapping[str, Any], path: Path) -> None:
        self._place = below(data, options["folder"] or options["table"])
        self._options, self._path = options, path

    def _name(self, document: Mapping[str, Any]) -> str:
        return word(value_of(document, self._options["document"], str, self._path), "document", self._path)

    def _rows(self, document: Mapping[str, Any]) -> tuple[int, int]:
        """First and last row of a document, from 0."""
        ends = value_of(document, self._options["rows"], list, self._path)
        if len(ends) != 2 or not all(type(end) is int for end in ends) or not 0 <= ends[0] <= ends[1]:
            raise FormatError(f"{self._options['rows']!r} is {ends!r:.60}; expected the first and the last row", path=self._path)
        return ends[0], ends[1]

    def labelled(self, numbers: list[int]) -> list[int]:
        """The page numbers that may be pages; of PDFs, labels written by hand, some lie before the first."""
        return numbers if self._options["table"] else [number for number in numbers if number >= self._options["first_page"]]

    def item(self, document: Mapping[str, Any], number: int) -> str:
        """The item of a page."""
        page = number - self._options["first_page"]
        last = self._rows(document)[1] - self._rows(document)[0] if self._options["table"] else page
        if not 0 <= page <= last:
            raise FormatError(f"{self._name(document)!r} has no page {number}", path=self._path)
        if self._options["table"]:
            return self._row(self._rows(document)[0] + page)
        return f"{self._name(document)}#page={page + 1}"

    def _row(self, place: int) -> str:
        return f"{self._place.name}::{place + 1}"  # rows of a table without keys are numbered from 1

    def gallery(self, document: Mapping[str, Any]) -> tuple[str, ...]:
        """All pages of a document, where the records say how many there are."""
        if not self._options["table"]:
            return ()
        first, last = self._rows(document)
        return tuple(self._row(place) for place in range(first, last + 1))

    def filter(self, document: Mapping[str, Any]) -> str | None:
        """What holds for the pages of a document, where its item ids alone do not tell."""
        return None if self._options["table"] else "document_id = '" + self._name(document).replace("'", "''") + "'"

    def sources(self, documents: list[dict[str, Any]]) -> tuple[Path, ...]:
        """What is to be indexed. InputError where the folder is there and lacks a document."""
        if self._options["table"] or not self._place.is_dir():
            return (self._place,)
        missing = sorted({name for document in documents if not below(self._place, name := self._name(document)).is_file()})
        if missing:
            raise InputError(f"{self._place} lacks {len(missing)} documents, {missing[0]!r} the first.")
        return (self._place,)
