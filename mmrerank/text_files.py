"""How the text of a file is opened: one way, by whatever door the file comes.

UTF-8, with or without the mark that editors of Windows put in front; UTF-16 and UTF-32 where their marks say so; unpacked where the content
is gzip, whatever the name. A line ends at \\n or \\r\\n, in a file that has neither at \\r, and nowhere else: U+2028, U+0085 and
other breaks inside a line are letters of its text. What is written stands there whole or not at all.
Cost: a file is read into memory once, its lines are cut as they are asked for.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import os
import re
import secrets
import shutil
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmrerank.errors import FormatError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_BYTES = 2 * 2**30  # the largest annotation file of the field's benchmarks stays far below
MARK = "\ufeff"
BLANKS = " \t\n\r\v\f"  # what parts columns in C's `isspace`, as trec_eval reads them; others, such as U+3000, belong to names
PARTS = re.compile(f"[{BLANKS}]+")
ENCODINGS = (  # the longer marks first: that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"", "utf-8-sig"),
)
GZIP = b"\x1f\x8b"  # no UTF-8 text begins so
HALVES = re.compile(r"\\u[dD][89a-fA-F]")  # JSON's way to write halves of surrogate pairs


def read_text(path: str | Path, *, hint: str = "") -> str:
    """The text of a file, without a mark in front.

    Args:
        hint: what to do where the file cannot be read.

    Raises:
        FormatError: it is not there, cannot be read, is above `MAX_BYTES` or broken, or is no text.
    """
    file = Path(path)
    try:
        with file.open("rb") as stream:
            content = _unpacked(stream.read(MAX_BYTES + 1))
        if len(content) > MAX_BYTES:
            raise FormatError(f"above the limit of {MAX_BYTES / 2**30:.0f} GiB", path=file, hint=hint)
        encoding = next(name for mark, name in ENCODINGS if content.startswith(mark))
        return content.decode(encoding).removeprefix(MARK)  # a file that was joined or converted twice has two marks
    except FileNotFoundError as error:
        raise FormatError("cannot be read: there is no such file", path=file, hint=hint) from error
    except UnicodeDecodeError as error:
        raise FormatError(
            f"no text in UTF-8: byte {error.start} is none of its letters", path=file, hint=hint or "Save it as UTF-8."
        ) from error
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise FormatError(f"cannot be read: {_reason(error)}", path=file, hint=hint) from error


def _unpacked(content: bytes) -> bytes:
    if not content.startswith(GZIP):
        return content
    with gzip.open(io.BytesIO(content)) as stream:
        return stream.read(MAX_BYTES + 1)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """Number, from 1, and text of each line that is not blank; marks in front of a line, as joined files have them, are left out.

    >>> list(numbered_lines("a\\u2028b\\r\\n\\nc"))
    [(1, 'a\\u2028b'), (3, 'c')]
    """
    end = "\n" if "\n" in text else "\r"
    for number, line in enumerate(text.split(end), 1):
        if line.strip(f"{BLANKS}{MARK}"):
            yield number, line.removesuffix("\r").lstrip(MARK)


def columns(line: str) -> list[str]:
    """The fields of a line that blanks part, as trec_eval parts them: a blank of another alphabet belongs to a name.

    >>> columns("q1 Q0\\tred\u3000door.jpg ")
    ['q1', 'Q0', 'red\u3000door.jpg']
    """
    return [field for field in PARTS.split(line) if field]


def parse_json(text: str, path: str | Path, line: int | None = None, *, hint: str = "") -> Any:
    """The value of a JSON text; halves of surrogate pairs, which no file and no terminal takes, become U+FFFD.

    Raises:
        FormatError: it is no JSON, or nested or long beyond what can be read; names the line.
    """
    try:
        value = json.loads(text)
        return json.loads(_whole_letters(json.dumps(value, ensure_ascii=False))) if HALVES.search(text) else value
    except json.JSONDecodeError as error:
        raise FormatError(f"no JSON: {error.msg}", path=path, line=line or error.lineno, hint=hint) from error
    except RecursionError as error:
        raise FormatError("no JSON that can be read: nested too deeply", path=path, line=line, hint=hint) from error
    except ValueError as error:  # a number of thousands of digits
        raise FormatError(f"no JSON that can be read: {error}", path=path, line=line, hint=hint) from error


def _whole_letters(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def read_json(path: str | Path, *, hint: str = "") -> Any:
    """The value of a JSON file.

    Raises:
        FormatError: as `read_text` and `parse_json`.
    """
    return parse_json(read_text(path, hint=hint), path, hint=hint)


def json_lines(path: str | Path, *, hint: str = "") -> Iterator[tuple[int, Any]]:
    """Number, from 1, and value of each line of a JSON lines file; blank lines are passed over.

    Raises:
        FormatError: as `read_text` and `parse_json`.
    """
    for number, line in numbered_lines(read_text(path, hint=hint)):
        yield number, parse_json(line, path, number, hint=hint)


def read_toml(path: str | Path, *, hint: str = "") -> dict[str, Any]:
    """The table of a TOML file.

    Raises:
        FormatError: as `read_text`, or it is no TOML.
    """
    return parse_toml(read_text(path, hint=hint), path, hint=hint)


def parse_toml(text: str, path: str | Path, *, hint: str = "") -> dict[str, Any]:
    """The table of a TOML text.

    Raises:
        FormatError: it is no TOML, or nested or long beyond what can be read.
    """
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise FormatError("no TOML that can be read: nested too deeply", path=path, hint=hint) from error
    except ValueError as error:
        raise FormatError(f"no TOML: {error}", path=path, hint=hint) from error


def write_text(path: str | Path, text: str) -> Path:
    """Writes the file whole or not at all: until all of it is on disk, what stood there stays; returns the path.

    Raises:
        OSError: the folder is not there or cannot be written.
    """
    file = Path(path)
    if file.exists() and not file.is_file():  # a terminal or a pipe, which nothing may take the place of
        file.write_text(text, encoding="utf-8", newline="\n")
        return file
    target = file.resolve()  # behind a link: the link stays
    draft = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        with draft.open("x", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        if target.exists():
            shutil.copymode(target, draft)
        os.replace(draft, target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return file
