"""One version of a collection with what was opened of it: indexes, spaces, retrievers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mmrerank.collection.index_cache import rows_index, text_index
from mmrerank.collection.items import ItemReader
from mmrerank.collection.space import EncoderSpace
from mmrerank.parts import make
from mmrerank.store.manifest import EncoderEntry
from mmrerank.store.table import Snapshot
from mmrerank.types import Backend, EmbeddingSpace, Index, Retriever

if TYPE_CHECKING:
    from mmrerank.collection import Collection

PAGES = "page_number IS NOT NULL AND text IS NOT NULL AND text <> ''"  # scans that nobody read have no words to be found by


class CollectionVersion:
    """What a search sees, whoever writes meanwhile. Threads may share it: each thing is opened by one, the others wait for it."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self.manifest = collection.manifest
        self.snapshot: Snapshot = collection.table.snapshot()
        self.items = ItemReader(self.manifest.roots)
        self._folder = collection.path / "indexes"
        self._cached: dict[str, Any] = {}
        self._opening = threading.RLock()  # a space opens its index

    def space(self, entry: EncoderEntry) -> EmbeddingSpace:
        def opened() -> EncoderSpace:
            encoder = self._collection.encoder(entry)
            return EncoderSpace(encoder, self.index(entry), self.snapshot, self.items)

        space: EmbeddingSpace = self._once(f"space {entry.slug}", opened)
        return space

    def index(self, entry: EncoderEntry) -> Index:
        name = self.manifest.index
        index: Index = self._once(f"index {entry.slug}", lambda: rows_index(self._folder, name, self.snapshot, entry.slug, entry.dimension))
        return index

    @property
    def text(self) -> Any:
        return self._once("text", lambda: text_index(self._folder, self.snapshot))

    @property
    def has_pages(self) -> bool:
        return bool(self._once("pages", lambda: len(self.snapshot.where(PAGES)) > 0))

    def retriever(self, name: str, backend: Backend | None = None) -> Retriever:
        def opened() -> Retriever:
            made: Retriever = make(name, station="retrievers", corpus=self._collection, **given(backend))
            return made

        retriever: Retriever = self._once(f"retriever {name}", opened) if backend is None else opened()
        return retriever

    def _once(self, what: str, opened: Callable[[], Any]) -> Any:
        if what not in self._cached:
            with self._opening:
                if what not in self._cached:
                    self._cached[what] = opened()
        return self._cached[what]


def given(backend: Backend | None) -> dict[str, Backend]:
    """The backend as an argument for parts that may have no use for one."""
    return {} if backend is None else {"backend": backend}
