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
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmrerank.backends import backend_of
from mmrerank.collection.folder import TABLE, check_vacant, read_consistent
from mmrerank.collection.removal import chosen
from mmrerank.collection.version import CollectionVersion, given
from mmrerank.errors import InputError, ManifestError
from mmrerank.index import rows_index_name
from mmrerank.ingest.files import Listing, list_files, readers, with_roots
from mmrerank.ingest.notes import with_wordless
from mmrerank.ingest.run import Ingest, IngestReport, Progress
from mmrerank.parts import as_tuple, make
from mmrerank.pipeline import AskResult, SearchResult, ask, rerankers_of, search
from mmrerank.provenance import made_by
from mmrerank.store.lock import writing
from mmrerank.store.manifest import FILE, EncoderEntry, Manifest, write_manifest
from mmrerank.store.table import Table
from mmrerank.types import Answerer, Backend, Candidate, EmbeddingSpace, Encoder, Item, Modality, Query, Reader, Reranker, Retriever

DEFAULT_ENCODER = "openclip/ViT-B-32.laion2b_s34b_b79k@224"
DEFAULT_INDEX = "faiss_index"


class Collection:
    """Items on disk with their descriptors and text, to add to and to search. Also the corpus its retrievers ask.

    Any number of processes and threads may search. One at a time writes (`create`, `add`, `remove`); the others wait for it.
    """

    def __init__(self, path: Path, manifest: Manifest, table: Table) -> None:
        self.path = path
        self.manifest = manifest
        self.table = table
        self._encoders: dict[str, Encoder] = {}
        self._view: CollectionVersion | None = None
        self._lock = threading.RLock()  # for the threads of this process: over manifest, encoders and view

    @classmethod
    def create(cls, path: str | Path, *, encoders: Sequence[str | Encoder] = (), index: str = DEFAULT_INDEX) -> Collection:
        """A new, empty collection in the folder `path`, which must be empty or absent.

        Args:
            encoders: names or parts; with none, only text is searched.
            index: name of the index to keep over each encoder's descriptors.

        Raises:
            InputError: something lies in the folder, other than what a killed `create` left.
            UnknownName: an encoder or index of that name does not exist.
        """
        folder = Path(path)
        check_vacant(folder)
        index_name = rows_index_name(index)  # complains of an unknown name before anything is written
        parts = {part.name: part for part in map(_encoder, as_tuple(encoders))}
        folder.mkdir(parents=True, exist_ok=True)
        with writing(folder):
            check_vacant(folder)  # another process may have been quicker
            table = Table.create(folder / TABLE)
            entries = tuple(_with_room(table, part) for part in parts.values())
            write_manifest(folder, Manifest(index=index_name, encoders=entries, made_by=made_by()))
        collection = cls.open(folder)
        collection._encoders = {entry.slug: parts[entry.name] for entry in entries}
        return collection

    @classmethod
    def open_or_create(cls, path: str | Path, *, encoders: Sequence[str | Encoder] = (), index: str = DEFAULT_INDEX) -> Collection:
        """The collection in the folder `path`; where there is none it is made, by one of the processes that ask at once.

        Args:
            encoders, index: of a collection that is made, as in `create`.

        Raises:
            InputError: something else lies in the folder.
            DamagedData: its files cannot be read.
        """
        if not (Path(path) / FILE).exists():
            try:
                return cls.create(path, encoders=encoders, index=index)
            except InputError:
                if not (Path(path) / FILE).exists():
                    raise
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path) -> Collection:
        """The collection in the folder `path`.

        Raises:
            InputError: there is none.
            DamagedData: its files cannot be read.
        """
        folder = Path(path)
        manifest, table = read_consistent(folder, lambda: Table.open(folder / TABLE))
        return cls(folder, manifest, table)

    # ------------------------------------------------------------------ what it holds

    def __len__(self) -> int:
        return len(self.view.snapshot)

    @property
    def view(self) -> CollectionVersion:
        """The newest version as this process has seen it; its own writes move it, `refresh` looks for those of others."""
        with self._lock:
            if self._view is None:
                self._view = CollectionVersion(self)
            return self._view

    def refresh(self) -> None:
        """Looks for what other processes wrote."""
        with self._lock:
            self.manifest, _ = read_consistent(self.path, self.table.refresh)
            self._view = None

    def encoder(self, entry: EncoderEntry) -> Encoder:
        """The encoder of an entry of `collection.toml`, loaded on first use.

        Raises:
            ManifestError: its name, dimension or weights are not those that the descriptors were made with.
        """
        with self._lock:
            if entry.slug not in self._encoders:
                self._encoders[entry.slug] = self._same_as(entry, _encoder(entry.name))
            return self._encoders[entry.slug]

    def _same_as(self, entry: EncoderEntry, part: Encoder) -> Encoder:
        weights = _weights(part)
        if (part.name, part.dimension) != (entry.name, entry.dimension) or (entry.weights and weights != entry.weights):
            raise ManifestError(
                f"collection {self.path.name!r} holds {entry.dimension}-dim descriptors of {entry.name!r} (weights "
                f"{entry.weights or 'unknown'}); the encoder loaded now is {part.name!r} with {part.dimension} dims "
                f"(weights {weights or 'unknown'}).",
                hint="Load what it was made with, or index into a new collection.",
            )
        return part

    def entry(self, name: str) -> EncoderEntry:
        """The entry of the encoder of that name.

        Raises:
            ManifestError: the collection has no descriptors of it.
        """
        for entry in self.manifest.encoders:
            if entry.name == name:
                return entry
        held = ", ".join(repr(entry.name) for entry in self.manifest.encoders) or "none"
        raise ManifestError(
            f"collection {self.path.name!r} has no descriptors of {name!r}; it holds those of {held}.",
            hint="Add them: index with --encoder.",
        )

    # ------------------------------------------------------------------ add and remove

    def add(
        self,
        paths: str | Path | Sequence[str | Path],
        *,
        encoders: Sequence[str | Encoder] = (),
        read_with: Sequence[str | Reader] = (),
        commit_items: int = 1000,
        progress: Progress | None = None,
        listing: Listing | None = None,
    ) -> IngestReport:
        """Brings the collection up to date with files and folders: adds what is new, encodes again what changed, removes
        what was deleted below them. What is unchanged is passed over, so a second run adds nothing and a killed one goes on.

        Args:
            paths: files and folders.
            encoders: further encoders, beside those the collection has.
            read_with: readers to use instead of their namesakes with default options.
            commit_items: how many items are written in one commit; a kill loses at most those.
            progress: called with the items done and expected.
            listing: what `mmrerank.ingest.files.list_files` made of these paths a moment ago, so that they are not walked again.

        Raises:
            InputError: a path does not exist, or is a file that no reader takes.
        """
        places = [Path(path) for path in as_tuple(paths)]
        further = [_encoder(encoder) for encoder in as_tuple(encoders)]
        with self._writing():
            doubles = self.table.drop_doubles()
            roots = with_roots(places, self.manifest.roots, taken=lambda prefix: bool(self.table.known(prefix)))
            files = list_files(places, roots, readers(as_tuple(read_with)), earlier=listing)
            for part in further:
                self._enrol(part)
            self._write(roots=roots)
            parts = {entry.slug: self.encoder(entry) for entry in self.manifest.encoders}
            report = Ingest(self.table, files, parts, commit_items=commit_items, progress=progress).run()
            if report.added + report.updated + report.removed > 0:
                self.table.compact()
        note = f"{doubles} rows that stood twice were dropped"
        return replace(report, notes=(*report.notes, note)) if doubles else report

    def remove(self, *, ids: Sequence[str] = (), paths: Sequence[str | Path] = (), filter: str | None = None) -> int:
        """Removes items by id (or document id), by file or folder, and by filter; returns how many there were.

        Raises:
            InputError: an id or path is not in the collection, the filter cannot be used, or nothing is named.
        """
        if not ids and not paths and filter is None:
            raise InputError("nothing is named to remove", hint="Give ids, paths or a filter.")
        with self._writing():
            gone = chosen(self.view, ids=as_tuple(ids), paths=as_tuple(paths), filter=filter)
            self.table.remove(sorted({str(row["item_id"]) for row in gone}))
            self.table.refresh()
        return sum(row["state"] == "ready" for row in gone)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """The only writer, at the newest version; searches that begin afterwards see what was written."""
        with writing(self.path):
            self.refresh()
            try:
                yield
            finally:
                with self._lock:
                    self._view = None

    # ------------------------------------------------------------------ search

    def search(
        self,
        query: Query | str,
        *,
        k: int = 10,
        retriever: str | Retriever | None = None,
        rerank: Sequence[str | Reranker] = (),
        backend: Backend | str | None = None,
        depth: int | None = None,
    ) -> SearchResult:
        """The k best items for a query, through a first stage and any rerankers in a row.

        Args:
            query: a text, or a Query with pictures (`mmrerank.picture`), exclusions, a filter.
            retriever: a part or its name; None chooses by what is asked and held (`default_retriever`).
            backend: the MLLM for stages given by name that ask one; a part or its name, as are retriever and rerankers.
            depth: how many candidates the rerankers see; 100 when None.

        Raises:
            InputError: the query cannot be answered by this collection; the message says why.
        """
        backend = backend_of(backend)
        asked = Query(text=query) if isinstance(query, str) else query
        first = retriever if retriever is not None else self.default_retriever(asked)
        stage = self.view.retriever(first, backend) if isinstance(first, str) else first
        return search(asked, stage, rerankers_of(rerank, stage, backend), k=k, depth=depth)

    def ask(
        self,
        question: str,
        *,
        k: int = 5,
        filter: str | None = None,
        retriever: str | Retriever | None = None,
        rerank: Sequence[str | Reranker] = (),
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
        backend = backend_of(backend)
        chosen = answerer if answerer is not None else "extractive" if backend is None else "generative"
        part: Answerer = make(chosen, station="answering", corpus=self, **given(backend)) if isinstance(chosen, str) else chosen
        found = self.search(Query(text=question, filter=filter), k=k, retriever=retriever, rerank=rerank, backend=backend, depth=depth)
        return with_wordless(ask(found, part, on_text=on_text), self.view.snapshot)

    def default_retriever(self, query: Query) -> str:
        """Pictures and text together: composed; pictures: dense; text: BM25 where the items are pages, else dense if an
        encoder takes text, else BM25."""
        if query.images:
            return "composed" if query.text else "dense"
        view = self.view
        if view.has_pages:
            return "lexical"
        return "dense" if any("text" in self.encoder(entry).takes for entry in view.manifest.encoders) else "lexical"

    def space(self, *, takes: frozenset[Modality], encoder: str | None = None) -> EmbeddingSpace:
        """The space of the named encoder, or of the first that takes these modalities.

        Raises:
            InputError: no encoder of the collection takes them.
            ManifestError: the named encoder has no descriptors here.
        """
        view = self.view
        entries = [self.entry(encoder)] if encoder else list(view.manifest.encoders)
        for entry in entries:
            if takes <= self.encoder(entry).takes:
                return view.space(entry)
        held = ", ".join(f"{entry.name!r} ({'/'.join(sorted(self.encoder(entry).takes))})" for entry in entries) or "none"
        raise InputError(
            f"no encoder of collection {self.path.name!r} takes {' and '.join(sorted(takes))}; it has {held}.",
            hint="Index it with --encoder, or use the retriever 'lexical' for text.",
        )

    def matching(self, text: str, k: int, *, filter: str | None = None) -> list[Candidate]:
        """The k items whose text matches best by BM25, best first; items that share no term are left out."""
        view = self.view  # one for all of it: an `add` in another thread moves it
        found = view.text.search(text, k, allowed=None if filter is None else view.snapshot.where(filter))
        fields, _ = view.snapshot.records(found.ids)
        return [Candidate(item=view.items.item(row), score=float(score)) for row, score in zip(fields, found.scores, strict=True)]

    def idf(self, text: str) -> Mapping[str, float]:
        """The terms of a question with how rare each is among the texts of the collection, above 0; one that no text has too."""
        return dict(self.view.text.idf(text))

    def item(self, item_id: str) -> Item:
        """One item by its id.

        Raises:
            InputError: it is not in the collection.
        """
        view = self.view
        fields, _ = view.snapshot.records(view.snapshot.keys_of([item_id]))
        return view.items.item(fields[0])

    def items(self, filter: str | None = None) -> list[Item]:
        """All items, or those that a filter holds for, by id."""
        view = self.view
        fields, _ = view.snapshot.records(view.snapshot.keys if filter is None else view.snapshot.where(filter))
        return [view.items.item(row) for row in sorted(fields, key=lambda row: str(row["item_id"]))]

    def paths_of(self, item_ids: Sequence[str]) -> dict[str, Path]:
        """Where the file of each item lies.

        Raises:
            InputError: an item is not in the collection.
        """
        view = self.view
        fields, _ = view.snapshot.records(view.snapshot.keys_of(item_ids))
        return {row["item_id"]: view.items.path(row) for row in fields}

    def _enrol(self, encoder: Encoder) -> None:
        """Makes room for an encoder's descriptors, in the table first, so that the manifest never promises too much; under the lock."""
        held = [entry for entry in self.manifest.encoders if entry.name == encoder.name]
        if held:
            self._encoders[held[0].slug] = self._same_as(held[0], encoder)
            return
        entry = _with_room(self.table, encoder)
        self._encoders[entry.slug] = encoder
        self.table.refresh()
        self._write(encoders=(*self.manifest.encoders, entry))

    def _write(self, **changes: Any) -> None:
        with self._lock:
            manifest = replace(self.manifest, **changes)
            if manifest != self.manifest:
                write_manifest(self.path, manifest)
                self.manifest = manifest
                self._view = None


def _with_room(table: Table, encoder: Encoder) -> EncoderEntry:
    """The entry of an encoder for which the table has columns then."""
    entry = EncoderEntry(name=encoder.name, dimension=encoder.dimension, weights=_weights(encoder))
    table.add_encoder(entry.slug, entry.dimension, tokens=hasattr(encoder, "encode_tokens"))
    return entry


@lru_cache(maxsize=8)
def _loaded(name: str) -> Encoder:
    encoder: Encoder = make(name, station="encoders")
    return encoder


def _encoder(encoder: str | Encoder) -> Encoder:
    return _loaded(encoder) if isinstance(encoder, str) else encoder


def _weights(encoder: Encoder) -> str:
    return str(getattr(encoder, "weights_hash", ""))
