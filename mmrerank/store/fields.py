"""What a metadata field is called in the table and which type its column has, whatever names and values come.

Names. A column is the field's name in lower case and word characters. Names that the storage engine uses itself (`_rowid` and all that
begins with an underscore) and those of the fixed fields are changed; of two fields of one item whose names come to the same, one gets a
number. Types. A column keeps the type it has, so that filters over it go on working: what fits it is converted (numbers that a text
writes, whole numbers among fractions, true and false), and what does not goes into a column of texts beside it. Both are told.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from mmrerank.store.records import FIXED
from mmrerank.texts import clean, number_of

Plain: TypeAlias = str | int | float | bool

OF_ENGINE = re.compile(r"_row\w*|__\w*")  # Lance's columns of row ids, addresses and versions, and those of its merges
WIDER = "wider:"  # a column on its way to another type; no field can be called so
TEXTS = "_text"  # what the column of texts beside another is called behind its name
SET_TYPES = {name: pa.string() for name in ("text_note", "text_source", "page_label")}  # what readers of ours write and we read again
_LONGEST = 100
_CODE = re.compile(r"[+-]?0\d+")  # a text of figures that is no number: 007, 01234


@dataclass(frozen=True, slots=True, kw_only=True)
class Renamed:
    """A field whose name is the storage's own, so that its column is called otherwise."""

    field: str
    column: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """A value that its column could not hold as it is."""

    item_id: str
    column: str
    holds: str  # what the column holds, in words
    beside: str  # the column of texts that the value went to; the column itself where it became a text in it


def column_name(key: str) -> str:
    """A metadata key as a column name: lower case, word characters, never one of the fixed fields or of the engine's.

    >>> column_name("Skin tone"), column_name("text"), column_name("_rowid")
    ('skin_tone', 'text_', 'field_rowid')
    """
    name = _spelled(key)
    name = f"field{name}" if name.startswith("_") else name
    if len(name) > _LONGEST:
        name = f"{name[:_LONGEST]}_{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"
    return f"{name}_" if name in FIXED.names else name


def _spelled(key: str) -> str:
    return re.sub(r"\W+", "_", unicodedata.normalize("NFC", clean(key)).strip()).lower() or "field"


def column_names(keys: Iterable[Any], present: Collection[str] = ()) -> Mapping[str, str]:
    """Each key of one item with its column; no two share one.

    Args:
        present: columns that there are. One that an earlier version called with an underscore in front keeps its name.

    >>> dict(column_names(["Name", "name", "_score"]))
    {'name': 'name', 'Name': 'name_2', '_score': 'field_score'}
    """
    underscored = frozenset(name for name in present if name.startswith("_") and not OF_ENGINE.fullmatch(name))
    return _column_names(tuple(map(str, keys)), underscored)


@lru_cache(maxsize=1024)
def _column_names(keys: tuple[str, ...], underscored: frozenset[str]) -> Mapping[str, str]:
    columns: dict[str, str] = {}
    taken: set[str] = set()
    plain = {key: _spelled(key) if _spelled(key) in underscored else column_name(key) for key in keys}
    for key in sorted(plain, key=lambda key: (key != plain[key], key)):  # who is spelled as its column is, has it
        name, number = plain[key], 1
        while name in taken:
            number += 1
            name = f"{plain[key]}_{number}"
        taken.add(name)
        columns[key] = name
    return columns


def renamed(columns: Mapping[str, str]) -> list[Renamed]:
    """The fields whose names are changed by more than their spelling, with their columns."""
    return [Renamed(field=key, column=name) for key, name in columns.items() if name != _spelled(key)[:_LONGEST]]


