"""Files -> rows of the table: read, decode, encode and write, each stage working while the others do.

    list -> [reader thread] -> [decode threads] -> encode (caller's thread) -> [writer thread] -> Lance commits

A file that is one item, a picture, is read by the thread that decodes it: once, so that a folder on a network share is read by several
threads at a time and no more pictures are in memory than threads are at work. What is unchanged since the last run is passed over;
every file that cannot be read becomes a row in state "failed"; a kill loses at most what the last commit did not hold, and the next
run does only that.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import islice
from typing import Any, Protocol, TypeVar

from mmrerank.encoders import prepared_item, reads_text, rows_of
from mmrerank.errors import FormatError, InputError
from mmrerank.ingest import notes
from mmrerank.ingest.changes import (
    Row,
    Unread,
    deleted_files,
    encoders_of,
    entries_once,
    is_current,
    rows_by_file,
    shared_stamps,
    shows_the_same,
)
from mmrerank.ingest.files import Listing, SourceFile
from mmrerank.ingest.threads import BackgroundWriter, StageClock, in_background, ordered_map
from mmrerank.protocols import BatchedEncoder, Encoder, OneItemReader, TokenEncoder
from mmrerank.readers import GATE
from mmrerank.store.fields import Misfit, Renamed
from mmrerank.store.records import PREFIX, TOKENS, Record
from mmrerank.texts import is_blank
from mmrerank.types import Array, Failure, Item, ReadItem

T = TypeVar("T")
Progress = Callable[[int, int], None]  # items done, items expected
COMMIT_AFTER_S = 10.0
DECODE_THREADS = max(2, min(8, os.cpu_count() or 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """What one run of the ingest did: found = added + updated + unchanged + failed."""

    expected: int
    found: int
    added: int
    updated: int
    unchanged: int
    removed: int
    failed: tuple[Failure, ...]
    seconds: float
    stage_seconds: Mapping[str, float]  # thread-seconds at work
    stage_busy_s: Mapping[str, float]  # of them, on each of the threads that can do the work
    text_notes: Mapping[str, str] = field(default_factory=dict)  # item id -> why the words of this page could not be read
    picture_notes: Mapping[str, str] = field(default_factory=dict)  # item id -> what of its pictures was left out, and why
    ignored: tuple[str, ...] = ()  # files and folders that were passed over; `notes` say why
    linked_folders: tuple[str, ...] = ()  # links in folders to folders elsewhere, which are not entered
    notes: tuple[str, ...] = ()  # these three in sentences, fields that are not as they came, and what was repaired

    def __add__(self, other: IngestReport) -> IngestReport:
        """Of two runs, one after the other."""
        return IngestReport(
            expected=self.expected + other.expected,
            found=self.found + other.found,
            added=self.added + other.added,
            updated=self.updated + other.updated,
            unchanged=self.unchanged + other.unchanged,
            removed=self.removed + other.removed,
            failed=self.failed + other.failed,
            seconds=self.seconds + other.seconds,
            stage_seconds=_summed(self.stage_seconds, other.stage_seconds),
            stage_busy_s=_summed(self.stage_busy_s, other.stage_busy_s),
            text_notes={**self.text_notes, **other.text_notes},
            picture_notes={**self.picture_notes, **other.picture_notes},
            ignored=self.ignored + other.ignored,
            linked_folders=self.linked_folders + other.linked_folders,
            notes=self.notes + other.notes,
        )

    @property
    def items_per_s(self) -> float:
        """Items that were looked at, a second; 0 where no time passed."""
        return self.found / self.seconds if self.seconds else 0.0

    @property
    def bottleneck(self) -> str:
        """The stage whose threads were busiest; "none" when nothing had to be done."""
        shares = self.stage_shares
        return max(shares, key=lambda stage: shares[stage]) if shares else "none"

    @property
    def stage_shares(self) -> Mapping[str, float]:
        """Stage -> share of the run during which its threads were at work, 0..1."""
        return {stage: busy_s / self.seconds for stage, busy_s in self.stage_busy_s.items()}


@dataclass(slots=True)
class _Tally:
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    failed: list[Failure] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)  # of the items that files have now
    touched: list[tuple[str, SourceFile]] = field(default_factory=list)
    text_notes: dict[str, str] = field(default_factory=dict)
    renamed: dict[str, Renamed] = field(default_factory=dict)  # by the name that the field came with
    misfits: list[Misfit] = field(default_factory=list)
    picture_notes: dict[str, str] = field(default_factory=dict)

    def note(self, item_id: str, fields: Mapping[str, Any]) -> None:
        """Keeps what the reader noted of an item."""
        for name, item_notes in ((notes.NOTE, self.text_notes), (notes.PICTURE_NOTE, self.picture_notes)):
            if note := fields.get(name):
                item_notes[item_id] = str(note)

    @property
    def found(self) -> int:
        return self.added + self.updated + self.unchanged + len(self.failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """One item on its way: its row, or why it is none, and which encoders it still needs."""

    file: SourceFile
    record: Record
    item: Item | None = None  # until it is decoded: its picture may have the bytes of a file
    wanted: tuple[str, ...] = ()  # encoder slugs
    whole: bool = True  # False: the row keeps the descriptors it has
    reread: bool = False  # of those: its other fields are written again, since other options read it
    inputs: Mapping[str, Any] = field(default_factory=dict)  # slug -> prepared input, None where the item has nothing for it

    @property
    def is_failed(self) -> bool:
        return self.record.state == "failed"


class IngestTable(Protocol):
    """What an ingest asks of the table that it writes to."""

    def known(self, under: str = "", is_wanted: Callable[[str], bool] | None = None) -> list[dict[str, Any]]:
        """The bookkeeping fields of the rows whose file id begins with `under`, and is wanted."""
        ...

    def write(self, records: Sequence[Record], *, with_vectors: bool = True, new: bool = False) -> tuple[list[Renamed], list[Misfit]]:
        """Writes rows in place of those of the same ids, which `new` ones have none of; returns what happened to fields on the way."""
        ...

    def fill(self, item_ids: Sequence[str], updates: Mapping[str, Sequence[Any]]) -> None:
        """Puts values into columns of these rows, and leaves the others as they are."""
        ...

    def remove(self, item_ids: Sequence[str]) -> None:
        """Takes these rows out."""
        ...

    def refresh(self) -> None:
        """Shows what others have written meanwhile."""
        ...


class Ingest:
    """One run over a listing.

    Args:
        encoders: all encoders of the collection, by slug.
        refusal: why a new picture without a text is not taken, where no encoder reads pictures; "" takes it, though no search finds it.
    """

    def __init__(
        self,
        table: IngestTable,
        listing: Listing,
        encoders: Mapping[str, Encoder],
        *,
        commit_items: int = 1000,
        progress: Progress | None = None,
        refusal: str = "",
    ) -> None:
        self._table, self._listing, self._encoders = table, listing, encoders
        self._refusal = "" if any(encoder.reads == "image" for encoder in encoders.values()) else refusal
        self._progress = progress or (lambda done, expected: None)
        self._clock = StageClock()
        self._tally = _Tally()
        self._commit_items = commit_items
        self._rows = rows_by_file(table, listing)
        self._counts: dict[str, int] = {}
        self._uncounted: set[str] = set()
        self._expected = len(listing.failures)

    def run(self) -> IngestReport:
        """Brings the table up to date with the files.

        Raises:
            Exception: whatever an encoder or the storage raises; what was encoded until then is committed first.
        """
        start = time.perf_counter()
        todo = self._plan()
        if todo:
            self._flow(todo)
        removed = self._remove_missing()
        self._touch()
        self._progress(self._tally.found, self._expected)
        return self._report(removed, time.perf_counter() - start)

    def _flow(self, todo: Iterable[SourceFile]) -> None:
        writer = BackgroundWriter(self._commit, size=self._commit_items, after_s=COMMIT_AFTER_S)
        try:
            for group in self._encoded(todo):
                for work in group:
                    writer.put(work)
                self._progress(self._tally.found, self._expected)
        finally:
            writer.close()

    # ------------------------------------------------------------------ reading

    def _plan(self) -> list[SourceFile]:
        """Counts the items of every file and keeps what is current; returns the files that must be read."""
        todo = []
        shared = shared_stamps(self._rows)
        for file in self._listing.files:
            rows = self._rows.get(file.file_id)
            if rows and is_current(file, rows, set(self._encoders), shared):
                self._counts[file.file_id] = len(rows)
                self._expected += len(rows)
                self._keep(rows)
                continue
            todo.append(file)
            try:
                self._counts[file.file_id] = file.reader.count(file.path)
                self._expected += self._counts[file.file_id]
            except FormatError:
                self._counts[file.file_id] = 0  # then what is read is what was to be expected
                self._uncounted.add(file.file_id)
        self._tally.failed.extend(self._listing.failures)
        return todo

    def _keep(self, rows: Mapping[str, Row]) -> None:
        for item_id, row in rows.items():
            self._tally.ids.add(item_id)
            if row["state"] == "failed":
                self._tally.failed.append(Failure(path=item_id, reason=row["reason"]))
                continue
            self._tally.unchanged += 1
            self._tally.note(item_id, row)

    def _tasks(self, files: Iterable[SourceFile]) -> Iterator[SourceFile | _Work]:
        """Files that are one item as they are, to be read where they are decoded; of others each item."""
        for file in files:
            if isinstance(file.reader, OneItemReader) and file.reader.is_one_item(file.path):
                yield file
            else:
                yield from self._works(file)

    def _works(self, file: SourceFile) -> Iterator[_Work]:
        base = self._base(file)
        rows = self._rows.get(file.file_id, {})
        for entry in entries_once(file):
            if isinstance(entry, Failure):
                yield _Work(file=file, record=_failed(base, entry))
                continue
            row = rows.get(entry.item.item_id)
            if self._refusal and _is_picture_alone(entry.item) and (row is None or row["state"] == "failed"):
                yield _Work(file=file, record=_failed(base, Unread(path=entry.item.item_id, reason=self._refusal)))
            else:
                yield self._work(file, base, entry, row)

    def _work(self, file: SourceFile, base: Record, entry: ReadItem, row: Row | None) -> _Work:
        item = entry.item
        same = (
            row is not None
            and (row["state"], row["content_hash"]) == ("ready", entry.content_hash)
            and shows_the_same(file.reader, row["reader"])
        )
        reread = same and row is not None and row["reader"] != base.reader
        described = encoders_of(row) if same and row is not None else set()
        if reread:  # its text may be another, though its picture is not
            described -= {slug for slug, encoder in self._encoders.items() if reads_text(encoder) and item.text}
        record = replace(
            base,
            item_id=item.item_id,
            fragment=item.item_id[len(file.file_id) :],
            content_hash=entry.content_hash,
            document_id=item.document_id,
            page_number=item.page_number,
            text=item.text,
            metadata=item.metadata,
        )
        wanted = tuple(slug for slug in self._encoders if slug not in described)
        return _Work(file=file, record=record, item=item, wanted=wanted, whole=not same, reread=reread)

    def _base(self, file: SourceFile) -> Record:
        try:
            stat = file.path.stat()
            size, mtime_ns = stat.st_size, stat.st_mtime_ns
        except OSError:  # deleted or unreadable since it was listed; reading it says so
            size, mtime_ns = -1, -1
        return Record(
            item_id=file.file_id,
            file=file.file_id,
            reader=file.reader.name,
            content_hash="",
            file_size=size,
            file_mtime_ns=mtime_ns,
            file_items=-1 if file.file_id in self._uncounted else self._counts[file.file_id],
            seen_ns=time.time_ns(),
        )

    # ------------------------------------------------------------------ decoding and encoding

    def _prepared(self, todo: Iterable[SourceFile]) -> Iterator[_Work]:
        in_flight = 3 * self._batch_size() + DECODE_THREADS
        tasks = in_background(self._clock.timed("read", self._tasks(todo)), ahead=in_flight)
        for works in ordered_map(self._prepare, tasks, workers=DECODE_THREADS, in_flight=in_flight):
            yield from works

    def _prepare(self, task: SourceFile | _Work) -> list[_Work]:
        if isinstance(task, _Work):
            return [self._decoded(task)]
        with self._clock.working("read", threads=DECODE_THREADS):
            works = list(self._works(task))
        return [self._decoded(work) for work in works]

    def _decoded(self, work: _Work) -> _Work:
        """The work with the inputs of its encoders in place of the item, whose bytes are not kept any longer."""
        if work.item is None or not work.wanted:
            return replace(work, item=None)
        with GATE.scope(), self._clock.working("decode", threads=DECODE_THREADS):
            try:
                return replace(work, item=None, inputs=self._inputs(work.item, work.wanted))
            except (FormatError, InputError) as error:  # its picture does not open, or an encoder's processor does not take it
                reason = error.reason if isinstance(error, FormatError) else error.message
                failure = Failure(path=work.record.item_id, reason=reason)
                return replace(work, item=None, record=_failed(work.record, failure))

    def _inputs(self, item: Item, slugs: Iterable[str]) -> dict[str, Any]:
        """Slug -> what the encoder prepares of the item; its picture is opened once for all of them. None where it has nothing for one."""
        opened = None if item.image is None else cache(item.image.open)
        return {slug: prepared_item(self._encoders[slug], item, opened) for slug in slugs}

    def _encoded(self, todo: Iterable[SourceFile]) -> Iterator[list[_Work]]:
        prepared = self._prepared(todo)
        while group := list(islice(prepared, self._batch_size())):
            for work in group:
                self._count(work)
            yield self._with_descriptors([work for work in group if work.is_failed or work.whole or work.reread or work.wanted])

    def _with_descriptors(self, group: list[_Work]) -> list[_Work]:
        rows: list[dict[str, Array | None]] = [dict.fromkeys(work.wanted) for work in group]
        tokens: list[dict[str, Array | None]] = [{} for _ in group]
        for slug, encoder in self._encoders.items():
            places = [n for n, work in enumerate(group) if work.inputs.get(slug) is not None]
            if places:
                with self._clock.working("encode"):
                    encoded, many = _descriptors(encoder, [group[n].inputs[slug] for n in places])
                for n, row in zip(places, encoded, strict=True):
                    rows[n][slug] = row
                for n, vectors in zip(places, many, strict=False):  # empty for encoders of one row an item
                    tokens[n][slug] = vectors
        records = [replace(w.record, descriptors=row, tokens=t) for w, row, t in zip(group, rows, tokens, strict=True)]
        return [replace(work, record=record, inputs={}) for work, record in zip(group, records, strict=True)]

    def _batch_size(self) -> int:
        return max([encoder.batch_size if isinstance(encoder, BatchedEncoder) else 32 for encoder in self._encoders.values()], default=256)

    # ------------------------------------------------------------------ counting and writing

    def _count(self, work: _Work) -> None:
        item_id = work.record.item_id
        row = self._rows.get(work.file.file_id, {}).get(item_id)
        self._tally.ids.add(item_id)
        self._expected += work.file.file_id in self._uncounted
        if not work.is_failed:
            self._tally.note(item_id, work.record.metadata)
        if work.is_failed:
            self._tally.failed.append(Failure(path=item_id, reason=work.record.reason or ""))
        elif row is None or row["state"] == "failed":
            self._tally.added += 1
        elif work.whole or work.wanted:
            self._tally.updated += 1
        else:
            self._tally.unchanged += 1
            if not work.reread:
                self._tally.touched.append((item_id, work.file))

    def _commit(self, works: list[_Work]) -> None:
        with self._clock.working("write"):
            for with_vectors, some in ((True, [w.record for w in works if w.whole]), (False, [w.record for w in works if w.reread])):
                renamed, misfits = self._table.write(some, with_vectors=with_vectors, new=with_vectors and self._are_new(some))
                self._tally.renamed.update((change.field, change) for change in renamed)
                self._tally.misfits.extend(misfits)
            self._fill([work for work in works if not work.whole])

    def _are_new(self, records: list[Record]) -> bool:
        """Whether no row has the id of any of them."""
        ids = {record.item_id for record in records}
        return len(ids) == len(records) and not any(record.item_id in self._rows.get(record.file, {}) for record in records)

    def _fill(self, works: list[_Work]) -> None:
        for slug in self._encoders:
            records = [
                (work.record, self._rows[work.file.file_id][work.record.item_id]) for work in works if slug in work.record.descriptors
            ]
            if not records:
                continue
            slugs = [",".join(sorted(encoders_of(row) | set(record.descriptors))) for record, row in records]
            columns: dict[str, list[Any]] = {PREFIX + slug: [record.descriptors[slug] for record, _ in records], "encoders": slugs}
            if isinstance(self._encoders[slug], TokenEncoder):
                columns[TOKENS + slug] = [record.tokens.get(slug) for record, _ in records]
            self._table.fill([record.item_id for record, _ in records], columns)

    def _remove_missing(self) -> int:
        """Removes what was not met of files that were read and of files that were deleted; returns how many items that were, failed
        files aside."""
        rest = {name: [row for i, row in rows.items() if i not in self._tally.ids] for name, rows in self._rows.items()}
        names = {file.file_id for file in self._listing.files}
        unlisted = [name for name, rows in rest.items() if rows and name not in names]
        deleted = deleted_files(unlisted, self._listing.roots) | {name for name in unlisted if self._listing.is_excluded(name)}
        rows = [row for name, some in rest.items() if name in names or name in deleted for row in some]
        self._table.remove([row["item_id"] for row in rows])
        self._table.refresh()
        return sum(row["state"] == "ready" for row in rows)

    def _touch(self) -> None:
        """Notes that files whose content is the same have a new time or count, so that the next run passes them over."""
        ids = [item_id for item_id, _ in self._tally.touched]
        bases = {file.file_id: self._base(file) for _, file in self._tally.touched}
        records = [bases[file.file_id] for _, file in self._tally.touched]
        fields = ("file_size", "file_mtime_ns", "file_items", "seen_ns")
        self._table.fill(ids, {name: [getattr(record, name) for record in records] for name in fields})

    def _report(self, removed: int, seconds: float) -> IngestReport:
        tally = self._tally
        return IngestReport(
            expected=self._expected,
            found=tally.found,
            added=tally.added,
            updated=tally.updated,
            unchanged=tally.unchanged,
            removed=removed,
            failed=tuple(tally.failed),
            seconds=seconds,
            stage_seconds=dict(self._clock.seconds),
            stage_busy_s=dict(self._clock.busy_s),
            text_notes=tally.text_notes,
            picture_notes=tally.picture_notes,
            ignored=self._listing.ignored,
            linked_folders=self._listing.linked,
            notes=(
                *notes.lines_of(tally.text_notes),
                *notes.lines_of(tally.picture_notes, what="item"),
                *notes.of_fields(tally.renamed.values(), tally.misfits),
                *notes.passed_over(self._listing),
            ),
        )


def _summed(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {name: one.get(name, 0.0) + other.get(name, 0.0) for name in {**one, **other}}


def _is_picture_alone(item: Item) -> bool:
    """Whether nothing but an encoder of pictures can make it found."""
    return item.image is not None and is_blank(item.text) and item.document_id is None


def _descriptors(encoder: Encoder, inputs: list[Any]) -> tuple[Array, list[Array]]:
    """(n, dimension) rows, and for an encoder of many vectors an item those of each, from one pass through its model."""
    if not isinstance(encoder, TokenEncoder):
        return rows_of(encoder, inputs), []
    tokens = encoder.encode_tokens(inputs)
    return encoder.pooled(tokens), tokens


def _failed(base: Record, failure: Failure) -> Record:
    return replace(
        base,
        item_id=failure.path,
        fragment=failure.path[len(base.file) :],
        state="failed",
        reason=failure.reason,
        file_items=-1 if isinstance(failure, Unread) else base.file_items,
        content_hash="",
        text=None,
    )
