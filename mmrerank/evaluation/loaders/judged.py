"""Texts asked of a corpus, with judgements: JSON, JSON lines, TSV or Parquet, in the manner of TREC, BEIR and ViDoRe.

Queries are records; of a TSV without a header the columns are `id` and `text`. Judgements are a file (TREC's four columns, BEIR's three
with a header, or records), and queries that it does not name are passed over; or a field of the queries: the id of the right item, a list
of ids, or an object of id -> grade. The corpus is one table or several, whose rows `Collection.add` indexes; or pictures in a folder. Any
file may be a Parquet file or a folder of shards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrerank.errors import FormatError, InputError
from mmrerank.evaluation.loaders._loaded import (
    Loaded,
    below,
    id_of,
    kind_of,
    named,
    needed,
    options_from,
    picture,
    rows_of,
    text_of,
    unique,
    value_of,
    word,
    words,
)
from mmrerank.text_files import columns, numbered_lines
from mmrerank.types import Query

OPTIONS: Mapping[str, Any] = {
    "queries": ...,  # file, or folder of Parquet shards; in it and in all paths below, `{split}` is the split
    "query_id": "id",  # field
    "text": "{text}",  # the query's text, with fields in braces
    "image": "",  # field with a picture of the query, a path below the data
    "where": {},  # field -> value of the queries that count, such as a language
    "qrels": "",  # file of judgements; empty: a field of the queries
    "relevant": "qrels",  # that field
    "judged_query": "query-id",  # fields of judgements in Parquet
    "judged_item": "corpus-id",
    "grade": "score",
    "given": "",  # field of the queries with a first stage: [[id, score]] or [{"id", "score"}]
    "given_score": "score",  # field of the score in the latter
    "corpus": "",  # table, or folder of Parquet shards
    "corpus_id": "id",  # field
    "corpus_text": "",  # field, where it is not found by its name
    "complete": True,  # whether every right item must be in the corpus; not where that is a pool
    "pictures": "",  # folder of pictures instead of a corpus; ids are file names
    "read_with": "",  # reader of those pictures
}
TSV = ("id", "text")


def load(data: Path, split: str, options: Mapping[str, Any]) -> Loaded:
    """Queries with their judgements and what they are searched in.

    Raises:
        InputError: a file is not there, or the card's options do not fit.
        FormatError: a record lacks a field, an id comes twice, or a judged item is not in the corpus.
    """
    options = options_from(options, OPTIONS, "judged")
    options = {**options, **{name: named(options[name], split=split) for name in ("queries", "qrels", "corpus", "pictures")}}
    path = needed(data, options["queries"])
    rows = [row for row in _records(path) if all(str(row.get(name)) == str(value) for name, value in options["where"].items())]
    queries = tuple(_query(row, data, options, path) for row in rows)
    unique([query.query_id for query in queries], "query", path)
    corpus = _Corpus(data, options)
    own = {query.query_id: row for query, row in zip(queries, rows, strict=True)}
    grades = _file_grades(data, options) if options["qrels"] else {name: _grades(row, options, path) for name, row in own.items()}
    pairs = [(query, row) for query, row in zip(queries, rows, strict=True) if query.query_id in grades]
    if not pairs:
        raise FormatError(f"none of its {len(queries)} queries is judged", path=path)
    qrels = {query.query_id: {corpus.item(name): grade for name, grade in grades[query.query_id].items()} for query, _ in pairs}
    if options["complete"]:
        corpus.check(qrels, path)
    return Loaded(
        queries=tuple(query for query, _ in pairs),
        qrels=qrels,
        items=corpus.items,
        sources=corpus.sources,
        names=corpus.names(),
        read_with=corpus.read_with,
        first_stage=_first_stage(pairs, corpus, options, path) if options["given"] else {},
        junk=False,  # trec_eval leaves them where they stand
    )


# ---------------------------------------------------------------------- files of records


def _records(path: Path, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The records of a file of any kind that the layout knows; of Parquet these columns, or all."""
    if path.is_dir() or path.suffix == ".parquet":
        return [row for shard in _shards(path) for row in _parquet(shard, columns)]
    return _tsv(path) if kind_of(path) == ".tsv" else rows_of(path)


