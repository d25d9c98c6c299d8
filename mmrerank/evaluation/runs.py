"""Runs: the rankings of many queries, as TREC run files with a `made_by` beside.

    RUN.trec         query Q0 item rank score tag     one candidate a line, best first
    RUN.trec.json    what made it; `escaped` says that blanks and % in ids were written as %20 and so on

Evaluators such as trec_eval go by the score (32 bit) and break ties by id, so scores are written strictly falling: as they are
where they fall; where two are equal, one float step apart; the negative rank where a candidate has none or they rise.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias
from urllib.parse import quote, unquote

import numpy as np

from mmrerank.errors import FormatError, InputError
from mmrerank.text_files import columns, numbered_lines, read_json, read_text, write_text

Order: TypeAlias = Literal["rank", "score"]
COLUMNS = "Expected a candidate a line: query Q0 item rank score tag."
_BLANK = re.compile(r"[\s%]")


@dataclass(frozen=True, kw_only=True)
class Run:
    """Item ids of each query, best first, and their scores where the method gives any."""

    tag: str
    rankings: Mapping[str, tuple[str, ...]]
    scores: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    made_by: Mapping[str, Any] = field(default_factory=dict)
    file: Path | None = None  # where it was read from
    order: Order | None = None  # what its order was read from; None where it was not read from a file
    notes: tuple[str, ...] = ()  # what is to be said of that
    label: str = ""  # what figures call it; see `labelled`

    @property
    def stages(self) -> tuple[str, ...]:
        """What a run of ours went through; empty for those of others."""
        stages = self.made_by.get("stages", ())
        return tuple(map(str, stages)) if isinstance(stages, Sequence) and not isinstance(stages, str) else ()

    @property
    def name(self) -> str:
        """What figures call it: its label where it has one, else the stages of a run of ours, else its tag."""
        return self.label or " > ".join(self.stages) or self.tag


def write_run(path: str | Path, run: Run) -> Path:
    """Writes the run and its `made_by`; returns the path.

    Raises:
        InputError: the tag is empty or holds blanks.
    """
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    for name, text in run_texts(file.name, run).items():
        write_text(file.with_name(name), text)
    return file


def run_texts(name: str, run: Run) -> dict[str, str]:
    """File name -> text of a run and its `made_by`.

    Raises:
        InputError: the tag is empty or holds blanks.
    """
    if not run.tag or _BLANK.search(run.tag):
        raise InputError(f"the tag of a run is one word; got {run.tag!r}")
    escaped = any(_BLANK.search(name) for query_id, ids in run.rankings.items() for name in (query_id, *ids))
    beside = {"tag": run.tag, "escaped": escaped, "made_by": dict(run.made_by)}
    made_by = json.dumps(beside, indent=1, ensure_ascii=False, default=str) + "\n"
    return {name: "".join(_lines(run)), _beside(Path(name)).name: made_by}


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


def read_run(path: str | Path, order: Order = "rank") -> Run:
    """The run in a TREC file, of this or another system, packed with gzip or not.

    Args:
        order: `rank` goes by the ranks where a query's are numbers that differ, else by score; `score` goes by score, as trec_eval does:
            as 32-bit numbers, ties by id from the end of the alphabet.

    The run's `notes` say for how many queries ranks and scores disagree, or ranks could not be used.

    Raises:
        InputError: there is no such file.
        FormatError: a line that is none, or an item twice for a query; names the line.
    """
    file = Path(path)
    if not file.exists():
        raise InputError(f"there is no run file {path}")
    beside = _read_beside(file)
    rows, tag = _entries(file, escaped=beside.get("escaped") is True)
    ordered = {query_id: _ordered(entries, order) for query_id, entries in rows.items()}
    origin = beside.get("made_by")
    return Run(
        tag=tag,
        rankings=ordered,
        scores={query_id: tuple(rows[query_id][item].score for item in ids) for query_id, ids in ordered.items()},
        made_by=origin if isinstance(origin, Mapping) and origin else {"run": file.name, "tag": tag},
        file=file,
        order=order,
        notes=_notes(rows, ordered, order),
    )


class Entry(NamedTuple):
    """What a line says of its item; the rank is None where it is no number."""

    rank: float | None
    score: float


def _entries(path: Path, *, escaped: bool) -> tuple[dict[str, dict[str, Entry]], str]:
    """query_id -> item_id -> what its line says, and the tag of the last line.

    Raises:
        FormatError: as of `read_run`.
    """
    rows: dict[str, dict[str, Entry]] = {}
    tag = ""
    for number, fields in _fields(path):
        query_id, item_id = (unquote(name) if escaped else name for name in (fields[0], fields[2]))
        entries = rows.setdefault(query_id, {})
        if item_id in entries:
            raise FormatError(f"{item_id!r} stands twice for query {query_id!r}", path=path, line=number)
        entries[item_id] = _entry(fields, path, number)
        tag = fields[5]
    if not rows:
        raise FormatError("holds no line of a run", path=path, hint=COLUMNS)
    return rows, tag


def _fields(path: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in numbered_lines(read_text(path)):
        fields = columns(line)
        if len(fields) != 6:
            raise FormatError(f"a run has six columns; this line has {len(fields)}", path=path, line=number, hint=COLUMNS)
        yield number, fields


def _entry(fields: Sequence[str], path: Path, number: int) -> Entry:
    try:
        score = float(fields[4])
    except ValueError as error:
        raise FormatError(f"the score is a number; got {fields[4][:60]!r}", path=path, line=number, hint=COLUMNS) from error
    if math.isnan(score):
        raise FormatError("the score is not a number", path=path, line=number)
    return Entry(_rank(fields[3]), score)


def _rank(field: str) -> float | None:
    """The rank as some write it, 1 or 1.0; None for what is no finite number, such as the - of those that write none."""
    try:
        rank = float(field)
    except ValueError:
        return None
    return rank if math.isfinite(rank) else None


def _ordered(entries: Mapping[str, Entry], order: Order) -> tuple[str, ...]:
    if order == "rank" and _ranked(entries):
        return tuple(sorted(entries, key=lambda item: entries[item].rank or 0.0))
    return _by_score(entries)


def _ranked(entries: Mapping[str, Entry]) -> bool:
    """Whether the ranks tell an order: each is a number, and none comes twice."""
    ranks = {entry.rank for entry in entries.values()}
    return None not in ranks and len(ranks) == len(entries)


def _by_score(entries: Mapping[str, Entry]) -> tuple[str, ...]:
    with np.errstate(over="ignore"):  # beyond 32 bits is infinite, as for trec_eval
        scores = {item: np.float32(entry.score) for item, entry in entries.items()}
    return tuple(sorted(sorted(entries, reverse=True), key=lambda item: -scores[item]))


def _notes(rows: Mapping[str, Mapping[str, Entry]], ordered: Mapping[str, Sequence[str]], order: Order) -> tuple[str, ...]:
    if order == "score":
        return ()
    ranked = [query_id for query_id, entries in rows.items() if _ranked(entries)]
    torn = [q for q in ranked if any(rows[q][after].score > rows[q][before].score for before, after in itertools.pairwise(ordered[q]))]
    notes = []
    if len(ranked) < len(rows):
        notes.append(f"{len(rows) - len(ranked)} of {len(rows)} queries have no ranks that tell an order; theirs is that of the scores")
    if torn:
        notes.append(f"ranks and scores disagree for {len(torn)} of {len(rows)} queries; the order is that of the ranks")
    return tuple(notes)


def _read_beside(path: Path) -> dict[str, Any]:
    if not _beside(path).exists():
        return {}
    content = read_json(_beside(path))
    return content if isinstance(content, dict) else {}


def labelled(runs: Sequence[Run]) -> list[Run]:
    """The runs with labels of their own, also where their tags agree, as those of all runs of a toolkit do."""
    return [replace(run, label=label) for run, label in zip(runs, labels(runs), strict=True)]


def labels(runs: Sequence[Run]) -> list[str]:
    """What each run is called beside the others: the stages of a run of ours, else its tag; where these agree, with as much of the path of
    its file as tells them apart, or with its number.

    >>> labels([Run(tag="t", rankings={}, file=Path("a.trec")), Run(tag="t", rankings={}, file=Path("b.trec"))])
    ['t [a.trec]', 't [b.trec]']
    """
    plain = [run.name for run in runs]
    count = Counter(plain)
    named = [name if count[name] == 1 else f"{name} [{_tail(run, runs)}]" for name, run in zip(plain, runs, strict=True)]
    again = Counter(named)
    return [name if again[name] == 1 else f"{name} #{named[:n].count(name) + 1}" for n, name in enumerate(named)]


def _tail(run: Run, runs: Sequence[Run]) -> str:
    """The end of a run's path, as long as it takes to tell it from those of the others."""
    if run.file is None:
        return "no file"
    own = run.file.absolute().parts
    others = [other.file.absolute().parts for other in runs if other.file is not None and other.file.absolute() != run.file.absolute()]
    length = next((n for n in range(1, len(own)) if all(parts[-n:] != own[-n:] for parts in others)), len(own))
    return "/".join(own[-length:])
