"""Which column of a table is what: key, picture, text, and the rest as metadata.

What the libraries lack: those that read such tables (`datasets` for one) must be told the types beforehand, fetch what is a URL and follow
a path wherever it leads. Here columns go by their names, a path stays below the table's folder, and a row that is wrong costs that row.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from mmrerank.errors import FormatError
from mmrerank.readers._captions import text_of
from mmrerank.readers._kinds import PICTURE_SUFFIXES, picture_format
from mmrerank.readers._metadata import number_of, plain
from mmrerank.readers._rows import Row

PictureAt: TypeAlias = bytes | Path  # the picture itself, or the file it is in

KEYS = ("key", "id", "item_id")
SURE = ("image", "image_path")  # whatever stands there is meant as a picture
_BINARY = ("img", "picture", "photo", "images", "imgs", "pictures", "photos", "jpg", "jpeg", "png", "webp", "image_bytes", "img_bytes")
_FILES = ("file_name", "filename", "filepath", "file_path", "path", "file")
_PICTORIAL = re.compile(r"image|img|photo|picture|(?:^|_)pic|file|path|jpe?g|png|webp|b64|base64|^src$", re.IGNORECASE)
_SECONDARY = re.compile(r"mask|depth|segm|annot|thumb|url|label", re.IGNORECASE)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_URL_NAME = re.compile(r"(?:image|img|picture|photo|thumbnail|media)s?[ _-]?(?:url|link|uri|src)s?", re.IGNORECASE)
_QUOTE_LENGTH = 80
_REMOTE = "its picture lies at a URL, and nothing is fetched: load the pictures first, as img2dataset does"


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The columns of one table. Its methods raise ValueError with the reason, when a row does not have what it should."""

    folder: Path  # resolved; pictures lie below it
    key: str | None  # None: rows are numbered
    picture: str | None = None  # None: by convention and content, row by row
    text: tuple[str, ...] = ()  # empty: by convention
    typed: bool = True  # False: numbers come as text

    def may_hold_pictures(self, names: Sequence[str], nested: Sequence[str]) -> list[str]:
        """The columns of which a row's picture may come, the likeliest first.

        Args:
            nested: those that hold bytes, records or lists.
        """
        if self.picture:
            return [self.picture]
        ordered, decided = _ordered(tuple(names))
        return [name for name, rank in ordered if rank < _OTHER or (name in nested and not decided)]

    def key_of(self, row: Row) -> str:
        """The key of a row, non-empty readable text."""
        value = row.values.get(self.key) if self.key else row.number
        if not isinstance(value, (str, int)) or isinstance(value, bool):
            raise ValueError(f"its key in {self.key!r} is {'empty' if value is None else 'neither text nor a whole number'}")
        key = str(value)
        if not key.strip():
            raise ValueError(f"its key in {self.key!r} is empty")
        if any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in key):
            raise ValueError(f"its key in {self.key!r} is not readable text")
        return key

    def has_picture(self, values: Mapping[str, Any]) -> bool:
        """Whether a picture is given, broken or not."""
        return self._picture_value(values)[1] is not None

    def picture_of(self, values: Mapping[str, Any]) -> PictureAt | None:
        """The picture of a row, of several the first; None where it gives none."""
        name, value = self._picture_value(values)
        if value is None:
            return None
        if isinstance(value, list):
            value = next((entry for entry in value if _is_pictorial(entry)), next(filter(_has_value, value)))
        if isinstance(value, dict):  # as Hugging Face datasets writes it
            value = value["bytes"] if value.get("bytes") is not None else value["path"]
        if isinstance(value, bytes):
            return value
        if isinstance(value, str):
            return self._from_text(name, value.strip())
        raise ValueError(f"its {name!r} holds no picture but a {type(value).__name__}")

    def described(self, values: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """The text and the metadata of a row; `picture_note` says what of its pictures is not taken."""
        name, picture = self._picture_value(values)
        text, text_columns = text_of(values, self.text)
        roles = {self.key, name, *text_columns, *([] if self.picture else SURE)}
        rest = {key: value for key, value in values.items() if key not in roles and not _is_picture(value)}
        metadata = plain(rest)
        if not self.typed:
            metadata = {key: number_of(value) for key, value in metadata.items()}
        note = _further(picture) if picture is not None else elsewhere(values)
        return text, {**metadata, **({"picture_note": note} if note else {})}

    def _picture_value(self, values: Mapping[str, Any]) -> tuple[str, Any]:
        """The column and value of the row's picture; ("", None) where there is none."""
        if self.picture:
            value = values.get(self.picture)
            return (self.picture, value) if _has_value(value) else ("", None)
        ordered, decided = _ordered(tuple(values))
        for name, rank in ordered:
            value = values[name]
            if not _has_value(value) or (decided and rank >= _OTHER):
                continue
            if name in SURE or _may_be_picture(value, rank):
                return name, value
        return "", None

    def _from_text(self, name: str, text: str) -> PictureAt:
        if text[:5].lower() == "data:":
            head, _, body = text.partition(",")
            if not head.lower().endswith(";base64"):
                raise ValueError(f"its {name!r} is a data URI without base64")
            return _unpacked(name, body)
        if _URL.match(text):
            raise ValueError(f"its {name!r} is a URL, {text[:_QUOTE_LENGTH]!r}; nothing is fetched: load the pictures first and give paths")
        return _unpacked(name, text) if _is_base64_picture(text) else self._below(name, text)

    def _below(self, name: str, text: str) -> Path:
        try:
            path = (self.folder / text).resolve()
        except (OSError, RuntimeError, ValueError) as error:  # loops of links, a NUL
            raise ValueError(f"its {name!r} is no path: {text[:_QUOTE_LENGTH]!r}") from error
        if not path.is_relative_to(self.folder):
            raise ValueError(f"its {name!r} leads out of the table's folder: {text[:_QUOTE_LENGTH]!r}")
        return path


_BY_BINARY, _BY_FILE, _BY_NAME, _OTHER = 10, 40, 60, 100  # ranks of columns begin here


@lru_cache(maxsize=256)
def _ordered(names: tuple[str, ...]) -> tuple[tuple[tuple[str, int], ...], bool]:
    """(column, rank) by how likely its name makes it the picture, and whether one is named as a picture's without doubt."""
    ranks = sorted(((name, _rank(name)) for name in names), key=lambda entry: entry[1])
    return tuple(ranks), bool(ranks) and ranks[0][1] < _BY_FILE


def _rank(name: str) -> int:
    name = name.lower()
    for begin, known in ((0, SURE), (_BY_BINARY, _BINARY), (_BY_FILE, _FILES)):
        if name in known:
            return begin + known.index(name)
    if _SECONDARY.search(name):
        return _OTHER + 1
    return _BY_NAME if _PICTORIAL.search(name) else _OTHER


def _may_be_picture(value: Any, rank: int) -> bool:
    if isinstance(value, bytes):
        return rank < _BY_FILE or _is_picture(value)
    if isinstance(value, str):
        return rank < _OTHER and _is_pictorial(value)
    return _is_pictorial(value)


def _has_value(value: Any) -> bool:
    """Whether a value is no empty one; a list where an entry is none."""
    if isinstance(value, list):
        return any(_has_value(entry) for entry in value if not isinstance(entry, list))
    if isinstance(value, dict):
        return value.get("bytes") is not None or bool(value.get("path"))
    return value is not None and not (isinstance(value, str) and not value.strip())


def _is_pictorial(value: Any) -> bool:
    """Whether a value is a picture or names the file of one."""
    if isinstance(value, str):
        text = value.strip()
        return not _URL.match(text) and (_names_picture(text) or text[:11].lower() == "data:image/" or _is_base64_picture(text))
    return _is_picture(value)


def _is_picture(value: Any) -> bool:
    """Whether a value that is no text is a picture, or a list of them."""
    if isinstance(value, bytes):
        return picture_format(value[:1024]) is not None
    if isinstance(value, dict):
        content = value.get("bytes")
        return content is not None if isinstance(content, bytes | None) and content else _names_picture(value.get("path"))
    return isinstance(value, list) and any(_is_pictorial(entry) for entry in value[:64] if not isinstance(entry, list))


def _further(picture: Any) -> str:
    """What is to be said of a value with more than one picture."""
    more = sum(_has_value(entry) for entry in picture) - 1 if isinstance(picture, list) else 0
    return "a row is one item: of its pictures the first is taken, further ones are left out" if more > 0 else ""


def elsewhere(values: Mapping[str, Any]) -> str:
    """What is to be said of a row without a picture that names one on a network."""
    sized = {"width", "height"} <= {name.lower() for name in values}  # as lists of pictures for img2dataset have
    for name, value in values.items():
        if not isinstance(value, str) or not _URL.match(value):
            continue
        named = _URL_NAME.fullmatch(name) or (sized and name.lower() in ("url", "link", "src"))
        if named or _names_picture(urlsplit(value).path if value.isprintable() and "[" not in value else ""):
            return _REMOTE
    return ""


def columns_of(
    names: Sequence[str], *, path: Path, key: str | None, picture: str | None, text: tuple[str, ...], typed: bool, complete: bool
) -> Columns:
    """The columns of a table, as named or by convention.

    Args:
        names: the table's columns.
        complete: whether `names` is all of them; in JSON lines a later row may have others.

    Raises:
        FormatError: a column that was named is not there.
    """
    missing = [name for name in (key, picture, *text) if name and name not in names]
    if complete and missing:
        raise FormatError(f"has no column {missing[0]!r}; it has {', '.join(names)}", path=path)
    key = key or next((name for name in KEYS if name in names), None)
    return Columns(folder=path.parent.resolve(), key=key, picture=picture, text=text, typed=typed)


def _names_picture(value: Any) -> bool:
    return isinstance(value, str) and PurePosixPath(value.strip()[-_QUOTE_LENGTH:].replace("\\", "/")).suffix.lower() in PICTURE_SUFFIXES


def _is_base64_picture(text: str) -> bool:
    try:
        return picture_format(base64.b64decode(text[:24], validate=True)) is not None
    except (binascii.Error, ValueError):
        return False


def _unpacked(name: str, text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"the base64 in its {name!r} is broken: {error}") from error
