"""Haystack: a ranker, and a retriever over a collection, as components. Extra: `mmrerank[haystack]`.

    pipeline.add_component("ranker", MMRerankRanker(reranker="ragllava", backend="local/PATH", top_k=5))

Documents come back as copies in the reranker's order. `Document.score` is the reranker's, or None where it gives an order only, unless
`score_by_place` asks for 1 - place / n; `mmrerank_reason`, and `mmrerank_notes` where the order was mended (the status, and what was said
of this document), go to `meta`, and all notes to the output `notes`. A picture is the `blob`, whatever its type says, or what `meta` names:
`file_path` with `page_number` for PDFs as in Haystack's own image components, and the others of `mmrerank/documents.py`.
Documents of equal id are kept apart, where Haystack's own rankers merge them. Components are saved by names; parts cannot be.
Haystack loads a saved pipeline with them only where the module is allowed, as in
`Pipeline.loads(text, allowed_modules=["mmrerank.integrations.haystack_adapter"])`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mmrerank.collection import Collection
from mmrerank.documents import number, picture, picture_in
from mmrerank.errors import FormatError, InputError, MissingExtra
from mmrerank.integrations._checks import at_most, check_documents, deep_copied, folder_at, refusing_unknown, with_parts_shared
from mmrerank.integrations._documents import ForeignDocument
from mmrerank.integrations._reranking import Placed, Reranking
from mmrerank.integrations._searching import Searching
from mmrerank.parts import as_tuple
from mmrerank.pipeline import AnyReranker, check_count
from mmrerank.protocols import Backend, Encoder, Retriever
from mmrerank.readers import inspect
from mmrerank.types import ImageHandle

try:
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.utils import Secret
except ImportError as error:
    raise MissingExtra.of("haystack-ai", "haystack", "The Haystack adapter") from error

IN_PIPELINE = "__haystack_added_to_pipeline__"  # where Haystack notes the pipeline in a component
DROPPED_BY = "TopPSampler and others that sort or cut by score pass over such documents"


@component
class MMRerankRanker:
    """Reranks documents, and drops those that the reranker holds to be irrelevant."""

    @refusing_unknown
    def __init__(
        self,
        reranker: AnyReranker | Sequence[AnyReranker],
        backend: str | Backend | None = None,
        encoder: str | Encoder | None = None,
        top_k: int | None = None,
        folder: str | os.PathLike[str] | None = None,
        api_key: Secret | None = None,
        score_by_place: bool = False,
    ) -> None:
        """
        Args:
            reranker: a part or its name, such as "square(depth=9)", or several that work one after the other.
            backend: the MLLM that a reranker given by name asks.
            encoder: makes the descriptors that a reranker given by name works on.
            top_k: how many documents come back at most; all when None.
            folder: where paths of pictures are looked up, and which they may not leave; None takes them as they are.
            api_key: for a backend given by name, or without one for a reranker that asks a server; read from the environment that the
                secret names.
            score_by_place: whether an order without scores gets 1 - place / n, with place from 0; the reason says so.

        Raises:
            UnknownName: no such option, reranker, backend or encoder.
            InputError: an option cannot be used, or the reranker needs one that is missing.
        """
        at_most("top_k", top_k)
        self._work = Reranking(reranker, backend=backend, encoder=encoder, api_key=_resolved(api_key))
        self.reranker, self.backend, self.encoder = reranker, backend, encoder
        self.top_k, self.api_key, self.score_by_place = top_k, api_key, score_by_place
        self.folder = folder_at(folder)

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled and copied: the component without the pipeline that it stands in."""
        return {**vars(self), IN_PIPELINE: None}

    def __deepcopy__(self, memo: dict[int, Any]) -> MMRerankRanker:
        """A copy that shares parts and models."""
        return deep_copied(self, with_parts_shared((self.reranker, self.backend, self.encoder), memo))

    def warm_up(self) -> None:
        """Loads the models."""
        self._current().warm_up()

    def _current(self) -> Reranking:
        """The work as the attributes say now."""
        options: dict[str, Any] = {"backend": self.backend, "encoder": self.encoder, "api_key": _resolved(self.api_key)}
        self._work = self._work.for_settings(self.reranker, **options)
        return self._work

    @component.output_types(documents=list[Document], notes=list[str])
    def run(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, Any]:
        """Copies of the documents, best first, as `documents`, and as `notes` what was mended or could not be shown; `top_k` goes before
        that of the component."""
        check_documents(documents, Document)
        foreign = [self._foreign(document) for document in documents]
        limit = at_most("top_k", self.top_k if top_k is None else top_k)
        order = self._current().run(query, foreign, top_n=limit, score_by_place=self.score_by_place, dropped_by=DROPPED_BY)
        return {"documents": [_copy(documents[line.position], line) for line in order.lines], "notes": list(order.notes)}

    @component.output_types(documents=list[Document], notes=list[str])
    async def run_async(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, Any]:
        """As `run`, in a thread."""
        result: dict[str, Any] = await asyncio.to_thread(self.run, query, documents, top_k)
        return result

    def to_dict(self) -> dict[str, Any]:
        """The component by names.

        Raises:
            InputError: a part was given where a name can be saved.
        """
        names = {"reranker": _names("reranker", self.reranker), **_name("backend", self.backend), **_name("encoder", self.encoder)}
        more = {"top_k": self.top_k, "api_key": self.api_key, "score_by_place": self.score_by_place}
        folder = None if self.folder is None else str(self.folder)
        content: dict[str, Any] = default_to_dict(self, **names, folder=folder, **more)
        return content

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> MMRerankRanker:
        """The component that `to_dict` saved."""
        instance: MMRerankRanker = default_from_dict(cls, data)
        return instance

    def _foreign(self, document: Document) -> ForeignDocument:
        image = _blob(document) or picture_in(document.meta, self.folder)
        return ForeignDocument(name=document.id, text=document.content, picture=image, score=number(document.score))


