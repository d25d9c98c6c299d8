"""LangChain: a document compressor that reranks, and a retriever over a collection. Extra: `mmrerank[langchain]`.

    compressor = MMRerankCompressor(reranker="ragllava", backend="chat_http/http://host:8000/v1#MODEL", top_n=5)
    compressor.compress_documents(documents, "which chart shows sales?")

Documents come back as copies in the reranker's order, with `relevance_score` in their metadata as LangChain's own
cross-encoder compressors write it (absent where the method gives an order only, unless `score_by_place` asks for 1 - place / n),
`mmrerank_reason`, and `mmrerank_notes` where the order was mended: the status, and what was said of this document. All notes are logged.
Pictures are looked for in the metadata as `mmrerank/documents.py` says; `page`, which the PDF loaders count from 0, serves as the page
number. For a backend with a cache or an API key, pass the part that `mmrerank.backends.open_backend` makes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmrerank.collection import Collection
from mmrerank.documents import number, picture_in, whole_number
from mmrerank.errors import MissingExtra
from mmrerank.integrations._checks import at_most, check_documents, folder_at, refuse_unknown, refusing_unknown, with_parts_shared
from mmrerank.integrations._documents import ForeignDocument
from mmrerank.integrations._reranking import Placed, Reranking
from mmrerank.integrations._searching import Page, Searching
from mmrerank.pipeline import AnyReranker, check_count
from mmrerank.protocols import Backend, Encoder, Retriever

try:
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun, Callbacks
    from langchain_core.documents import Document
    from langchain_core.documents.compressor import BaseDocumentCompressor
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.runnables import run_in_executor
    from pydantic import ConfigDict, PrivateAttr
except ImportError as error:
    raise MissingExtra.of("langchain-core", "langchain", "The LangChain adapter") from error

SCORE = "relevance_score"


class MMRerankCompressor(BaseDocumentCompressor):
    """Reranks documents, and drops those that the reranker holds to be irrelevant. Async calls run in a thread."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    reranker: Any
    backend: Any = None
    encoder: Any = None
    top_n: Any = None
    folder: Path | None = None
    score_by_place: bool = False
    _work: Reranking = PrivateAttr()

    @refusing_unknown
    def __init__(
        self,
        reranker: AnyReranker | Sequence[AnyReranker],
        *,
        backend: str | Backend | None = None,
        encoder: str | Encoder | None = None,
        top_n: int | None = None,
        folder: str | os.PathLike[str] | None = None,
        score_by_place: bool = False,
    ) -> None:
        """
        Args:
            reranker: a part or its name, such as "superglobal(neighbours='adaptive')", or several that work one after the other.
            backend: the MLLM that a reranker given by name asks.
            encoder: makes the descriptors that a reranker given by name works on.
            top_n: how many documents come back at most; all when None.
            folder: where paths of pictures are looked up, and which they may not leave; None takes them as they are.
            score_by_place: whether an order without scores gets 1 - place / n, with place from 0; the reason says so.

        Raises:
            UnknownName: no such option, reranker, backend or encoder.
            InputError: an option cannot be used, or the reranker needs one that is missing.
        """
        at_most("top_n", top_n)
        work = Reranking(reranker, backend=backend, encoder=encoder)
        place = folder_at(folder)
        # By a dict, since pydantic tells a type checker only of the fields of the base that is called.
        fields: dict[str, Any] = {"reranker": reranker, "backend": backend, "encoder": encoder, "top_n": top_n, "folder": place}
        super().__init__(**fields | {"score_by_place": score_by_place})
        self._work = work

    def compress_documents(self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None) -> list[Document]:
        """Copies of the documents, best first."""
        check_documents(documents, Document)
        self._work = self._work.for_settings(self.reranker, backend=self.backend, encoder=self.encoder)
        foreign = [self._foreign(document) for document in documents]
        order = self._work.run(query, foreign, top_n=self.top_n, score_by_place=self.score_by_place)
        return [_copy(documents[line.position], line) for line in order.lines]

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> MMRerankCompressor:
        """A copy that shares parts and models."""
        return super().__deepcopy__(with_parts_shared((self.reranker, self.backend, self.encoder), memo))

    def _foreign(self, document: Document) -> ForeignDocument:
        fields = dict(document.metadata)
        page = whole_number(fields.get("page"))
        if "page_number" not in fields and page is not None:
            fields["page_number"] = page + 1
        return ForeignDocument(
            name=document.id,
            text=document.page_content,
            picture=picture_in(fields, self.folder),
            score=number(fields.get(SCORE, fields.get("score"))),
        )


def _copy(document: Document, line: Placed) -> Document:
    metadata = line.added_to({key: value for key, value in document.metadata.items() if key != SCORE})
    if line.score is not None:
        metadata[SCORE] = line.score
    copy: Document = document.model_copy(update={"metadata": metadata})
    return copy


class CollectionRetriever(BaseRetriever):
    """Finds items of a collection. Their text is the content; item_id, document_id, page_number, score, reason, path and source (the
    path, unless the item has a source of its own) are metadata, by which `MMRerankCompressor` finds their pictures too.

    `invoke(question, k=3, filter="page_number < 5")` goes before the `k` of the retriever and searches where both filters hold.
    """

    collection: Any
    k: Any = 10
    retriever: Any = None
    rerank: Any = ()
    backend: Any = None
    depth: Any = None
    filter: Any = None
    _work: Searching = PrivateAttr()

    @refusing_unknown
    def __init__(
        self,
        collection: Collection | str | os.PathLike[str],
        *,
        k: int = 10,
        retriever: str | Retriever | None = None,
        rerank: AnyReranker | Sequence[AnyReranker] | None = (),
        backend: str | Backend | None = None,
        depth: int | None = None,
        filter: Any = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        """
        Args:
            collection: an open collection or its folder.
            filter: SQL over the fields of the items, or a mapping of fields to what they must be. `k`, `retriever`, `rerank`,
                `backend` and `depth` are those of `Collection.search`.
            tags, metadata, name: of LangChain.

        Raises:
            UnknownName: no such option, retriever, reranker or backend.
            InputError: an option cannot be used, one that is needed is missing, or there is no such collection.
        """
        check_count("k", k)
        at_most("depth", depth)
        work = Searching(collection, retriever=retriever, rerank=rerank, backend=backend)
        own: dict[str, Any] = {"retriever": retriever, "rerank": rerank, "backend": backend, "depth": depth, "filter": filter}
        own |= {"collection": work.collection, "k": k}
        super().__init__(**own, tags=tags, metadata=metadata, name=name)
        self._work = work

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> CollectionRetriever:
        """A copy that shares the collection, parts and models."""
        return super().__deepcopy__(with_parts_shared((self.collection, self.retriever, self.rerank, self.backend), memo))

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **options: Any) -> list[Document]:
        refuse_unknown("a search", options, ("k", "filter"))
        parts: dict[str, Any] = {"retriever": self.retriever, "rerank": self.rerank, "backend": self.backend}
        self._work = self._work.for_settings(self.collection, **parts)
        k = self.k if options.get("k") is None else options["k"]
        return [_document(page) for page in self._work.run(query, k=k, depth=self.depth, filters=(self.filter, options.get("filter")))]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        """As its namesake, in a thread."""
        sync = run_manager.get_sync()
        documents: list[Document] = await run_in_executor(None, self._get_relevant_documents, query, run_manager=sync, **options)
        return documents


def _document(page: Page) -> Document:
    return Document(id=page.item_id, page_content=page.text, metadata={"source": page.metadata["path"], **page.metadata})
