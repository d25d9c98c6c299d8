"""Searching a collection for frameworks: what all retrievers share, without a framework.

Each search looks first for what other processes have written, and then sees one version, from its first stage to the places of its hits.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrerank.backends import backend_of
from mmrerank.collection import Collection
from mmrerank.errors import InputError
from mmrerank.integrations._checks import at_most, check_retriever, check_stages, stages_of
from mmrerank.integrations._filters import as_sql, both
from mmrerank.integrations._reranking import same_settings
from mmrerank.pipeline import AnyReranker, NamedReranker, check_count
from mmrerank.protocols import Backend, Retriever
from mmrerank.readers import body_of
from mmrerank.results import Hit
from mmrerank.types import ImageHandle, Query


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One hit as frameworks take it: a text, and metadata without empty fields."""

    item_id: str
    text: str
    score: float | None
    metadata: dict[str, Any]
    is_picture: bool  # whether its file is the picture and nothing else


class Searching:
    """A collection with a first stage and rerankers, whose models are loaded when first used."""

    def __init__(
        self,
        collection: Collection | str | os.PathLike[str],
        *,
        retriever: str | Retriever | None = None,
        rerank: AnyReranker | Sequence[AnyReranker] | None = (),
        backend: str | Backend | None = None,
        api_key: str | None = None,
    ) -> None:
        """
        Raises:
            UnknownName: no retriever, reranker or backend of that name, or no such option.
            InputError: one of them asks for a backend, and none is there; there is no such collection.
        """
        options = {"backend": backend}
        self.stages = check_stages(rerank, options)
        check_retriever(retriever, options)
        self.collection = collection_at(collection)
        self._retriever, self._backend, self._api_key = retriever, backend, api_key
        self._opened: tuple[Any, ...] | None = None

    def for_settings(
        self,
        collection: Collection | str | os.PathLike[str],
        *,
        retriever: str | Retriever | None = None,
        rerank: AnyReranker | Sequence[AnyReranker] | None = (),
        backend: str | Backend | None = None,
        api_key: str | None = None,
    ) -> Searching:
        """Itself where it was made with these, with what it opened; another one where a retriever has changed since."""
        is_same_place = isinstance(collection, str | os.PathLike) and Path(collection) == self.collection.path
        place = self.collection if is_same_place else collection
        if same_settings(self._settings, (place, retriever, *stages_of(rerank), backend, api_key)):
            return self
        return Searching(place, retriever=retriever, rerank=rerank, backend=backend, api_key=api_key)

    @property
    def _settings(self) -> tuple[Any, ...]:
        return (self.collection, self._retriever, *self.stages, self._backend, self._api_key)

    def __getstate__(self) -> dict[str, Any]:
        """All but what was opened, and but the key, which the adapter passes again."""
        return {**vars(self), "_opened": None, "_api_key": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> Searching:
        """Itself: copies of a retriever share its collection and models."""
        return self

    def warm_up(self) -> None:
        """Opens the backend and the rerankers, where names stand for them."""
        if self._opened is None:
            key = self._api_key if self._backend is None else None
            stages = tuple(NamedReranker.with_key(stage, key) if isinstance(stage, str) else stage for stage in self.stages)
            self._opened = (backend_of(self._backend, self._api_key), stages)

    def run(self, text: str, *, images: tuple[ImageHandle, ...] = (), k: Any, depth: Any = None, filters: Sequence[Any] = ()) -> list[Page]:
        """The k best items of the newest version for a question, best first.

        Args:
            filters: SQL or mappings, all of which hold of what is searched.
        """
        k, depth = check_count("k", k), at_most("depth", depth)
        question = Query(text=text, images=images, filter=both(*map(as_sql, filters)))
        self.warm_up()
        assert self._opened is not None
        backend, stages = self._opened
        self.collection.refresh()
        version = self.collection.version  # one for the search and the places of its hits
        hits = version.search(question, k=k, retriever=self._retriever, rerank=stages, backend=backend, depth=depth).hits
        paths = version.paths_of([hit.item.item_id for hit in hits]) if hits else {}
        return [_page(hit, paths[hit.item.item_id]) for hit in hits]


def _page(hit: Hit, path: Path) -> Page:
    item = hit.item
    own = {
        "item_id": item.item_id,
        "document_id": item.document_id,
        "page_number": item.page_number,
        "score": hit.score,
        "reason": hit.reason or None,
        "path": str(path),
    }
    metadata = {**item.metadata, **{key: value for key, value in own.items() if value is not None}}
    is_picture = item.image is not None and item.page_number is None and "::" not in item.item_id
    return Page(item_id=item.item_id, text=body_of(item.text or ""), score=hit.score, metadata=metadata, is_picture=is_picture)


def collection_at(collection: Collection | str | os.PathLike[str]) -> Collection:
    """The collection itself, or the one in that folder.

    Raises:
        InputError: it is neither, or there is none.
    """
    if isinstance(collection, str | os.PathLike):
        return Collection.open(Path(collection))
    if not isinstance(collection, Collection):
        raise InputError(f"a collection is an open Collection or its folder; got {type(collection).__name__}")
    return collection
