"""What a loader hands over, and the reading of JSON, JSON lines and tables that loaders share.

A loader is a file with `load(data, split, options) -> Loaded`. Files come from elsewhere: every value is checked before it is used.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmrerank.errors import FormatError, InputError, UnknownName
from mmrerank.text_files import numbered_lines, parse_json, read_text
from mmrerank.types import ImageHandle, Query


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """Queries and judgements of one split; the fields are those of `Benchmark`."""

    queries: tuple[Query, ...]
    qrels: Mapping[str, Mapping[str, int]]
    items: tuple[str, ...] = ()  # all that is searched, in the order of the files; empty where they do not list it
    sources: tuple[Path, ...] = ()  # whether they are there or not
    galleries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    removed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    subsets: Mapping[str, frozenset[str]] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    references: Mapping[str, str] = field(default_factory=dict)  # query_id -> the item whose picture the query begins with
    first_stage: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # query_id -> item id -> score, best first
    read_with: tuple[str, ...] = ()
    junk: bool = True  # whether items of grades below 0 are taken out before measuring


def options_from(options: Mapping[str, Any], known: Mapping[str, Any], layout: str) -> dict[str, Any]:
    """The options of a layout with its defaults; `...` as a default means that the card must give a text, `[...]` a list.

    Raises:
        UnknownName: the card gives an option that the layout has not.
        InputError: it lacks one.
    """
    for name in options:
        if name not in known:
            raise UnknownName.among(f"option of the layout {layout}", name, known)
    for name, value in options.items():
        kind = str if known[name] is ... else type(known[name])
        texts = not isinstance(value, list) or all(isinstance(entry, str) for entry in value)
        if not isinstance(value, kind) or not texts or isinstance(value, bool) is not (kind is bool):
            raise InputError(f"the option {name!r} of the layout {layout} is a {_NAMES[kind]}; the card gives {value!r:.60}.")
    filled = {**known, **options}
    if missing := [name for name, value in filled.items() if value is ... or value == [...]]:
        raise InputError(f"the card's [benchmark.options] lack {', '.join(missing)}, which the layout {layout} needs.")
    return filled


def named(pattern: str, **values: str) -> str:
    """The name of a file as a card gives it, with its `{split}`, `{group}` or `{part}` filled.

    Raises:
        InputError: it holds another one.
    """
    try:
        return pattern.format(**values)
    except (LookupError, ValueError, AttributeError) as error:
        places = ", ".join(f"{{{name}}}" for name in values)
        raise InputError(f"the card names a file {pattern!r:.100}; it may hold {places}") from error


def needed(data: Path, name: str) -> Path:
    """The file or folder `name` below `data`; a file may also lie there without the folders that the authors put around it.

    Raises:
        InputError: it is not there, or `name` leads out of the folder.
    """
    path = below(data, name)
    if not path.exists() and (data / path.name).is_file():
        return data / path.name
    if not path.exists():
        raise InputError(f"there is no {name} in {data}.")
    return path


def below(folder: Path, name: str) -> Path:
    """`folder / name`, whether it is there or not.

    Raises:
        InputError: `name` is no plain relative path: an annotation file says what is opened, and nothing outside may be.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
        raise InputError(f"{name!r} leads out of {folder}")
    return folder / name


def files_in(folder: Path, names: Sequence[str]) -> tuple[Path, ...]:
    """What a collection is to index so that it holds these files of a folder and no others; the folder where it is not there.

    Raises:
        InputError: some of the files are not there.
    """
    if not folder.is_dir():
        return (folder,)
    missing = [name for name in names if not below(folder, name).is_file()]
    if missing:
        raise InputError(f"{folder} lacks {len(missing)} of {len(names)} files, {missing[0]!r} the first.")
    return (folder,) if set(os.listdir(folder)) == set(names) else tuple(folder / name for name in names)


