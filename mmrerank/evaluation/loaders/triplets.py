"""A reference picture and what shall change -> the pictures that answer: JSON lists or JSON lines, a query a record.

The layout of CIRR, CIRCO, FashionIQ and their kin. The card names the fields; a dot goes one object deeper. File names may hold
`{split}` and `{group}`: with `groups`, each group has its files, its own gallery and its own line in the figures.
A record without the field of the right pictures is of a split that a server judges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    judged,
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
from mmrerank.types import Query

OPTIONS: Mapping[str, Any] = {
    "queries": ...,  # file of records
    "query_id": "",  # field; empty: the place in the file, from 0
    "reference": ...,  # field with the id of the reference picture
    "text": "",  # field of a text or a list of texts, which are joined by " and "; empty: the picture alone is the query
    "relevant": ...,  # field with the id, or the ids, of the right pictures
    "target": "",  # field with the right picture, or pictures, that the query was written for: of grade 2, the others of grade 1
    "junk": "",  # field with ids that count neither as right nor as wrong
    "subset": "",  # field with the small gallery of R_subset@k
    "remove_reference": False,  # whether the reference is taken out of a ranking before it is measured
    "groups": [],
    "pictures": ...,  # folder
    "picture": "{}",  # id of a picture -> its file name
    "items": "",  # file that lists all pictures: ids, an object with ids as keys, or records with `item_id`
    "item_id": "",  # field of those records; COCO's lie under `images`
}


@dataclass
class _Contents:
    """What was read so far, over the groups."""

    queries: list[Query] = field(default_factory=list)
    qrels: dict[str, dict[str, int]] = field(default_factory=dict)
    removed: dict[str, frozenset[str]] = field(default_factory=dict)
    subsets: dict[str, frozenset[str]] = field(default_factory=dict)
    galleries: dict[str, tuple[str, ...]] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)
    items: dict[str, str] = field(default_factory=dict)  # item id -> official id of the listed pictures, in the order of the files
    mentioned: dict[str, str] = field(default_factory=dict)  # the same of those that queries name


def load(data: Path, split: str, options: Mapping[str, Any]) -> Loaded:
    """Queries and judgements of one split.

    Raises:
        InputError: a file is not there, or the card's options do not fit.
        FormatError: a record lacks a field, an id comes twice, or a query names a picture that the list lacks.
    """
    options = options_from(options, OPTIONS, "triplets")
    contents, folder = _Contents(), below(data, named(options["pictures"], split=split))
    for group in options["groups"] or [""]:
        path = needed(data, named(options["queries"], split=split, group=group))
        gallery = _all_pictures(data, options, folder, split=split, group=group)
        contents.items |= gallery
        for place, row in enumerate(rows_of(path)):
            _add(contents, _Record(row, path, options), folder, f"{group}-{place}" if group else str(place), group, gallery)
    unique([query.query_id for query in contents.queries], "query", path)
    judged(contents.queries, contents.qrels, path)
    return Loaded(
        queries=tuple(contents.queries),
        qrels=contents.qrels,
        items=tuple(contents.items),
        sources=files_in(folder, list(contents.items)),
        galleries=contents.galleries,
        removed=contents.removed,
        subsets=contents.subsets,
        groups=contents.groups,
        references=contents.references,
        names={item: name for item, name in {**contents.mentioned, **contents.items}.items() if item != name},
    )


@dataclass(frozen=True)
class _Record:
    """One record with the card's names of its fields."""

    row: Mapping[str, Any]
    path: Path
    options: Mapping[str, Any]

    def has(self, what: str) -> bool:
        return bool(self.options[what]) and self.options[what].split(".")[0] in self.row

    def value(self, what: str, kind: Any) -> Any:
        return value_of(self.row, self.options[what], kind, self.path)

    def pictures(self, what: str, kind: Any = (str, int, list)) -> dict[str, str]:
        """Item id -> official id of the pictures in a field."""
        ids = words(self.value(what, kind), "picture", self.path)
        return {file_name(self.options["picture"], name, self.path): name for name in ids}

    def text(self) -> str | None:
        if not self.options["text"]:
            return None
        value = self.value("text", (str, list))
        pieces = [str(piece).strip() for piece in value] if isinstance(value, list) else [value.strip()]
        return " and ".join(piece for piece in pieces if piece)


def _add(contents: _Contents, record: _Record, folder: Path, place: str, group: str, gallery: Mapping[str, str]) -> None:
    query_id = word(record.value("query_id", (str, int)), "query", record.path) if record.options["query_id"] else place
    reference = record.pictures("reference", (str, int))
    item = next(iter(reference))
    query = Query(query_id=query_id, text=record.text(), images=(picture(below(folder, item)),))
    right = record.pictures("relevant") if record.has("relevant") else {}
    junk = record.pictures("junk") if record.has("junk") else {}
    target = record.pictures("target") if record.has("target") else {}
    if record.has("relevant") and not right:
        raise FormatError(f"query {query_id!r} names no right picture", path=record.path)
    known = {**reference, **right, **target, **junk}
    if gallery and (unlisted := next((name for name in known if name not in gallery), None)):
        raise FormatError(f"query {query_id!r} names the picture {unlisted!r}, which is in no list of them", path=record.path)
    contents.queries.append(query)
    contents.references[query_id] = item
    contents.mentioned |= known
    if record.has("relevant"):
        contents.qrels[query_id] = {**dict.fromkeys(junk, -1), **dict.fromkeys(right, 1), **dict.fromkeys(target, 2)}
    if record.options["remove_reference"]:
        contents.removed[query_id] = frozenset(reference)
    if record.has("subset"):
        contents.subsets[query_id] = frozenset(record.pictures("subset"))
    if group:
        contents.groups[query_id] = group
        if gallery:
            contents.galleries[query_id] = tuple(gallery)


def _all_pictures(data: Path, options: Mapping[str, Any], folder: Path, **names: str) -> dict[str, str]:
    """Item id -> official id of all pictures; empty where there is no list, which is an error once there are pictures."""
    if not options["items"]:
        return {}
    try:
        path = needed(data, named(options["items"], **names))
    except InputError:
        if folder.is_dir():
            raise
        return {}
    ids = _ids(path, options["item_id"])
    unique(ids, "picture", path)
    return {file_name(options["picture"], name, path): name for name in ids}


def _ids(path: Path, name: str) -> Sequence[str]:
    if not name:
        content = json_of(path, dict if text_of(path).lstrip()[:1] == "{" else list)
        return [word(entry, "picture", path) for entry in content]
    rows = rows_of(path) if kind_of(path) == ".jsonl" else value_of(json_of(path, dict), "images", list, path)
    return [id_of(row, name, "picture", path) for row in rows]
