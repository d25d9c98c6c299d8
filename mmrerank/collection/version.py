"""One version of a collection: the corpus of a search, from its first stage to its last reranker, whoever writes meanwhile.

What it needs (indexes, embedding spaces, retrievers) is opened on first use and kept; threads share it: each thing is opened by one,
the others wait for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmrerank.backends import backend_of
from mmrerank.collection.encoders import Encoders
from mmrerank.collection.folder import INDEXES
from mmrerank.collection.items import ItemReader
from mmrerank.collection.page_names import LABEL, condition_of, in_order, last_pages
from mmrerank.collection.recall import text_questions
from mmrerank.collection.row_index import RowIndex
from mmrerank.collection.space import EncoderSpace
from mmrerank.collection.text_index import bring_up, text_index
from mmrerank.errors import InputError, ManifestError
from mmrerank.index import Questions
from mmrerank.ingest.notes import with_wordless
from mmrerank.parts import BY_BOTH, BY_DESCRIPTORS, BY_WORDS, QUOTING, WRITING, as_tuple, make
from mmrerank.pictures import query_of
from mmrerank.pipeline import AnyReranker, ask, rerankers_of, search
from mmrerank.protocols import Answerer, Backend, EmbeddingSpace, Encoder, Retriever, RowSearcher
from mmrerank.results import AskResult, SearchResult
from mmrerank.store.manifest import EncoderEntry, Manifest
from mmrerank.store.table import Snapshot
from mmrerank.types import Candidate, Item, Modality, PageNames, Query

PAGES = "page_number IS NOT NULL AND text IS NOT NULL AND text <> ''"  # scans that nobody read have no words to be found by
_MOST_NAMED = 1000  # pages of one name that are looked at


class CollectionVersion:
    """See `mmrerank.protocols.Corpus`, which this is."""

    def __init__(self, path: Path, manifest: Manifest, snapshot: Snapshot, encoders: Encoders) -> None:
        self.path = path
        self.manifest = manifest
        self.snapshot = snapshot
        self.reader = ItemReader(manifest.roots)
        self._encoders = encoders
        self._opened: dict[str, Any] = {}
        self._opening = threading.RLock()  # a space opens its index

    def __len__(self) -> int:
        return len(self.snapshot)

    # ------------------------------------------------------------------ search

    def search(
        self,
        query: Query | str,
        *,
        k: int = 10,
        retriever: str | Retriever | None = None,
        rerank: AnyReranker | Sequence[AnyReranker] | None = (),
        backend: Backend | str | None = None,
        depth: int | None = None,
    ) -> SearchResult:
        """The k best items for a query; see `Collection.search`."""
        query, backend = query_of(query), backend_of(backend)
        first = retriever if retriever is not None else self.default_retriever(query)
        stage = self.retriever(first, backend) if isinstance(first, str) else first
        return search(query, stage, rerankers_of(() if rerank is None else as_tuple(rerank), stage, backend), k=k, depth=depth)

    def ask(
        self,
        query: Query,
        *,
        k: int = 5,
        retriever: str | Retriever | None = None,
        rerank: AnyReranker | Sequence[AnyReranker] | None = (),
        backend: Backend | str | None = None,
        answerer: str | Answerer | None = None,
        depth: int | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> AskResult:
        """An answer to a question from the k best pages; see `Collection.ask`."""
        backend = backend_of(backend)
        name = answerer if answerer is not None else QUOTING if backend is None else WRITING
        part: Answerer = make(name, station="answering", corpus=self, **resources(backend)) if isinstance(name, str) else name
        result = self.search(query, k=k, retriever=retriever, rerank=rerank, backend=backend, depth=depth)
        return with_wordless(ask(result, part, on_text=on_text), self.snapshot)

    def default_retriever(self, query: Query) -> str:
        """Pictures and text together: composed; pictures: dense; text: BM25 where the items are pages, else dense if an
        encoder takes text, else BM25."""
        if query.images:
            return BY_BOTH if query.text else BY_DESCRIPTORS
        if self.has_pages:
            return BY_WORDS
        return BY_DESCRIPTORS if any("text" in encoder.takes for encoder in self.encoders()) else BY_WORDS

    def retriever(self, name: str, backend: Backend | str | None = None) -> Retriever:
        """The first stage of that name over this version; opened once where it asks no model."""
        backend = backend_of(backend)

        def opened() -> Retriever:
            part: Retriever = make(name, station="retrievers", corpus=self, **resources(backend))
            return part

        retriever: Retriever = self._once(f"retriever {name}", opened) if backend is None else opened()
        return retriever

    # ------------------------------------------------------------------ what retrievers ask of a corpus

    def space(self, *, takes: frozenset[Modality], encoder: str | None = None) -> EmbeddingSpace:
        """The space of the named encoder, or of the first that takes these modalities.

        Raises:
            InputError: no encoder of the collection takes them.
            ManifestError: the named encoder has no descriptors here.
        """
        entries = [self.entry(encoder)] if encoder else list(self.manifest.encoders)
        for entry in entries:
            if takes <= self.encoder(entry).takes:
                return self.space_of(entry)
        present = ", ".join(f"{entry.name!r} ({'/'.join(sorted(self.encoder(entry).takes))})" for entry in entries) or "none"
        raise InputError(
            f"no encoder of collection {self.path.name!r} takes {' and '.join(sorted(takes))}; it has {present}.",
            hint=f"Index it with --encoder, or use the retriever {BY_WORDS!r} for text.",
        )

    def matching(self, text: str, k: int, *, filter: str | None = None) -> list[Candidate]:
        """The k items whose text matches best by BM25, best first; items that share no term are left out."""
        neighbours = self.text.search(text, k, allowed=None if filter is None else self.snapshot.where(filter))
        rows = self.snapshot.records(neighbours.ids)
        return [Candidate(item=self.reader.item(row), score=float(score)) for row, score in zip(rows, neighbours.scores, strict=True)]

    def idf(self, text: str) -> Mapping[str, float]:
        """The terms of a question with how rare each is among the texts of the collection, above 0; one that no text has too."""
        return dict(self.text.idf(text))

    def pages(self, names: PageNames, k: int, *, filter: str | None = None) -> list[Item]:
        """Up to k pages of these names, whatever their words, document by document; what is printed on them before their number.
        Of more than a thousand such pages it is the thousand that came first."""
        condition = condition_of(names, self._last_pages, has_labels=LABEL in self.snapshot.fields)
        keys = self.snapshot.where(condition if filter is None else f"({filter}) AND ({condition})")
        rows = self.snapshot.records(keys[: max(k, _MOST_NAMED)])
        return [self.reader.item(row) for row in sorted(rows, key=lambda row: in_order(row, names))[:k]]

    def _last_pages(self) -> Mapping[str, int]:
        """Document -> the number of its last page."""
        ready = "state = 'ready' AND page_number IS NOT NULL"
        last: Mapping[str, int] = self._once("last pages", lambda: last_pages(self.snapshot.table(["document_id", "page_number"], ready)))
        return last

    # ------------------------------------------------------------------ items

    def item(self, item_id: str) -> Item:
        """One item by its id.

        Raises:
            InputError: it is not in the collection.
        """
        rows = self.snapshot.records(self.snapshot.keys_of(check_texts("item_id", [item_id])))
        return self.reader.item(rows[0])

    def items(self, filter: str | None = None) -> list[Item]:
        """All items, or those that a filter holds for, by id."""
        rows = self.snapshot.records(self.snapshot.keys if filter is None else self.snapshot.where(*check_texts("filter", [filter])))
        return [self.reader.item(row) for row in sorted(rows, key=lambda row: str(row["item_id"]))]

    def iterate(self, at_once: int = 512) -> Iterator[Item]:
        """All items by id; `at_once` of them are read together."""
        ids = sorted((str(row["item_id"]), int(row["key"])) for row in self.snapshot.table(["item_id", "key"], "state = 'ready'"))
        for start in range(0, len(ids), at_once):
            keys = np.array([key for _, key in ids[start : start + at_once]], dtype=np.int64)
            yield from map(self.reader.item, self.snapshot.records(keys))

    def paths_of(self, item_ids: Sequence[str]) -> dict[str, Path]:
        """Where the file of each item lies.

        Raises:
            InputError: an item is not in the collection.
        """
        rows = self.snapshot.records(self.snapshot.keys_of(check_texts("item_ids", item_ids)))
        return {row["item_id"]: self.reader.path(row) for row in rows}

    # ------------------------------------------------------------------ what is opened of it

    def encoders(self) -> list[Encoder]:
        """Its encoders, in the order of `collection.toml`."""
        return [self.encoder(entry) for entry in self.manifest.encoders]

    def encoder(self, entry: EncoderEntry) -> Encoder:
        """The encoder of an entry of `collection.toml`, loaded on first use.

        Raises:
            ManifestError: its name, dimension or weights are not those that the descriptors were made with.
        """
        return self._encoders.of(entry)

    def entry(self, name: str) -> EncoderEntry:
        """The entry of the encoder of that name.

        Raises:
            ManifestError: the collection has no descriptors of it.
        """
        for entry in self.manifest.encoders:
            if entry.name == name:
                return entry
        present = ", ".join(repr(entry.name) for entry in self.manifest.encoders) or "none"
        raise ManifestError(
            f"collection {self.path.name!r} has no descriptors of {name!r}; it holds those of {present}.",
            hint="Add them: index with --encoder.",
        )

    def space_of(self, entry: EncoderEntry) -> EmbeddingSpace:
        """The descriptors of one encoder with the index over them."""

        def opened() -> EncoderSpace:
            return EncoderSpace(self.encoder(entry), self.index_of(entry), self.snapshot, self.reader)

        space: EmbeddingSpace = self._once(f"space {entry.slug}", opened)
        return space

    def index_of(self, entry: EncoderEntry) -> RowSearcher:
        """What searches the descriptors of one encoder."""
        index: RowSearcher = self._once(f"index {entry.slug}", self.row_index(entry).opened)
        return index

    def row_index(self, entry: EncoderEntry) -> RowIndex:
        """What is kept on disk to search the descriptors of one encoder by."""
        return RowIndex(self.path / INDEXES, self.manifest.index, self.snapshot, entry.slug, entry.dimension)

    def bring_up_indexes(self) -> list[str]:
        """Has what is kept on disk follow this version, for the one who writes it; returns what there is to say of it."""
        notes = []
        for entry in self.manifest.encoders:
            notes += self.row_index(entry).bring_up(partial(self._text_questions, entry))
        bring_up(self.path / INDEXES, self.snapshot)
        return notes

    def _text_questions(self, entry: EncoderEntry) -> Questions | None:
        """None where there is no encoder of texts, or one that would have to be fetched: ready embeddings want none."""
        return text_questions(self.snapshot, self.encoder(entry)) if self._encoders.is_at_hand(entry) else None

    @property
    def text(self) -> Any:
        """The BM25 index over the texts."""
        return self._once("text", lambda: text_index(self.path / INDEXES, self.snapshot))

    @property
    def has_pages(self) -> bool:
        """Whether pages with words are among the items."""
        return bool(self._once("pages", lambda: self.snapshot.has("page_number") and self.snapshot.any(PAGES)))

    def _once(self, what: str, opened: Callable[[], Any]) -> Any:
        if what not in self._opened:
            with self._opening:
                if what not in self._opened:
                    self._opened[what] = opened()
        return self._opened[what]


def check_texts(what: str, values: Any) -> list[str]:
    """The texts in a row, one alone as a row of one.

    Raises:
        InputError: one of them is none.
    """
    texts = list(as_tuple(values))
    if strangers := [value for value in texts if not isinstance(value, str)]:
        raise InputError(f"{what}: expected a text; got {type(strangers[0]).__name__}")
    return texts


def resources(backend: Backend | None) -> dict[str, Backend]:
    """The backend as an argument for parts that may have no use for one."""
    return {} if backend is None else {"backend": backend}
