"""Rows of a result as a table of text, and as HTML with small pictures for a notebook."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from mmrerank.errors import MMRerankError
from mmrerank.handles import ImageHandle
from mmrerank.texts import printable

THUMB_PX = 128
MOST_ROWS = 20  # rows with pictures in a notebook; a page of thousands helps nobody
EXCERPT = 160  # characters of a text in HTML
STYLE = "border:1px solid #8884;padding:6px;vertical-align:top;text-align:left"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a result as people see it."""

    rank: int
    name: str
    score: float | None
    reason: str
    text: str = ""
    image: ImageHandle | None = None


def as_text(title: str, rows: Sequence[Row], notes: Sequence[str] = (), *, width: int | None = None) -> str:
    """A table of rank, score, name and reason, one line a row, as wide as the terminal.

    >>> print(as_text("2 of 2", [Row(rank=1, name="b", score=0.5, reason="P(Yes) 0.500"), Row(rank=2, name="a", score=None, reason="")]))
    2 of 2
     1.   0.500  b  P(Yes) 0.500
     2.       -  a
    """
    columns = width or shutil.get_terminal_size((120, 24)).columns
    names = min(max((len(row.name) for row in rows), default=0), max(20, columns // 2))
    lines = [title]
    for row in rows:
        score = "-" if row.score is None else f"{row.score:.3f}"
        name = row.name if len(row.name) <= names else f"…{row.name[1 - names :]}"
        lines.append(_cut(f"{row.rank:>2}. {score:>7}  {name:<{names}}  {row.reason}", columns))
    text = "\n".join([*lines, *(f"    {note}" for note in notes)])
    return printable(text)  # half a character would break the print of all, and an escape sequence what follows


def _cut(line: str, width: int) -> str:
    line = line.rstrip()
    return line if len(line) <= width else f"{line[: width - 1]}…"


def as_html(title: str, rows: Sequence[Row], notes: Sequence[str] = ()) -> str:
    """A table with a small picture of each row that has one; nothing of what it shows is taken for markup."""
    head = "".join(f'<th style="{STYLE}">{name}</th>' for name in ("", "", "score", "what", "why"))
    body = "".join(_line(row) for row in rows[:MOST_ROWS])
    more = f"<p>and {len(rows) - MOST_ROWS} more</p>" if len(rows) > MOST_ROWS else ""
    lines = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return f"<div><p><b>{escape(title)}</b></p><table><tr>{head}</tr>{body}</table>{more}{lines}</div>"


def _line(row: Row) -> str:
    score = "" if row.score is None else f"{row.score:.3f}"
    text = row.text if len(row.text) <= EXCERPT else f"{row.text[: EXCERPT - 1].rstrip()}…"
    what = f"<b>{escape(row.name)}</b><br>{escape(text)}" if text else f"<b>{escape(row.name)}</b>"
    cells = (str(row.rank), _thumbnail(row.image), score, what, escape(row.reason))
    return "<tr>" + "".join(f'<td style="{STYLE}">{cell}</td>' for cell in cells) + "</tr>"


def _thumbnail(image: ImageHandle | None) -> str:
    """The picture in a data URI, or why there is none."""
    if image is None:
        return ""
    try:
        picture: Any = image.open().copy()
    except (MMRerankError, OSError) as error:
        return f"<i>{escape(str(error)[:EXCERPT])}</i>"
    picture.thumbnail((THUMB_PX, THUMB_PX))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" width="{picture.width}" height="{picture.height}">'
