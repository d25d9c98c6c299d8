"""What a framework hands in, as candidates: unique ids, texts, and pictures wherever the framework keeps them.

A picture is looked for under `image`, `image_path` and `image_url`, then in the file that `file_path`, `path` or `source` names
(a picture, or with `page_number` a page of a PDF). It may be a path, `report.pdf#page=3`, a data URI, bytes, a PIL image or an
open handle. Nothing is fetched from a network. A picture that cannot be had is an error only when a reranker looks at it,
so that the rerankers can say so and go on with the others.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrerank import pictures
from mmrerank.errors import FormatError, InputError
from mmrerank.json_io import picture_from
from mmrerank.readers import PICTURE_SUFFIXES
from mmrerank.types import Candidate, ImageHandle, Item

if TYPE_CHECKING:
    from PIL import Image

PICTURES = ("image", "image_path", "image_url")
FILES = ("file_path", "path", "source")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignDocument:
    """One document of a framework, as far as a reranker sees it."""

    name: str | None  # its id there, which may be missing or that of others too
    text: str | None
    picture: ImageHandle | None
    score: float | None


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A picture that is named but cannot be had, with why."""

    name: str
    why: str

    def open(self) -> Image.Image:
        """FormatError, always."""
        raise FormatError(self.why, path=self.name)


def candidates_of(documents: Sequence[ForeignDocument]) -> list[Candidate]:
    """Candidates in the order given, each with an id of its own.

    An id that nobody else has stays as it is, so that descriptors and messages find it; others get their place.
    """
    items = zip(unique_ids([one.name for one in documents]), documents, strict=True)
    return [Candidate(item=Item(item_id=name, text=one.text or None, image=one.picture), score=one.score) for name, one in items]


def unique_ids(names: Sequence[str | None]) -> list[str]:
    """
    >>> unique_ids(["a", "b", None, "b"])
    ['a', 'b (place 2)', 'document (place 3)', 'b (place 4)']
    """
    count = Counter(names)
    others = {name for name in names if name}
    ids = []
    for place, name in enumerate(names, 1):
        if not name or count[name] > 1:
            name = f"{name or 'document'} (place {place})"
            while name in others:
                name += "'"
            others.add(name)
        ids.append(name)
    return ids


def picture_in(fields: Mapping[str, Any], folder: Path | None) -> ImageHandle | None:
    """The picture that the metadata of a document names, or None.

    Args:
        folder: where paths are looked up, and which they may not leave; None takes them as they are.
    """
    for key in PICTURES:
        value = fields.get(key)
        if value is not None and not (isinstance(value, str) and not value):
            return picture(value, folder)
    for key in FILES:
        if isinstance(fields.get(key), str | Path) and (place := _file(str(fields[key]), fields.get("page_number"))):
            return picture(place, folder)
    return None


def picture(value: Any, folder: Path | None) -> ImageHandle:
    """The picture that a path, a data URI, bytes, a PIL image or a handle stands for; `Unavailable` for anything else."""
    if isinstance(value, Mapping) and "url" in value:  # {"url": "data:..."}, as in chat messages
        value = value["url"]
    if isinstance(value, str | Path):
        return _picture_at(str(value), folder)
    try:
        return pictures.picture(value)
    except InputError as error:
        return Unavailable("picture", error.message)


def number(value: Any) -> float | None:
    """The score that this is, or None."""
    if isinstance(value, bool) or not isinstance(value, Real) or math.isnan(value):
        return None
    return float(value)


def _picture_at(reference: str, folder: Path | None) -> ImageHandle:
    if "://" in reference and not reference.startswith("data:"):
        return Unavailable(reference[:100], "lies on a network, and nothing is fetched from there; give a path, a data URI or bytes")
    try:
        if folder is not None and not reference.startswith("data:"):
            place = (folder / reference.partition("#page=")[0]).resolve()
            if not place.is_relative_to(folder.resolve()):
                return Unavailable(reference[:100], f"lies outside {folder}, where the pictures are to be")
        return picture_from(reference, folder or Path())
    except (ValueError, OSError, FormatError) as error:
        return Unavailable(reference[:100], str(error))


def _file(path: str, page: Any) -> str | None:
    """What to open of a file that a document was made from: a picture as it is, a page of a PDF, nothing of others."""
    if "://" in path:
        return None
    suffix = Path(path).suffix.lower()
    if suffix == ".pdf" and isinstance(page, int) and page >= 1:
        return f"{path}#page={page}"
    return path if suffix in PICTURE_SUFFIXES else None
