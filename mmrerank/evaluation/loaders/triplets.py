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
    files_in,
    json_of,
    judged,
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
class _Read:
    """What was read so far, over the groups."""

    queries: list[Query] = field(default_factory=list)
    qrels: dict[str, dict[str, int]] = field(default_factory=dict)
    removed: dict[str, frozenset[str]] = field(default_factory=dict)
    subsets: dict[str, frozenset[str]] = field(default_factory=dict)
    galleries: dict[str, tuple[str, ...]] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    items: dict[str, str] = field(default_factory=dict)  # item id -> official id of the listed pictures, in the order of the files
    named: dict[str, str] = field(default_factory=dict)  # the same of those that queries name


def load(data: Path, split: str, options: Mapping[str, Any]) -> Loaded:
    """Queries and judgements of one split.

    Raises:
        InputError: a file is not there, or the card's options do not fit.
        FormatError: a record lacks a field, an id comes twice, or a query names a picture that the list lacks.
    """
    given = options_from(options, OPTIONS, "triplets")
    read, folder = _Read(), below(data, given["pictures"].format(split=split))
    for group in given["groups"] or [""]:
        path = needed(data, given["queries"].format(split=split, group=group))
        listed = _listed(data, given, folder, split=split, group=group)
        read.items |= listed
        for place, row in enumerate(rows_of(path)):
            _add(read, _Record(row, path, given), folder, f"{group}-{place}" if group else str(place), group, listed)
    unique([query.query_id for query in read.queries], "query", path)
    judged(read.queries, read.qrels, path)
    return Loaded(
        queries=tuple(read.queries),
        qrels=read.qrels,
        items=tuple(read.items),
        sources=files_in(folder, list(read.items)),
        galleries=read.galleries,
        removed=read.removed,
        subsets=read.subsets,
        groups=read.groups,
        names={item: name for item, name in {**read.named, **read.items}.items() if item != name},
    )


@dataclass(frozen=True)
class _Record:
    """One record with the card's names of its fields."""

    row: Mapping[str, Any]
    path: Path
    given: Mapping[str, Any]

    def has(self, what: str) -> bool:
        return bool(self.given[what]) and self.given[what].split(".")[0] in self.row

    def value(self, what: str, kind: Any) -> Any:
        return value_of(self.row, self.given[what], kind, self.path)

    def pictures(self, what: str, kind: Any = (str, int, list)) -> dict[str, str]:
        """Item id -> official id of the pictures in a field."""
        ids = words(self.value(what, kind), "picture", self.path)
        return {named(self.given["picture"], name, self.path): name for name in ids}

    def text(self) -> str | None:
        if not self.given["text"]:
            return None
        found = self.value("text", (str, list))
        pieces = [str(piece).strip() for piece in found] if isinstance(found, list) else [found.strip()]
        return " and ".join(piece for piece in pieces if piece)


def _add(read: _Read, record: _Record, folder: Path, place: str, group: str, listed: Mapping[str, str]) -> None:
    query_id = word(record.value("query_id", (str, int)), "query", record.path) if record.given["query_id"] else place
    reference = record.pictures("reference", (str, int))
    item = next(iter(reference))
    query = Query(query_id=query_id, text=record.text(), images=(picture(below(folder, item)),))
    right = record.pictures("relevant") if record.has("relevant") else {}
    junk = record.pictures("junk") if record.has("junk") else {}
    target = record.pictures("target") if record.has("target") else {}
    if record.has("relevant") and not right:
        raise FormatError(f"query {query_id!r} names no right picture", path=record.path)
    known = {**reference, **right, **target, **junk}
    if listed and (unlisted := next((name for name in known if name not in listed), None)):
        raise FormatError(f"query {query_id!r} names the picture {unlisted!r}, which is in no list of them", path=record.path)
    read.queries.append(query)
    read.named |= known
    if record.has("relevant"):
        read.qrels[query_id] = {**dict.fromkeys(junk, -1), **dict.fromkeys(right, 1), **dict.fromkeys(target, 2)}
    if record.given["remove_reference"]:
        read.removed[query_id] = frozenset(reference)
    if record.has("subset"):
        read.subsets[query_id] = frozenset(record.pictures("subset"))
    if group:
        read.groups[query_id] = group
        if listed:
            read.galleries[query_id] = tuple(listed)


def _listed(data: Path, given: Mapping[str, Any], folder: Path, **names: str) -> dict[str, str]:
    """Item id -> official id of all pictures; empty where there is no list, which is an error once there are pictures."""
    if not given["items"]:
        return {}
    try:
        path = needed(data, given["items"].format(**names))
    except InputError:
        if folder.is_dir():
            raise
        return {}
    ids = _ids(path, given["item_id"])
    unique(ids, "picture", path)
    return {named(given["picture"], name, path): name for name in ids}


def _ids(path: Path, name: str) -> Sequence[str]:
    if not name:
        content = json_of(path, dict if text_of(path).lstrip()[:1] == "{" else list)
        return [word(entry, "picture", path) for entry in content]
    rows = rows_of(path) if ".jsonl" in path.suffixes else value_of(json_of(path, dict), "images", list, path)
    return [word(value_of(row, name, (str, int), path), "picture", path) for row in rows]