def _resolved(secret: Secret | None) -> str | None:
    """The key that a secret stands for now.

    Raises:
        InputError: it is a key and no secret, or the environment that it names has none.
    """
    if secret is None:
        return None
    if not isinstance(secret, Secret):
        raise InputError(
            f"api_key is a Secret; got {type(secret).__name__}", hint="Use Secret.from_env_var(NAME), so that no key is saved."
        )
    try:
        key: str | None = secret.resolve_value()
    except ValueError as error:
        raise InputError(f"the api_key cannot be read: {error}") from error
    return key


def _blob(document: Document) -> ImageHandle | None:
    """The picture that the document holds: bytes that begin as one, or that are said to be one."""
    blob = document.blob
    if blob is None:
        return None
    try:
        inspect(blob.data, path="blob")
    except FormatError:
        if not (blob.mime_type or "").strip().lower().startswith("image/"):
            return None
    return picture(blob.data, None)


def _copy(document: Document, line: Placed) -> Document:
    copy: Document = replace(document, score=line.score, meta=line.added_to(document.meta))
    return copy


def _name(option: str, part: Any) -> dict[str, Any]:
    if part is not None and not isinstance(part, str):
        raise InputError(f"{option} is a {type(part).__name__}, and only names can be saved", hint=f"Give {option}= by its name.")
    return {option: part}


def _names(option: str, parts: Any) -> Any:
    """A name or names in a row, as they were passed."""
    for part in () if parts is None else as_tuple(parts):
        _name(option, part)
    return parts if isinstance(parts, str | None) else list(parts)


@component
class CollectionRetriever:
    """Finds items of a collection. Their text is the content; item_id, document_id, page_number, score, reason and path are `meta`,
    by which `MMRerankRanker` finds their pictures too."""

    @refusing_unknown
    def __init__(
        self,
        collection: Collection | str | os.PathLike[str],
        top_k: int = 10,
        retriever: str | Retriever | None = None,
        rerank: AnyReranker | Sequence[AnyReranker] | None = (),
        backend: str | Backend | None = None,
        depth: int | None = None,
        filter: str | Mapping[str, Any] | None = None,
        api_key: Secret | None = None,
    ) -> None:
        """
        Args:
            collection: an open collection or its folder.
            filter: SQL over the fields of the items, or a filter as Haystack writes it. The rest is as in `Collection.search` and
                `MMRerankRanker`.

        Raises:
            UnknownName: no such option, retriever, reranker or backend.
            InputError: an option cannot be used, one that is needed is missing, or there is no such collection.
        """
        check_count("top_k", top_k)
        at_most("depth", depth)
        self._work = Searching(collection, retriever=retriever, rerank=rerank, backend=backend, api_key=_resolved(api_key))
        self.collection = self._work.collection
        self.top_k, self.retriever, self.rerank, self.backend = top_k, retriever, rerank, backend
        self.depth, self.filter, self.api_key = depth, filter, api_key

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled and copied: the component without the pipeline that it stands in."""
        return {**vars(self), IN_PIPELINE: None}

    def __deepcopy__(self, memo: dict[int, Any]) -> CollectionRetriever:
        """A copy that shares the collection, parts and models."""
        return deep_copied(self, with_parts_shared((self.collection, self.retriever, self.rerank, self.backend), memo))

    def warm_up(self) -> None:
        """Opens the backend and the rerankers, where they are named."""
        self._current().warm_up()

    def _current(self) -> Searching:
        """The work as the attributes say now."""
        parts: dict[str, Any] = {"retriever": self.retriever, "rerank": self.rerank, "backend": self.backend}
        self._work = self._work.for_settings(self.collection, **parts, api_key=_resolved(self.api_key))
        return self._work

    @component.output_types(documents=list[Document])
    def run(self, query: str, top_k: int | None = None, filters: dict[str, Any] | str | None = None) -> dict[str, list[Document]]:
        """The best items as `documents`, best first; `top_k` goes before that of the component.

        Args:
            filters: as Haystack writes them, or SQL; they hold beside the `filter` of the component.
        """
        k = self.top_k if top_k is None else top_k
        pages = self._current().run(query, k=check_count("top_k", k), depth=self.depth, filters=(self.filter, filters))
        return {"documents": [Document(id=page.item_id, content=page.text, meta=page.metadata, score=page.score) for page in pages]}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, top_k: int | None = None, filters: dict[str, Any] | str | None = None
    ) -> dict[str, list[Document]]:
        """As `run`, in a thread."""
        result: dict[str, list[Document]] = await asyncio.to_thread(self.run, query, top_k, filters)
        return result

    def to_dict(self) -> dict[str, Any]:
        """The component by names and the folder of its collection.

        Raises:
            InputError: a part was given where a name can be saved.
        """
        names = {**_name("retriever", self.retriever), "rerank": _names("rerank", self.rerank), **_name("backend", self.backend)}
        more = {"depth": self.depth, "filter": self.filter, "api_key": self.api_key}
        content: dict[str, Any] = default_to_dict(self, collection=str(self.collection.path), top_k=self.top_k, **names, **more)
        return content

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> CollectionRetriever:
        """The component that `to_dict` saved."""
        instance: CollectionRetriever = default_from_dict(cls, data)
        return instance
