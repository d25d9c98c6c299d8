"""Lists that say which queries of a benchmark are to be measured, from a copy that the user has.

    a text file         an id of a query a line; or a JSON list of ids
    CIRCUS              `final_dataset/all_validated_queries.jsonl` or `croissant/exports/DATASET_validated.csv`: queries of CIRR, CIRCO and
                        FashionIQ that need both picture and text and that people found valid. They are named by reference, target and text,
                        since CIRCUS counts the queries as M-BEIR does; ours are found by these.

Source: the layout of the files of matteoattimonelli/CIRCUS at 067e7277; Attimonelli et al. 2026.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from mmrerank.errors import FormatError, InputError
from mmrerank.evaluation.benchmark import Benchmark
from mmrerank.evaluation.loaders import kind_of
from mmrerank.text_files import json_lines, numbered_lines, read_json, read_text

ID, DATASET = "query_id", "dataset"
REFERENCES, TARGETS = ("query_image_path", "query_image_ref"), ("target_image_path", "target_image_ref")
TEXT = "query_text"
EXPECTED = "Expected ids of queries, one a line; or a list of CIRCUS: all_validated_queries.jsonl, or DATASET_validated.csv."


@dataclass(frozen=True, slots=True)
class Entry:
    """A query of a list: by its id, or by the names of its pictures and its text."""

    query_id: str | None = None
    reference: str = ""
    target: str = ""
    text: str = ""


def only_listed(benchmark: Benchmark, path: Path) -> tuple[Benchmark, list[str]]:
    """The benchmark with the listed queries alone, and notes where some of the listed are not among its own.

    Raises:
        InputError: there is no such file, or none of the listed queries is one of the benchmark.
        FormatError: it is no list.
    """
    if not path.exists():
        raise InputError(f"there is no list of queries {path}")
    name = benchmark.name.partition("/")[0]
    entries = [_entry(row, path, line) for line, row in _rows(path) if not isinstance(row, Mapping) or row.get(DATASET, name) == name]
    places = _Places(benchmark)
    hits = [places.of(entry) for entry in entries]
    listed = {query_id for query_id in hits if query_id is not None}
    if not listed:
        raise InputError(f"none of the {len(entries)} queries of {path} that may be of {name} is in {benchmark.name}", hint=EXPECTED)
    queries = tuple(query for query in benchmark.queries if query.query_id in listed)
    missing = hits.count(None)
    notes = [f"measured on the {len(queries)} of {len(benchmark.queries)} queries that {path.name} lists"]
    notes += [f"{missing} of the {len(entries)} queries of {path.name} are not in {benchmark.name}"] if missing else []
    return replace(benchmark, queries=queries, server=""), notes


def _rows(path: Path) -> Iterable[tuple[int, Any]]:
    kind = kind_of(path)
    if kind == ".csv":
        return enumerate(csv.DictReader(io.StringIO(read_text(path))), 2)
    if kind == ".jsonl":
        return json_lines(path)
    if kind != ".json":
        return ((number, line.strip()) for number, line in numbered_lines(read_text(path)))
    ids = read_json(path)
    if not isinstance(ids, list):
        raise FormatError(f"a list of queries is a JSON list of ids; got {type(ids).__name__}", path=path, hint=EXPECTED)
    return enumerate(ids, 1)


def _entry(row: Any, path: Path, line: int) -> Entry:
    if isinstance(row, str | int) and not isinstance(row, bool):
        return Entry(query_id=str(row))
    fields = row if isinstance(row, Mapping) else {}
    if isinstance(fields.get(ID), str | int):
        return Entry(query_id=str(fields[ID]))
    reference, target = (next((fields[name] for name in names if name in fields), "") for names in (REFERENCES, TARGETS))
    text = fields.get(TEXT)
    if not isinstance(reference, str) or not reference or not isinstance(target, str) or not isinstance(text, str):
        raise FormatError("an entry names no query", path=path, line=line, hint=EXPECTED)
    return Entry(reference=_stem(reference), target=_stem(target), text=_letters(text))


class _Places:
    """Where the queries of a benchmark are to be had by their ids, or by pictures and text."""

    def __init__(self, benchmark: Benchmark) -> None:
        self._ids = {query.query_id for query in benchmark.queries}
        self._by_text: dict[tuple[str, str], list[str]] = {}
        self._targets: dict[str, set[str]] = {}
        for query in benchmark.queries:
            reference = _stem(benchmark.references.get(query.query_id, ""))
            self._by_text.setdefault((reference, _letters(query.text or "")), []).append(query.query_id)
            grades = benchmark.qrels.get(query.query_id, {})
            self._targets[query.query_id] = {_stem(item) for item, grade in grades.items() if grade > 0}

    def of(self, entry: Entry) -> str | None:
        """The id of the query; of several with one reference and one text, that of the target. None where there is none."""
        if entry.query_id is not None:
            return entry.query_id if entry.query_id in self._ids else None
        alike = self._by_text.get((entry.reference, entry.text), [])
        return next((query_id for query_id in alike if not entry.target or entry.target in self._targets[query_id]), None)


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _letters(text: str) -> str:
    """The letters and digits of a text: M-BEIR begins it with a capital and ends it with a stop."""
    return "".join(letter for letter in text.casefold() if letter.isalnum())
