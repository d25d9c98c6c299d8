"""Files -> rows with Ray's workers: an actor a device encodes, and what comes of it is seen when all of it is there.

    files in shares -> [actor: read, decode, encode] -> staged -> [driver: which columns] -> [actor: Lance fragments] -> one commit

The driver alone touches the table: it holds the lock of the collection, leaves out what is there already, and commits all new rows at
once; until then nobody sees any of them. A worker that dies is started again and does its share again; what a killed driver had staged is
taken up by the next run. Items are read, decoded and encoded by the ingest of one process (`run.py`), so that the result is the same.
All of the cluster must reach the collection and the files under the same paths, and have the same version of this package.
Source: Ray's actors; `lance.fragment.write_fragments` and `LanceDataset.commit` as Lance's own distributed writing uses them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mmrerank.errors import BackendError, FormatError, InputError, ManifestError, MissingExtra, MMRerankError
from mmrerank.ingest import notes
from mmrerank.ingest.changes import Row, is_current, rows_by_file, shared_stamps
from mmrerank.ingest.files import Listing, SourceFile
from mmrerank.ingest.run import Ingest, IngestReport, Progress
from mmrerank.ingest.staging import Staged, StagedTable, Way, as_rows, is_staged
from mmrerank.parts import make
from mmrerank.protocols import OneItemReader, weights_of
from mmrerank.readers import known_passwords, use_passwords
from mmrerank.store.fields import Misfit, Renamed
from mmrerank.store.manifest import EncoderEntry, Root
from mmrerank.store.table import ROWS_A_FILE, Table

logger = logging.getLogger(__name__)
VERSION = version("mmrerank")
LOCAL, SCHEME = "ray", "ray://"
TRIES = 5  # of a share whose worker dies


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Some files for one worker, in words that any process understands."""

    folder: str  # where what comes of it is staged
    files: tuple[tuple[str, str, str], ...]  # path, id and reader of each
    rows: tuple[Row, ...]  # what the table has of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What all workers are told."""

    table: str
    uri: str  # of the table, where it lies in object storage
    encoders: tuple[EncoderEntry, ...]
    roots: tuple[Root, ...]
    places: tuple[str, ...]
    refusal: str
    passwords: tuple[str, ...]
    version: str = VERSION


class Worker:
    """One actor: loads the encoders once, then does shares."""

    def __init__(self, plan: Plan) -> None:
        if plan.version != VERSION:
            raise RuntimeError(f"the workers have mmrerank {VERSION}; the driver has {plan.version}")
        self._plan = plan
        use_passwords(plan.passwords)
        self._encoders = {entry.slug: _encoder(entry) for entry in plan.encoders}

    def encode(self, share: Share) -> str:
        """Stages what comes of some files; returns where."""
        plan, folder = self._plan, Path(share.folder)
        files = tuple(
            SourceFile(path=Path(path), file_id=file_id, reader=make(reader, station="readers")) for path, file_id, reader in share.files
        )
        listing = Listing(files=files, places=tuple(map(Path, plan.places)), roots=plan.roots)
        table = StagedTable(folder, Table.open(Path(plan.table), plan.uri).schema, share.rows)
        table.save(Ingest(table, listing, self._encoders, refusal=plan.refusal).run())
        return share.folder

    def write(self, folders: Sequence[str], table_version: int) -> tuple[list[str], list[Renamed], list[Misfit]]:
        """Writes the new rows of some shares as fragments that no version has yet.

        Returns:
            the fragments as JSON, and what is to be said of fields.
        """
        table = Table.open(Path(self._plan.table), self._plan.uri)
        if table.version != table_version:
            raise RuntimeError(f"version {table_version} of the table is expected, and {table.version} is there")
        staged = [rows for folder in folders if (rows := Staged(Path(folder)).rows(["new"])) is not None]
        fragments: list[str] = []
        changes: list[Renamed] = []
        misfits: list[Misfit] = []
        for rows in (as_rows(one, table.metadata_types()) for one in _joined(staged)):
            written, some = table.fragments_of(rows)
            fragments += written
            changes += rows.renamed
            misfits += some
        return fragments, changes, misfits


def _joined(tables: Sequence[Any]) -> list[Any]:
    import pyarrow as pa

    return [pa.concat_tables(tables)] if tables else []


def _encoder(entry: EncoderEntry) -> Any:
    part = make(entry.name, station="encoders")
    if part.dimension != entry.dimension or (entry.weights and weights_of(part) != entry.weights):
        message = f"a worker's {part.name!r} has {part.dimension} dims and the weights {weights_of(part)}"
        raise ManifestError(f"{message}; the collection has {entry.dimension} and {entry.weights}")
    return part


