"""Rows of JSON lines and of CSV or TSV files, one at a time, with the byte they begin at so that one can be read again.

Source: RFC 4180 for CSV, read leniently: a quote inside an unquoted field is a character. Python's `csv` would do but for its
limit on the length of a field, which is a setting of the whole process, and for a lost quote, which makes it swallow the rest
of the file as one field. Here a row spans at most `MAX_LINES` lines; where it would span more, its first line is broken and
reading goes on with the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from mmrerank.errors import FormatError
from mmrerank.readers._files import MIB, opened
from mmrerank.readers._kinds import looks_like
from mmrerank.readers._metadata import parsed

MAX_LINE = 256 * MIB
MAX_LINES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row, or why it is none."""

    number: int  # from 1, broken rows included
    place: str  # where a person finds it: "line=17", "row=5"
    locator: tuple[int, int]  # where its source finds it again
    values: Mapping[str, Any]
    problem: str = ""


class Source(Protocol):
    """A file of rows."""

    columns: tuple[str, ...]
    typed: bool  # whether numbers come as numbers

    def count(self) -> int:
        """How many rows `rows` gives."""
        ...

    def rows(self) -> Iterator[Row]:
        """Every row in order, the broken ones with their problem."""
        ...

    def values_at(self, locator: tuple[int, int]) -> Mapping[str, Any]:
        """The values of one row again; FormatError when they are no longer there."""
        ...


@dataclass(frozen=True, slots=True)
class _Line:
    number: int  # from 1
    offset: int  # of its first byte
    content: bytes | None  # without the line end; None above MAX_LINE


def _lines(file: BinaryIO, path: Path) -> Iterator[_Line]:
    offset, number = 0, 0
    try:
        while content := file.readline(MAX_LINE):
            number += 1
            begin, offset = offset, offset + len(content)
            whole = len(content) < MAX_LINE or content.endswith(b"\n")
            while len(content) == MAX_LINE and not content.endswith(b"\n"):
                content = file.readline(MAX_LINE)
                offset += len(content)
            yield _Line(number, begin, content.rstrip(b"\r\n") if whole else None)
    except OSError as error:
        raise FormatError(f"cannot be read: {error.strerror or error}", path=path) from error


