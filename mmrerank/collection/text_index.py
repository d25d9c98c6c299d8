"""The index over the texts of a collection, kept beside it: BM25 as it was made, which never changes, the texts that came since, and
tombstones; `row_index` keeps those over descriptors.

COLLECTION/indexes/text/cache.json   which version, and which data files, of the table; of each file its size, time and checksum
COLLECTION/indexes/text/data-*       the index as it was made
COLLECTION/indexes/text/tail-*       the texts that came since
COLLECTION/indexes/text/since-*      ids that went since
COLLECTION/indexes/text/.lock        who saves now

A writer brings it up to date at the end of its run, and makes it anew where that is quick or a twentieth has changed. A search adds what
is missing, and makes it anew only where that is as quick.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mmrerank.collection.index_files import Stamp, check_once, checked, checksum, read_state, save_arrays, save_there, saved, write_state
from mmrerank.errors import MMRerankError
from mmrerank.index import TailedTexts, difference, map_sealed, rebuild_pays
from mmrerank.index.bm25_index import Bm25Index
from mmrerank.parts import make
from mmrerank.store.table import Snapshot
from mmrerank.types import Keys

logger = logging.getLogger(__name__)
SMALL = 20_000  # so many texts are indexed in some seconds, so that what words weigh is exact


@dataclass(frozen=True, slots=True, kw_only=True)
class TextsState:
    """The contents of `cache.json`."""

    index: str  # printed name of the part
    version: int  # of the table, which all files together are of
    texts: int  # that the index was made of
    data_files: Mapping[str, str] = field(default_factory=dict)  # of the table: number -> what tells its content
    data: Stamp
    tail: Stamp | None = None
    since: Stamp | None = None


def text_index(folder: Path, snapshot: Snapshot) -> TailedTexts:
    """What searches the texts of the items, as of the snapshot, for a search that waits; kept below `folder`.

    Raises:
        DamagedData: rows stand twice in the table.
    """
    check_once(snapshot)
    index, state = _opened(folder / "text") or (None, None)
    if index is None or state is None:
        return new_text_index(folder, snapshot)
    if state.version == snapshot.version:
        return index
    new, texts, gone = _changes(index, state, snapshot)
    is_quick = len(index) + len(new) <= SMALL or len(new) >= len(index)
    if len(new) and is_quick and state.version < snapshot.version:  # one of a later version stays for those who see it
        return new_text_index(folder, snapshot)
    return _caught_up(folder, index, state, snapshot, new, texts, gone)


def bring_up(folder: Path, snapshot: Snapshot) -> None:
    """Has the index below `folder` follow the table, for a writer at the end of its run; nothing where nobody searched by words yet."""
    if not is_behind(folder, snapshot):
        return
    index, state = _opened(folder / "text") or (None, None)
    if index is not None and state is not None:
        new, texts, gone = _changes(index, state, snapshot)
        if len(index) + len(new) > SMALL and not rebuild_pays(index.changed + len(new) + len(gone), state.texts):
            _caught_up(folder, index, state, snapshot, new, texts, gone)
            return
    new_text_index(folder, snapshot)


def mend(folder: Path, snapshot: Snapshot) -> bool:
    """Makes anew what is damaged, or holds other items than have text once it has caught up; returns whether it did."""
    place = folder / "text"
    opened = _opened(place)
    if opened is None:  # nobody searched by words yet, or the next who does makes it anew
        return False
    index, state = opened
    stamps = (state.data, state.tail, state.since)
    whole = all(checksum(place / stamp.name) == stamp.checksum for stamp in stamps if stamp is not None)
    new, _, gone = _changes(index, state, snapshot)
    if whole and np.array_equal(np.sort(np.concatenate([difference(index.ids, gone), new])), snapshot.with_text()):
        return False
    new_text_index(folder, snapshot)
    return True


def _changes(index: TailedTexts, state: TextsState, snapshot: Snapshot) -> tuple[Keys, list[str], Keys]:
    """The ascending keys of items that came with text, their texts, and those of items that went."""
    is_later = state.version > snapshot.version  # what went since then is in no other file
    new = index.lacking(snapshot.keys if is_later else snapshot.outside(state.data_files)[0])
    texts = snapshot.texts(new)
    is_text = np.array([bool(text) for text in texts], np.bool_)
    return new[is_text], [text for text in texts if text], difference(index.ids, snapshot.keys)


def _caught_up(
    folder: Path, index: TailedTexts, state: TextsState, snapshot: Snapshot, new: Keys, texts: list[str], gone: Keys
) -> TailedTexts:
    index.remove(gone)
    if len(new):
        index.add(new, texts)
    if snapshot.version > state.version:
        _save(folder / "text", index, replace(state, version=snapshot.version, data_files=dict(snapshot.data_files)))
    return index


def new_text_index(folder: Path, snapshot: Snapshot) -> TailedTexts:
    """The index over the text of the items of the snapshot, made anew and kept below `folder`."""
    keys, index = snapshot.with_text(), _empty()
    index.fill(keys, snapshot.scan_texts())
    place = folder / "text"
    unsaved = Stamp(name="", size=0, mtime_ns=0, checksum="")
    state = TextsState(index=index.name, version=snapshot.version, texts=len(keys), data_files=dict(snapshot.data_files), data=unsaved)
    opened = _opened(place) if _save(place, TailedTexts(index), state, made=True) else None
    if opened is None or opened[1].version != snapshot.version:  # another process may have saved one of its own meanwhile
        return TailedTexts(index)
    return opened[0]  # from its file, so that processes share its memory


def is_behind(folder: Path, snapshot: Snapshot) -> bool:
    """Whether an index over texts is kept below `folder`, since somebody searched by words, and is of another version."""
    try:
        raw = read_state(folder / "text")
    except (OSError, ValueError):
        return False
    return raw is not None and raw.get("version") != snapshot.version


def _empty() -> Bm25Index:
    index: Bm25Index = make("bm25_index", station="index")
    return index


def _opened(place: Path) -> tuple[TailedTexts, TextsState] | None:
    """What was saved; None when there is nothing that can be trusted."""
    for _ in range(3):  # another process may put new files in place of those that the state named
        try:
            return _read(place)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError, KeyError, AttributeError, MMRerankError) as error:
            logger.warning("the index cache %s is rebuilt: %s", place, error)
            return None
    return None


def _read(place: Path) -> tuple[TailedTexts, TextsState] | None:
    state, index, tail = _state(place), _empty(), _empty()
    if state is None or state.index != index.name:
        return None
    index.open(checked(place, state.data))
    if state.since is not None:
        index.remove(map_sealed(checked(place, state.since), {"parts": ["gone"]}).array("gone"))
    if state.tail is None:
        return TailedTexts(index), state
    tail.open(checked(place, state.tail))
    return TailedTexts(index, tail), state


def _save(place: Path, index: TailedTexts, state: TextsState, *, made: bool = False) -> bool:
    """Saves what came and went since the index was made, and the index itself if that was just now; returns whether it did."""

    def save() -> bool:
        current = _state(place)
        if not made and (current is None or current.data != state.data or current.version >= state.version):
            return False  # another process saved meanwhile
        gone = index.base.gone
        changes: dict[str, Stamp | None] = {
            "tail": saved(place, "tail", state.version, index.tail.save) if len(index.tail) else None,
            "since": saved(place, "since", state.version, lambda path: save_arrays(path, {"gone": gone})) if len(gone) else None,
        }
        if made:
            changes["data"] = saved(place, "data", state.version, index.base.save)
        write_state(place, replace(state, **changes))  # type: ignore[arg-type]
        return True

    return bool(save_there(place, save))


def _state(place: Path) -> TextsState | None:
    """What was saved last; None where there is nothing, or what an earlier version of this package wrote."""
    try:
        raw = read_state(place)
        return None if raw is None else TextsState(**raw)
    except (OSError, ValueError, TypeError):
        return None
