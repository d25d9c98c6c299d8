"""Queries and candidates as JSON.

    query       {"query_id", "text", "images": [...], "exclude_text": [...], "exclude_images": [...], "instruction"}
    candidate   {"item_id", "text", "image", "score", "metadata"}      one a line, best first

A picture is a path beside the file that names it, a `file://` address, a page of a PDF (`report.pdf#page=3`) or a data URI.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote, urlsplit

from mmrerank.errors import FormatError, InputError
from mmrerank.parts import make
from mmrerank.text_files import json_lines, read_json
from mmrerank.texts import is_blank
from mmrerank.types import Candidate, ImageHandle, Item, Query

if TYPE_CHECKING:
    from mmrerank.readers import BytesPicture, Limits

QUERY_FIELDS = {"query_id", "text", "images", "exclude_text", "exclude_images", "instruction"}
_USUAL_ALPHABET = str.maketrans("-_", "+/")
CANDIDATE_FIELDS = {"item_id", "text", "image", "score", "document_id", "page_number", "metadata"}
MOST = sys.float_info.max  # a whole number above it has no float
LAST_PAGE = 2**31
LONGEST = 60  # letters of a wrong value in an error


def read_query(path: str | Path) -> Query:
    """The query in a JSON file.

    Raises:
        FormatError: it is no JSON object of that form.
    """
    file = Path(path)
    return query_from(read_json(file), folder=file.parent, path=file)


def read_candidates(path: str | Path) -> list[Candidate]:
    """The candidates in a JSONL file, in its order.

    Raises:
        FormatError: a line is no candidate, or an id stands twice; names the line.
    """
    file = Path(path)
    candidates: dict[str, Candidate] = {}
    for number, record in json_lines(file):
        candidate = candidate_from(record, folder=file.parent, path=file, line=number)
        if candidate.item.item_id in candidates:
            raise FormatError(f"{candidate.item.item_id!r} stands twice", path=file, line=number)
        candidates[candidate.item.item_id] = candidate
    return list(candidates.values())


def query_from(record: Any, *, folder: Path | None = None, path: str | Path = "query") -> Query:
    """The query a JSON object describes; paths of pictures are looked up in `folder`, and refused when it is None.

    Raises:
        FormatError: it is no such object; names `path`.
    """
    fields = _fields(record, QUERY_FIELDS, path, None)
    try:
        return Query(
            query_id=str(fields.get("query_id") or "query"),
            text=fields.get("text"),
            images=tuple(picture_from(picture, folder) for picture in fields.get("images") or ()),
            exclude_text=tuple(fields.get("exclude_text") or ()),
            exclude_images=tuple(picture_from(picture, folder) for picture in fields.get("exclude_images") or ()),
            instruction=fields.get("instruction"),
        )
    except InputError as error:
        raise FormatError(error.message, path=path, hint=error.hint) from error


def candidate_from(record: Any, *, folder: Path | None = None, path: str | Path = "candidate", line: int | None = None) -> Candidate:
    """The candidate a JSON object describes; pictures as for `query_from`.

    Raises:
        FormatError: it is no such object; names `path` and line.
    """
    fields = _fields(record, CANDIDATE_FIELDS, path, line)
    image = fields.get("image")
    try:
        item = Item(
            item_id=fields.get("item_id") or "",
            document_id=fields.get("document_id"),
            page_number=_page(fields.get("page_number")),
            image=picture_from(image, folder) if image is not None else None,
            text=fields.get("text"),
            metadata={} if fields.get("metadata") is None else fields["metadata"],
        )
        return Candidate(item=item, score=_score(fields.get("score")))
    except InputError as error:
        raise FormatError(error.message, path=path, line=line, hint=error.hint) from error


def _score(value: Any) -> float | None:
    """A score as it is stored.

    Raises:
        InputError: it is no finite number.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"score is a number or null; got {shortened(value)}")
    if not -MOST <= value <= MOST:  # infinite, no number, or beyond what a number can be
        raise InputError(f"score is a finite number; got {shortened(value)}")
    return float(value)


def _page(value: Any) -> int | None:
    """The number of a page, from 1; 3.0 is 3, since tables with gaps hold whole numbers so.

    Raises:
        InputError: it is no such number.
    """
    whole = isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value < LAST_PAGE and value == int(value)
    if value is not None and not whole:
        raise InputError(f"page_number is a whole number from 1, or null; got {shortened(value)}")
    return None if value is None else int(value)


