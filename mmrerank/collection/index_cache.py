"""Indexes on disk as caches of one table version: append what is new, mask what is gone, rebuild when worn or damaged.

    COLLECTION/indexes/NAME/cache.json      which version, which data file, its checksum
    COLLECTION/indexes/NAME/data-*          what the index saved
    COLLECTION/indexes/NAME/.lock           who saves now

`cache.json` is replaced last and in one step, so a kill leaves the former cache or the new one, never a mixture. What
does not match its checksum, its index name or the table is rebuilt, never trusted. A cache that cannot be saved, because the
folder is read-only or another search saves it just now, costs time and no search: the index in memory is used.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol, TypeVar
from uuid import uuid4

import numpy as np

from mmrerank.errors import DamagedData, MMRerankError
from mmrerank.index.bm25_index import Bm25Index
from mmrerank.parts import make
from mmrerank.protocols import Index
from mmrerank.store.lock import if_free
from mmrerank.store.table import Snapshot

logger = logging.getLogger(__name__)
STATE = "cache.json"
REPAIR = "Index any folder of the collection again: the newest row of each stays."


class Savable(Protocol):
    """What both kinds of index share."""

    name: str

    def save(self, path: Path) -> None: ...

    def load(self, path: Path) -> None: ...


AnyIndex = TypeVar("AnyIndex", bound=Savable)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheState:
    """The contents of `cache.json`."""

    index: str  # printed name of the part
    version: int  # of the table
    data: str
    checksum: str


def rows_index(folder: Path, name: str, snapshot: Snapshot, slug: str, dimension: int) -> Index:
    """The index `name` over the descriptors of one encoder, as of the snapshot; kept below `folder`.

    Raises:
        DamagedData: rows stand twice in the table.
    """
    _check_once(snapshot)

    def empty() -> Index:
        index: Index = make(name, station="index", dimension=dimension)
        return index

    place = folder / slug
    state, index = _load(place, empty())
    if index is None:
        index, state = _filled(empty(), snapshot, slug), None
    elif state is not None and state.version != snapshot.version:
        index = _caught_up(index, empty, snapshot, slug)
    if state is None or state.version != snapshot.version:
        _save(place, index, index.name, snapshot.version)
    return index


def text_index(folder: Path, snapshot: Snapshot) -> Bm25Index:
    """The BM25 index over the text of the items, as of the snapshot; kept below `folder`.

    Raises:
        DamagedData: rows stand twice in the table.
    """
    _check_once(snapshot)
    place = folder / "text"
    fresh: Bm25Index = make("bm25_index", station="index")
    state, index = _load(place, fresh)
    if index is None or state is None or state.version != snapshot.version:
        keys = snapshot.with_text()
        index = make("bm25_index", station="index")
        index.fit(keys, snapshot.texts(keys))
        _save(place, index, index.name, snapshot.version)
    return index


def _check_once(snapshot: Snapshot) -> None:
    doubled = int((np.diff(snapshot.keys) == 0).sum())
    if doubled:
        raise DamagedData(f"{doubled} rows stand twice in the table of the collection, as two writers at once left it", hint=REPAIR)


def _filled(index: Index, snapshot: Snapshot, slug: str) -> Index:
    keys = snapshot.described(slug)
    if len(keys):
        index.add(keys, snapshot.descriptors(keys, slug))
    return index


def _caught_up(index: Index, empty: Callable[[], Index], snapshot: Snapshot, slug: str) -> Index:
    wanted = snapshot.described(slug)
    new, gone = np.setdiff1d(wanted, index.ids), np.setdiff1d(index.ids, wanted)
    if len(gone):
        index.remove(gone)
    if len(new):
        index.add(new, snapshot.descriptors(new, slug))
    return _filled(empty(), snapshot, slug) if index.needs_rebuild else index


def _load(place: Path, index: AnyIndex) -> tuple[CacheState | None, AnyIndex | None]:
    """The cached index with its state; (None, None) when there is none that can be trusted."""
    try:
        state = CacheState(**json.loads((place / STATE).read_text(encoding="utf-8")))
        data = place / state.data
        if state.index != index.name or checksum(data) != state.checksum:
            raise ValueError("it is another index or was changed")
        index.load(data)
    except FileNotFoundError:
        return None, None
    except (OSError, ValueError, TypeError, KeyError, MMRerankError) as error:
        logger.warning("the index cache %s is rebuilt: %s", place, error)
        return None, None
    return state, index


def _save(place: Path, index: Savable, name: str, version: int) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
        with if_free(place) as mine:
            if mine:
                _replace(place, index, name, version)
    except OSError as error:
        logger.warning("the index cache %s cannot be saved, so the next process makes it again: %s", place, error)


def _replace(place: Path, index: Savable, name: str, version: int) -> None:
    data = place / f"data-{version}-{uuid4().hex}"  # a name that no reader of the former cache has open
    index.save(data)
    state = CacheState(index=name, version=version, data=data.name, checksum=checksum(data))
    temporary = data.with_suffix(".new")
    temporary.write_text(json.dumps(asdict(state), indent=1), encoding="utf-8")
    temporary.replace(place / STATE)
    for old in chain(place.glob("data-*"), place.glob(".data-*")):  # the second are what a killed save leaves
        if old != data:
            _delete(old)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)  # what stays is deleted by the next save
    else:
        path.unlink(missing_ok=True)


def checksum(path: Path) -> str:
    """blake2b over the file, or over the names and contents of the files of a folder.

    Raises:
        FileNotFoundError: it is not there, or another process deletes it just now.
    """
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        digest.update(file.name.encode())
        if not file.is_dir():
            with file.open("rb") as data:
                while block := data.read(1 << 22):
                    digest.update(block)
    return digest.hexdigest()