def _shards(path: Path) -> list[Path]:
    shards = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not shards:
        raise InputError(f"there is no Parquet file in {path}.")
    return shards


def _parquet(path: Path, columns: Sequence[str] | None) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows: list[dict[str, Any]] = pq.ParquetFile(path).read(columns=columns).to_pylist()
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise FormatError(f"a broken Parquet file: {error}", path=path) from error
    return rows


def _tsv(path: Path) -> list[dict[str, Any]]:
    lines = [(number, line.split("\t")) for number, line in numbered_lines(text_of(path))]
    header: Sequence[str] = lines.pop(0)[1] if lines and _has_header(path) else TSV
    for number, fields in lines:
        if len(fields) != len(header):
            raise FormatError(f"has {len(fields)} columns; expected {len(header)}", path=path, line=number)
    return [dict(zip(header, fields, strict=True)) for _, fields in lines]


def _has_header(path: Path) -> bool:
    """Whether the first line of a TSV names columns; other tables name theirs anyway."""
    return kind_of(path) != ".tsv" or text_of(path)[:3].strip() in ("id", "_id")


# ---------------------------------------------------------------------- queries and judgements


def _query(row: Mapping[str, Any], data: Path, options: Mapping[str, Any], path: Path) -> Query:
    def filled(match: re.Match[str]) -> str:
        return id_of(row, match[1], match[1], path)

    images = (picture(below(data, value_of(row, options["image"], str, path))),) if options["image"] else ()
    text = re.sub(r"\{([^{}]+)\}", filled, options["text"])
    return Query(query_id=id_of(row, options["query_id"], "query", path), text=text, images=images)


def _grades(row: Mapping[str, Any], options: Mapping[str, Any], path: Path) -> dict[str, int]:
    grades = value_of(row, options["relevant"], (dict, list, str, int), path)
    if not isinstance(grades, dict):
        return dict.fromkeys(words(grades, "item", path), 1)
    return {word(name, "item", path): _grade(grade, path) for name, grade in grades.items()}


def _grade(value: Any, path: Path, line: int | None = None) -> int:
    try:
        grade = int(value)
        whole = isinstance(value, str) or grade == value
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole:
        raise FormatError(f"the grade is {value!r:.60}; expected a whole number", path=path, line=line)
    return grade


