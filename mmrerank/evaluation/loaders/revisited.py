"""Revisited Oxford and Paris: queries cut out of pictures, with easy, hard and junk pictures of each.

The authors ship `gnd_NAME.pkl`: `imlist` and `qimlist` (names without suffix), and for each query `gnd` with places in `imlist` under
`easy`, `hard` and `junk`, and the box `bbx` (left, top, right, bottom in pixels) that is asked for. The pickle is read without running
it (`_plain_pickle.py`). Grades: easy 2, hard 1, junk -1; the pictures of the queries are not searched.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL.Image import Image

from mmrerank.errors import FormatError, InputError
from mmrerank.evaluation.loaders._loaded import Loaded, below, files_in, needed, options_from, picture, unique
from mmrerank.evaluation.loaders._plain_pickle import plain_pickle
from mmrerank.measures.own import EASY, HARD
from mmrerank.types import ImageHandle, Query

OPTIONS: Mapping[str, Any] = {
    "truth": ...,  # the pickle
    "pictures": ...,  # folder
    "distractors": "",  # folder of further pictures that answer nothing
    "distractor_count": 0,  # how many must be there
}
_GRADES = {"junk": -1, "hard": HARD, "easy": EASY}


@dataclass(frozen=True, slots=True, kw_only=True)
class CutOut:
    """A box of a picture."""

    whole: ImageHandle
    box: tuple[int, int, int, int]  # left, top, right, bottom in pixels

    def open(self) -> Image:
        return self.whole.open().crop(self.box)


def load(data: Path, split: str, options: Mapping[str, Any]) -> Loaded:
    """The queries, and the grades of what is not wrong for each.

    Raises:
        InputError: a file is not there, or the card's options do not fit.
        FormatError: the pickle is not of the layout.
    """
    options = options_from(options, OPTIONS, "revisited")
    path, folder = needed(data, options["truth"]), below(data, options["pictures"])
    content = plain_pickle(path)
    names, query_names, truth = (_list(content, key, path) for key in ("imlist", "qimlist", "gnd"))
    if not all(isinstance(name, str) and name for name in (*names, *query_names)) or len(query_names) != len(truth):
        raise FormatError("expected names of pictures, and as many judgements as queries", path=path)
    unique(names, "picture", path)
    unique(query_names, "query", path)
    items = [f"{name}.jpg" for name in names]
    return Loaded(
        queries=tuple(_query(name, entry, folder, path) for name, entry in zip(query_names, truth, strict=True)),
        qrels={name: _judged(entry, items, path) for name, entry in zip(query_names, truth, strict=True)},
        items=tuple(items),
        sources=(*files_in(folder, items), *_distractors(data, options)),
        names=dict(zip(items, names, strict=True)),
    )


def _list(content: Any, key: str, path: Path) -> list[Any]:
    if not isinstance(content, dict) or not isinstance(content.get(key), list):
        raise FormatError(f"lacks the list {key!r}", path=path)
    entries: list[Any] = content[key]
    return entries


def _query(name: str, entry: Any, folder: Path, path: Path) -> Query:
    box = [round(side) for side in _list(entry, "bbx", path) if isinstance(side, (int, float))]
    if len(box) != 4 or not (box[0] < box[2] and box[1] < box[3]):
        raise FormatError(f"the box of {name!r} is {box}; expected left, top, right, bottom", path=path)
    whole = picture(below(folder, f"{name}.jpg"))
    return Query(query_id=name, images=(CutOut(whole=whole, box=(box[0], box[1], box[2], box[3])),))


def _judged(entry: Any, items: list[str], path: Path) -> dict[str, int]:
    grades: dict[str, int] = {}
    for kind, grade in _GRADES.items():
        places = _list(entry, kind, path)
        if not all(isinstance(place, int) and 0 <= place < len(items) for place in places):
            raise FormatError(f"{kind!r} holds a place that is none of the {len(items)} pictures", path=path)
        grades |= {items[place]: grade for place in places}
    return grades


def _distractors(data: Path, options: Mapping[str, Any]) -> tuple[Path, ...]:
    if not options["distractors"]:
        return ()
    folder = needed(data, options["distractors"])
    if options["distractor_count"] and (count := sum(len(files) for _, _, files in os.walk(folder))) != options["distractor_count"]:
        raise InputError(f"{folder} holds {count} pictures; expected {options['distractor_count']}.")
    return (folder,)
