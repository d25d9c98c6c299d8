"""The BM25 index over the texts of a collection, kept beside it as a cache of one version; `row_index` keeps those over descriptors.

COLLECTION/indexes/text/cache.json   which version, which data file, its size, time and checksum
COLLECTION/indexes/text/data-*       what the index saved
COLLECTION/indexes/text/.lock        who saves now
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from mmrerank.collection.index_files import Stamp, checked, read_state, save_there, saved, write_state
from mmrerank.errors import DamagedData, MMRerankError
from mmrerank.index.bm25_index import Bm25Index
from mmrerank.parts import make
from mmrerank.store.table import Snapshot

logger = logging.getLogger(__name__)
REPAIR = "Index any folder of the collection again: the newest row of each stays."


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheState:
    """The contents of `cache.json`."""

    index: str  # printed name of the part
    version: int  # of the table
    data: Stamp


def text_index(folder: Path, snapshot: Snapshot) -> Bm25Index:
    """The BM25 index over the text of the items, as of the snapshot; kept below `folder`.

    Raises:
        DamagedData: rows stand twice in the table.
    """
    check_once(snapshot)
    place = folder / "text"
    index = _loaded(place, snapshot.version)
    if index is None:
        keys = snapshot.with_text()
        index = _empty()
        index.fit(keys, snapshot.texts(keys))
        _save(place, index, snapshot.version)
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


def _loaded(place: Path, version: int) -> Bm25Index | None:
    """The cached index of that version; None when there is none that can be trusted."""
    index = _empty()
    try:
        raw = read_state(place)
        state = None if raw is None else CacheState(**raw)
        if state is None or state.index != index.name or state.version != version:
            return None
        index.load(checked(place, state.data))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, MMRerankError) as error:
        logger.warning("the index cache %s is rebuilt: %s", place, error)
        return None
    return index


def _save(place: Path, index: Bm25Index, version: int) -> None:
    def save() -> None:
        write_state(place, CacheState(index=index.name, version=version, data=saved(place, "data", version, index.save)))

    save_there(place, save)
