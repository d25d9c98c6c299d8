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
from pathlib import Path
from typing import Any, TypeAlias

from mmrerank.errors import FormatError
from mmrerank.readers._kinds import PICTURE_SUFFIXES, picture_format
from mmrerank.readers._metadata import TEXT_FIELDS, clean, number_of, plain
from mmrerank.readers._rows import Row

PictureAt: TypeAlias = bytes | Path  # the picture itself, or the file it is in

_KEYS = ("key", "id", "item_id")
_PICTURES = ("image", "image_path")
_MAYBE_PICTURES = ("path", "file", "filename")  # where the value names a picture file
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_QUOTE_LENGTH = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The columns of one table. Its methods raise ValueError with the reason, when a row does not have what it should."""

    folder: Path  # resolved; pictures lie below it
    key: str | None  # None: rows are numbered
    picture: str | None = None  # None: by convention, row by row
    text: str | None = None
    typed: bool = True  # False: numbers come as text

    @property
    def pictures(self) -> tuple[str, ...]:
        """The columns that may hold pictures, the first with a value counts."""
        return (self.picture,) if self.picture else (*_PICTURES, *_MAYBE_PICTURES)

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
        """The picture of a row; None where it gives none."""
        name, value = self._picture_value(values)
        if value is None:
            return None
        if isinstance(value, dict):  # as Hugging Face datasets writes it
            value = value["bytes"] if value.get("bytes") is not None else value["path"]
        if isinstance(value, bytes):
            return value
        if isinstance(value, str):
            return self._from_text(name, value.strip())
        raise ValueError(f"its {name!r} holds no picture but a {type(value).__name__}")

    def described(self, values: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """The text and the metadata of a row."""
        role_columns = {self.key, self._picture_value(values)[0], *(self.pictures if self.picture else _PICTURES)}
        names = (self.text,) if self.text else TEXT_FIELDS
        name = next((name for name in names if isinstance(values.get(name), str) and values[name].strip()), None)
        metadata = plain({key: value for key, value in values.items() if key not in role_columns and key != name})
        if not self.typed:
            metadata = {key: number_of(value) for key, value in metadata.items()}
        return (clean(values[name]).strip() if name else None), metadata

    def _picture_value(self, values: Mapping[str, Any]) -> tuple[str, Any]:
        """The column and value of the row's picture; ("", None) where there is none."""
        for name in self.pictures:
            value = values.get(name)
            if isinstance(value, dict) and value.get("bytes") is None and not value.get("path"):
                continue
            if value is None or (isinstance(value, str) and not value.strip()):
                continue
            if name in _MAYBE_PICTURES and name != self.picture and not _names_picture(value):
                continue
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


def columns_of(
    names: Sequence[str], *, path: Path, key: str | None, picture: str | None, text: str | None, typed: bool, complete: bool
) -> Columns:
    """The columns of a table, as named or by convention.

    Args:
        names: the table's columns.
        complete: whether `names` is all of them; in JSON lines a later row may have others.

    Raises:
        FormatError: a column that was named is not there.
    """
    missing = [name for name in (key, picture, text) if name and name not in names]
    if complete and missing:
        raise FormatError(f"has no column {missing[0]!r}; it has {', '.join(names)}", path=path)
    key = key or next((name for name in _KEYS if name in names), None)
    return Columns(folder=path.parent.resolve(), key=key, picture=picture, text=text, typed=typed)


def _names_picture(value: Any) -> bool:
    return isinstance(value, str) and Path(value.strip()).suffix.lower() in PICTURE_SUFFIXES


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
