"""Ready embeddings -> rows of the table, by the column: no encoder runs, and none is loaded but to see whether the rows are its own.

    part -> batches of columns -> [new] -> appended, so many rows in a commit
                                  [changed] -> replaced        [gone] -> removed

A part that is what it was when it was indexed is passed over; of another, rows are told by their hashes. A kill loses what the last
commit did not hold. Memory is bounded by two commits of rows, whatever the parts hold.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmrerank.encoders import prepared, prepared_item, rows_of
from mmrerank.errors import FormatError, InputError, ManifestError, ShapeError
from mmrerank.ingest import notes
from mmrerank.ingest.changes import TICK_NS, deleted_files
from mmrerank.ingest.files import Listing, SourceFile, below
from mmrerank.ingest.run import IngestReport, Progress
from mmrerank.ingest.threads import StageClock
from mmrerank.protocols import Encoder, VectorReader
from mmrerank.readers import RACY_NS, Mismatched
from mmrerank.store.fields import Misfit, Renamed, column_names, renamed
from mmrerank.store.manifest import EncoderEntry
from mmrerank.store.records import PREFIX, key_of
from mmrerank.store.rows import Rows, joined, repeated
from mmrerank.store.table import ROWS_A_FILE, Table
from mmrerank.types import Failure, Item, VectorRows, VectorSource

if TYPE_CHECKING:
    from mmrerank.handles import ImageHandle

LOOKED_AT = 16  # rows whose pictures or texts are encoded again
TRIED = 64  # rows that are looked at for a picture within reach
LEAST_COSINE = 0.9  # at the median; two unlike pictures of one CLIP come to some .5, another preparation or half precision to above .98


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyPart:
    """A file of ready vectors with what the system says of it."""

    file: SourceFile
    source: VectorSource
    size: int
    mtime_ns: int
    changed_ns: int  # the latest change of it, or of the file that describes it

    @property
    def reader(self) -> VectorReader:
        assert isinstance(self.file.reader, VectorReader)
        return self.file.reader


def ready_parts(listing: Listing) -> tuple[list[ReadyPart], list[Failure]]:
    """The parts of a listing, and what cannot be read of it.

    Raises:
        FormatError: the rows of a part are not those of what describes it.
    """
    parts, failures = [], []
    for file in listing.embeddings:
        try:
            parts.append(_ready(file))
        except Mismatched:
            raise
        except FormatError as error:
            failures.append(Failure(path=file.file_id, reason=error.reason))
    return parts, failures


def _ready(file: SourceFile) -> ReadyPart:
    assert isinstance(file.reader, VectorReader)
    stat, source = file.path.stat(), file.reader.source(file.path)
    beside = [source.described_by, *file.path.glob("_versions/*")]  # of a Lance table, the manifests tell of a change
    changed = max([stat.st_ctime_ns, *(path.stat().st_ctime_ns for path in beside if path is not None)])
    return ReadyPart(file=file, source=source, size=stat.st_size, mtime_ns=stat.st_mtime_ns, changed_ns=changed)


def check_dimension(parts: Sequence[ReadyPart], encoder: str, dimension: int) -> None:
    """Passes where all rows have as many numbers.

    Raises:
        ShapeError: one part has others.
    """
    for part in parts:
        if part.source.dimension != dimension:
            raise ShapeError(
                f"{part.file.file_id} holds rows of {part.source.dimension} numbers; those of {encoder!r} have {dimension}.",
                hint="Name the encoder that made them (--encoder), or index them into a collection of their own.",
            )


@dataclass(slots=True)
class _Tally:
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    failed: list[Failure] = field(default_factory=list)
    renamed: dict[str, Renamed] = field(default_factory=dict)
    misfits: list[Misfit] = field(default_factory=list)

    @property
    def done(self) -> int:
        return self.added + self.updated + self.unchanged + len(self.failed)


class EmbeddingIngest:
    """One run over ready parts.

    Args:
        entry: the encoder that made the vectors; the table has room for them when `run` is called.
        failures: files that could not be read.
    """

    def __init__(
        self,
        table: Table,
        listing: Listing,
        parts: Sequence[ReadyPart],
        failures: Sequence[Failure],
        entry: EncoderEntry,
        *,
        progress: Progress | None = None,
    ) -> None:
        self._table, self._listing, self._parts, self._entry = table, listing, parts, entry
        self._slug = entry.slug
        check_dimension(parts, entry.name, entry.dimension)
        self._known = _known_files(table, listing)
        self.news = [part for part in parts if not self._is_current(part, self._known.get(part.file.file_id, []))]
        self._notes: list[str] = []
        self._tally = _Tally(failed=list(failures))
        self._expected = sum(part.source.count for part in parts) + len(failures)
        self._progress = progress or (lambda done, expected: None)
        self._clock = StageClock()
        self._waiting: list[Rows] = []

    def run(self) -> IngestReport:
        """Brings the table up to date with the parts."""
        start = time.perf_counter()
        for part in self._parts:
            states = self._known.get(part.file.file_id, [])
            if part not in self.news:
                self._keep(part, states)
            else:
                self._take(part, has_rows=bool(states))
        self._append(everything=True)
        self._remove_missing(self._known)
        self._table.refresh()
        self._progress(self._tally.done, self._expected)
        return self._report(time.perf_counter() - start)

    def check(self, encoder: Callable[[], Encoder] | None) -> None:
        """Looks whether some rows of what is new are the encoder's own; what comes of it is a note of the report.

        Args:
            encoder: loads it; None where it is not on this machine.

        Raises:
            ManifestError: they are not.
        """
        self._notes.append(checked_against(self.news, self._entry.name, encoder))

    # ------------------------------------------------------------------ what is known

    def _is_current(self, part: ReadyPart, states: Sequence[Mapping[str, Any]]) -> bool:
        """Whether every row of the part is in the table as this encoder's, and nothing was changed since it was looked at."""
        seen = min((row["seen_ns"] for row in states), default=0)
        return bool(states) and (
            sum(row["rows"] for row in states) == part.source.count
            and part.changed_ns < seen - TICK_NS
            and seen - part.mtime_ns > RACY_NS
            and all(
                (row["file_size"], row["file_mtime_ns"], row["file_items"]) == (part.size, part.mtime_ns, part.source.count)
                and row["reader"] == part.reader.name
                and (row["state"] == "failed" or row["encoders"] == self._slug)
                for row in states
            )
        )

    def _keep(self, part: ReadyPart, states: Sequence[Mapping[str, Any]]) -> None:
        self._tally.unchanged += sum(row["rows"] for row in states if row["state"] == "ready")
        if any(row["state"] == "failed" for row in states):
            rows = self._table.of_file(part.file.file_id, ["item_id", "reason"], "failed").to_pylist()
            self._tally.failed += [Failure(path=row["item_id"], reason=row["reason"]) for row in rows]
        self._progress(self._tally.done, self._expected)

    def _remove_missing(self, known: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Removes the rows of parts that were at these places and are gone."""
        is_listed = below(self._listing.embedding_places, self._listing.roots)
        here = {file.file_id for file in self._listing.embeddings}
        gone = deleted_files([name for name in known if name not in here and is_listed(name)], self._listing.roots)
        self._tally.removed += sum(row["rows"] for name in gone for row in known[name] if row["state"] == "ready")
        self._table.remove_files(sorted(gone))

    # ------------------------------------------------------------------ what is new

    def _take(self, part: ReadyPart, *, has_rows: bool) -> None:
        """Reads a part; its rows go to those that wait, or take the place of what was there."""
        before = self._rows_before(part) if has_rows else {}
        seen_ns = time.time_ns()
        touched: list[str] = []
        try:
            for batch in self._clock.timed("read", part.reader.rows(part.file.path)):
                rows = self._as_rows(part, batch, seen_ns)
                touched += self._sort_out(rows, batch, before)
                self._append()
                self._progress(self._tally.done, self._expected)
        except FormatError as error:  # the rest of the part cannot be read; what came before stays
            self._tally.failed.append(Failure(path=part.file.file_id, reason=error.reason))
            return
        self._table.remove(sorted(before))  # what is left there was not met
        self._tally.removed += sum(state == "ready" for _, state, _ in before.values())
        self._touch(part, touched, seen_ns)

    def _rows_before(self, part: ReadyPart) -> dict[str, tuple[str, str, str]]:
        """Item id -> content hash, state and encoders, of the rows that the table has of a part."""
        rows = self._table.of_file(part.file.file_id, ["item_id", "content_hash", "state", "encoders"])
        ids, *fields = (rows[name].to_pylist() for name in rows.column_names)
        return dict(zip(ids, zip(*fields, strict=True), strict=True))

    def _sort_out(self, rows: Rows, batch: VectorRows, before: dict[str, tuple[str, str, str]]) -> list[str]:
        """Takes each row for new, changed or unchanged; returns the ids of those that are unchanged. What is met goes out of `before`."""
        self._tally.failed += [Failure(path=rows.item_ids[n], reason=why) for n, why in batch.problems.items()]
        if not before:
            self._tally.added += len(rows) - len(batch.problems)
            self._waiting.append(rows)
            return []
        new: list[int] = []
        changed: list[int] = []
        same: list[int] = []
        for n, item_id in enumerate(rows.item_ids):
            present = before.pop(item_id, None)
            is_failed = n in batch.problems
            now = ("", "failed", "") if is_failed else (batch.hashes[n], "ready", self._slug)
            (new if present is None else same if present == now else changed).append(n)
            if not is_failed:
                self._count(present, now)
        if new:
            self._waiting.append(rows.take(new))
        if changed:
            with self._clock.working("write"):
                self._note(self._table.write_rows(rows.take(changed)))
        return [rows.item_ids[n] for n in same]

    def _count(self, present: tuple[str, str, str] | None, now: tuple[str, str, str]) -> None:
        if present is None or present[1] == "failed":
            self._tally.added += 1
        elif present == now:
            self._tally.unchanged += 1
        else:
            self._tally.updated += 1

    def _as_rows(self, part: ReadyPart, batch: VectorRows, seen_ns: int) -> Rows:
        """A batch as rows of the table; a row with a problem is one in state "failed", without a vector."""
        count, file_id = len(batch.keys), part.file.file_id
        fragments = [f"::{key}" for key in batch.keys]
        ids = [file_id + fragment for fragment in fragments]
        ready = np.ones(count, bool)
        ready[list(batch.problems)] = False
        hashes = batch.hashes if not batch.problems else ["" if n in batch.problems else digest for n, digest in enumerate(batch.hashes)]
        names = column_names(batch.metadata, self._table.metadata_fields)
        return Rows(
            item_ids=ids,
            fixed={
                **{name: repeated(value, name, count) for name, value in _origin(part, seen_ns).items()},
                "item_id": pa.array(ids, pa.string()),
                "key": pa.array(np.fromiter(map(key_of, ids, hashes), np.int64, count)),
                "text": pa.compute.if_else(pa.array(ready), batch.texts, None) if batch.problems else batch.texts,
                "fragment": pa.array(fragments, pa.string()),
                "content_hash": pa.array(hashes, pa.string()),
                "state": pa.array(np.where(ready, "ready", "failed"), pa.string()),
                "reason": pa.array([batch.problems.get(n) for n in range(count)], pa.string()),
                "encoders": pa.array(np.where(ready, self._slug, ""), pa.string()),
            },
            metadata={names[name]: column for name, column in batch.metadata.items()},
            renamed=renamed(names),
            vectors={PREFIX + self._slug: _vector_column(batch, part.source.dimension, ready)},
        )

    def _append(self, *, everything: bool = False) -> None:
        """Writes what waits, as many rows at a time as make a full file; the rest waits on, unless everything is to go."""
        while (count := sum(map(len, self._waiting))) >= ROWS_A_FILE or (everything and count):
            with self._clock.working("write"):
                rows = joined(self._waiting) if len(self._waiting) > 1 else self._waiting[0]
                self._waiting = [rows.slice(ROWS_A_FILE, count - ROWS_A_FILE)] if count > ROWS_A_FILE else []
                self._note(self._table.write_rows(rows.slice(0, ROWS_A_FILE), new=True))

    def _note(self, changes: tuple[list[Renamed], list[Misfit]]) -> None:
        self._tally.renamed.update((change.field, change) for change in changes[0])
        self._tally.misfits += changes[1]

    def _touch(self, part: ReadyPart, ids: Sequence[str], seen_ns: int) -> None:
        """Notes of unchanged rows how the part looks now, so that the next run passes it over."""
        stamps = {"file_size": part.size, "file_mtime_ns": part.mtime_ns, "file_items": part.source.count, "seen_ns": seen_ns}
        for start in range(0, len(ids), ROWS_A_FILE):
            some = ids[start : start + ROWS_A_FILE]
            columns = {name: [value] * len(some) for name, value in {**stamps, "reader": part.reader.name}.items()}
            self._table.fill(some, columns)

    def _report(self, seconds: float) -> IngestReport:
        tally = self._tally
        return IngestReport(
            expected=self._expected,
            found=tally.done,
            added=tally.added,
            updated=tally.updated,
            unchanged=tally.unchanged,
            removed=tally.removed,
            failed=tuple(tally.failed),
            seconds=seconds,
            stage_seconds=dict(self._clock.seconds),
            stage_busy_s=dict(self._clock.busy_s),
            notes=(*notes.of_fields(tally.renamed.values(), tally.misfits), *self._listing.notes, *self._notes),
        )


def _origin(part: ReadyPart, seen_ns: int) -> dict[str, str | int | None]:
    """What every row of a file has alike: where it is from, and how that looked then."""
    return {
        "document_id": None,
        "page_number": None,
        "file": part.file.file_id,
        "reader": part.reader.name,
        "file_size": part.size,
        "file_mtime_ns": part.mtime_ns,
        "file_items": part.source.count,
        "seen_ns": seen_ns,
    }


def _vector_column(batch: VectorRows, dimension: int, ready: npt.NDArray[np.bool_]) -> pa.Array:
    """(n,) lists of the vectors; null where a row is not ready."""
    flat = pa.array(np.ascontiguousarray(batch.vectors).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, dimension, mask=None if ready.all() else pa.array(~ready))


def _known_files(table: Table, listing: Listing) -> dict[str, list[Mapping[str, Any]]]:
    """File id -> what the table has of it, for the files at or below the listed places."""
    known: dict[str, list[Mapping[str, Any]]] = {}
    here, is_listed = {file.file_id for file in listing.embeddings}, below(listing.embedding_places, listing.roots)
    for row in table.files(lambda name: name in here or is_listed(name)).to_pylist():
        known.setdefault(row["file"], []).append(row)
    return known


# ---------------------------------------------------------------------- are they the encoder's own?


def checked_against(parts: Sequence[ReadyPart], name: str, encoder: Callable[[], Encoder] | None) -> str:
    """What a look at some rows says: they are what the encoder makes of their pictures or texts, or it could not be told, and why.

    Args:
        name: of the encoder.
        encoder: loads it. None where it is not on this machine.

    Raises:
        ShapeError: the rows are of another length than the encoder's.
        ManifestError: the rows are not the encoder's.
    """
    if encoder is None:
        return f"the rows were not checked against {name!r}: it is not on this machine"
    part = encoder()
    check_dimension(parts, name, part.dimension)
    samples = list(_samples(parts))
    if not samples:
        return f"the rows were not checked against {name!r}: no picture or text of those looked at is within reach"
    compared = [(sample, made) for sample in samples if (made := _encoded(part, sample)) is not None]
    if not compared:
        return f"the rows were not checked against {name!r}: none of {len(samples)} has what it reads"
    cosines = np.array([float(sample.row @ made) for sample, made in compared])
    median, least = float(np.median(cosines)), float(cosines.min())
    if median < LEAST_COSINE:
        raise ManifestError(
            f"the rows are not those of {name!r}: of {len(cosines)} that were encoded again the cosine with the row that came is "
            f"{median:.3f} at the median, and the same encoder gives more than {LEAST_COSINE}.",
            hint="Name the encoder that made them, with its preparation, and see whether rows and descriptions belong together.",
        )
    return f"{len(cosines)} rows were encoded again by {name!r}: cosine {median:.3f} at the median, {least:.3f} at the least"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    part: ReadyPart
    row: Any  # (dimension,)
    text: str | None
    image: ImageHandle | None


def _samples(parts: Sequence[ReadyPart]) -> Iterator[_Sample]:
    """Some rows of the first and the last part that have a picture within reach, or else a text."""
    for part in dict.fromkeys([parts[0].file.file_id, parts[-1].file.file_id]):
        chosen = next(one for one in parts if one.file.file_id == part)
        yield from _samples_of(chosen, LOOKED_AT if parts[0] is parts[-1] else LOOKED_AT // 2)


def _samples_of(part: ReadyPart, count: int) -> Iterator[_Sample]:
    try:
        batch = next(part.reader.rows(part.file.path), None)
    except FormatError:
        return
    if batch is None:
        return
    fine = [n for n in range(len(batch.keys)) if n not in batch.problems]
    for n in fine[:: max(1, len(fine) // TRIED)]:
        image = None if part.source.of_texts else part.reader.handle(part.file.path, f"::{batch.keys[n]}")
        text = batch.texts[n].as_py()
        if count and (image is not None or (text and (part.source.of_texts or not part.source.pictured))):
            count -= 1
            yield _Sample(part=part, row=batch.vectors[n], text=text, image=image)


def _encoded(encoder: Encoder, sample: _Sample) -> Any:
    """(dimension,) what the encoder makes of the picture or text of a row; None where it cannot."""
    try:
        if sample.part.source.of_texts:
            return encoder.encode([prepared(encoder, sample.text or "")])[0] if "text" in encoder.takes else None
        item = Item(item_id="sample", image=sample.image, text=sample.text)
        inputs = prepared_item(encoder, item)
        return None if inputs is None else rows_of(encoder, [inputs])[0]
    except (FormatError, InputError):
        return None
