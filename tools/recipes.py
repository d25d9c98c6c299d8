"""How recipes are read: TOML files whose keys are checked one by one and become frozen options."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from mmrerank.errors import FormatError, UnknownName

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Section = TypeVar("Section")


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        FormatError: it is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise FormatError(str(error), path=path) from error


def check_keys(kind: str, keys: Iterable[str], names: Iterable[str]) -> None:
    """Refuses keys that are not among the names.

    Raises:
        UnknownName: with the nearest name; `kind` says what the key is one of.
    """
    names = set(names)
    for key in keys:
        if key not in names:
            raise UnknownName.among(kind, key, names)


def check_complete(what: str, keys: Iterable[str], names: Iterable[str], path: Path) -> None:
    """Refuses a table that has not all of the names.

    Raises:
        FormatError: `what`, and the names that it lacks.
    """
    if missing := sorted(set(names) - set(keys)):
        raise FormatError(f"{what} lacks {', '.join(missing)}", path=path)


def read_section(kind: type[Section], name: str, values: Mapping[str, Any], path: Path) -> Section:
    """The table `[name]` as the frozen options `kind`; a whole number may stand for a float.

    Raises:
        UnknownName: a key that `kind` does not have.
        FormatError: a key is missing or of another type.
    """
    types = {field.name: str(field.type) for field in fields(kind)}  # type: ignore[arg-type]
    check_keys(f"key of [{name}]", values, types)
    for key, expected in types.items():
        if key not in values:
            raise FormatError(f"[{name}] lacks {key}", path=path)
        actual = type(values[key]).__name__
        if actual != expected and (expected, actual) != ("float", "int"):
            raise FormatError(f"[{name}] {key} should be {expected}, not {actual}", path=path)
    return kind(**values)
