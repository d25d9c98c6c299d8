"""Pages by their names: the condition on the table that a question's naming of pages makes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from mmrerank.store.filters import quoted
from mmrerank.types import PageNames

LABEL = "page_label"  # the field that holds what is printed on a page


def last_pages(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Document -> the number of its last page, of rows with `document_id` and `page_number`."""
    last: dict[str, int] = {}
    for row in rows:
        document = row["document_id"] or ""
        last[document] = max(last.get(document, 0), row["page_number"])
    return last


def condition_of(names: PageNames, last: Callable[[], Mapping[str, int]], *, has_labels: bool) -> str:
    """The SQL condition that holds for the pages of these names.

    Args:
        last: document -> its last page; called where a name needs it.
        has_labels: whether the table says what is printed on pages.
    """
    ways = [f"page_number IN ({_listed(map(str, names.numbers))})"] if names.numbers else []
    if names.labels and has_labels:
        ways.append(f"lower({LABEL}) IN ({_listed(map(quoted, names.labels))})")
    if names.from_end:
        ends = {(document, number - place) for document, number in last().items() for place in names.from_end}
        ways += [f"(document_id = {quoted(document)} AND page_number = {number})" for document, number in sorted(ends) if number > 0]
    pages = " OR ".join(ways) or "false"
    documents = meant(names.document, last()) if names.document else []
    return f"({pages}) AND document_id IN ({_listed(map(quoted, documents))})" if documents else pages


def meant(name: str, documents: Iterable[str]) -> list[str]:
    """The documents that a name means: by path, by file name, or by file name without its ending; none where it means none.

    >>> meant("report", ["2023/report.pdf", "2024/Report.pdf", "reports.pdf"]), meant("2024/report.pdf", ["2024/Report.pdf", "report.pdf"])
    (['2023/report.pdf', '2024/Report.pdf'], ['2024/Report.pdf'])
    """
    paths = {document: PurePosixPath(document.casefold()) for document in documents}
    for reading in (str, lambda path: path.name, lambda path: path.stem):
        same = [document for document, path in paths.items() if reading(path) == name]
        if same:
            return same
    return []


def in_order(row: Mapping[str, Any], names: PageNames) -> tuple[str, bool, int]:
    """By what pages of such names are sorted: the document, then what is printed on them before their number."""
    label = str(row.get(LABEL) or "").casefold()
    return row["document_id"] or "", label not in names.labels, row["page_number"] or 0


def _listed(values: Iterable[str]) -> str:
    return ", ".join(sorted(values))