class RayIngest:
    """One run over a listing, shared out among the workers of a Ray cluster.

    Args:
        encoders: those of the collection; workers make them by their names.
        address: `ray` for this machine (or the cluster that Ray is told of by its own environment), `ray://HOST:PORT` for another.
        staging: folder for what is not committed yet, which all workers reach.
        share_items: so many items are one share, which is what a killed worker loses.
    """

    def __init__(
        self,
        table: Table,
        listing: Listing,
        encoders: Sequence[EncoderEntry],
        address: str,
        staging: Path,
        *,
        share_items: int = 1000,
        progress: Progress | None = None,
        refusal: str = "",
    ) -> None:
        self._table, self._listing, self._encoders, self._address = table, listing, tuple(encoders), address
        self._staging, self._share_items, self._refusal = staging.resolve(), share_items, refusal
        self._progress = progress or (lambda done, expected: None)
        self._rows = rows_by_file(table, listing)
        self._changes: list[Renamed] = []
        self._misfits: list[Misfit] = []

    def run(self) -> IngestReport:
        """Brings the table up to date with the files.

        Raises:
            MissingExtra: Ray is not installed.
            BackendError: the cluster cannot be reached, or a worker died again and again; what was staged is taken up by the next run.
            InputError: a worker stopped with an error.
        """
        start = time.perf_counter()
        current, todo = self._sorted()
        shares = self._shares(todo)
        self._forget(shares)
        if shares:
            with _workers(self._address, self._plan(), len(shares)) as workers:
                staged = self._staged(workers, shares)
                self._commit(workers, staged)
        else:
            staged = []
        rest = Ingest(self._table, replace(self._listing, files=tuple(current)), {}).run()  # what stayed, what was deleted, what failed
        shutil.rmtree(self._staging, ignore_errors=True)
        report = rest
        for one in staged:
            report += one.report
        self._progress(report.found, report.expected)
        fields = tuple(notes.of_fields({change.field: change for change in self._changes}.values(), self._misfits))
        return replace(report, seconds=time.perf_counter() - start, notes=(*report.notes, *fields))

    # ------------------------------------------------------------------ sharing out

    def _sorted(self) -> tuple[list[SourceFile], list[SourceFile]]:
        """The files that are what they were, and the others."""
        wanted, shared = {entry.slug for entry in self._encoders}, shared_stamps(self._rows)
        current: list[SourceFile] = []
        todo: list[SourceFile] = []
        for file in self._listing.files:
            rows = self._rows.get(file.file_id)
            (current if rows and is_current(file, rows, wanted, shared) else todo).append(file)
        return current, todo

    def _shares(self, files: Sequence[SourceFile]) -> list[Share]:
        shares: list[list[SourceFile]] = []
        room = 0
        for file in files:
            count = _count(file)
            if room < count or not shares:
                shares.append([])
                room = self._share_items
            shares[-1].append(file)
            room -= count
        return [self._share(some) for some in shares]

    def _share(self, files: Sequence[SourceFile]) -> Share:
        rows = tuple(row for file in files for row in self._rows.get(file.file_id, {}).values())
        named = tuple((str(file.path), file.file_id, file.reader.name) for file in files)
        stamps = [_stamp(file.path) for file in files]
        what = [named, stamps, sorted((row["item_id"], row["content_hash"], row["encoders"] or "") for row in rows)]
        made = [[asdict(entry) for entry in self._encoders], self._refusal, VERSION]
        name = hashlib.blake2b(json.dumps([what, made]).encode(), digest_size=16).hexdigest()
        return Share(folder=str(self._staging / name), files=named, rows=rows)

    def _forget(self, shares: Sequence[Share]) -> None:
        """Deletes what is staged of other files, or of these as they were."""
        wanted = {Path(share.folder).name for share in shares}
        for folder in self._staging.glob("*"):
            if folder.name not in wanted:
                shutil.rmtree(folder, ignore_errors=True)

    def _plan(self) -> Plan:
        return Plan(
            table=str(self._table.path.resolve()),
            uri="" if self._table.uri == str(self._table.path) else self._table.uri,
            encoders=self._encoders,
            roots=self._listing.roots,
            places=tuple(map(str, self._listing.places)),
            refusal=self._refusal,
            passwords=known_passwords(),
        )

    # ------------------------------------------------------------------ work

    def _staged(self, workers: Workers, shares: Sequence[Share]) -> list[Staged]:
        """What comes of all shares, in their order."""
        expected = sum(map(len, (share.files for share in shares)))
        done = {share.folder for share in shares if is_staged(Path(share.folder))}
        if done:
            logger.info("%d of %d shares were staged by an earlier run", len(done), len(shares))
        count = sum(Staged(Path(folder)).report.found for folder in done)
        self._progress(count, max(expected, count))
        for folder in workers.each("encode", [(share,) for share in shares if share.folder not in done]):
            count += Staged(Path(folder)).report.found
            self._progress(count, max(expected, count))
        return [Staged(Path(share.folder)) for share in shares]

    def _commit(self, workers: Workers, staged: Sequence[Staged]) -> None:
        """Makes the columns, has the fragments written, and commits them; then what is no new row."""
        self._widen(staged)
        fresh = [one for one in staged if not self._has_some(one)]
        fragments: list[str] = []
        for written, changes, misfits in workers.each("write", [(group, self._table.version) for group in _groups(fresh)]):
            fragments += written
            self._note(changes, misfits)
        self._table.append_fragments(fragments)
        for one in staged:
            self._finish(one, whole=one not in fresh)
        self._table.drop_orphans()

    def _widen(self, staged: Sequence[Staged]) -> None:
        """Gives the table all columns of metadata, in the types that fields come to in the order of the files."""
        for one in staged:
            rows = one.rows(["new", "changed", "reread"])
            if rows is not None:
                self._table.widen(as_rows(rows, self._table.metadata_types()))

    def _has_some(self, staged: Staged) -> bool:
        """Whether the table has one of its new items already: then they are not appended but written one for one."""
        rows = staged.rows(["new"], ["item_id"])
        return rows is not None and self._table.has_any(rows["item_id"].to_pylist())

    def _finish(self, staged: Staged, *, whole: bool) -> None:
        ways: list[tuple[list[Way], bool]] = [(["new", "changed"] if whole else ["changed"], True), (["reread"], False)]
        for way, with_vectors in ways:
            rows = staged.rows(way)
            if rows is not None:
                self._note(*self._table.write_rows(as_rows(rows, self._table.metadata_types()), with_vectors=with_vectors))
        for ids, columns in staged.fills():
            self._table.fill(ids, columns)
        self._table.remove(staged.removed)
        self._table.refresh()

    def _note(self, changes: Sequence[Renamed], misfits: Sequence[Misfit]) -> None:
        self._changes += changes
        self._misfits += misfits


