"""Filters: SQL over the fields of items, as people write it, in the form that the storage engine takes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import pyarrow as pa

from mmrerank.errors import InputError
from mmrerank.store.fields import OF_ENGINE, TEXTS, column_name, words_for
from mmrerank.store.records import FIXED, OFFERED

MOST_VALUES = 1000
_TOKEN = re.compile(r"""'(?:[^']|'')*'|"(?P<quoted>[^"]*)"|`(?P<ticked>[^`]*)`|(?P<bare>[^\W\d]\w*)""")
_SOURCE = re.compile(r", /(?:[^/\s]+/)+[^/\s]+\.rs:\d+.*", re.DOTALL)  # a place in the engine's source, at the end of its messages
_STATEMENT = re.compile(r"Error parsing statement: SELECT .* \(sql parser error: (.*)\)", re.DOTALL)  # what the engine made of the filter
_ITS_FIELDS = re.compile(r"\s*Valid fields are .*?(?=\.?$)", re.DOTALL)  # the engine's list has its own columns among them


def quoted(text: str) -> str:
    """A text as SQL writes it.

    >>> quoted("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def conditions(column: str, values: Sequence[str]) -> Iterator[str]:
    """That a column has one of these texts; one condition for each thousand of them, so that each is an SQL text of bounded length."""
    for start in range(0, len(values), MOST_VALUES):
        yield f"{column} IN ({', '.join(map(quoted, values[start : start + MOST_VALUES]))})"


def for_engine(condition: str, types: Mapping[str, pa.DataType]) -> str:
    """The condition with field names as the engine takes them.

    Names in double quotes are fields: the engine would take them for texts, and nothing would match. A field whose column is called
    otherwise may be named as its data name it.

    Args:
        types: the fields that there are, with their types.

    Raises:
        InputError: a quoted name, or one that is the engine's own, is no field; or a bracket closes that was not opened, so that what
            stands around the filter would no longer hold.
    """
    _check_brackets(condition)

    def replaced(match: re.Match[str]) -> str:
        kind = match.lastgroup
        if kind is None:
            return match[0]
        name = match[kind]
        is_of_engine = OF_ENGINE.fullmatch(name.lower()) is not None
        if name in types or (kind != "quoted" and not name.startswith("_") and not is_of_engine):
            return f"`{name}`" if kind == "quoted" else match[0]
        column = column_name(name)
        if column in types:
            return f"`{column}`"
        if kind != "quoted" and not is_of_engine:
            return match[0]  # the engine says that there is no such field
        hint = f"{_listed(types)} Texts stand in single quotes."
        raise InputError(f"the filter {condition!r} names the field {name!r}, which no item has", hint=hint)

    return _TOKEN.sub(replaced, condition)


def _check_brackets(condition: str) -> None:
    depth = 0
    for letter in re.sub(r"'(?:[^']|'')*'|\"[^\"]*\"|`[^`]*`", "", condition):
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            raise InputError(f"the filter {condition!r} closes a bracket that it did not open", hint="Put texts into single quotes.")


@contextmanager
def explained(condition: str, types: Mapping[str, pa.DataType]) -> Iterator[None]:
    """Turns what the engine has against a filter into an InputError that says how the fields it names are compared."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        reason = _ITS_FIELDS.sub("", _STATEMENT.sub(r"\1", _SOURCE.sub("", str(error)))).strip()
        hint = " ".join([*_ways(condition, types), _listed(types)])
        raise InputError(f"the filter {condition!r} cannot be used: {reason}", hint=hint) from error


def _listed(types: Mapping[str, pa.DataType]) -> str:
    return f"Fields: {', '.join([*OFFERED, *(name for name in types if name not in FIXED.names)])}."


def _ways(condition: str, types: Mapping[str, pa.DataType]) -> Iterator[str]:
    """For each field that a condition names, what it holds and how that is compared."""
    names = (match[match.lastgroup] for match in _TOKEN.finditer(condition) if match.lastgroup)
    for name in dict.fromkeys(name if name in types else name.lower() for name in names):
        if name not in types:
            continue
        way = f"{name} holds {words_for(types[name])}: {_way(name, types[name])}"
        yield f"{way}; what did not fit stands in {name + TEXTS}." if name + TEXTS in types else f"{way}."


def _way(name: str, kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return f"write {name} = true or {name} = false"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return f"write the number without quotes, as {name} > 3"
    return f"write {name} = '...', or TRY_CAST({name} AS DOUBLE) > 3 for those of them that are numbers"
