"""The index over the descriptors of one encoder: a file as it was built, which never changes, the rows that came since, and tombstones.

    COLLECTION/indexes/SLUG/cache.json   what there is, of which version of the table, with sizes, times and the recall that was measured
    COLLECTION/indexes/SLUG/data-*       the index as it was built
    COLLECTION/indexes/SLUG/tail-*       the rows that came since, compared exactly
    COLLECTION/indexes/SLUG/since-*      ids that went since, and items in which the encoder found nothing to describe
    COLLECTION/indexes/SLUG/questions-*  rows of texts that its recall is tested with
    COLLECTION/indexes/SLUG/.lock        who saves now

Files are checked when they are saved and opened by size and time: nothing of them is read before a search needs it, and processes share
their pages. A writer brings the index up to date at the end of its run, and builds it anew where a twentieth has changed. A search adds
what is missing in memory; it builds only what is exact or small, and where there is nothing else it reads every stored row.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmrerank.collection.index_files import (
    STATE,
    Stamp,
    check_once,
    checked,
    checksum,
    read_state,
    save_arrays,
    save_there,
    saved,
    write_state,
)
from mmrerank.collection.recall import RecallTest, item_questions
from mmrerank.collection.stored_rows import StoredRows
from mmrerank.errors import ManifestError, MMRerankError
from mmrerank.index import (
    AUTO,
    Questions,
    TailedIndex,
    chosen,
    difference,
    in_words,
    load_sealed,
    map_sealed,
    rebuild_pays,
)
from mmrerank.parts import make, parse
from mmrerank.protocols import Index, MappedIndex, MeasuredIndex, RowSearcher, ScannedIndex, WidenedIndex
from mmrerank.store.table import Snapshot
from mmrerank.types import Array, Keys

logger = logging.getLogger(__name__)
_NONE: Keys = np.empty(0, np.int64)
SMALL = 20_000  # so many rows are indexed in front of a waiting search: a second or two


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsState:
    """The contents of `cache.json`."""

    index: str  # name of the part
    version: int  # of the table, which all files together are of
    rows: int  # that the index was built of
    items: int  # that it holds with what came and went since
    keys: int = 0  # that the table had
    data_files: Mapping[str, str] = field(default_factory=dict)  # of the table: number -> what tells its content
    data: Stamp
    tail: Stamp | None = None
    since: Stamp | None = None
    questions: Stamp | None = None
    recall: Mapping[str, float] = field(default_factory=dict)  # by what it was asked with
    width: int = 0  # how wide it searches, where it chose that by its test; 0: as its name says
    promise: float = 1.0


@dataclass(slots=True, kw_only=True)
class _Opened:
    state: RowsState
    index: TailedIndex
    without: Keys  # items in which the encoder found nothing to describe


class RowIndex:
    """What one version of a collection has to search the descriptors of one encoder by."""

    def __init__(self, folder: Path, name: str, snapshot: Snapshot, slug: str, dimension: int) -> None:
        self._place, self._name, self._snapshot, self._slug, self._dimension = folder / slug, name, snapshot, slug, dimension

    # ------------------------------------------------------------------ for a search

    def opened(self) -> RowSearcher:
        """The index, for a search that waits.

        Raises:
            DamagedData: rows stand twice in the table.
        """
        check_once(self._snapshot)
        present = self._open()
        if present is not None and present.state.version == self._snapshot.version:
            return present.index
        new, gone = self._changes(present)
        if present is not None and len(new) <= max(SMALL, len(present.index) // 10):
            self._catch_up(present, new, gone)
            return present.index
        count = len(new) if present is None else len(present.index) + len(new) - len(gone)
        name = self._wanted(count, present)
        if count <= SMALL or self._is_exact(name):
            return self._build(name, count, None).index
        logger.warning(
            "%s has no index of %d items yet, so every stored row is read: slow, and exact. `mmrerank index` with any folder of the "
            "collection builds it",
            self._place.parent.parent,
            count,
        )
        return StoredRows(self._snapshot, self._slug)

    def state(self) -> RowsState | None:
        """What was saved last, unopened."""
        try:
            raw = read_state(self._place)
            return None if raw is None else RowsState(**raw)
        except (OSError, ValueError, TypeError):
            return None

    def count(self) -> int:
        """How many items have a descriptor; read from the descriptors where no index of this version says it."""
        state = self.state()
        is_known = state is not None and state.version == self._snapshot.version
        return state.items if state is not None and is_known else len(self._snapshot.described(self._slug))

    # ------------------------------------------------------------------ for a writer

    def bring_up(self, texts: Callable[[], Questions | None]) -> list[str]:
        """Builds or completes what is kept on disk; returns what there is to say of it.

        Args:
            texts: gives rows of texts to test the recall with, or None.
        """
        check_once(self._snapshot)
        present = self._open()
        is_current = present is not None and present.state.version == self._snapshot.version
        new, gone = (_NONE, _NONE) if is_current else self._changes(present)
        count = len(new)
        if present is not None:
            count, changed = len(present.index) + len(new) - len(gone), len(new) + len(gone) + present.index.changed
            if self._stays(present, count) and not rebuild_pays(changed, present.state.rows):
                if not is_current:
                    self._catch_up(present, new, gone)
                return []
        name = self._wanted(count, present)
        del present  # its tail need not stay in memory while another is built
        return self._notes(self._build(name, count, texts).state)

    def mend(self, wanted: Keys) -> bool:
        """Makes anew what is damaged, or holds other ids than these ascending ones once it has caught up; returns whether it did."""
        present = self._open()
        if present is not None:
            new, gone = self._changes(present)
            stamps = (present.state.data, present.state.tail, present.state.since, present.state.questions)
            whole = all(checksum(self._place / stamp.name) == stamp.checksum for stamp in stamps if stamp is not None)
            new = np.intersect1d(new, wanted)  # in the rest there was nothing to describe
            if whole and np.array_equal(np.sort(np.concatenate([difference(present.index.ids, gone), new])), wanted):
                return False
        del present
        is_there = (self._place / STATE).exists()
        (self._place / STATE).unlink(missing_ok=True)
        self.bring_up(lambda: None)
        return is_there

    def measure(self) -> tuple[Mapping[str, float], float]:
        """The recall@10 of what a search would open, by what it is asked with, measured now, and what it promises; nothing where it
        is exact."""
        index, state = self.opened(), self.state()
        if not isinstance(index, MeasuredIndex) or index.promise >= 1:
            return {}, 1.0
        questions = item_questions(self._snapshot, self._slug, seed=self._snapshot.version)
        if state is not None and state.questions is not None:
            questions["texts"] = Questions(rows=load_sealed(checked(self._place, state.questions), {"parts": ["rows"]}).array("rows"))
        test = self._test(questions)
        for _ in test.watch(self._snapshot.scan(self._slug)):
            pass
        return test.recall(index), index.promise

    # ------------------------------------------------------------------ what is on disk

    def _open(self) -> _Opened | None:
        """What was saved; None when there is nothing that can be trusted."""
        for _ in range(3):  # another process may put new files in place of those that the state named
            try:
                raw = read_state(self._place)
                return None if raw is None else self._opened(RowsState(**raw))
            except FileNotFoundError:
                continue
            except ManifestError:  # another recipe was chosen since
                return None
            except (OSError, ValueError, TypeError, KeyError, AttributeError, MMRerankError) as error:
                logger.warning("the index cache %s is rebuilt: %s", self._place, error)
                return None
        return None

    def _opened(self, state: RowsState) -> _Opened | None:
        name = state.index if self._name == AUTO else self._name
        if parse(name).part != parse(state.index).part:
            return None
        base = self._attached(self._empty(name), state.data)
        if state.width and self._name == AUTO and isinstance(base, WidenedIndex):
            base.widen(state.width)
        index = TailedIndex(base, self._dimension)
        without = _NONE
        if state.since is not None:
            since = map_sealed(checked(self._place, state.since), {"parts": ["without", "gone"]})
            without = since.array("without")
            index.remove(since.array("gone"))
        if state.tail is not None:  # after it: what went may have come again
            self._attached(index.tail, state.tail)
        return _Opened(state=state, index=index, without=without)

    def _attached(self, index: Index, stamp: Stamp) -> Index:
        path = checked(self._place, stamp)
        if isinstance(index, MappedIndex):
            index.open(path)
        else:
            index.load(path)
        return index

    def _save(self, present: _Opened, *, built: bool = False, texts: Questions | None = None) -> bool:
        """Saves what came and went since it was built, and the index itself if it was `built` just now; returns whether it did."""

        def save() -> bool:
            if not self._is_next(present.state, built=built):
                return False
            changes: dict[str, Any] = self._stamps(present, built=built, texts=texts)
            snapshot = self._snapshot
            table: dict[str, Any] = {"version": snapshot.version, "keys": len(snapshot), "data_files": dict(snapshot.data_files)}
            present.state = replace(present.state, items=len(present.index), **table, **changes)
            write_state(self._place, present.state)
            return True

        return bool(save_there(self._place, save, wait=built))

    def _is_next(self, mine: RowsState, *, built: bool) -> bool:
        """Whether what this process has comes after what another may have saved meanwhile."""
        current = self.state()
        return current is None or built or (current.data == mine.data and current.version < self._snapshot.version)

    def _stamps(self, present: _Opened, *, built: bool, texts: Questions | None) -> dict[str, Stamp | None]:
        version, index = self._snapshot.version, present.index
        since, rows = {"without": present.without, "gone": index.gone}, {} if texts is None else {"rows": texts.rows}
        stamps: dict[str, Stamp | None] = {
            "tail": saved(self._place, "tail", version, index.tail.save) if len(index.tail) else None,
            "since": saved(self._place, "since", version, lambda path: save_arrays(path, since)),
        }
        if built:
            stamps["data"] = saved(self._place, "data", version, index.base.save)
            stamps["questions"] = saved(self._place, "questions", version, lambda path: save_arrays(path, rows)) if rows else None
        return stamps

    # ------------------------------------------------------------------ what changed

    def _changes(self, present: _Opened | None) -> tuple[Keys, Keys]:
        """The ascending keys of items that the index does not know, and of those it holds that are no more."""
        if present is None:
            return self._snapshot.seen(self._slug), _NONE
        state, index = present.state, present.index
        is_later = state.version > self._snapshot.version  # what went since then is in no other file
        recent, others = (self._snapshot.keys, 0) if is_later else self._snapshot.outside(state.data_files)
        new = difference(index.lacking(recent), present.without)
        # Of the files that changed, all items that they had are there still where as many are known; else every key is looked at.
        if state.data_files and not is_later and len(recent) - len(new) == state.keys - others:
            return self._snapshot.seen(self._slug, among=new), _NONE
        present.without = np.intersect1d(present.without, self._snapshot.keys)
        return self._snapshot.seen(self._slug, among=new), difference(index.ids, self._snapshot.keys)

    def _catch_up(self, present: _Opened, new: Keys, gone: Keys) -> None:
        if len(gone):
            present.index.remove(gone)
        keys, rows = self._snapshot.some_described(new, self._slug)
        if len(keys):
            present.index.add(keys, rows)
        if len(keys) < len(new):
            present.without = np.union1d(present.without, difference(new, np.sort(keys)))
        if self._snapshot.version > present.state.version:
            self._save(present)

    # ------------------------------------------------------------------ building

    def _build(self, name: str, count: int, texts: Callable[[], Questions | None] | None) -> _Opened:
        """The index over `count` rows or fewer, made anew, tested and saved."""
        index = self._empty(name)
        questions = self._questions(index, count, texts)
        halves = [{kind: some.half(n) for kind, some in questions.items()} for n in (0, 1)] if self._name == AUTO else [{}, questions]
        choosing, reporting = map(self._test, halves)  # what it is widened by, and what says then how much it finds
        self._fill(index, count, choosing.watch(reporting.watch(self._snapshot.scan(self._slug))))
        width = choosing.widen(index) if isinstance(index, WidenedIndex) else 0
        without = difference(self._snapshot.seen(self._slug), index.ids) if len(index) < count else _NONE
        state = RowsState(
            index=name if self._name == AUTO else index.name,
            version=self._snapshot.version,
            rows=len(index),
            items=len(index),
            data=Stamp(name="", size=0, mtime_ns=0, checksum=""),
            recall=reporting.recall(index) if isinstance(index, MeasuredIndex) else {},
            width=width,
            promise=index.promise if isinstance(index, MeasuredIndex) else 1.0,
        )
        present = _Opened(state=state, index=TailedIndex(index, self._dimension), without=without)
        opened = self._open() if self._save(present, built=True, texts=halves[1].get("texts")) else None
        if opened is None or opened.state.version != state.version:  # another process may have saved one of its own meanwhile
            return present
        return opened  # from its file, so that its memory is shared

    def _questions(self, index: Index, count: int, texts: Callable[[], Questions | None] | None) -> dict[str, Questions]:
        """What an index that may miss rows is tested with."""
        if not count or not isinstance(index, MeasuredIndex) or index.promise >= 1:
            return {}
        typed = None if texts is None else texts()
        return item_questions(self._snapshot, self._slug) | ({} if typed is None else {"texts": typed})

    def _test(self, questions: Mapping[str, Questions]) -> RecallTest:
        return RecallTest(questions, self._snapshot, self._slug)

    def _fill(self, index: Index, count: int, batches: Iterable[tuple[Keys, Array]]) -> None:
        """Puts the rows of all batches into an empty index."""
        if not isinstance(index, ScannedIndex):
            for keys, rows in batches:
                index.add(keys, rows)
            return
        wanted = index.sample_size(count)
        _, sample = self._snapshot.sample(self._slug, wanted, seed=0)
        if count and (len(sample) or not wanted):
            index.train(sample, count)
            del sample  # no longer in memory while the index grows
            index.fill(batches)

    def _empty(self, name: str) -> Index:
        index: Index = make(name, station="index", dimension=self._dimension)
        return index

    def _is_exact(self, name: str) -> bool:
        index = self._empty(name)
        return not isinstance(index, MeasuredIndex) or index.promise >= 1

    def _wanted(self, count: int, present: _Opened | None) -> str:
        return chosen(count, "" if present is None else present.state.index) if self._name == AUTO else self._name

    def _stays(self, present: _Opened, count: int) -> bool:
        """Whether so many rows are still for the index that there is."""
        return self._name != AUTO or self._wanted(count, present) == present.state.index

    def _notes(self, state: RowsState) -> list[str]:
        """What there is to say of an index that was built just now; nothing of one that is exact and was named."""
        notes = []
        if self._name == AUTO and state.recall:
            notes.append(f"{state.rows} items are searched by {state.index}, as the recipe {AUTO!r} chooses")
        if state.recall:
            notes.append(f"the index finds {in_words(state.recall)}" + (f", searching {state.width} wide" if state.width else ""))
            notes += [
                f"that is below the {state.promise} that {state.index} is for: more `probes` or `ef_search`, or more bits, find more"
                for low in [min(state.recall.values())]
                if low < state.promise
            ]
        return notes
