"""Filters as frameworks write them, as the SQL that searches take.

    {"field": "meta.page_number", "operator": "<", "value": 5}      Haystack's, whose `content` and `id` are our `text` and `item_id`
    {"operator": "AND", "conditions": [...]}                        AND, OR, NOT of some of these
    {"author": "Ada", "page_number": [1, 2]}                        fields and what they must be, one of a list

Fields are quoted, so that one which no item has is an error and never a condition that silently fails. A field that is empty equals nothing
and is unlike everything, as in the frameworks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmrerank.errors import InputError, UnknownName

COMPARISONS = {"==": "=", "!=": "<>", ">": ">", ">=": ">=", "<": "<", "<=": "<="}
OPERATORS = (*COMPARISONS, "in", "not in")
LOGIC = ("AND", "OR", "NOT")
OUR_NAMES = {"content": "text", "id": "item_id"}  # the framework's -> the field's


def as_sql(filters: Any) -> str | None:
    """The SQL of a filter, which may be SQL already; None where there is none.

    Raises:
        UnknownName: an operator that is none of these.
        InputError: it is neither a text nor a mapping, or a value cannot be compared.

    >>> as_sql({"operator": "AND", "conditions": [{"field": "meta.year", "operator": ">", "value": 1970}, {"author": "O'Neill"}]})
    '(("year" > 1970) AND ("author" = \\'O\\'\\'Neill\\'))'
    """
    if filters is None or isinstance(filters, str):
        return filters or None
    if not isinstance(filters, Mapping):
        raise InputError(f"a filter is SQL or a mapping; got {type(filters).__name__}", hint="Such as page_number < 5.")
    if "conditions" in filters:
        return _joined(str(filters.get("operator", "AND")).upper(), filters["conditions"])
    if "field" in filters:
        return f"({_compared(str(filters['field']), str(filters.get('operator', '==')), filters.get('value'))})"
    if not filters:
        return None
    return "(" + " AND ".join(_compared(str(key), "in" if _is_list(value) else "==", value) for key, value in filters.items()) + ")"


def both(*filters: str | None) -> str | None:
    """The SQL that holds where all of these hold; None where there are none."""
    conditions = [f"({one})" for one in filters if one is not None]
    return " AND ".join(conditions) or None


def _joined(logic: str, conditions: Any) -> str | None:
    if logic not in LOGIC:
        raise UnknownName.among("operator of conditions", logic, LOGIC)
    if not _is_list(conditions):
        raise InputError(f"the conditions of a filter come in a list; got {type(conditions).__name__}")
    texts = [text for text in map(as_sql, conditions) if text is not None]
    if not texts:
        return None
    return f"(NOT ({' AND '.join(texts)}))" if logic == "NOT" else f"({f' {logic} '.join(texts)})"


def _compared(field: str, operator: str, value: Any) -> str:
    if operator not in OPERATORS:
        raise UnknownName.among("operator of a filter", operator, OPERATORS)
    short = field.removeprefix("meta.")
    name = '"' + OUR_NAMES.get(field, short).replace('"', '""') + '"'
    if operator in ("in", "not in"):
        if not _is_list(value) or not value:
            raise InputError(f"{field} {operator} takes a list of values; got {value!r}")
        inside = f"{name} IN ({', '.join(_literal(field, one) for one in value)})"
        return inside if operator == "in" else f"{name} IS NULL OR NOT {inside}"
    if value is None:
        if operator not in ("==", "!="):
            raise InputError(f"nothing is {operator} None, in {field}")
        return f"{name} IS NULL" if operator == "==" else f"{name} IS NOT NULL"
    condition = f"{name} {COMPARISONS[operator]} {_literal(field, value)}"
    return f"{name} IS NULL OR {condition}" if operator == "!=" else condition


def _literal(field: str, value: Any) -> str:
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return repr(value)
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    raise InputError(f"{field} is compared with a number, a text or a truth value; got {value!r}")


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes)
