"""The text of the shipped documents: a small markup, read into blocks.

A source file opens with TOML between two `+++` lines. Then come headings (`#` to `###`), paragraphs, lists (`- ` or `1. `),
boxed notes (`> `), tables in pipes, ` ```chart ` and ` ```diagram ` blocks whose body is TOML, and `%%page` for a new page.
A table is followed by `: [label] caption`; `[@label]` anywhere in the text becomes "Figure 3" or "Table 2".
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmrerank.errors import FormatError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    level: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph:
    text: str
    boxed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    entries: tuple[str, ...]
    ordered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    label: str
    number: int
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[bool, ...]  # per column: set flush right


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    label: str
    number: int
    caption: str
    kind: Literal["chart", "diagram"]
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NewPage:
    pass


Block = Heading | Paragraph | Listing | Table | Figure | NewPage


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    front: Mapping[str, Any]
    blocks: tuple[Block, ...]

    def names(self) -> dict[str, str]:
        """What `[@label]` stands for: each label with "Figure n" or "Table n"."""
        return {
            block.label: f"{'Table' if isinstance(block, Table) else 'Figure'} {block.number}"
            for block in self.blocks
            if isinstance(block, Table | Figure)
        }

    def figure(self, label: str) -> Figure:
        """The chart or diagram of that label; KeyError when there is none."""
        for block in self.blocks:
            if isinstance(block, Figure) and block.label == label:
                return block
        raise KeyError(label)


class _Parser:
    """One pass over the lines; every method that reads a block leaves `at` on the line after it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = path.read_text(encoding="utf-8").splitlines()
        self.at = 0
        self.tables = 0
        self.figures = 0

    def fail(self, message: str) -> FormatError:
        return FormatError(message, path=self.path, line=self.at + 1)

    def until(self, closing: str) -> str:
        """The lines up to one that is `closing`, which is passed over."""
        start = self.at
        while self.at < len(self.lines) and self.lines[self.at].strip() != closing:
            self.at += 1
        if self.at == len(self.lines):
            self.at = start
            raise self.fail(f"no closing {closing!r} line follows")
        self.at += 1
        return "\n".join(self.lines[start : self.at - 1])

    def toml(self, closing: str) -> dict[str, Any]:
        start = self.at
        text = self.until(closing)
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            self.at = start
            raise self.fail(f"not TOML: {error}") from error

    def while_(self, *starts: str) -> list[str]:
        """The run of lines that begin with one of `starts`."""
        first = self.at
        while self.at < len(self.lines) and self.lines[self.at].startswith(starts):
            self.at += 1
        return self.lines[first : self.at]

    def source(self) -> Source:
        if not self.lines or self.lines[0] != "+++":
            raise self.fail("expected '+++' and the title in TOML on the first lines")
        self.at = 1
        front = self.toml("+++")
        blocks: list[Block] = []
        while self.at < len(self.lines):
            if self.lines[self.at].strip():
                blocks.append(self.block())
            else:
                self.at += 1
        return Source(front=front, blocks=tuple(blocks))

    def block(self) -> Block:
        line = self.lines[self.at]
        if heading := re.match(r"(#{1,3}) (.+)", line):
            self.at += 1
            return Heading(level=len(heading[1]), text=heading[2].strip())
        if line.startswith("```"):
            return self.fenced(line[3:].strip())
        if line.startswith("|"):
            return self.table()
        if line.startswith("> "):
            return Paragraph(text=" ".join(part[1:].strip() for part in self.while_(">")), boxed=True)
        if line.strip() == "%%page":
            self.at += 1
            return NewPage()
        if re.match(r"(- |\d+\. )", line):
            return self.listing(ordered=line[0] != "-")
        return self.paragraph()

    def paragraph(self) -> Paragraph:
        first = self.at
        while self.at < len(self.lines) and self.lines[self.at].strip():
            self.at += 1
        return Paragraph(text=" ".join(part.strip() for part in self.lines[first : self.at]))

    def listing(self, *, ordered: bool) -> Listing:
        entries: list[str] = []
        while self.at < len(self.lines) and self.lines[self.at].strip():
            line = self.lines[self.at]
            if begun := re.match(r"(?:- |\d+\. )(.*)", line):
                entries.append(begun[1].strip())
            else:  # an indented line carries the entry on
                entries[-1] += " " + line.strip()
            self.at += 1
        return Listing(entries=tuple(entries), ordered=ordered)

    def fenced(self, kind: str) -> Figure:
        if kind not in ("chart", "diagram"):
            raise self.fail(f"expected ```chart or ```diagram, got {kind!r}")
        self.at += 1
        options = self.toml("```")
        if missing := {"label", "caption"} - set(options):
            raise self.fail(f"a {kind} lacks {', '.join(sorted(missing))}")
        self.figures += 1
        label, caption = str(options.pop("label")), str(options.pop("caption"))
        return Figure(label=label, number=self.figures, caption=caption, kind="chart" if kind == "chart" else "diagram", options=options)

    def table(self) -> Table:
        rows = [tuple(cell.strip() for cell in line.strip().strip("|").split("|")) for line in self.while_("|")]
        if len(rows) < 3 or len({len(row) for row in rows}) != 1:
            raise self.fail(f"expected a header, a rule and rows of equal length, got rows of {[len(row) for row in rows]} cells")
        caption = re.match(r": \[([\w-]+)\] (.+)", self.lines[self.at] if self.at < len(self.lines) else "")
        if caption is None:
            raise self.fail("expected ': [label] caption' right after the table")
        self.at += 1
        self.tables += 1
        right = tuple(rule.endswith(":") for rule in rows[1])
        return Table(label=caption[1], number=self.tables, caption=caption[2], header=rows[0], rows=tuple(rows[2:]), right=right)


def read_source(path: str | Path) -> Source:
    """The document of one source file, tables and figures numbered in order of appearance.

    Raises:
        FormatError: with path and line, where the markup is broken or a reference names no table or figure.
    """
    parser = _Parser(Path(path))
    source = parser.source()
    names = source.names()
    for number, line in enumerate(parser.lines, start=1):
        for label in re.findall(r"\[@([\w-]+)\]", line):
            if label not in names:
                raise FormatError(f"no table or figure is labelled {label!r}", path=path, line=number)
    return source


def markup(text: str, names: Mapping[str, str], *, mono: str) -> str:
    """One run of text in ReportLab's own markup: references resolved, quotes curled, bold, italic and code marked, the rest escaped."""
    curled = re.sub(r'"([^"]*)"', "“\\1”", text).replace("'", "’")
    escaped = curled.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    escaped = re.sub(r"\[@([\w-]+)\]", lambda match: names[match[1]].replace(" ", "\N{NO-BREAK SPACE}"), escaped)
    escaped = re.sub(r"`([^`]+)`", rf'<font face="{mono}" size="-1">\1</font>', escaped)
    escaped = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escaped)
    return re.sub(r"\*(.+?)\*", r"<i>\1</i>", escaped)