def _file_grades(data: Path, options: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    path = needed(data, options["qrels"])
    if path.is_file() and kind_of(path) not in (".json", ".jsonl", ".parquet"):  # TREC's have any name: qrels.dl19-passage
        judgements = _columns(path)
    else:
        names = [options[name] for name in ("judged_query", "judged_item", "grade")]
        judgements = [(None, [value_of(row, name, (str, int, float), path) for name in names]) for row in _records(path, names)]
    grades: dict[str, dict[str, int]] = {}
    for line, (query_id, name, grade) in judgements:
        own = grades.setdefault(str(query_id), {})
        if own.setdefault(str(name), _grade(grade, path, line)) != _grade(grade, path, line):
            raise FormatError(f"{name!r} has two grades for query {query_id!r}", path=path, line=line)
    return grades


def _columns(path: Path) -> list[tuple[int | None, list[Any]]]:
    """Query, item and grade of each line: TREC's `query 0 item grade`, or `query item grade` under a header."""
    lines = [(number, columns(line)) for number, line in numbered_lines(text_of(path))]
    if lines and len(lines[0][1]) == 3 and not lines[0][1][2].lstrip("-").isdigit():
        lines = lines[1:]
    wrong = next((n for n, fields in lines if len(fields) not in (3, 4)), None)
    if wrong is not None:
        raise FormatError("a judgement is `query 0 item grade`, or `query item grade`", path=path, line=wrong)
    return [(n, [fields[0], fields[-2], fields[-1]]) for n, fields in lines]


def _first_stage(
    pairs: Sequence[tuple[Query, Mapping[str, Any]]], corpus: _Corpus, options: Mapping[str, Any], path: Path
) -> dict[str, dict[str, float]]:
    """The first stage that comes with the queries, best first."""
    first_stage: dict[str, dict[str, float]] = {}
    for query, row in pairs:
        scores: dict[str, float] = {}
        for entry in value_of(row, options["given"], list, path):
            name, score = _scored(entry, options["given_score"], path)
            item = corpus.item(word(name, "item", path))
            if item in scores:
                raise FormatError(f"the first stage of query {query.query_id!r} has {name!r} twice", path=path)
            scores[item] = score
        first_stage[query.query_id] = scores
    return first_stage


def _scored(entry: Any, field: str, path: Path) -> tuple[Any, float]:
    name, score = (entry.get("id"), entry.get(field)) if isinstance(entry, dict) else entry if _is_pair(entry) else (entry, None)
    if not isinstance(score, (int, float)):
        raise FormatError(f"an entry of the first stage is {entry!r:.60}; expected an id and a score", path=path)
    return name, float(score)


def _is_pair(entry: Any) -> bool:
    return isinstance(entry, list) and len(entry) == 2


# ---------------------------------------------------------------------- corpus


class _Corpus:
    """What is searched, and how its rows are called."""

    def __init__(self, data: Path, options: Mapping[str, Any]) -> None:
        self.sources: tuple[Path, ...] = ()
        self.items: tuple[str, ...] = ()
        self.read_with: tuple[str, ...] = ()
        self._items: dict[str, str] = {}  # official id -> item id, of the rows and of what judgements and first stage name beside them
        self._pattern = "{}"
        if options["pictures"]:
            self._take_pictures(below(data, options["pictures"]), options["read_with"])
        elif options["corpus"]:
            self._take_tables(data, options)

    def item(self, name: str) -> str:
        """The item of an official id."""
        return self._items.setdefault(name, self._pattern.format(name))

    def names(self) -> dict[str, str]:
        """Item id -> official id where they differ, of the items asked for so far too: without a table these are all that is known."""
        return {item: name for name, item in self._items.items() if item != name}

    def check(self, qrels: Mapping[str, Mapping[str, int]], path: Path) -> None:
        """FormatError where something right is not in the corpus."""
        known = set(self.items)
        absent = next((item for grades in qrels.values() for item, grade in grades.items() if grade > 0 and item not in known), None)
        if known and absent is not None:
            raise FormatError(f"the right item {absent!r} is not in the corpus", path=path)

    def _take_pictures(self, folder: Path, read_with: str) -> None:
        self.sources = (folder,)
        if folder.is_dir():
            self.items = tuple(sorted(file.name for file in folder.iterdir() if file.is_file()))
            self.read_with = (read_with,) if read_with else ()

    def _take_tables(self, data: Path, options: Mapping[str, Any]) -> None:
        place = below(data, options["corpus"])
        self._pattern = f"{place.name}::{{}}"
        if not place.exists():
            self.sources = (place,)
            return
        for shard in _shards(place) if place.is_dir() else [place]:
            for row in _records(shard, [options["corpus_id"]]):
                name = id_of(row, options["corpus_id"], "item", shard)
                if name in self._items:
                    raise FormatError(f"the item {name!r} stands twice", path=shard)
                self._items[name] = f"{shard.name}::{name}"
            self.sources = (*self.sources, shard) if _has_header(shard) else self.sources  # without one no reader takes it
        self.items = tuple(self._items.values())
        columns = {"id_column": options["corpus_id"], "text_column": options["corpus_text"]}
        reader_options = ", ".join(f"{name}={value!r}" for name, value in columns.items() if value)
        self.read_with = (f"table({reader_options})",)
