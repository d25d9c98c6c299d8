"""Metadata as plain values, and text that any store can hold. Shared by the readers of data sets."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from mmrerank.types import Item

_INT64 = 2**63
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})", re.ASCII)
_DECIMAL = re.compile(r"-?(0|[1-9]\d{0,14})\.\d{1,15}", re.ASCII)


def clean(text: str) -> str:
    """The text without NUL and without halves of surrogate pairs, which are no characters.

    >>> clean("a\\x00b \\ud800c")
    'ab ?c'
    """
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as str, int, float or bool: nested ones as JSON text, dates in ISO format; None, NaN and bytes are left out.

    Raises:
        ValueError: a value is nested too deeply.

    >>> plain({"a": 1, "b": None, "c": ["x", {"y": 2}], "d": float("nan"), 5: "z"})
    {'a': 1, 'c': '["x", {"y": 2}]', '5': 'z'}
    """
    plain_values = {clean(str(name)): _plain(value) for name, value in values.items()}
    return {name: value for name, value in plain_values.items() if name and value is not None}


def _plain(value: Any) -> str | int | float | bool | None:
    if isinstance(value, str):
        return clean(value)
    if value is None or isinstance(value, (bool, bytes)):
        return value if isinstance(value, bool) else None
    if isinstance(value, int):
        return value if -_INT64 <= value < _INT64 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (date, datetime, time)):
        return value.isoformat()
    if isinstance(value, (list, dict, tuple)):
        return _as_json(value)
    return float(value) if isinstance(value, Decimal) and value.is_finite() else clean(str(value))


def _as_json(value: Any) -> str:
    try:
        return clean(json.dumps(value, ensure_ascii=False, default=_nested))
    except RecursionError as error:
        raise ValueError("a value is nested too deeply") from error


def _nested(value: Any) -> Any:
    """What JSON has no form for, inside of a nested value."""
    return None if isinstance(value, bytes) else _plain(value)


def number_of(text: str) -> str | int | float:
    """The number that a field of a CSV writes, or the text itself; what would not print back the same stays text.

    >>> number_of("12"), number_of("-0.5"), number_of("007"), number_of("1e5")
    (12, -0.5, '007', '1e5')
    """
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


def parsed(line: bytes | str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is no JSON, not UTF-8 or nested too deeply; the message says where.
    """
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at character {error.pos}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def empty(item: Item) -> bool:
    """Whether the item has neither a picture nor a text."""
    return item.image is None and not (item.text and item.text.strip())
