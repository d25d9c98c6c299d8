"""Captions -> the picture that each describes: the JSON of Karpathy's splits of Flickr8k, Flickr30k and MS-COCO.

`{"images": [{"filename", "split", "sentences": [{"raw", "sentid"}]}]}`. Every caption is a query, its `sentid` the id. Of MS-COCO five
captions a picture count, also where a picture has six or seven; its 1K setting is the mean over five folds of the 5K pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmrerank.errors import FormatError, InputError
from mmrerank.evaluation.loaders._loaded import Loaded, below, files_in, id_of, json_of, needed, options_from, unique, value_of
from mmrerank.types import Query

OPTIONS: Mapping[str, Any] = {
    "captions": ...,  # the JSON file
    "pictures": ...,  # folder
    "part": "",  # value of `split` in the file; empty: as the split of the card is called
    "per_picture": 5,
    "fold": 0,  # from 1; 0: all pictures
    "folds": 5,
}


def load(data: Path, split: str, options: Mapping[str, Any]) -> Loaded:
    """Captions and pictures of one split, or of one fold of it.

    Raises:
        InputError: a file is not there, or the card's options do not fit.
        FormatError: a picture lacks a field or has too few captions, or an id comes twice.
    """
    options = options_from(options, OPTIONS, "captions")
    if not 0 <= options["fold"] <= options["folds"]:
        raise InputError(f"there is no fold {options['fold']} of {options['folds']}")
    path, part = needed(data, options["captions"]), options["part"] or split
    images = [image for image in value_of(json_of(path, dict), "images", list, path) if _text(image, "split", path) == part]
    if options["fold"]:
        size = len(images) // options["folds"]
        images = images[size * (options["fold"] - 1) : size * options["fold"]]
    items = [_text(image, "filename", path) for image in images]
    unique(items, "picture", path)
    queries, qrels = [], {}
    for image, item in zip(images, items, strict=True):
        sentences = value_of(image, "sentences", list, path)[: options["per_picture"]]
        if len(sentences) < options["per_picture"]:
            raise FormatError(f"the picture {item!r} has {len(sentences)} captions; expected {options['per_picture']}", path=path)
        for sentence in sentences:
            query_id = id_of(_record(sentence, path), "sentid", "caption", path)
            queries.append(Query(query_id=query_id, text=value_of(sentence, "raw", str, path)))
            qrels[query_id] = {item: 1}
    unique([query.query_id for query in queries], "caption", path)
    folder = below(data, options["pictures"])
    return Loaded(queries=tuple(queries), qrels=qrels, items=tuple(items), sources=files_in(folder, items))


def _record(value: Any, path: Path) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise FormatError(f"expected an object, got {type(value).__name__}", path=path)
    return value


def _text(image: Any, name: str, path: Path) -> str:
    text: str = value_of(_record(image, path), name, str, path)
    return text
