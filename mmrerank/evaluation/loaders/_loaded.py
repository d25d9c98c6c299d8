"""What a loader hands over, and the reading of JSON, JSON lines and tables that loaders share.

A loader is a file with `load(data, split, options) -> Loaded`. Files come from elsewhere: every value is checked before it is used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmrerank.errors import FormatError, InputError, UnknownName
from mmrerank.types import ImageHandle, Query

MAX_BYTES = 4 * 2**30  # the largest annotation file of the field's benchmarks stays far below


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """Queries and judgements of one split; the fields are those of `Benchmark`."""

    queries: tuple[Query, ...]
    qrels: Mapping[str, Mapping[str, int]]
    items: tuple[str, ...] = ()  # all that is searched, in the order of the files; empty where they do not list it
    sources: tuple[Path, ...] = ()
    galleries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    removed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    subsets: Mapping[str, frozenset[str]] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)


def options_from(options: Mapping[str, Any], known: Mapping[str, Any], layout: str) -> dict[str, Any]:
    """The options of a layout with its defaults; `...` as a default means that the card must give one.

    Raises:
        UnknownName: the card gives an option that the layout has not.
        InputError: it lacks one.
    """
    for name in options:
        if name not in known:
            raise UnknownName.among(f"option of the layout {layout}", name, known)
    filled = {**known, **options}
    if missing := [name for name, value in filled.items() if value is ...]:
        raise InputError(f"the card's [benchmark.options] lack {', '.join(missing)}, which the layout {layout} needs.")
    return filled


def needed(data: Path, name: str) -> Path:
    """The file or folder `name` below `data`.

    Raises:
        InputError: it is not there, or `name` leads out of the folder.
    """
    path = data / name
    if not path.resolve().is_relative_to(data.resolve()) and not Path(name).parts[:1] == (".",) and ".." in Path(name).parts:
        raise InputError(f"{name!r} leads out of {data}")
    if not path.exists():
        raise InputError(f"there is no {name} in {data}.")
    return path


def json_of(path: Path, kind: type = list) -> Any:
    """The content of a JSON file whose outermost value is a `kind` (list or dict).

    Raises:
        FormatError: no JSON, or another kind.
    """
    try:
        content = json.loads(text_of(path))
    except json.JSONDecodeError as error:
        raise FormatError(f"no JSON: {error.msg}", path=path, line=error.lineno) from error
    if not isinstance(content, kind):
        raise FormatError(f"expected a JSON {_NAMES[kind]}, got {type(content).__name__}", path=path)
    return content


def lines_of(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number (from 1) and object of each line of a JSON lines file; empty lines are passed over.

    Raises:
        FormatError: a line is no JSON object.
    """
    for number, line in enumerate(text_of(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise FormatError(f"no JSON: {error.msg}", path=path, line=number) from error
        if not isinstance(row, dict):
            raise FormatError(f"expected a JSON object, got {type(row).__name__}", path=path, line=number)
        yield number, row


_NAMES: Mapping[Any, str] = {list: "list", dict: "object"}


def text_of(path: Path) -> str:
    """The text of a UTF-8 file.

    Raises:
        InputError: it is not there.
        FormatError: it cannot be read, is too large, or is not UTF-8.
    """
    if not path.is_file():
        raise InputError(f"there is no {path.name} in {path.parent}.")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise FormatError(f"{path.stat().st_size / 2**30:.1f} GiB, above the limit of {MAX_BYTES / 2**30:.0f}", path=path)
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"cannot be read: {error}", path=path) from error


def value_of(row: Mapping[str, Any], name: str, kind: type | tuple[type, ...], path: Path, line: int | None = None) -> Any:
    """`row[name]`; a dot in the name goes one object deeper (`img_set.members`).

    Raises:
        FormatError: it is not there or of another kind.
    """
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise FormatError(f"{_place(row)} lacks {name!r}", path=path, line=line)
        value = value[part]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise FormatError(f"{_place(row)}: {name!r} is a {type(value).__name__}, {value!r:.60}", path=path, line=line)
    return value


def _place(row: Mapping[str, Any]) -> str:
    return f"an entry ({json.dumps(row, default=str)[:80]})"


def unique(ids: Sequence[str], what: str, path: Path) -> None:
    """FormatError where an id stands twice."""
    if len(set(ids)) != len(ids):
        seen: set[str] = set()
        twice = next(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
        raise FormatError(f"the {what} {twice!r} stands twice", path=path)


def picture(path: Path) -> ImageHandle:
    """The picture at `path`; whether it is there shows when it is opened."""
    from mmrerank.readers._pictures import FilePicture

    return FilePicture(path=path, mislabelled="accept")


def named(pattern: str) -> Callable[[Any], str]:
    """Official id -> file name by a pattern of `str.format`.

    >>> named("{:012d}.jpg")(42), named("{}.png")("dev-1-0-img0")
    ('000000000042.jpg', 'dev-1-0-img0.png')
    """
    return lambda value: pattern.format(value)
