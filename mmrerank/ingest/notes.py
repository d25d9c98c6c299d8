"""What a user should know of what was not read: pages without their words, files and folders that were passed over."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from mmrerank.ingest.files import Listing
from mmrerank.results import AskResult
from mmrerank.store.fields import Misfit, Renamed
from mmrerank.store.table import Snapshot

NAMED, LISTED = 5, 100  # how many ids stand in a sentence, and in a result for programs
NOTE = "text_note"  # the field in which a reader says why a page has no text
PICTURE_NOTE = "picture_note"  # the field in which a reader says what of an item's pictures was left out
NOTED = f"{NOTE} IS NOT NULL"
WORDLESS = f"{NOTED} AND (text IS NULL OR text = '')"


def bounded(values: Sequence[Any]) -> dict[str, Any]:
    """How many there are, and the first `LISTED` of them.

    >>> bounded(["a", "b"])
    {'count': 2, 'first': ['a', 'b']}
    """
    return {"count": len(values), "first": list(values[:LISTED])}


def noted(notes: Mapping[str, str]) -> dict[str, Any]:
    """As `bounded`, of item ids with the notes of their readers."""
    return bounded([{"item_id": item_id, "reason": why} for item_id, why in notes.items()])


def text_notes(snapshot: Snapshot) -> dict[str, str]:
    """Item id -> why the words of the page could not be read, by id."""
    if NOTE not in snapshot.fields:
        return {}
    rows = snapshot.table(["item_id", NOTE], f"state = 'ready' AND {NOTED}")
    return {row["item_id"]: row[NOTE] for row in sorted(rows, key=lambda row: str(row["item_id"]))}


def lines_of(notes: Mapping[str, str], *, what: str = "page") -> Iterator[str]:
    """One line for each reason, the most frequent first: how many pages (or what else) it holds for, and some of them."""
    for why, count in Counter(notes.values()).most_common():
        yield f"{_count(count, what)}: {why}: {_some([item_id for item_id, reason in notes.items() if reason == why])}"


def of_fields(renamed: Iterable[Renamed], misfits: Iterable[Misfit]) -> Iterator[str]:
    """A line for each field whose name is the storage's own, and for each whose values are not all of one type."""
    for change in renamed:
        yield f"the field {change.field!r} is called {change.column!r} here: the name is taken"
    groups: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for misfit in misfits:
        groups[misfit.column, misfit.holds, misfit.beside].append(misfit.item_id)
    for (column, holds, beside), ids in groups.items():
        place = "texts like the others" if beside == column else f"texts in the field {beside!r}"
        yield f"the field {column!r} holds {holds}; what {_count(len(ids), 'item')} had there instead stands as {place}: {_some(ids)}"


def passed_over(listing: Listing) -> Iterator[str]:
    """A line for each reason why files were not read, and one for the folders that were not entered."""
    for why, _ in Counter(listing.passed_over.values()).most_common():
        paths = [path for path, reason in listing.passed_over.items() if reason == why]
        folders = [path for path in paths if path.endswith(os.sep)]
        if folders:
            yield f"{_count(len(folders), 'folder')} passed over: {_some(folders)}: {why}"
        if files := [path for path in paths if not path.endswith(os.sep)]:
            kinds = Counter(PurePath(path).suffix.lower() or "without suffix" for path in files).most_common(NAMED)
            counts = ", ".join(f"{n} {kind}" for kind, n in kinds)
            yield f"{_count(len(files), 'file')} passed over ({counts}): {_some(files)}: {why}"
    if listing.linked:
        yield f"{_count(len(listing.linked), 'linked folder')} passed over: {_some(listing.linked)}: read when they are named"


def with_wordless(result: AskResult, snapshot: Snapshot) -> AskResult:
    """The result; where no answer was found, with a note on the pages among those asked that have no words, if there are any."""
    if result.answer.found or NOTE not in snapshot.fields:
        return result
    condition = result.search.query.filter
    keys = snapshot.where(WORDLESS if condition is None else f"({condition}) AND {WORDLESS}")
    if not len(keys):
        return result
    fields = snapshot.records(keys[:LISTED])
    why = Counter(row[NOTE] for row in fields).most_common(1)[0][0]
    message = f"{_count(len(keys), 'page')} without words, so that no word finds them: {why} (`mmrerank info` names them)"
    notes = replace(result.answer.notes, messages=(*result.answer.notes.messages, message))
    return replace(result, answer=replace(result.answer, notes=notes))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"