def _text(line: _Line) -> str:
    """The line as text; ValueError, with the reason, when it is none."""
    if line.content is None:
        raise ValueError(f"longer than {MAX_LINE // MIB} MiB")
    try:
        return line.content.decode("utf-8-sig" if line.offset == 0 else "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from error


def _check_text(file: BinaryIO, path: Path) -> None:
    head = file.read(512)
    file.seek(0)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise FormatError("is UTF-16; save it as UTF-8", path=path)
    if b"\0" in head:
        raise FormatError(f"not a text file: looks like {looks_like(head)}", path=path)


class JsonLines:
    """One JSON object a line; empty lines are passed over."""

    typed = True

    def __init__(self, path: Path) -> None:
        self._path = path
        with opened(path) as file:
            _check_text(file, path)
            first = next((row for row in self._rows(file) if not row.problem), None)
        self.columns = tuple(first.values) if first is not None else ()

    def count(self) -> int:
        with opened(self._path) as file:
            return sum(1 for line in _lines(file, self._path) if line.content is None or line.content.strip())

    def rows(self) -> Iterator[Row]:
        with opened(self._path) as file:
            yield from self._rows(file)

    def _rows(self, file: BinaryIO) -> Iterator[Row]:
        number = 0
        for line in _lines(file, self._path):
            if line.content is not None and not line.content.strip():
                continue
            number += 1
            yield self._row(number, line)

    def values_at(self, locator: tuple[int, int]) -> Mapping[str, Any]:
        with opened(self._path) as file:
            file.seek(locator[0])
            row = self._row(0, _Line(0, locator[0], file.readline(MAX_LINE)))
        if row.problem:
            raise FormatError(row.problem, path=self._path)
        return row.values

    def _row(self, number: int, line: _Line) -> Row:
        values, problem = {}, ""
        try:
            values = parsed(_text(line))
        except ValueError as error:
            problem = str(error)
        if not problem and not isinstance(values, dict):
            values, problem = {}, "not an object"
        return Row(number=number, place=f"line={line.number}", locator=(line.offset, 0), values=values, problem=problem)


class _Fields:
    """The fields of one CSV row, fed line by line until it is whole."""

    def __init__(self, delimiter: str) -> None:
        self._delimiter = delimiter
        self._open: list[str] | None = None  # the pieces so far of a quoted field that is not closed
        self.fields: list[str] = []

    def feed(self, text: str) -> bool:
        """Takes one line; whether the row is whole now."""
        position = 0
        if self._open is not None:
            self._open.append("\n")
            position = self._quoted(text, 0)
        while 0 <= position <= len(text):
            if text[position : position + 1] == '"':
                self._open = []
                position = self._quoted(text, position + 1)
            else:
                stop = self._field_end(text, position)
                self.fields.append(text[position:stop])
                position = stop + 1
        return self._open is None

    def _quoted(self, text: str, position: int) -> int:
        """Takes the rest of a quoted field; where the next field begins, -1 while the quote stays open."""
        assert self._open is not None
        while (quote := text.find('"', position)) >= 0:
            self._open.append(text[position:quote])
            if text[quote + 1 : quote + 2] != '"':
                stop = self._field_end(text, quote + 1)
                self.fields.append("".join(self._open) + text[quote + 1 : stop])
                self._open = None
                return stop + 1
            self._open.append('"')
            position = quote + 2
        self._open.append(text[position:])
        return -1

    def _field_end(self, text: str, position: int) -> int:
        stop = text.find(self._delimiter, position)
        return len(text) if stop < 0 else stop


class Delimited:
    """CSV or TSV with a header line; every value is text, an empty field is None."""

    typed = False

    def __init__(self, path: Path) -> None:
        self._path = path
        with opened(path) as file:
            _check_text(file, path)
            first = next(_lines(file, path))
            try:
                header = _text(first)
            except ValueError as error:
                raise FormatError(f"its header is {error}", path=path, line=1) from error
        self._delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter_of(header)
        fields = _Fields(self._delimiter)
        if not fields.feed(header):
            raise FormatError("its header has a quote that does not end", path=path, line=1)
        self.columns = tuple(name.strip() for name in fields.fields)
        if not any(self.columns) or len(set(self.columns)) < len(self.columns):
            raise FormatError("its header names no columns, or one twice", path=path, line=1)

    def count(self) -> int:
        return sum(1 for _ in self.rows())

    def rows(self) -> Iterator[Row]:
        with opened(self._path) as file:
            offset, line_number, number = len(file.readline(MAX_LINE)), 1, 0
            while True:
                row, offset, line_number = self._next(file, offset, line_number, number + 1)
                if row is None:
                    return
                number = row.number
                yield row

    def values_at(self, locator: tuple[int, int]) -> Mapping[str, Any]:
        with opened(self._path) as file:
            row, _, _ = self._next(file, locator[0], 0, 1)
        if row is None or row.problem:
            raise FormatError(row.problem if row is not None else "ends before this row", path=self._path)
        return row.values

    def _next(self, file: BinaryIO, offset: int, line_number: int, number: int) -> tuple[Row | None, int, int]:
        """The row that begins at or after `offset`, where the next one begins, and the number of the last line taken."""
        file.seek(offset)
        fields = _Fields(self._delimiter)
        first: tuple[int, int, int] | None = None  # offset, offset of the line after it, line number
        problem = ""
        for line in _lines(file, self._path):
            begin, stop = offset + line.offset, file.tell()
            if first is None:
                if line.content is not None and not line.content.strip():
                    continue
                first = (begin, stop, line_number + line.number)
            try:
                whole = fields.feed(_text(line))
            except ValueError as error:
                whole, problem = True, str(error)
            if whole:
                return self._row(number, first, fields.fields, problem), stop, line_number + line.number
            if line_number + line.number - first[2] >= MAX_LINES or stop - first[0] > MAX_LINE:
                break
        if first is None:
            return None, offset, line_number
        return self._row(number, first, [], "a quote opens in it that does not end"), first[1], first[2]

    def _row(self, number: int, first: tuple[int, int, int], fields: list[str], problem: str) -> Row:
        if not problem and len(fields) != len(self.columns):
            problem = f"has {len(fields)} fields where the header has {len(self.columns)}"
        values = {} if problem else {name: field or None for name, field in zip(self.columns, fields, strict=True) if name}
        return Row(number=number, place=f"line={first[2]}", locator=(first[0], 0), values=values, problem=problem)


def _delimiter_of(header: str) -> str:
    return max(",;\t|", key=header.count)  # the first of them where none occurs
