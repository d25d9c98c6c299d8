"""A collection: what a user holds. A folder with a Lance table, indexes as its caches, and `collection.toml`.

collection = Collection.create(path, encoders=["openclip/mini"])
collection.add(["photos/"])
collection.search("a red door").hits[0].item.item_id
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrerank.collection.encoders import Encoders, Loader, encoder_of, entry_of_ready, name_of
from mmrerank.collection.field_cache import FolderFieldCache
from mmrerank.collection.folder import INDEXES, STAGING, TABLE, check_name, check_vacant, path_from, read_consistent
from mmrerank.collection.moving import placed, recognised
from mmrerank.collection.removal import chosen
from mmrerank.collection.unique_ids import is_unique, note_unique
from mmrerank.collection.version import CollectionVersion, check_texts
from mmrerank.errors import InputError
from mmrerank.index import AUTO, rows_index_name
from mmrerank.ingest.files import Listing, list_files, patterns_of, readers, with_roots
from mmrerank.parts import as_tuple
from mmrerank.pictures import query_of
from mmrerank.pipeline import AnyReranker
from mmrerank.protocols import Answerer, Backend, Encoder, Reader, Retriever, TokenEncoder, weights_of
from mmrerank.provenance import made_by
from mmrerank.results import AskResult, SearchResult
from mmrerank.store.lock import writing
from mmrerank.store.manifest import FILE, EncoderEntry, Manifest, Root, read_manifest, write_manifest
from mmrerank.store.table import Table
from mmrerank.types import Item, Query

if TYPE_CHECKING:
    from mmrerank.ingest.embeddings import EmbeddingIngest
    from mmrerank.ingest.ray_workers import RayIngest
    from mmrerank.ingest.run import Ingest, IngestReport, Progress

DEFAULT_ENCODER = "openclip/ViT-B-32.laion2b_s34b_b79k@224"
DEFAULT_INDEX = AUTO  # exact up to 100,000 rows, of every installation


class Collection:
    """Items on disk with their descriptors and text, to add to and to search; `version` is what a search sees.

    Any number of processes and threads may search. One at a time writes (`create`, `add`, `remove`); the others wait for it.
    """

    def __init__(self, path: Path, manifest: Manifest, table: Table) -> None:
        self.path = path
        self.manifest = manifest
        self.table = table
        self._encoders = Encoders(path.name)
        self._version: CollectionVersion | None = None
        self._lock = threading.RLock()  # for the threads of this process: over manifest and version

    @classmethod
    def create(
        cls, path: str | Path, *, encoders: Sequence[str | Encoder] = (), index: str = DEFAULT_INDEX, table: str | None = None
    ) -> Collection:
        """A new, empty collection in the folder `path`, which must be empty or absent.

        Args:
            encoders: names or parts; with none, only text is searched.
            index: name of the index to keep over each encoder's descriptors.
            table: where the table is to lie in object storage, such as `s3://BUCKET/photos.lance`; what is made of it stays in the folder.

        Raises:
            InputError: something lies in the folder, other than what a killed `create` left; or the storage refuses.
            UnknownName: an encoder or index of that name does not exist.
        """
        folder = path_from(path)
        check_vacant(folder)
        index_name = rows_index_name(index)  # complains of an unknown name before anything is written
        parts = {part.name: part for part in map(encoder_of, as_tuple(encoders))}
        folder.mkdir(parents=True, exist_ok=True)
        with writing(folder):
            check_vacant(folder)  # another process may have been quicker
            made = Table.create(folder / TABLE, table or "")
            entries = tuple(_with_room(made, part) for part in parts.values())
            write_manifest(folder, Manifest(index=index_name, encoders=entries, table=table or "", made_by=made_by()))
        collection = cls.open(folder)
        for entry in entries:
            collection._encoders.use(entry, parts[entry.name])
        return collection

    @classmethod
    def open_or_create(
        cls, path: str | Path, *, encoders: Sequence[str | Encoder] = (), index: str = DEFAULT_INDEX, table: str | None = None
    ) -> Collection:
        """The collection in the folder `path`; where there is none it is made, by one of the processes that ask at once.

        Args:
            encoders, index, table: of a collection that is made, as in `create`.

        Raises:
            InputError: something else lies in the folder.
            DamagedData: its files cannot be read.
        """
        marker = path_from(path) / FILE
        if not marker.exists():
            try:
                return cls.create(path, encoders=encoders, index=index, table=table)
            except InputError:
                if not marker.exists():
                    raise
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path) -> Collection:
        """The collection in the folder `path`.

        Raises:
            InputError: there is none, or its name is not UTF-8.
            DamagedData: its files cannot be read.
        """
        folder = path_from(path)
        check_name(folder)
        manifest, table = read_consistent(folder, lambda: Table.open(folder / TABLE, read_manifest(folder).table))
        return cls(folder, manifest, table)

    # ------------------------------------------------------------------ as an object of Python

    def __enter__(self) -> Collection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of indexes and encoders; a search afterwards opens them again."""
        with self._lock:
            self._version = None
            self._encoders = Encoders(self.path.name)

    def __repr__(self) -> str:
        return f"Collection({str(self.path)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """By its folder: what is pickled or copied is opened anew, at the newest version, with its encoders by their names."""
        return Collection.open, (self.path.absolute(),)

    # ------------------------------------------------------------------ what it holds

    def __len__(self) -> int:
        return len(self.version)

    def __iter__(self) -> Iterator[Item]:
        """All items of one version, by id; the texts and pictures of some hundred are in memory at once."""
        return self.version.iterate()

    def __contains__(self, item_id: object) -> bool:
        """Whether there is an item of that id."""
        return isinstance(item_id, str) and bool(self.version.snapshot.known([item_id]))

    @property
    def version(self) -> CollectionVersion:
        """The newest version as this process has seen it; its own writes move it, `refresh` looks for those of others."""
        with self._lock:
            if self._version is None:
                snapshot = self.table.snapshot(FolderFieldCache(self.path / INDEXES))
                self._version = CollectionVersion(self.path, self.manifest, snapshot, self._encoders)
            return self._version

    def reopen(self) -> None:
        """Lets go of the version that was opened; it, or a newer one that is known, is opened anew at the next use."""
        with self._lock:
            self._version = None

    def refresh(self) -> None:
        """Looks for what other processes wrote; where that is nothing, what was opened stays open."""
        with self._lock:
            manifest, _ = read_consistent(self.path, self.table.refresh)
            if self._version is None or manifest != self.manifest or self.table.version != self._version.snapshot.version:
                self.manifest, self._version = manifest, None

    def item(self, item_id: str) -> Item:
        """One item by its id.

        Raises:
            InputError: it is not in the collection.
        """
        return self.version.item(item_id)

    def items(self, filter: str | None = None) -> list[Item]:
        """All items, or those that a filter holds for, by id."""
        return self.version.items(filter)

    def paths_of(self, item_ids: Sequence[str]) -> dict[str, Path]:
        """Where the file of each item lies.

        Raises:
            InputError: an item is not in the collection.
        """
        return self.version.paths_of(item_ids)

    # ------------------------------------------------------------------ add and remove

    def add(
        self,
        paths: str | Path | Sequence[str | Path],
        *,
        encoders: Sequence[str | Encoder] = (),
        read_with: Sequence[str | Reader] = (),
        exclude: str | Sequence[str] = (),
        commit_items: int = 1000,
        progress: Progress | None = None,
        listing: Listing | None = None,
        moved_from: str | Path | None = None,
        refuse_pictures: str = "",
        workers: str | None = None,
    ) -> IngestReport:
        """Brings the collection up to date with files and folders: adds what is new, encodes again what changed, removes
        what was deleted below them. What is unchanged is passed over, so a second run adds nothing and a killed one goes on.

        Ready embeddings, which are told by what lies at a path, are taken as they are: those of the first encoder that is named, or of the
        one that the collection has for rows of their length. It is loaded only to see whether a few of them are its own.

        Args:
            paths: files and folders.
            encoders: further encoders, beside those the collection has.
            read_with: readers to use instead of their namesakes with default options.
            exclude: patterns of files and folders to leave out, such as "*_small.jpg" or "drafts"; later runs leave them out too, an empty
                one forgets those of earlier runs. What they name and the collection has is removed from it.
            commit_items: how many items are written in one commit; a kill loses at most those.
            progress: called with the items done and expected.
            listing: what `mmrerank.ingest.files.list_files` made of these paths a moment ago, so that they are not walked again.
            moved_from: where the one folder in `paths` was when it was indexed; its items keep ids and descriptors. A folder whose former
                place is not there any more is recognised by its files without it.
            refuse_pictures: why new pictures without a text are not taken where no encoder reads pictures: the reason they fail for, until
                there is one. Without it they are taken, though only filters reach them.
            workers: "ray" for an actor a device of this machine, "ray://HOST:PORT" for those of a cluster; None: this process.

        Raises:
            InputError: a path does not exist, is a file that no reader takes, or did not move from where it is said to be from; ready
                embeddings are of no encoder that anybody names, or of another dimension.
            FormatError: ready embeddings and what describes them do not belong together.
            ManifestError: ready embeddings are not those of the encoder that is said to have made them.
        """
        from mmrerank.ingest.ray_workers import check_workers  # here, since it pulls in what decodes pictures

        places = [path_from(path) for path in as_tuple(paths)]
        named = [name_of(encoder) for encoder in as_tuple(encoders)]
        if workers is not None:
            check_workers(workers)
        with self._writing():
            repairs = self._repaired()
            known = self._placed(places, moved_from, repairs)
            roots = with_roots(places, known, taken=self.table.has_files)
            patterns = patterns_of(self.manifest.exclude, as_tuple(exclude))
            files = list_files(places, roots, readers(as_tuple(read_with)), exclude=patterns, earlier=listing)
            ready = self._ready(files, dict(zip(named, as_tuple(encoders), strict=True)), progress)
            if files.places:
                for part in map(encoder_of, as_tuple(encoders)):
                    self._enrol(part)
            self._write(roots=roots, exclude=patterns)
            reports = [] if ready is None else [ready.run()]
            if files.places or ready is None:
                how: dict[str, Any] = {"progress": progress, "refusal": refuse_pictures}
                reports.append(self._ingest(files, workers, commit_items, how).run())
            report = sum(reports[1:], reports[0])
            if report.added + report.updated + report.removed > 0:
                self.table.compact()
            note_unique(self.path / INDEXES, self.table)
            repairs += self._indexes_brought_up()
        return replace(report, notes=(*report.notes, *repairs))

    def _repaired(self) -> list[str]:
        """Mends what a kill, two writers at once or an earlier version left of the table; returns what was done, in sentences."""
        repairs = self.table.repair()
        if not is_unique(self.path / INDEXES, self.table) and (doubles := self.table.drop_doubles()):
            repairs.append(f"{doubles} rows that stood twice were dropped")
        return repairs

    def _ingest(self, listing: Listing, workers: str | None, commit_items: int, how: Mapping[str, Any]) -> Ingest | RayIngest:
        """What brings the table up to date with files: this process, or workers."""
        from mmrerank.ingest.ray_workers import RayIngest  # here, since they pull in what decodes pictures, and a search needs none of it
        from mmrerank.ingest.run import Ingest

        entries = self.manifest.encoders
        if workers is not None:
            return RayIngest(self.table, listing, entries, workers, self.path / STAGING, share_items=commit_items, **how)
        parts = {entry.slug: self._encoders.of(entry) for entry in entries}
        return Ingest(self.table, listing, parts, commit_items=commit_items, **how)

    def _ready(self, listing: Listing, encoders: Mapping[str, str | Encoder], progress: Progress | None) -> EmbeddingIngest | None:
        """What takes the ready embeddings of a listing, with room for their rows; None where there are none."""
        if not listing.embeddings:
            return None
        from mmrerank.ingest.embeddings import EmbeddingIngest, ready_parts

        parts, failures = ready_parts(listing)
        dimensions = [part.source.dimension for part in parts]
        entry = entry_of_ready(self.path.name, self.manifest.encoders, list(encoders), dimensions)
        ingest = EmbeddingIngest(self.table, listing, parts, failures, entry, progress=progress)
        if ingest.news:
            loader = Loader(entry, encoders.get(entry.name, entry.name), self._encoders)
            ingest.check(loader.load if loader.is_at_hand else None)
            if entry not in self.manifest.encoders:
                entry = replace(entry, weights=loader.weights)
                self.table.add_encoder(entry.slug, entry.dimension)
                self.table.refresh()
                self._write(encoders=(*self.manifest.encoders, entry))
        return ingest

    def _indexes_brought_up(self) -> list[str]:
        """Has the indexes on disk follow what was written, so that no search waits for it; under the lock."""
        self.reopen()
        return self.version.bring_up_indexes()

    def _placed(self, places: Sequence[Path], moved_from: str | Path | None, notes: list[str]) -> tuple[Root, ...]:
        """The roots, where they are now; what was recognised is noted."""
        roots = self.manifest.roots
        if moved_from is None and all(Path(root.path).is_dir() for root in roots):
            return roots
        files = self.table.file_sizes()
        if moved_from is None:
            roots, moves = recognised(roots, [place for place in places if place.exists()], files)
            notes += moves
            return roots
        if len(places) != 1:
            raise InputError(f"one folder can have moved from {moved_from}; got {len(places)} paths")
        return placed(roots, Path(moved_from), places[0], files)

    def use_index(self, name: str) -> None:
        """Searches descriptors by another index from now on: an index is a cache, and is made anew from the table at the next search.

        Raises:
            UnknownName: no index of descriptors is called so.
            MissingExtra: its library is not installed.
        """
        index = rows_index_name(name)
        with self._writing():
            self._write(index=index)

    def remove(self, *, ids: Sequence[str] = (), paths: Sequence[str | Path] = (), filter: str | None = None) -> int:
        """Removes items by id (or document id), by file or folder, and by filter; returns how many there were.

        Raises:
            InputError: an id or path is not in the collection, the filter cannot be used, or nothing is named.
        """
        if not ids and not paths and filter is None:
            raise InputError("nothing is named to remove", hint="Give ids, paths or a filter.")
        names, places = check_texts("ids", ids), [path_from(path) for path in as_tuple(paths)]
        condition = None if filter is None else check_texts("filter", [filter])[0]
        with self._writing():
            self.table.repair()
            gone = chosen(self.version, ids=names, paths=places, filter=condition)
            was_unique = is_unique(self.path / INDEXES, self.table)
            self.table.remove(sorted({str(row["item_id"]) for row in gone}))
            self.table.refresh()
            if was_unique:
                note_unique(self.path / INDEXES, self.table)
            self.reopen()
            _ = self.version  # so that the fields beside a large table are written anew here, where too many went, and not by a search
        return sum(row["state"] == "ready" for row in gone)

    # ------------------------------------------------------------------ search

    def search(
        self,
        query: Query | str | None = None,
        *,
        image: Any = None,
        exclude_text: str | Sequence[str] = (),
        exclude_image: Any = (),
        filter: str | None = None,
        k: int = 10,
        retriever: str | Retriever | None = None,
        rerank: AnyReranker | Sequence[AnyReranker] | None = (),
        backend: Backend | str | None = None,
        depth: int | None = None,
    ) -> SearchResult:
        """The k best items for a query, through a first stage and any rerankers in a row, all over one version of the collection.

        Args:
            query: a text, or a whole Query; with `image`, what should be different.
            image, exclude_image: a picture or several, each as `mmrerank.picture` takes it: a path, bytes, a PIL picture, ...
            exclude_text: what must not be there, one text or several.
            filter: SQL over the fields, such as `page_number < 5`.
            retriever: a part or its name; None chooses by what is asked and held (`CollectionVersion.default_retriever`).
            backend: the MLLM for stages given by name that ask one; a part or its name, as are retriever and rerankers.
            depth: how many candidates the rerankers see; 100 when None.

        Raises:
            InputError: the query cannot be answered by this collection; the message says why.
        """
        whole = query_of(query, image=image, exclude_text=exclude_text, exclude_image=exclude_image, filter=filter)
        return self.version.search(whole, k=k, retriever=retriever, rerank=rerank, backend=backend, depth=depth)

    def ask(
        self,
        question: str,
        *,
        k: int = 5,
        filter: str | None = None,
        retriever: str | Retriever | None = None,
        rerank: AnyReranker | Sequence[AnyReranker] | None = (),
        backend: Backend | str | None = None,
        answerer: str | Answerer | None = None,
        depth: int | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> AskResult:
        """An answer to a question from the k best pages, with the pages it rests on, or that they do not say it.

        Args:
            filter: SQL over the fields, such as `document_id = 'report.pdf'`; retriever, rerank, depth: as in `search`.
            backend: the MLLM that answers, and that rerankers ask; without one the best passage is quoted.
            answerer: a part or its name; None takes `generative` with a backend and `extractive` without.
            on_text: called with the words of the answer as they come, as the model writes them.
        """
        return self.version.ask(
            Query(text=question, filter=filter),
            k=k,
            retriever=retriever,
            rerank=rerank,
            backend=backend,
            answerer=answerer,
            depth=depth,
            on_text=on_text,
        )

    # ------------------------------------------------------------------ writing

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """The only writer, at the newest version; searches that begin afterwards see what was written."""
        with writing(self.path):
            self.refresh()
            try:
                yield
            finally:
                with self._lock:
                    self._version = None

    def _enrol(self, encoder: Encoder) -> None:
        """Makes room for an encoder's descriptors, in the table first, so that the manifest never promises too much; under the lock."""
        entry = next((entry for entry in self.manifest.encoders if entry.name == encoder.name), None)
        if entry is None:
            entry = _with_room(self.table, encoder)
            self.table.refresh()
            self._write(encoders=(*self.manifest.encoders, entry))
        self._encoders.use(entry, encoder)

    def _write(self, **changes: Any) -> None:
        with self._lock:
            manifest = replace(self.manifest, **changes)
            if manifest != self.manifest:
                write_manifest(self.path, manifest)
                self.manifest = manifest
                self._version = None


def _with_room(table: Table, encoder: Encoder) -> EncoderEntry:
    """The entry of an encoder for which the table has columns then."""
    entry = EncoderEntry(name=encoder.name, dimension=encoder.dimension, weights=weights_of(encoder))
    table.add_encoder(entry.slug, entry.dimension, tokens=isinstance(encoder, TokenEncoder))
    return entry
