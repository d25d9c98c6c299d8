"""Haystack: a ranker, and a retriever over a collection, as components. Extra: `mmrerank[haystack]`.

    pipeline.add_component("ranker", MMRerankRanker(reranker="ragllava", backend="local/PATH", top_k=5))

Documents come back as copies in the reranker's order. `Document.score` is the reranker's, or None where it gives an order only;
`mmrerank_reason`, and `mmrerank_notes` where the order was mended, go to `meta`. A picture is the `blob` of an image type, or what
`meta` names: `file_path` with `page_number` for PDFs as in Haystack's own image components, and the others of `mmrerank/documents.py`.
Documents of equal id are kept apart, where Haystack's own rankers merge them. Components are saved by names; parts cannot be.
Haystack loads a saved pipeline with them only where the module is allowed, as in
`Pipeline.loads(text, allowed_modules=["mmrerank.integrations.haystack_adapter"])`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmrerank.backends import backend_of
from mmrerank.collection import Collection
from mmrerank.documents import number, picture, picture_in
from mmrerank.errors import InputError, MissingExtra
from mmrerank.integrations import _reranking
from mmrerank.integrations._documents import ForeignDocument
from mmrerank.types import Backend, Encoder, ImageHandle, Reranker, Retriever

try:
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.utils import Secret
except ImportError as error:
    raise MissingExtra.of("haystack-ai", "haystack", "The Haystack adapter") from error


@component
class MMRerankRanker:
    """Reranks documents, and drops those that the reranker holds to be irrelevant."""

    def __init__(
        self,
        reranker: str | Reranker,
        backend: str | Backend | None = None,
        encoder: str | Encoder | None = None,
        top_k: int | None = None,
        folder: str | Path | None = None,
        api_key: Secret | None = None,
    ) -> None:
        """
        Args:
            reranker: a part or its name, such as "square(depth=9)".
            backend: the MLLM that a reranker given by name asks.
            encoder: makes the descriptors that a reranker given by name works on.
            top_k: how many documents come back at most; all when None.
            folder: where paths of pictures are looked up, and which they may not leave; None takes them as they are.
            api_key: for a backend given by name, or without one for a reranker that asks a server; read from the environment that the
                secret names.

        Raises:
            InputError: an option cannot be used, or the reranker needs one that is missing.
        """
        _reranking.check_count("top_k", top_k)
        key = None if api_key is None else api_key.resolve_value()
        self._work = _reranking.Reranking(reranker, backend=backend, encoder=encoder, api_key=key)
        self.reranker, self.backend, self.encoder = reranker, backend, encoder
        self.top_k, self.api_key = top_k, api_key
        self.folder = None if folder is None else Path(folder)

    def warm_up(self) -> None:
        """Loads the models."""
        self._work.warm_up()

    @component.output_types(documents=list[Document])
    def run(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, list[Document]]:
        """Copies of the documents, best first, as `documents`; `top_k` goes before that of the component."""
        _reranking.check_count("top_k", top_k)
        foreign = [self._foreign(document) for document in documents]
        order = self._work.run(query, foreign, top_n=self.top_k if top_k is None else top_k)
        return {"documents": [_copy(documents[line.position], line) for line in order]}

    @component.output_types(documents=list[Document])
    async def run_async(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, list[Document]]:
        """As `run`, in a thread."""
        result: dict[str, list[Document]] = await asyncio.to_thread(self.run, query, documents, top_k)
        return result

    def to_dict(self) -> dict[str, Any]:
        """The component by names.

        Raises:
            InputError: a part was given where a name can be saved.
        """
        names = _names(reranker=self.reranker, backend=self.backend, encoder=self.encoder)
        folder = None if self.folder is None else str(self.folder)
        content: dict[str, Any] = default_to_dict(self, **names, top_k=self.top_k, folder=folder, api_key=self.api_key)
        return content

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> MMRerankRanker:
        """The component that `to_dict` saved."""
        instance: MMRerankRanker = default_from_dict(cls, data)
        return instance

    def _foreign(self, document: Document) -> ForeignDocument:
        image = _blob(document) or picture_in(document.meta, self.folder)
        return ForeignDocument(name=document.id, text=document.content, picture=image, score=number(document.score))


def _blob(document: Document) -> ImageHandle | None:
    blob = document.blob
    return picture(blob.data, None) if blob is not None and (blob.mime_type or "").startswith("image/") else None


def _copy(document: Document, line: _reranking.Placed) -> Document:
    copy: Document = replace(document, score=line.score, meta=line.added_to(document.meta))
    return copy


def _names(**parts: Any) -> dict[str, Any]:
    for option, part in parts.items():
        if part is not None and not isinstance(part, str):
            raise InputError(f"{option} is a {type(part).__name__}, and only names can be saved", hint=f"Give {option}= by its name.")
    return parts


@component
class CollectionRetriever:
    """Finds items of a collection. Their text is the content; item_id, document_id, page_number, score, reason and path are `meta`,
    by which `MMRerankRanker` finds their pictures too."""

    def __init__(
        self,
        collection: Collection | str | Path,
        top_k: int = 10,
        retriever: str | Retriever | None = None,
        rerank: Sequence[str | Reranker] = (),
        backend: str | Backend | None = None,
        depth: int | None = None,
        filter: str | None = None,
        api_key: Secret | None = None,
    ) -> None:
        """
        Args:
            collection: an open collection or its folder.
            filter: SQL over the fields of the items. The rest is as in `Collection.search` and `MMRerankRanker`.
        """
        _reranking.check_count("top_k", top_k)
        self._collection = _reranking.collection_at(collection)
        self._key = None if api_key is None else api_key.resolve_value()
        self._opened: Backend | None = None
        self.top_k, self.retriever, self.rerank, self.backend = top_k, retriever, list(rerank), backend
        self.depth, self.filter, self.api_key = depth, filter, api_key

    def warm_up(self) -> None:
        """Opens the backend, where one is named."""
        if self.backend is not None and self._opened is None:
            self._opened = backend_of(self.backend, self._key)

    @component.output_types(documents=list[Document])
    def run(self, query: str, top_k: int | None = None) -> dict[str, list[Document]]:
        """The best items as `documents`, best first."""
        _reranking.check_count("top_k", top_k)
        self.warm_up()
        pages = _reranking.pages(
            self._collection,
            query,
            k=top_k or self.top_k,
            retriever=self.retriever,
            rerank=self.rerank,
            backend=self._opened,
            depth=self.depth,
            filter=self.filter,
        )
        return {"documents": [Document(id=page.item_id, content=page.text, meta=page.metadata, score=page.score) for page in pages]}

    @component.output_types(documents=list[Document])
    async def run_async(self, query: str, top_k: int | None = None) -> dict[str, list[Document]]:
        """As `run`, in a thread."""
        result: dict[str, list[Document]] = await asyncio.to_thread(self.run, query, top_k)
        return result

    def to_dict(self) -> dict[str, Any]:
        """The component by names and the folder of its collection.

        Raises:
            InputError: a part was given where a name can be saved.
        """
        names = _names(retriever=self.retriever, backend=self.backend)
        for part in self.rerank:
            _names(rerank=part)
        content: dict[str, Any] = default_to_dict(
            self,
            collection=str(self._collection.path),
            top_k=self.top_k,
            **names,
            rerank=self.rerank,
            depth=self.depth,
            filter=self.filter,
            api_key=self.api_key,
        )
        return content

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> CollectionRetriever:
        """The component that `to_dict` saved."""
        instance: CollectionRetriever = default_from_dict(cls, data)
        return instance
