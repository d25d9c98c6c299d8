"""Runs: the rankings of many queries, as TREC run files with a `made_by` beside.

    RUN.trec         query Q0 item rank score tag     one candidate a line, best first
    RUN.trec.json    what made it; `escaped` says that blanks and % in ids were written as %20 and so on

Evaluators such as trec_eval go by the score (32 bit) and break ties by id, so scores are written strictly falling: as they are
where they fall; where two are equal, one float step apart; the negative rank where a candidate has none or they rise.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from mmrerank.errors import FormatError, InputError

logger = logging.getLogger(__name__)
_BLANK = re.compile(r"[\s%]")


@dataclass(frozen=True, kw_only=True)
class Run:
    """Item ids of each query, best first, and their scores where the method gives any."""

    tag: str
    rankings: Mapping[str, tuple[str, ...]]
    scores: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    made_by: Mapping[str, Any] = field(default_factory=dict)


def write_run(path: str | Path, run: Run) -> Path:
    """Writes the run and its `made_by`; returns the path.

    Raises:
        InputError: the tag is empty or holds blanks.
    """
    file = Path(path)
    if not run.tag or _BLANK.search(run.tag):
        raise InputError(f"the tag of a run is one word; got {run.tag!r}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(_lines(run)), encoding="utf-8")
    escaped = any(_BLANK.search(name) for query_id, ids in run.rankings.items() for name in (query_id, *ids))
    beside = {"tag": run.tag, "escaped": escaped, "made_by": dict(run.made_by)}
    _beside(file).write_text(json.dumps(beside, indent=1, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
    return file


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _lines(run: Run) -> Iterator[str]:
    for query_id, ids in run.rankings.items():
        scores = falling(run.scores.get(query_id) or (None,) * len(ids))
        for rank, (item_id, score) in enumerate(zip(ids, scores, strict=True), 1):
            yield f"{_escaped(query_id)} Q0 {_escaped(item_id)} {rank} {score:.9g} {run.tag}\n"


def _escaped(name: str) -> str:
    return _BLANK.sub(lambda match: quote(match[0], safe=""), name)


def falling(scores: Sequence[float | None]) -> list[float]:
    """As many strictly falling float32 values: the scores where they fall, a step apart where they tie, else negative ranks.

    >>> falling([0.5, None])
    [-1.0, -2.0]
    """
    by_rank = [-float(rank) for rank in range(1, len(scores) + 1)]
    finite = [score for score in scores if score is not None and math.isfinite(score)]
    if len(finite) != len(scores) or any(after > before for before, after in itertools.pairwise(finite)):
        return by_rank
    values: list[float] = []
    for score in finite:
        value = np.float32(score)
        if values and value >= values[-1]:
            value = np.nextafter(np.float32(values[-1]), np.float32(-np.inf))
        values.append(float(value))
    return values if all(map(math.isfinite, values)) else by_rank


def read_run(path: str | Path) -> Run:
    """The run in a TREC file, of this or another system.

    The order is that of the ranks where they differ; where a query's ranks repeat, that of trec_eval: by score, ties by id
    from the end of the alphabet. Ranks that contradict the scores are logged.

    Raises:
        FormatError: a line that is none, or an item twice for a query; names the line.
    """
    file = Path(path)
    beside = _read_beside(file)
    rows: dict[str, dict[str, tuple[int, float]]] = {}
    tag = file.stem
    for number, fields in _fields(file):
        query_id, item_id = (unquote(name) if beside.get("escaped") else name for name in (fields[0], fields[2]))
        entries = rows.setdefault(query_id, {})
        if item_id in entries:
            raise FormatError(f"{item_id!r} stands twice for query {query_id!r}", path=file, line=number)
        entries[item_id] = _numbers(fields, file, number)
        tag = fields[5]
    ordered = {query_id: _ordered(query_id, entries) for query_id, entries in rows.items()}
    return Run(
        tag=tag,
        rankings=ordered,
        scores={query_id: tuple(rows[query_id][item][1] for item in ids) for query_id, ids in ordered.items()},
        made_by=beside.get("made_by") or {"run": file.name, "tag": tag},
    )


def _fields(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors of Windows put a mark in front, which is no part of the first id
    except FileNotFoundError as error:
        raise InputError(f"there is no run file {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"cannot be read: {error}", path=path) from error
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.split()
        if fields and len(fields) != 6:
            raise FormatError(f"a run has six columns (query Q0 item rank score tag); this line has {len(fields)}", path=path, line=number)
        if fields:
            yield number, fields


def _numbers(fields: Sequence[str], path: Path, number: int) -> tuple[int, float]:
    try:
        rank, score = int(fields[3]), float(fields[4])
    except ValueError as error:
        raise FormatError(f"rank and score are numbers; got {fields[3]!r} and {fields[4]!r}", path=path, line=number) from error
    if math.isnan(score):
        raise FormatError("the score is not a number", path=path, line=number)
    return rank, score


def _ordered(query_id: str, entries: Mapping[str, tuple[int, float]]) -> tuple[str, ...]:
    ranks = {rank for rank, _ in entries.values()}
    if len(ranks) < len(entries):
        return tuple(sorted(sorted(entries, reverse=True), key=lambda item: -entries[item][1]))
    ids = tuple(sorted(entries, key=lambda item: entries[item][0]))
    if any(entries[after][1] > entries[before][1] for before, after in itertools.pairwise(ids)):
        logger.warning("query %s: ranks and scores disagree; the order is that of the ranks", query_id)
    return ids


def _read_beside(path: Path) -> dict[str, Any]:
    if not _beside(path).exists():
        return {}
    try:
        content = json.loads(_beside(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FormatError(f"cannot be read: {error}", path=_beside(path)) from error
    return content if isinstance(content, dict) else {}
