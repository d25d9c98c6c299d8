"""Criteria by which a document is graded beside its relevance: TOML files with a name, a weight and the two ends of a scale each.

    version = "1"

    [[criteria]]
    name = "depth"
    weight = 0.5                          # at least 0
    low = "only touches the subject"      # what the lowest grade stands for
    high = "treats it thoroughly"         # what the highest stands for

A model may write criteria too (`read_criteria_answer`), for one query alone. `read_grades` reads what it makes of documents by them:
relevance from 0 to 10, each criterion from 0 to 5.

Source: ours.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmrerank.errors import FormatError, UnknownName
from mmrerank.prompting._final_part import final_part
from mmrerank.prompting._loose_json import Flow, flows
from mmrerank.prompting.answers import read_scores, read_table
from mmrerank.text_files import read_toml

SHIPPED = Path(__file__).parent / "criteria"
RELEVANCE, MOST_RELEVANT, HIGHEST = "relevance", 10, 5  # a name, and the highest grade of it and of the criteria
MOST = 12  # criteria of one file
MOST_WRITTEN = 8  # criteria that a model writes for one query
MOST_WEIGHT = 2.0  # of one that a model writes
NAME = re.compile(r"[^\W\d_][\w -]{0,39}")
FIELDS = {"name", "weight", "low", "high"}
_FORM = "Expected a TOML file with `version` and tables [[criteria]] of name, weight, low and high; see mmrerank/prompting/criteria/."


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One quality of a document."""

    name: str
    weight: float  # of its grade in the score
    low: str  # what the lowest grade stands for
    high: str  # what the highest stands for


@dataclass(frozen=True, slots=True, kw_only=True)
class CriteriaFile:
    """Criteria as read."""

    criteria: tuple[Criterion, ...]
    digest: str  # of the file's bytes, 16 hex digits


def read_criteria(source: str) -> CriteriaFile:
    """The criteria of that shipped name, or in the file of that path (ending in .toml); none for "".

    Raises:
        UnknownName: no criteria of that name ship.
        FormatError: the file is absent or no TOML, or a criterion is not of that form or stands twice.
    """
    if not source:
        return CriteriaFile(criteria=(), digest="")
    path = Path(source) if source.endswith(".toml") else SHIPPED / f"{source}.toml"
    if not source.endswith(".toml") and not path.is_file():
        raise UnknownName.among("criteria", source, [file.stem for file in SHIPPED.glob("*.toml")])
    entries = read_toml(path, hint=_FORM).get("criteria", [])
    if not isinstance(entries, list) or len(entries) > MOST:
        raise FormatError(f"expected at most {MOST} tables [[criteria]]", path=path, hint=_FORM)
    criteria = tuple(_criterion(entry, path) for entry in entries)
    names = [criterion.name.lower() for criterion in criteria]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise FormatError(f"the criterion {repeated[0]!r} stands twice", path=path, hint=_FORM)
    return CriteriaFile(criteria=criteria, digest=hashlib.sha256(path.read_bytes()).hexdigest()[:16])


def _criterion(entry: Any, path: Path) -> Criterion:
    if not isinstance(entry, Mapping) or set(entry) != FIELDS:
        fields = ", ".join(sorted(entry)) if isinstance(entry, Mapping) else type(entry).__name__
        raise FormatError(f"a criterion has {', '.join(sorted(FIELDS))}; got {fields or 'none'}", path=path, hint=_FORM)
    name, weight = entry["name"], entry["weight"]
    if not isinstance(name, str) or not NAME.fullmatch(name) or name.lower() == RELEVANCE:
        raise FormatError(f"the name of a criterion is a word, and not relevance; got {name!r}", path=path, hint=_FORM)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
        raise FormatError(f"the weight of {name!r} is a number from 0; got {weight!r}", path=path, hint=_FORM)
    if not all(isinstance(entry[end], str) and entry[end].strip() for end in ("low", "high")):
        raise FormatError(f"low and high of {name!r} are texts", path=path, hint=_FORM)
    return Criterion(name=name, weight=float(weight), low=entry["low"], high=entry["high"])


