"""The short fields of the items of one version of a table, with their keys and row ids: what a search asks of it most.

    FOLDER/fields.arrow     the fields in the order they are stored in, some thousand items a batch
    FOLDER/keys.npy         (n,) int64, ascending
    FOLDER/places.npy       (n,) int64, where each of these keys stands in that order
    FOLDER/row_ids.npy      (n,) int64, in that order
    FOLDER/contents.json    which files of the table that is, and how many items are in each batch

Ten rows of seven columns cost Lance 4 ms where they lie in sixteen files, and mapped ones a tenth of it; reading and sorting the keys of a
million items costs .1 s at each opening. So a large table has them beside it, as they were at one version. A file of a table never changes,
only rows in it go: of a later version the files that are new are read, into memory, and what stood in files or rows that are gone is passed
over.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmrerank.errors import InputError
from mmrerank.store.vectors import FILE_BITS
from mmrerank.types import Keys

logger = logging.getLogger(__name__)
WITH_TEXT = "text IS NOT NULL AND text <> ''"
SMALL = 20_000  # rows: a table of no more is read at each opening
MOST_CHANGED = 0.05  # share of the items in files that came or went since, above which all are written anew
BATCH = 65_536  # items
_CONTENTS = "contents.json"
_NONE: Keys = np.empty(0, np.int64)


class FieldCache(Protocol):
    """Where the fields of a large table are on disk."""

    def newest(self) -> Path | None:
        """The folder that was written last; None where there is none that can be trusted."""

    def renew(self, write: Callable[[Path], None], version: int) -> Path | None:
        """A new folder that `write` has filled; None where there can be none."""


def data_files_of(dataset: Any) -> dict[str, str]:
    """Number of each file of a version of the table -> what tells its content, and behind a dash, where rows were deleted, which."""
    return {str(file.fragment_id): _content(file.metadata.to_json()) for file in dataset.get_fragments()}


def _content(metadata: dict[str, Any]) -> str:
    deleted = metadata.pop("deletion_file", None)
    return "-".join(_digest(part) for part in (metadata, deleted) if part)


def _digest(values: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=8).hexdigest()


def _are_one(content: str, other: str | None) -> bool:
    """Whether two contents of files are one, but for rows that were deleted."""
    return other is not None and content.partition("-")[0] == other.partition("-")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """Where the items of one file stand among those of a part."""

    content: str  # as `data_files_of` tells it
    start: int
    count: int


@dataclass(slots=True, kw_only=True)
class _Part:
    """Items that were read together, in memory or in a mapped folder."""

    batches: Sequence[pa.RecordBatch]
    ends: Keys  # (n_batches,) the place behind the last of each batch
    row_ids: Keys  # in the order they are stored in
    keys: Keys  # ascending
    places: Keys  # of each of these keys in the order they are stored in
    spans: Mapping[str, _Span]  # by the number of the file
    gone: Keys  # numbers of files that the table has no more
    dead: Keys  # row ids, ascending, that were deleted in those that it has
    has_texts: bool  # whether any item has a text, which is no short field

    def __len__(self) -> int:
        return len(self.keys) - len(self.dead) - sum(self.spans[str(number)].count for number in self.gone.tolist())

    def alive(self, places: Keys) -> npt.NDArray[np.bool_]:
        """Which of these places are in rows that the table has."""
        rows = self.row_ids[places]
        in_files = np.isin(rows >> FILE_BITS, self.gone, invert=True)
        return in_files & np.isin(rows, self.dead, invert=True) if len(self.dead) else in_files

    def lookup(self, keys: Keys) -> tuple[Keys, Keys]:
        """Which of (n,) keys it has, by number, and the place of each."""
        if not len(self.keys):
            return _NONE, _NONE
        slots = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        numbers = np.flatnonzero(self.keys[slots] == keys)
        places = self.places[slots[numbers]]
        there = self.alive(places)
        return numbers[there], places[there]

    def all_keys(self) -> Keys:
        """(n,) ascending; read-only where they are in a file."""
        return self.keys[self.alive(self.places)] if len(self.gone) or len(self.dead) else self.keys

    def rows(self, places: Keys) -> list[dict[str, Any]]:
        """The fields of the items at these places, in their order."""
        rows: list[dict[str, Any]] = [{}] * len(places)
        numbers = np.searchsorted(self.ends, places, side="right")
        for number in np.unique(numbers).tolist():
            some = np.flatnonzero(numbers == number)
            offsets = places[some] - (self.ends[number - 1] if number else 0)
            for n, row in zip(some.tolist(), self.batches[number].take(pa.array(offsets)).to_pylist(), strict=True):
                rows[n] = row
        return rows

    def keys_in(self, span: _Span) -> Keys:
        """(n,) the keys of the items of one file that the table has, in the order they are stored in."""
        if not span.count:
            return _NONE
        end = span.start + span.count
        first, last = np.searchsorted(self.ends, [span.start, end - 1], side="right").tolist()
        keys = np.concatenate([self.batches[number]["key"].to_numpy() for number in range(first, last + 1)])
        start = span.start - (int(self.ends[first - 1]) if first else 0)
        return keys[start : start + span.count][self.alive(np.arange(span.start, end))]


class ShortFields:
    """The short fields of all items that are ready, by key."""

    def __init__(self, dataset: Any, names: Sequence[str], cache: FieldCache | None = None) -> None:
        """Opens what a cache has of a version of the table, and reads the rest.

        Args:
            names: of the fields; `key` is among them.
        """
        self.data_files = data_files_of(dataset)
        self._dataset, self._names = dataset, list(names)
        mapped = None if cache is None or dataset.count_rows() <= SMALL else self._mapped(cache)
        rest = self._rest(mapped)
        read = [_read(dataset, self._names, rest, self.data_files)] if rest or mapped is None else []
        self._parts = read if mapped is None else [mapped, *read]  # of what is mapped no key stands twice

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    @cached_property
    def keys(self) -> Keys:
        """(n,) ascending; read-only where they are in a file."""
        first, *others = (part.all_keys() for part in self._parts)
        for keys in others:
            first = np.insert(first, np.searchsorted(first, keys), keys)
        return first

    @cached_property
    def repeats(self) -> int:
        """How many keys stand there that stood there before."""
        last = self._parts[-1].keys
        return int((np.diff(last) == 0).sum()) + sum(len(part.lookup(last)[0]) for part in self._parts[:-1])

    @property
    def has_texts(self) -> bool:
        """Whether an item may have a text; false where none has."""
        return any(part.has_texts for part in self._parts)

    def has(self, name: str) -> bool:
        """Whether an item may have a value in a field; false where none has."""
        return any(batch[name].null_count < len(batch) for part in self._parts for batch in part.batches)

    def row_ids(self, keys: Keys) -> Keys:
        """(n,) the row id of each key.

        Raises:
            InputError: a key is not in this version.
        """
        row_ids = np.empty(len(keys), np.int64)
        for part, numbers, places in self._located(keys):
            row_ids[numbers] = part.row_ids[places]
        return row_ids

    def rows(self, keys: Keys) -> list[dict[str, Any]]:
        """The fields of each key.

        Raises:
            InputError: a key is not in this version.
        """
        rows: list[dict[str, Any]] = [{}] * len(keys)
        for part, numbers, places in self._located(keys):
            for n, row in zip(numbers.tolist(), part.rows(places), strict=True):
                rows[n] = row
        return rows

    def outside(self, files: Mapping[str, str]) -> tuple[Keys, int]:
        """The ascending keys of the items in other files than these, told by `data_files_of`, and how many items are in these."""
        keys = [_NONE]
        for part in self._parts:
            live = [(number, span) for number, span in part.spans.items() if _are_one(span.content, self.data_files.get(number))]
            keys += [part.keys_in(span) for number, span in live if not _are_one(span.content, files.get(number))]
        some = np.sort(np.concatenate(keys))
        return some, len(self) - len(some)

    def _located(self, keys: Keys) -> list[tuple[_Part, Keys, Keys]]:
        places = [(part, *part.lookup(keys)) for part in self._parts]
        if sum(len(numbers) for _, numbers, _ in places) < len(keys):
            raise InputError("a key is not in this version of the collection")
        return places

    def _rest(self, part: _Part | None) -> list[Any]:
        """The files of the table whose items are not in a part."""
        spans = {} if part is None else part.spans
        there = {number for number, span in spans.items() if _are_one(span.content, self.data_files.get(number))}
        return [file for file in self._dataset.get_fragments() if str(file.fragment_id) not in there]

    def _mapped(self, cache: FieldCache) -> _Part | None:
        """What is on disk, made anew first where too much came or went since."""
        part = self._opened(cache.newest())
        rows = sum(file.count_rows() for file in self._rest(part))
        if part is None or rows + len(part.keys) - len(part) > max(SMALL, MOST_CHANGED * len(part.keys)):
            part = self._opened(cache.renew(self._write, int(self._dataset.version)))
        return part

    def _columns(self) -> dict[str, list[Any]]:
        """Name of each field -> its number, which no field had before it, and its type."""
        numbers = {field.name(): field.id() for field in self._dataset.lance_schema.fields()}
        return {name: [numbers[name], str(self._dataset.schema.field(name).type)] for name in self._names}

    def _opened(self, folder: Path | None) -> _Part | None:
        """What lies in a folder, as far as the table has it still; None where it has other fields, or a key twice."""
        if folder is None:
            return None
        try:
            contents = json.loads((folder / _CONTENTS).read_text(encoding="utf-8"))
            if contents["columns"] != self._columns() or contents["repeats"]:
                return None
            spans = {number: _Span(**span) for number, span in contents["spans"].items()}
            reader = pa.ipc.open_file(pa.memory_map(str(folder / "fields.arrow")))
            arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r").view(np.ndarray) for name in ("row_ids", "keys", "places")}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("the fields in %s are read again: %s", folder, error)
            return None
        return _Part(
            batches=[reader.get_batch(n) for n in range(reader.num_record_batches)],
            ends=np.array(contents["ends"], np.int64),
            spans=spans,
            gone=np.array(
                [int(number) for number, span in spans.items() if not _are_one(span.content, self.data_files.get(number))], np.int64
            ),
            dead=self._deleted(spans, arrays["row_ids"]),
            has_texts=contents["has_texts"],
            **arrays,
        )

    def _deleted(self, spans: Mapping[str, _Span], row_ids: Keys) -> Keys:
        """(n,) ascending, of these row ids, those in files that lost rows since."""
        deleted = [_NONE]
        for file in self._dataset.get_fragments():
            content, span = self.data_files[str(file.fragment_id)], spans.get(str(file.fragment_id))
            if span is not None and span.content != content and _are_one(span.content, content):
                rows = self._dataset.scanner(columns=[], with_row_id=True, fragments=[file]).to_table()["_rowid"].to_numpy()
                deleted.append(np.setdiff1d(row_ids[span.start : span.start + span.count], rows.astype(np.int64), assume_unique=True))
        return np.sort(np.concatenate(deleted))

    def _write(self, folder: Path) -> None:
        """Fills a new folder; in memory are one batch, and 40 bytes an item."""
        folder.mkdir()
        schema = pa.schema([self._dataset.schema.field(name) for name in self._names])
        keys, row_ids, counts = [_NONE], [_NONE], [0]
        with pa.OSFile(str(folder / "fields.arrow"), "wb") as file, pa.ipc.new_file(file, schema) as writer:
            for batch, rows in _batches(self._dataset, self._names, None):
                writer.write_batch(batch.cast(schema) if batch.schema != schema else batch)
                keys.append(batch["key"].to_numpy().copy())  # a view would keep the batch in memory
                row_ids.append(rows)
                counts.append(len(rows))
        ordered, places = _in_order(np.concatenate(keys))
        spans = _spans(np.concatenate(row_ids), self.data_files)
        for name, array in {"keys": ordered, "places": places, "row_ids": np.concatenate(row_ids)}.items():
            np.save(folder / f"{name}.npy", array)
        contents = {
            "columns": self._columns(),
            "ends": np.cumsum(counts)[1:].tolist(),
            "spans": {number: {"content": span.content, "start": span.start, "count": span.count} for number, span in spans.items()},
            "repeats": int((np.diff(ordered) == 0).sum()),
            "has_texts": _has_texts(self._dataset, None),
        }
        (folder / _CONTENTS).write_text(json.dumps(contents), encoding="utf-8")
        for path in folder.iterdir():
            _flush(path)


def _read(dataset: Any, names: list[str], files: list[Any], contents: Mapping[str, str]) -> _Part:
    """The items of some files, in memory."""
    pairs = list(_batches(dataset, names, files)) if files else []
    row_ids = np.concatenate([_NONE, *(rows for _, rows in pairs)])
    keys, places = _in_order(np.concatenate([_NONE, *(batch["key"].to_numpy() for batch, _ in pairs)]))
    return _Part(
        batches=[batch for batch, _ in pairs],
        ends=np.cumsum([len(rows) for _, rows in pairs], dtype=np.int64),
        row_ids=row_ids,
        keys=keys,
        places=places,
        spans=_spans(row_ids, {str(file.fragment_id): contents[str(file.fragment_id)] for file in files}),
        gone=_NONE,
        dead=_NONE,
        has_texts=bool(files) and _has_texts(dataset, files),
    )


def _batches(dataset: Any, names: list[str], files: list[Any] | None) -> Iterator[tuple[pa.RecordBatch, Keys]]:
    """Some fields of the items of some files, or of all, in the order they are stored in, with their row ids."""
    scanner = dataset.scanner(columns=names, filter="state = 'ready'", with_row_id=True, fragments=files, batch_size=BATCH)
    for batch in scanner.to_batches():
        if len(batch):
            yield batch.select(names), batch["_rowid"].to_numpy().astype(np.int64)


def _has_texts(dataset: Any, files: list[Any] | None) -> bool:
    scanner = dataset.scanner(columns=["key"], filter=WITH_TEXT, limit=1, fragments=files)
    return bool(scanner.to_table().num_rows)


def _in_order(keys: Keys) -> tuple[Keys, Keys]:
    """The keys ascending, and the place of each before."""
    places = np.argsort(keys, kind="stable")
    return keys[places], places


def _spans(row_ids: Keys, contents: Mapping[str, str]) -> dict[str, _Span]:
    """Where the rows of each of these files stand, which follow one another; some may have none."""
    files = row_ids >> FILE_BITS
    starts = np.flatnonzero(np.diff(files, prepend=-1))
    ends = [*starts[1:].tolist(), len(files)]
    bounds = {str(files[start]): (start, end - start) for start, end in zip(starts.tolist(), ends, strict=False)}
    return {
        number: _Span(content=content, start=bounds.get(number, (0, 0))[0], count=bounds.get(number, (0, 0))[1])
        for number, content in contents.items()
    }


def _flush(path: Path) -> None:
    """Waits until a file is on the disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())