def plain_value(value: Any) -> Plain | None:
    """The value as a column can hold it; None for what says nothing: no value, NaN, infinity, bytes. Nested values are JSON texts.

    >>> plain_value(np.int64(3)), plain_value(float("nan")), plain_value({"a": [1]})
    (3, None, '{"a": [1]}')
    """
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes | bytearray | memoryview):
        return None
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, Mapping | list | tuple):
        return clean(json.dumps(value, ensure_ascii=False, default=str))
    return clean(str(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Rows of metadata as columns can take them."""

    rows: list[dict[str, Plain]]
    types: dict[str, pa.DataType]  # of each column that has a value
    misfits: list[Misfit]


def fitted(item_ids: Sequence[str], rows: Sequence[Mapping[str, Plain | None]], present: Mapping[str, pa.DataType]) -> Fitted:
    """The rows with each value in the type of its column.

    A column that is there keeps its type, but whole numbers widen to fractions and truth values never do; a new one gets the type of most
    of its values. What does not fit goes as a text into `NAME_text`.

    Args:
        rows: column -> value, of each item.
        present: the columns that there are, with their types.
    """
    types: dict[str, pa.DataType] = {}
    fitting: list[dict[str, Plain]] = [{} for _ in rows]
    misfits: list[Misfit] = []
    columns = dict.fromkeys(name for row in rows for name, value in row.items() if value is not None)
    for name in columns:
        values = [(n, value) for n, row in enumerate(rows) if (value := row.get(name)) is not None]
        kind = types[name] = _type_for(name, [value for _, value in values], present.get(name))
        for n, value in values:
            converted = _as(value, kind)
            if converted is not None:
                fitting[n][name] = converted
                if kind == pa.string() and not isinstance(value, str) and name not in SET_TYPES:
                    misfits.append(Misfit(item_id=item_ids[n], column=name, holds=words_for(kind), beside=name))
                continue
            beside = _beside(name, rows[n], {**present, **types})
            types[beside] = pa.string()
            fitting[n][beside] = str(_as(value, pa.string()))
            misfits.append(Misfit(item_id=item_ids[n], column=name, holds=words_for(kind), beside=beside))
    return Fitted(rows=fitting, types=types, misfits=misfits)


def words_for(kind: pa.DataType) -> str:
    """What a column of this type holds, in words for people."""
    if pa.types.is_boolean(kind):
        return "true or false"
    if pa.types.is_floating(kind):
        return "numbers"
    return "whole numbers" if pa.types.is_integer(kind) else "texts"


def _beside(name: str, row: Mapping[str, Any], types: Mapping[str, pa.DataType]) -> str:
    """The column of texts for what does not fit the column of that name: one that this item has no value of its own for."""
    beside = name + TEXTS
    while beside in row or types.get(beside, pa.string()) != pa.string():
        beside += TEXTS
    return beside


def _type_for(name: str, values: Sequence[Plain], present: pa.DataType | None) -> pa.DataType:
    if name in SET_TYPES:
        return present or SET_TYPES[name]
    kind = present or _type_of_most(values)
    whole = pa.types.is_integer(kind)
    return pa.float64() if whole and any(_is_fraction(_number(value)) for value in values) else kind


def _type_of_most(values: Sequence[Plain]) -> pa.DataType:
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) == len(values) or any(_CODE.fullmatch(text) for text in texts):
        return pa.string()
    if all(_as(value, pa.bool_()) is not None for value in values) and any(isinstance(value, bool) for value in values):
        return pa.bool_()
    numbers = sum(_number(value) is not None for value in values)
    truths = sum(isinstance(value, bool) for value in values)
    most = max(numbers, truths)
    if 2 * most < len(values):
        return pa.string()
    return pa.int64() if numbers == most else pa.bool_()


def _number(value: Plain) -> int | float | None:
    """The number that a value is or writes; None for truth values and other texts."""
    if isinstance(value, bool):
        return None
    number = number_of(value) if isinstance(value, str) else value
    return None if isinstance(number, str) else number


def _is_fraction(number: int | float | None) -> bool:
    """Whether a column of whole numbers cannot hold it."""
    return isinstance(number, float) and not (number.is_integer() and abs(number) < 2**63)


def _as(value: Plain, kind: pa.DataType) -> Plain | None:
    """The value in a column's type; None where it does not fit."""
    if pa.types.is_boolean(kind):
        return {"true": True, "false": False, "1": True, "0": False}.get(str(value).lower())
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return str(value).lower() if isinstance(value, bool) else str(value)
    number = _number(value)
    if number is None or pa.types.is_floating(kind):
        return None if number is None else float(number)
    return None if _is_fraction(number) else int(number)
