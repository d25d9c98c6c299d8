"""Questions with the pictures that answer them and others that do not, all in the record of the question.

The layout of WebQA (one JSON object, the question's id -> question, `img_posFacts` and `img_negFacts`) and of MultimodalQA (JSON lines
with `supporting_context` and the ids of all pictures in `metadata.image_doc_ids`; a second file says where each picture is). Only questions
that pictures answer count. They are searched in all pictures of the split, or in those of their own record: `within`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrerank.errors import FormatError, InputError
from mmrerank.evaluation.loaders._loaded import (
    Loaded,
    below,
    file_name,
    files_in,
    id_of,
    json_of,
    lines_of,
    named,
    needed,
    options_from,
    unique,
    value_of,
    word,
)
from mmrerank.types import Query

OPTIONS: Mapping[str, Any] = {
    "queries": ...,  # file
    "kind": ...,  # "facts" (WebQA) or "contexts" (MultimodalQA)
    "part": "",  # of the files, where the card calls the split otherwise
    "pictures": ...,  # folder
    "picture": "{}",  # id of a picture -> its file name; or
    "places": "",  # file with `id` and `path` of each picture
    "within": "corpus",  # or "question"
    "group": "",  # field
}


@dataclass(frozen=True, kw_only=True)
class _Question:
    """A question with official ids of the pictures that answer it, and of all that come with it."""

    query_id: str
    text: str
    right: tuple[str, ...]
    pictures: tuple[str, ...]
    group: str = ""


def load(data: Path, split: str, options: Mapping[str, Any]) -> Loaded:
    """The questions of one split that pictures answer.

    Raises:
        InputError: a file is not there, or the card's options do not fit.
        FormatError: a record lacks a field, an id comes twice, or a picture is in no list.
    """
    options = options_from(options, OPTIONS, "facts")
    if options["kind"] not in _READ or options["within"] not in ("corpus", "question"):
        raise InputError("the layout facts takes kind = 'facts' or 'contexts', and within = 'corpus' or 'question'")
    part = options["part"] or split
    path, folder = needed(data, named(options["queries"], part=part)), below(data, options["pictures"])
    questions = [question for question in _READ[options["kind"]](path, part, options["group"]) if question.right]
    unique([question.query_id for question in questions], "query", path)
    places = _places(needed(data, options["places"])) if options["places"] else None
    items = {name: _item(name, places, options, path) for question in questions for name in question.pictures}
    galleries = {q.query_id: tuple(items[name] for name in q.pictures) for q in questions} if options["within"] == "question" else {}
    return Loaded(
        queries=tuple(Query(query_id=question.query_id, text=question.text) for question in questions),
        qrels={question.query_id: {items[name]: 1 for name in question.right} for question in questions},
        items=tuple(dict.fromkeys(items.values())),
        sources=files_in(folder, list(dict.fromkeys(items.values()))),
        galleries=galleries,
        groups={question.query_id: question.group for question in questions if question.group},
        names={item: name for name, item in items.items() if item != name},
    )


def _item(name: str, places: Mapping[str, str] | None, options: Mapping[str, Any], path: Path) -> str:
    if places is None:
        return file_name(options["picture"], name, path)
    if name not in places:
        raise FormatError(f"the picture {name!r} is not in {options['places']}", path=path)
    return places[name]


def _places(path: Path) -> dict[str, str]:
    rows = lines_of(path)
    return {id_of(row, "id", "picture", path, n): value_of(row, "path", str, path, n) for n, row in rows}


def _facts(path: Path, split: str, group: str) -> Iterator[_Question]:
    for query_id, row in json_of(path, dict).items():
        if not isinstance(row, dict):
            raise FormatError(f"the question {query_id!r} is a {type(row).__name__}; expected an object", path=path)
        if value_of(row, "split", str, path) != split:
            continue
        right, wrong = (_ids(row, name, "image_id", path) for name in ("img_posFacts", "img_negFacts"))
        text = value_of(row, "Q", str, path).strip().strip('"')  # questions stand in quotation marks of their own
        pictures = tuple(dict.fromkeys((*right, *wrong)))
        yield _Question(query_id=query_id, text=text, right=right, pictures=pictures, group=_group(row, group, path))


def _contexts(path: Path, split: str, group: str) -> Iterator[_Question]:
    for number, row in lines_of(path):
        contexts = value_of(row, "supporting_context", list, path, number)
        pictures = [entry for entry in contexts if isinstance(entry, dict) and entry.get("doc_part") == "image"]
        right = _ids({"contexts": pictures}, "contexts", "doc_id", path) if len(pictures) == len(contexts) else ()
        others = value_of(row, "metadata.image_doc_ids", list, path, number)
        yield _Question(
            query_id=id_of(row, "qid", "query", path, number),
            text=value_of(row, "question", str, path, number),
            right=right,
            pictures=tuple(dict.fromkeys((*right, *(word(name, "picture", path) for name in others)))),
            group=_group(row, group, path),
        )


def _ids(row: Mapping[str, Any], name: str, field: str, path: Path) -> tuple[str, ...]:
    entries = value_of(row, name, list, path)
    if not all(isinstance(entry, dict) for entry in entries):
        raise FormatError(f"{name!r} holds something else than objects", path=path)
    return tuple(id_of(entry, field, "picture", path) for entry in entries)


def _group(row: Mapping[str, Any], group: str, path: Path) -> str:
    return word(value_of(row, group, str, path), "group", path) if group else ""


_READ = {"facts": _facts, "contexts": _contexts}
