"""A reference picture, a condition and a small gallery with the one right picture in it: a JSON list, a query a record.

The layout of GeneCIS. The target stands beside its gallery, which holds the others; the query is searched in both. Pictures are
objects: of the object tasks a COCO number, of the attribute tasks a Visual Genome number with the box of what is meant. A box makes
an item of its own, a cut-out that no file holds, so that the attribute tasks can be measured on runs but not searched.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmrerank.errors import FormatError
from mmrerank.evaluation.loaders._loaded import (
    Loaded,
    below,
    file_name,
    files_in,
    id_of,
    named,
    needed,
    options_from,
    picture,
    rows_of,
    value_of,
)
from mmrerank.types import Query

OPTIONS: Mapping[str, Any] = {
    "queries": ...,  # file of records
    "picture_id": ...,  # field of a picture
    "box": "",  # field of a picture with left, top, width, height in pixels
    "pictures": ...,  # folder
    "picture": "{}",  # id of a picture -> its file name
}


def load(data: Path, split: str, options: Mapping[str, Any]) -> Loaded:
    """Queries with their galleries; the place in the file, from 0, is the query's id.

    Raises:
        InputError: a file is not there, or the card's options do not fit.
        FormatError: a record or a picture lacks a field.
    """
    options = options_from(options, OPTIONS, "galleries")
    path, folder = needed(data, named(options["queries"], split=split)), below(data, options["pictures"])
    queries: list[Query] = []
    qrels: dict[str, dict[str, int]] = {}
    galleries: dict[str, tuple[str, ...]] = {}
    items: dict[str, str] = {}  # item id -> official id
    for place, row in enumerate(rows_of(path)):
        target, reference = (_item(value_of(row, what, dict, path), options, path) for what in ("target", "reference"))
        others = [_item(entry, options, path) for entry in value_of(row, "gallery", list, path)]
        items |= {target[0]: target[1], **dict(others)}
        images = () if options["box"] else (picture(below(folder, reference[0])),)
        queries.append(Query(query_id=str(place), text=value_of(row, "condition", str, path), images=images))
        qrels[str(place)] = {target[0]: 1}
        galleries[str(place)] = tuple(dict.fromkeys([target[0], *(item for item, _ in others)]))
    return Loaded(
        queries=tuple(queries),
        qrels=qrels,
        items=tuple(items),
        sources=() if options["box"] else files_in(folder, list(items)),
        galleries=galleries,
        names={item: name for item, name in items.items() if item != name},
    )


def _item(entry: Any, options: Mapping[str, Any], path: Path) -> tuple[str, str]:
    """Item id and official id of a picture or cut-out."""
    if not isinstance(entry, dict):
        raise FormatError(f"a picture is a {type(entry).__name__}; expected an object with {options['picture_id']!r}", path=path)
    name = id_of(entry, options["picture_id"], "picture", path)
    if not options["box"]:
        return file_name(options["picture"], name, path), name
    box = value_of(entry, options["box"], list, path)
    if len(box) != 4 or not all(isinstance(side, (int, float)) for side in box):
        raise FormatError(f"a box is left, top, width and height; got {box!r:.60}", path=path)
    cut = "-".join([name, *(f"{side:g}" for side in box)])
    return file_name(options["picture"], cut, path), cut
