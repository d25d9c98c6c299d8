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
Values: TypeAlias = "Sequence[Plain | None] | pa.Array"  # of one column, an item each

OF_ENGINE = re.compile(r"_row\w*|__\w*")  # Lance's columns of row ids, addresses and versions, and those of its merges
WIDER = "wider:"  # a column on its way to another type; no field can be called so
TEXTS = "_text"  # what the column of texts beside another is called behind its name
SET_TYPES = {name: pa.string() for name in ("text_note", "text_source", "page_label")}  # what readers of ours write and we read again
_LONGEST = 100
_OWN = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
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


def metadata_columns(rows: Sequence[Mapping[Any, Any]], present: Collection[str] = ()) -> tuple[dict[str, Values], list[Renamed]]:
    """The metadata of items as columns, None where an item has nothing there, and the fields that are called otherwise here.

    Args:
        present: columns that there are.
    """
    places: dict[tuple[Any, ...], list[int]] = {}
    for n, row in enumerate(rows):
        if row:
            places.setdefault(tuple(row), []).append(n)  # items of one reader have the same fields, so that names are made once
    columns: dict[str, list[Plain | None]] = {}
    changes: dict[str, Renamed] = {}
    for keys, some in places.items():
        names = column_names(keys, present)
        changes.update((change.field, change) for change in renamed(names))
        for key in keys:
            values = columns.setdefault(names[str(key)], [None] * len(rows))
            for n in some:
                values[n] = plain_value(rows[n][key])
    return dict(columns), list(changes.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Metadata as the columns of the table can take it."""

    columns: dict[str, pa.Array]
    types: dict[str, pa.DataType]  # of each column that has a value
    misfits: list[Misfit]


def fitted(item_ids: Sequence[str], columns: Mapping[str, Values], present: Mapping[str, pa.DataType]) -> Fitted:
    """The columns with each value in the type of its column.

    A column that is there keeps its type, but whole numbers widen to fractions and truth values never do; a new one gets the type of most
    of its values. What does not fit goes as a text into `NAME_text`.

    Args:
        columns: a value or None for each item; an Arrow array of texts, whole numbers, fractions or truth values is taken as it is where
            its column has that type or is new.
        present: the columns that there are, with their types.
    """
    fitting = _Fitting(item_ids, columns, present)
    for name in columns:
        fitting.fit(name)
    return fitting.result()


class _Fitting:
    """The state of `fitted`: what was converted so far, and the texts that their own column could not hold."""

    def __init__(self, item_ids: Sequence[str], columns: Mapping[str, Values], present: Mapping[str, pa.DataType]) -> None:
        self._item_ids, self._columns, self._present = item_ids, columns, present
        self._types: dict[str, pa.DataType] = {}
        self._arrays: dict[str, pa.Array] = {}
        self._beside: dict[str, dict[int, str]] = {}  # column -> place -> text
        self._misfits: list[Misfit] = []

    def fit(self, name: str) -> None:
        """Converts one column."""
        values = self._columns[name]
        if isinstance(values, pa.Array) and values.type == self._present.get(name, values.type) and name not in SET_TYPES:
            if values.null_count < len(values):
                self._arrays[name], self._types[name] = values, values.type
            return
        plain = values.to_pylist() if isinstance(values, pa.Array) else values
        some = [value for value in plain if value is not None]
        if some:
            kind = self._types[name] = _type_for(name, some, self._present.get(name))
            self._arrays[name] = pa.array(plain if _all_alike(some, kind) else self._each(name, plain, kind), kind)

    def _each(self, name: str, values: Sequence[Plain | None], kind: pa.DataType) -> list[Plain | None]:
        """Values of several types, one by one in the column's type; None where one does not fit."""
        converted = [None if value is None else _as(value, kind) for value in values]
        for n, value in enumerate(values):
            if value is None:
                continue
            beside = name
            if converted[n] is None:
                beside = self._place_beside(name, n)
                self._beside.setdefault(beside, {})[n] = str(_as(value, pa.string()))
            elif kind != pa.string() or isinstance(value, str) or name in SET_TYPES:
                continue
            self._misfits.append(Misfit(item_id=self._item_ids[n], column=name, holds=words_for(kind), beside=beside))
        return converted

    def _place_beside(self, name: str, place: int) -> str:
        """The column of texts for what does not fit the column of that name: one that this item has no value of its own for."""
        beside, types = name + TEXTS, {**self._present, **self._types}
        while _has_value(self._columns.get(beside), place) or types.get(beside, pa.string()) != pa.string():
            beside += TEXTS
        return beside

    def result(self) -> Fitted:
        """All columns, with the texts that went beside them."""
        for name, texts in self._beside.items():
            own = self._arrays[name].to_pylist() if name in self._arrays else [None] * len(self._item_ids)
            self._arrays[name] = pa.array([texts.get(n, value) for n, value in enumerate(own)], pa.string())
            self._types[name] = pa.string()
        return Fitted(columns=self._arrays, types=self._types, misfits=self._misfits)


def _all_alike(values: Sequence[Plain], kind: pa.DataType) -> bool:
    """Whether all are of the column's own type, so that none is to be converted."""
    kinds = set(map(type, values))
    return len(kinds) == 1 and _OWN.get(kinds.pop()) == kind


def words_for(kind: pa.DataType) -> str:
    """What a column of this type holds, in words for people."""
    if pa.types.is_boolean(kind):
        return "true or false"
    if pa.types.is_floating(kind):
        return "numbers"
    return "whole numbers" if pa.types.is_integer(kind) else "texts"


def _has_value(values: Values | None, place: int) -> bool:
    return values is not None and (bool(values[place].is_valid) if isinstance(values, pa.Array) else values[place] is not None)


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
