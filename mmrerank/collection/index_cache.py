"""The BM25 index over the texts of a collection, kept beside it as a cache of one version; `row_index` keeps those over descriptors.

COLLECTION/indexes/text/cache.json   which version, which data file, its size, time and checksum
COLLECTION/indexes/text/data-*       what the index saved
COLLECTION/indexes/text/.lock        who saves now

Where items only went since it was saved, a search passes over them and waits for nothing; the next writer makes the index anew.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmrerank.collection.index_files import Stamp, checked, read_state, save_there, saved, write_state
from mmrerank.errors import DamagedData, MMRerankError
from mmrerank.index import difference
from mmrerank.index.bm25_index import Bm25Index
from mmrerank.parts import make
from mmrerank.store.table import Snapshot
from mmrerank.types import Keys, Neighbours

logger = logging.getLogger(__name__)
REPAIR = "Index any folder of the collection again: the newest row of each stays."


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheState:
    """The contents of `cache.json`."""

    index: str  # printed name of the part
    version: int  # of the table
    data_files: Mapping[str, str] = field(default_factory=dict)  # of the table: number -> what tells its content
    data: Stamp


class RemainingTexts:
    """An index over texts some of which went since: they are passed over, and what words weigh is what it was with them."""

    def __init__(self, index: Bm25Index, gone: Keys) -> None:
        self._index, self._gone = index, gone

    def search(self, text: str, k: int, *, allowed: Keys | None = None) -> Neighbours:
        """As of `Bm25Index`."""
        hits = self._index.search(text, k + len(self._gone), allowed=allowed)
        left = np.flatnonzero(np.isin(hits.ids, self._gone, invert=True))[:k]
        return Neighbours(ids=hits.ids[left], scores=hits.scores[left])

    def idf(self, text: str) -> dict[str, float]:
        """As of `Bm25Index`."""
        return self._index.idf(text)


def text_index(folder: Path, snapshot: Snapshot) -> Bm25Index | RemainingTexts:
    """What searches the texts of the items, as of the snapshot; kept below `folder`, and made where texts came since.

    Raises:
        DamagedData: rows stand twice in the table.
    """
    check_once(snapshot)
    index, state = _loaded(folder / "text") or (None, None)
    if index is None or state is None:
        return new_text_index(folder, snapshot)
    if state.version == snapshot.version:
        return index
    recent, _ = snapshot.outside(state.data_files)
    if state.version > snapshot.version or not state.data_files or any(snapshot.texts(difference(recent, index.ids))):
        return new_text_index(folder, snapshot)
    return RemainingTexts(index, difference(index.ids, snapshot.keys))


def new_text_index(folder: Path, snapshot: Snapshot) -> Bm25Index:
    """The BM25 index over the text of the items of the snapshot, made anew and kept below `folder`."""
    keys, index = snapshot.with_text(), _empty()
    index.fit(keys, snapshot.texts(keys))
    _save(folder / "text", index, snapshot)
    return index


def is_behind(folder: Path, snapshot: Snapshot) -> bool:
    """Whether an index over texts is kept below `folder`, since somebody searched by words, and is of another version."""
    try:
        raw = read_state(folder / "text")
    except (OSError, ValueError):
        return False
    return raw is not None and raw.get("version") != snapshot.version


def check_once(snapshot: Snapshot) -> None:
    """Passes where no row stands twice.

    Raises:
        DamagedData: some do.
    """
    if count := snapshot.repeats:
        raise DamagedData(f"{count} rows stand twice in the table of the collection, as two writers at once left it", hint=REPAIR)


def _empty() -> Bm25Index:
    index: Bm25Index = make("bm25_index", station="index")
    return index


def _loaded(place: Path) -> tuple[Bm25Index, CacheState] | None:
    """The cached index; None when there is none that can be trusted."""
    index = _empty()
    try:
        raw = read_state(place)
        state = None if raw is None else CacheState(**raw)
        if state is None or state.index != index.name:
            return None
        index.load(checked(place, state.data))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, MMRerankError) as error:
        logger.warning("the index cache %s is rebuilt: %s", place, error)
        return None
    return index, state


def _save(place: Path, index: Bm25Index, snapshot: Snapshot) -> None:
    def save() -> None:
        data = saved(place, "data", snapshot.version, index.save)
        write_state(place, CacheState(index=index.name, version=snapshot.version, data_files=dict(snapshot.data_files), data=data))

    save_there(place, save)