def json_of(path: Path, kind: type = list) -> Any:
    """The content of a JSON file whose outermost value is a `kind` (list or dict).

    Raises:
        FormatError: no JSON, or another kind.
    """
    content = parse_json(text_of(path), path)
    if not isinstance(content, kind):
        raise FormatError(f"expected a JSON {_NAMES[kind]}, got {type(content).__name__}", path=path)
    return content


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The records of a file: a JSON list of objects, or JSON lines where the name ends in .jsonl.

    Raises:
        FormatError: one is no JSON object.
    """
    if kind_of(path) == ".jsonl":
        return [row for _, row in lines_of(path)]
    rows = json_of(path)
    wrong = next((n for n, row in enumerate(rows) if not isinstance(row, dict)), None)
    if wrong is not None:
        raise FormatError(f"expected a JSON object, got {type(rows[wrong]).__name__} at place {wrong}", path=path)
    return list(rows)


def lines_of(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number (from 1) and object of each line of a JSON lines file; empty lines are passed over.

    Raises:
        FormatError: a line is no JSON object.
    """
    for number, line in numbered_lines(text_of(path)):
        row = parse_json(line, path, number)
        if not isinstance(row, dict):
            raise FormatError(f"expected a JSON object, got {type(row).__name__}", path=path, line=number)
        yield number, row


_NAMES: Mapping[Any, str] = {list: "list", dict: "object", str: "text", bool: "truth value", int: "whole number"}


def text_of(path: Path) -> str:
    """The text of a file, unpacked where it is gzip.

    Raises:
        InputError: it is not there.
        FormatError: it cannot be read, is too large, or is no text.
    """
    if not path.is_file():
        raise InputError(f"there is no {path.name} in {path.parent}.")
    return read_text(path)


def kind_of(path: Path) -> str:
    """The suffix that says how a file is read, in small letters; that of packing is passed over.

    >>> kind_of(Path("queries.JSONL.gz"))
    '.jsonl'
    """
    return Path(path.stem if path.suffix.lower() == ".gz" else path.name).suffix.lower()


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


def word(value: Any, what: str, path: Path) -> str:
    """An id as text.

    Raises:
        FormatError: it is neither text nor a whole number, or empty.
    """
    if not isinstance(value, (str, int)) or isinstance(value, bool) or value == "":
        raise FormatError(f"the {what} is a {type(value).__name__}, {value!r:.60}; expected text or a whole number", path=path)
    return str(value)


def id_of(row: Mapping[str, Any], name: str, what: str, path: Path, line: int | None = None) -> str:
    """The id in the field `name` of a record, as text.

    Raises:
        FormatError: it is not there, empty, or neither text nor a whole number.
    """
    return word(value_of(row, name, (str, int), path, line), what, path)


def words(value: Any, what: str, path: Path) -> tuple[str, ...]:
    """Ids as text, of a list of them or of a single one.

    Raises:
        FormatError: one of them is none.
    """
    return tuple(word(entry, what, path) for entry in (value if isinstance(value, list) else [value]))


def unique(ids: Sequence[str], what: str, path: Path) -> None:
    """FormatError where an id stands twice."""
    if len(set(ids)) != len(ids):
        earlier: set[str] = set()
        twice = next(i for i in ids if i in earlier or earlier.add(i))  # type: ignore[func-returns-value]
        raise FormatError(f"the {what} {twice!r} stands twice", path=path)


def judged(queries: Sequence[Query], qrels: Mapping[str, Any], path: Path) -> None:
    """FormatError where some queries have judgements and others have none: a split is judged, or it is not."""
    without = [query.query_id for query in queries if query.query_id not in qrels]
    if without and len(without) < len(queries):
        raise FormatError(f"{len(without)} of {len(queries)} queries have no judgement, {without[0]!r} the first", path=path)


def picture(path: Path) -> ImageHandle:
    """The picture at `path`; whether it is there shows when it is opened."""
    from mmrerank.readers import FilePicture

    return FilePicture(path=path, mislabelled="accept")


def file_name(pattern: str, name: str, path: Path) -> str:
    """Official id -> file name by a pattern of `str.format`, which may want a number.

    Raises:
        FormatError: the pattern does not take such an id.

    >>> file_name("{:012d}.jpg", "42", Path()), file_name("{}.png", "dev-1-0-img0", Path())
    ('000000000042.jpg', 'dev-1-0-img0.png')
    """
    try:
        return pattern.format(int(name) if "d}" in pattern else name)
    except ValueError as error:
        raise FormatError(f"the id {name!r:.60} does not fit {pattern!r}: {error}", path=path) from error