def shortened(value: Any) -> str:
    """A value of a JSON file as an error shows it; of a number of hundreds of digits the first are enough.

    >>> shortened("3"), shortened(10**30)
    ("'3'", '1000000000000000000000000000000')
    """
    text = repr(value) if isinstance(value, str | int | float) else type(value).__name__
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def picture_from(source: Any, folder: Path | None) -> ImageHandle:
    """The picture that a path, a `file://` address or a data URI stands for; it is opened when asked for.

    Args:
        folder: where paths are looked up; None where none is allowed.

    Raises:
        InputError: none of these, or a path where none is allowed.
    """
    if not isinstance(source, str):
        raise InputError(f"a picture is a path or a data URI; got {type(source).__name__}")
    if is_data_uri(source):
        return picture_in(source)
    if folder is None:
        raise InputError(f"a picture is given as a data URI here; got {source[:60]!r}")
    if is_blank(source):
        raise InputError("a picture is a path or a data URI; got a blank")
    place, mark, page = local_path(source).partition("#page=")
    is_picture = not mark or Path(place).suffix.lower() in (".tif", ".tiff")
    reader = make("images(mislabelled='accept')" if is_picture else "pdf", station="readers")
    handle: ImageHandle = reader.handle(folder / place, f"#page={page}" if mark else "")
    return handle


def is_data_uri(source: str) -> bool:
    """Whether a text holds the thing itself."""
    return source.lstrip()[:5].lower() == "data:"


def local_path(source: str) -> str:
    """The path that a `file://` address stands for, with its `#page=N`; a path as it is.

    Raises:
        InputError: it is an address on a network, from where nothing is fetched.

    >>> local_path("file:///tmp/a%20b.pdf#page=3"), local_path("a%20b.png")
    ('/tmp/a b.pdf#page=3', 'a%20b.png')
    """
    is_file = source[:5].lower() == "file:" and source[5:6] == "/"
    if not is_file and "://" not in source:
        return source
    address = urlsplit(source)
    if not is_file or address.netloc.lower() not in ("", "localhost"):
        hint = "Give a path, a data URI or bytes."
        raise InputError(f"{source[:100]} lies on a network, and nothing is fetched from there", hint=hint)
    page = address.fragment.startswith("page=")
    rest = ("?" + address.query if address.query else "") + ("#" + address.fragment if address.fragment and not page else "")
    return unquote(address.path + rest) + (f"#{address.fragment}" if page else "")


def picture_in(data_uri: str, limits: Limits | None = None) -> BytesPicture:
    """The picture that a data URI holds, to be opened under `limits`.

    Raises:
        InputError: it is no base64 data URI.
    """
    from mmrerank.readers import LIMITS, BytesPicture

    head, _, body = data_uri.strip().partition(",")
    if not is_data_uri(head) or "base64" not in (word.strip().lower() for word in head.split(";")):
        raise InputError(f"a data URI of a picture is base64: data:image/png;base64,...; got {head[:40]!r}")
    try:
        data = from_base64(unquote(body))
    except InputError as error:
        raise InputError(f"the data URI is no base64: {error.message}") from error
    return BytesPicture(data=data, name="data URI", limits=limits or LIMITS)


def from_base64(text: str) -> bytes:
    """The bytes that base64 stands for: in lines or in one, with the alphabet of addresses or the usual one, padded or not.

    Raises:
        InputError: other characters, or a length that no base64 has.

    >>> from_base64("bW1y\\nZXJhbms")
    b'mmrerank'
    """
    letters = "".join(text.split()).rstrip("=").translate(_USUAL_ALPHABET)
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except ValueError as error:
        raise InputError(f"this is no base64: {error}") from error


def _fields(record: Any, names: set[str], path: str | Path, line: int | None) -> Mapping[str, Any]:
    if not isinstance(record, Mapping):
        _refuse(f"expected an object with {', '.join(sorted(names))}; got {type(record).__name__}", path, line)
    if unknown := set(record) - names:
        _refuse(f"unknown fields {', '.join(sorted(unknown))}; known are {', '.join(sorted(names))}", path, line)
    for name in ("query_id", "item_id", "text", "document_id", "instruction"):
        if not isinstance(record.get(name), str | None):
            _refuse(f"{name} is a text; got {type(record[name]).__name__}", path, line)
    for name in ("images", "exclude_text", "exclude_images"):
        if not isinstance(record.get(name), list | None):
            _refuse(f"{name} is a list; got {type(record[name]).__name__}", path, line)
    if strangers := [text for text in record.get("exclude_text") or () if not isinstance(text, str)]:
        _refuse(f"exclude_text is a list of texts; got {shortened(strangers[0])} in it", path, line)
    return record


def _refuse(message: str, path: str | Path, line: int | None) -> NoReturn:
    raise FormatError(message, path=path, line=line)