def read_criteria_answer(text: str) -> tuple[Criterion, ...]:
    """The criteria that a model wrote, a list of objects with the fields of a criterion; empty where none can be read.

    The first of a name counts, weights are brought into 0..2, and what has no weight, no ends or a name that is none is left out.

    >>> [c.name for c in read_criteria_answer('[{"name": "depth", "weight": 0.5, "low": "thin", "high": "full"}, {"name": "x"}]')]
    ['depth']
    """
    part = final_part(text)
    lists = [] if part.why else [[value for value in flow.entries if isinstance(value, Flow)] for flow in flows(part.text)]
    written = [[criterion for value in values if (criterion := _written(value)) is not None] for values in lists]
    best = max(written, key=len, default=[])
    return tuple({criterion.name.lower(): criterion for criterion in reversed(best)}.values())[::-1][:MOST_WRITTEN]


def _written(value: Flow) -> Criterion | None:
    fields = {pair.key.strip().lower(): " ".join(pair.value.split()) for pair in value.pairs() if isinstance(pair.value, str)}
    name, weight = fields.get("name", ""), fields.get("weight", "")
    if not NAME.fullmatch(name) or name.lower() == RELEVANCE or not re.fullmatch(r"\d{1,3}(?:\.\d{1,6})?", weight):
        return None
    if not fields.get("low") or not fields.get("high"):
        return None
    return Criterion(name=name, weight=min(float(weight), MOST_WEIGHT), low=fields["low"][:200], high=fields["high"][:200])


def best_sum(criteria: Sequence[Criterion]) -> float:
    """The best score that there is: of a document with the highest relevance and the highest grade in each criterion.

    >>> best_sum([Criterion(name="depth", weight=0.5, low="thin", high="full")])
    12.5
    """
    return MOST_RELEVANT + HIGHEST * sum(criterion.weight for criterion in criteria)


def composite(grades: Mapping[str, float], criteria: Sequence[Criterion], minimum: float) -> float:
    """F of one candidate; its relevance alone where that is below the minimum. Grades are brought into their scales.

    >>> five = [Criterion(name=name, weight=0.5, low="-", high="+") for name in "abcde"]
    >>> composite({"relevance": 6, "a": 4, "b": 2, "c": 5, "d": 3, "e": 0}, five, 3), composite({"relevance": 2, "a": 5}, five, 3)
    (13.0, 2.0)
    """
    relevant = float(min(max(grades[RELEVANCE], 0), MOST_RELEVANT))
    if relevant < minimum:
        return relevant
    return relevant + sum(c.weight * min(max(grades.get(c.name, 0), 0), HIGHEST) for c in criteria)


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeReading:
    """What an answer says of each document, by position from 0."""

    rows: Mapping[int, Mapping[str, float]] = field(default_factory=dict)  # its grades by name, relevance always among them
    sums: Mapping[int, float] = field(default_factory=dict)  # where an answer gives sums alone: each within 0 and the best
    message: str = ""  # what was dropped or is not there, or why nothing could be read


def read_grades(text: str, count: int, criteria: Sequence[Criterion]) -> GradeReading:
    """The grades that an answer gives `count` documents, or its sums where it has no grades.

    >>> read_grades('{"1": {"relevance": 7}}', 2, []).rows, read_grades("Doc: 2, Relevance: 7.5", 2, []).sums
    ({0: {'relevance': 7.0}}, {1: 7.5})
    """
    names = [RELEVANCE, *(criterion.name for criterion in criteria)]
    table = read_table(text, count, names)
    rows = {n: {name: row[name] for name in names if name in row} for n, row in table.rows.items() if RELEVANCE in row}
    if not rows:
        sums = read_scores(text, count, low=0, high=best_sum(criteria))
        return GradeReading(sums=sums.scores, message=sums.message)
    lacking = sum(len(row) < len(names) for row in rows.values())
    messages = [table.message, f"{lacking} of {len(rows)} lack grades, which count as 0" * bool(lacking)]
    messages += [f"{count - len(rows)} of {count} have no relevance"] * (len(rows) < count)
    return GradeReading(rows=rows, message="; ".join(filter(None, messages)))
