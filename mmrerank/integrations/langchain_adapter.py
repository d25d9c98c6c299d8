"""LangChain: a document compressor that reranks, and a retriever over a collection. Extra: `mmrerank[langchain]`.

    compressor = MMRerankCompressor(reranker="ragllava", backend="chat_http/http://host:8000/v1#MODEL", top_n=5)
    compressor.compress_documents(documents, "which chart shows sales?")

Documents come back as copies in the reranker's order, with `relevance_score` in their metadata as LangChain's own
cross-encoder compressors write it (absent where the method gives an order only), `mmrerank_reason`, and `mmrerank_notes` where
the order was mended. Pictures are found in the metadata as `mmrerank/documents.py` says; `page`, which the PDF loaders count from 0,
serves as the page number. For a backend with a cache or an API key, pass the part that `mmrerank.backends.open_backend` makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmrerank.backends import backend_of
from mmrerank.collection import Collection
from mmrerank.documents import number, picture_in
from mmrerank.errors import MissingExtra
from mmrerank.integrations import _reranking
from mmrerank.integrations._documents import ForeignDocument
from mmrerank.types import Backend, Encoder, Reranker, Retriever

try:
    from langchain_core.callbacks import CallbackManagerForRetrieverRun, Callbacks
    from langchain_core.documents import Document
    from langchain_core.documents.compressor import BaseDocumentCompressor
    from langchain_core.retrievers import BaseRetriever
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
    top_n: int | None = None
    folder: Path | None = None
    _work: _reranking.Reranking = PrivateAttr()

    def __init__(
        self,
        reranker: str | Reranker,
        *,
        backend: str | Backend | None = None,
        encoder: str | Encoder | None = None,
        top_n: int | None = None,
        folder: str | Path | None = None,
    ) -> None:
        """
        Args:
            reranker: a part or its name, such as "superglobal(neighbours='adaptive')".
            backend: the MLLM that a reranker given by name asks.
            encoder: makes the descriptors that a reranker given by name works on.
            top_n: how many documents come back at most; all when None.
            folder: where paths of pictures are looked up, and which they may not leave; None takes them as they are.

        Raises:
            InputError: an option cannot be used, or the reranker needs one that is missing.
        """
        _reranking.check_count("top_n", top_n)
        reranking = _reranking.Reranking(reranker, backend=backend, encoder=encoder)
        place = None if folder is None else Path(folder)
        # By a dict, since pydantic tells a type checker only of the fields of the base that is called.
        fields: dict[str, Any] = {"reranker": reranker, "backend": backend, "encoder": encoder, "top_n": top_n, "folder": place}
        super().__init__(**fields)
        self._work = reranking

    def compress_documents(self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None) -> list[Document]:
        """Copies of the documents, best first."""
        order = self._work.run(query, [self._foreign(document) for document in documents], top_n=self.top_n)
        return [_copy(documents[line.position], line) for line in order]

    def _foreign(self, document: Document) -> ForeignDocument:
        fields = dict(document.metadata)
        page = fields.get("page")
        if "page_number" not in fields and isinstance(page, int):
            fields["page_number"] = page + 1
        return ForeignDocument(
            name=document.id,
            text=document.page_content,
            picture=picture_in(fields, self.folder),
            score=number(fields.get(SCORE, fields.get("score"))),
        )


def _copy(document: Document, line: _reranking.Placed) -> Document:
    metadata = line.added_to({key: value for key, value in document.metadata.items() if key != SCORE})
    if line.score is not None:
        metadata[SCORE] = line.score
    copy: Document = document.model_copy(update={"metadata": metadata})
    return copy


class CollectionRetriever(BaseRetriever):
    """Finds items of a collection. Their text is the content; item_id, document_id, page_number, score, reason and path are metadata,
    by which `MMRerankCompressor` finds their pictures too."""

    collection: Any
    k: int = 10
    retriever: Any = None
    rerank: tuple[Any, ...] = ()
    backend: Any = None
    depth: int | None = None
    filter: str | None = None

    def __init__(
        self,
        collection: Collection | str | Path,
        *,
        k: int = 10,
        retriever: str | Retriever | None = None,
        rerank: Sequence[str | Reranker] = (),
        backend: str | Backend | None = None,
        **fields: Any,
    ) -> None:
        """
        Args:
            collection: an open collection or its folder.
            fields: `depth` and `filter` of `Collection.search`; `tags`, `metadata` and `name` of LangChain.
        """
        _reranking.check_count("k", k)
        opened = _reranking.collection_at(collection)
        own: dict[str, Any] = {
            "collection": opened,
            "k": k,
            "retriever": retriever,
            "rerank": tuple(rerank),
            "backend": backend_of(backend),
        }
        super().__init__(**own, **fields)

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        pages = _reranking.pages(
            self.collection,
            query,
            k=self.k,
            retriever=self.retriever,
            rerank=self.rerank,
            backend=self.backend,
            depth=self.depth,
            filter=self.filter,
        )
        return [Document(id=page.item_id, page_content=page.text, metadata=page.metadata) for page in pages]