def _groups(staged: Sequence[Staged]) -> Iterator[list[str]]:
    """Shares whose new rows make a full file together."""
    group: list[str] = []
    room = ROWS_A_FILE
    for one in staged:
        if group and one.report.found > room:
            yield group
            group, room = [], ROWS_A_FILE
        group.append(str(one.folder))
        room -= one.report.found
    if group:
        yield group


def _count(file: SourceFile) -> int:
    if isinstance(file.reader, OneItemReader) and file.reader.is_one_item(file.path):
        return 1
    try:
        return max(1, file.reader.count(file.path))
    except FormatError:
        return 1


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        stat = path.stat()
    except OSError:
        return ()
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


# ---------------------------------------------------------------------- Ray


class Workers:
    """Actors, each of which does one thing at a time."""

    def __init__(self, ray: Any, actors: Sequence[Any]) -> None:
        self._ray, self._actors = ray, list(actors)

    def each(self, method: str, calls: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """What the method gives for each of these arguments, as it comes."""
        idle, waiting, left = list(self._actors), dict[Any, Any](), list(reversed(calls))
        while left or waiting:
            while left and idle:
                actor = idle.pop()
                waiting[getattr(actor, method).remote(*left.pop())] = actor
            done, _ = self._ray.wait(list(waiting), num_returns=1)
            idle.append(waiting.pop(done[0]))
            yield self._result(done[0])

    def _result(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, MMRerankError) else None
            raise InputError(f"a worker stopped: {cause or str(error).strip().splitlines()[-1]}") from error
        except self._ray.exceptions.RayError as error:
            message = f"a worker died {TRIES} times over one share: {str(error).splitlines()[0]}"
            raise BackendError(message, hint="What was done is kept: the same command goes on from there.") from error


@contextmanager
def _workers(address: str, plan: Plan, shares: int) -> Iterator[Workers]:
    """An actor for each GPU of the cluster, or for each CPU where it has none, and no more than there are shares."""
    ray = _ray()
    mine = not ray.is_initialized()
    with redirect_stdout(sys.stderr):  # where Ray says that a worker died: stdout is for results
        yield from _actors(ray, mine, address, plan, shares)


def _actors(ray: Any, mine: bool, address: str, plan: Plan, shares: int) -> Iterator[Workers]:
    if mine:
        where = {} if address == LOCAL else {"address": address}
        try:
            started(ray, **where)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise BackendError(f"the Ray cluster {address} cannot be reached: {error}", hint="Is it up? `ray status` says.") from error
    try:
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        device = {"num_gpus": 1, "num_cpus": 0} if gpus else {"num_cpus": 1}
        count = max(1, min(shares, gpus or int(resources.get("CPU", 1))))
        remote = ray.remote(Worker).options(**device, max_restarts=-1, max_task_retries=TRIES)
        yield Workers(ray, [remote.remote(plan) for _ in range(count)])
    finally:
        if mine:
            ray.shutdown()


def started(ray: Any, **how: Any) -> None:
    """Begins with Ray, which starts its processes afresh: Lance's warning of forks is not meant for it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "lance is not fork-safe")
        ray.init(log_to_driver=False, configure_logging=False, **how)


def _ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MissingExtra.of("ray", "ray", "indexing with workers") from error
    return ray


def check_workers(address: str) -> None:
    """Passes where workers can be asked for by this text.

    Raises:
        InputError: it is no address of theirs.
        MissingExtra: Ray is not installed.
    """
    if address != LOCAL and not address.startswith(SCHEME):
        raise InputError(f"workers are those of Ray: expected {LOCAL!r} or '{SCHEME}HOST:PORT'; got {address!r}")
    _ray()
