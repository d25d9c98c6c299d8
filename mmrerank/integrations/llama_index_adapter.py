"""LlamaIndex: a node postprocessor that reranks, and a retriever over a collection. Extra: `mmrerank[llama-index]`.

    MMRerankPostprocessor(reranker="square", backend="local/PATH", top_n=5).postprocess_nodes(nodes, query_str="a red door")

Nodes come back as copies of their own class in the reranker's order, image nodes with their image. `NodeWithScore.score` is the
reranker's, or None where it gives an order only, unless `score_by_place` asks for 1 - place / n. `mmrerank_reason`, and `mmrerank_notes`
where the order was mended (the status, and what was said of this node), go to the node's metadata and are kept from prompts and embeddings;
all notes are logged, and are tags of the `ReRankEndEvent`. Pictures are `image` (base64), `image_path` or a data URI in `image_url` of
an image node, the `image_resource` of others, or what the metadata names (`mmrerank/documents.py`). `page_label` with `file_path`, as
the PDF readers write it, is the label that the PDF itself gives to the page. A picture at a web address is not fetched. The
`image_path` of a query bundle is asked with.
"""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmrerank.collection import Collection
from mmrerank.documents import Unavailable, number, picture, picture_in, whole_number
from mmrerank.errors import InputError, MissingExtra
from mmrerank.integrations import _reranking
from mmrerank.integrations._checks import at_most, check_documents, deep_copied, folder_at, refusing_unknown, with_parts_shared
from mmrerank.integrations._documents import ForeignDocument
from mmrerank.integrations._reranking import Order, Placed, Reranking
from mmrerank.integrations._searching import Page, Searching
from mmrerank.json_io import from_base64, is_data_uri
from mmrerank.pipeline import AnyReranker, check_count
from mmrerank.protocols import Backend, Encoder, Retriever
from mmrerank.types import ImageHandle

try:
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.bridge.pydantic import PrivateAttr
    from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
    from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import BaseNode, ImageNode, MetadataMode, NodeWithScore, QueryBundle, TextNode
    from llama_index.core.vector_stores.types import MetadataFilters
    from llama_index_instrumentation import get_dispatcher
except ImportError as error:
    raise MissingExtra.of("llama-index-core", "llama-index", "The LlamaIndex adapter") from error

OURS = (_reranking.REASON, _reranking.NOTES)
DROPPED_BY = "SimilarityPostprocessor with a cutoff drops such nodes"
dispatcher = get_dispatcher(__name__)


class MMRerankPostprocessor(BaseNodePostprocessor):
    """Reranks nodes, and drops those that the reranker holds to be irrelevant. Async calls run in a thread."""

    reranker: Any
    backend: Any = None
    encoder: Any = None
    top_n: Any = None
    folder: str | None = None
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
        callback_manager: CallbackManager | None = None,
    ) -> None:
        """
        Args:
            reranker: a part or its name, such as "ragllava(threshold=0.3)", or several that work one after the other.
            backend: the MLLM that a reranker given by name asks.
            encoder: makes the descriptors that a reranker given by name works on.
            top_n: how many nodes come back at most; all when None.
            folder: where paths of pictures are looked up, and which they may not leave; None takes them as they are.
            score_by_place: whether an order without scores gets 1 - place / n, with place from 0; the reason says so.
            callback_manager: of LlamaIndex.

        Raises:
            UnknownName: no such option, reranker, backend or encoder.
            InputError: an option cannot be used, or the reranker needs one that is missing.
        """
        at_most("top_n", top_n)
        work = Reranking(reranker, backend=backend, encoder=encoder)
        place = folder_at(folder)
        # By a dict, since pydantic tells a type checker only of the fields of the base that is called.
        own: dict[str, Any] = {"reranker": reranker, "backend": backend, "encoder": encoder, "top_n": top_n}
        own |= {"folder": None if place is None else str(place)}
        own |= {"score_by_place": score_by_place}
        more = {} if callback_manager is None else {"callback_manager": callback_manager}
        super().__init__(**own, **more)
        self._work = work

    @classmethod
    def class_name(cls) -> str:
        """The name LlamaIndex keeps it under."""
        return "MMRerankPostprocessor"

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> MMRerankPostprocessor:
        """A copy that shares parts and models."""
        return super().__deepcopy__(with_parts_shared((self.reranker, self.backend, self.encoder), memo))

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled. LlamaIndex drops what does not pickle, from the object itself: so a copy is asked, and parts are not dropped.

        Raises:
            InputError: a part cannot be pickled.
        """
        state: dict[str, Any] = super(MMRerankPostprocessor, copy.copy(self)).__getstate__()
        for option in ("reranker", "backend", "encoder"):
            if option not in state["__dict__"]:
                kind = type(vars(self)[option]).__name__
                raise InputError(f"{option} is a {kind} that cannot be pickled", hint=f"Give {option}= by its name.")
        return state

    def _postprocess_nodes(self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None) -> list[NodeWithScore]:
        check_documents(nodes, NodeWithScore)
        if not nodes:
            return []
        if query_bundle is None:
            raise InputError("nodes are reranked for a query, and none was given", hint="Pass query_str=... or query_bundle=...")
        self._work = work = self._work.for_settings(self.reranker, backend=self.backend, encoder=self.encoder)
        limit = at_most("top_n", self.top_n)
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: work.name,
            EventPayload.QUERY_STR: query_bundle.query_str,
            EventPayload.TOP_K: limit,
        }
        top_n = len(nodes) if limit is None else limit
        dispatcher.event(ReRankStartEvent(query=query_bundle, nodes=nodes, top_n=top_n, model_name=work.name))
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            order = self._order(work, nodes, query_bundle, limit)
            ranked = [NodeWithScore(node=_copy(nodes[line.position].node, line), score=line.score) for line in order.lines]
            event.on_end(payload={EventPayload.NODES: ranked})
        dispatcher.event(ReRankEndEvent(nodes=ranked, tags={_reranking.NOTES: list(order.notes)} if order.notes else {}))
        return ranked

    def _order(self, work: Reranking, nodes: Sequence[NodeWithScore], bundle: QueryBundle, top_n: int | None) -> Order:
        folder = None if self.folder is None else Path(self.folder)
        documents = [_foreign(scored, folder) for scored in nodes]
        images = (picture(bundle.image_path, folder),) if bundle.image_path else ()
        options: dict[str, Any] = {"score_by_place": self.score_by_place, "dropped_by": DROPPED_BY}
        return work.run(bundle.query_str, documents, images=images, top_n=top_n, **options)


def _foreign(scored: NodeWithScore, folder: Path | None) -> ForeignDocument:
    node = scored.node
    return ForeignDocument(
        name=node.node_id,
        text=node.get_content(metadata_mode=MetadataMode.NONE),
        picture=_picture(node, folder) or picture_in(_fields(node), folder),
        score=number(scored.score),
    )


def _fields(node: BaseNode) -> dict[str, Any]:
    """The metadata; PyMuPDFReader writes the number of the page as `source`, beside `file_path`."""
    fields = dict(node.metadata)
    if "file_path" in fields and not {"page_number", "page_label"} & fields.keys() and whole_number(fields.get("source")) is not None:
        fields["page_number"] = fields.pop("source")
    return fields


def _picture(node: BaseNode, folder: Path | None) -> ImageHandle | None:
    """The picture that the node itself carries: in it, beside it, or at an address."""
    resource = getattr(node, "image_resource", None)
    if resource is not None:
        data, path, url = resource.data, resource.path, resource.url
    else:
        data, path, url = (getattr(node, name, None) for name in ("image", "image_path", "image_url"))
    if data:
        return _decoded(data, folder)
    place = path or url
    return picture(str(place), folder) if place else None


def _decoded(data: str | bytes, folder: Path | None) -> ImageHandle:
    text = data.decode("ascii", errors="replace") if isinstance(data, bytes) else data
    if is_data_uri(text):
        return picture(text, folder)
    try:
        return picture(from_base64(text), folder)
    except InputError as error:
        return Unavailable("image", f"the image of a node is base64: {error}")


def _copy(node: BaseNode, line: Placed) -> BaseNode:
    """The node with its reason; of its own class, with everything else that it holds."""
    metadata = line.added_to(node.metadata)
    exclusions = {
        name: [*(key for key in getattr(node, name) if key not in OURS), *(key for key in OURS if key in metadata)]
        for name in ("excluded_embed_metadata_keys", "excluded_llm_metadata_keys")
    }
    copy: BaseNode = node.model_copy(update={"metadata": metadata, **exclusions})
    return copy


class CollectionRetriever(BaseRetriever):
    """Finds items of a collection, as image nodes where their file is a picture and as text nodes otherwise. item_id, document_id,
    page_number, score, reason and path are metadata, by which `MMRerankPostprocessor` finds their pictures too. The `image_path` of a query
    bundle is asked with. Async calls run in a thread."""

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
        filters: Any = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        """
        Args:
            collection: an open collection or its folder.
            filters: LlamaIndex's MetadataFilters, or SQL over the fields of the items. `k`, `retriever`, `rerank`, `backend` and `depth`
                are those of `Collection.search`.
            callback_manager: of LlamaIndex.

        Raises:
            UnknownName: no such option, retriever, reranker or backend.
            InputError: an option cannot be used, one that is needed is missing, or there is no such collection.
        """
        check_count("k", k)
        at_most("depth", depth)
        self._work = Searching(collection, retriever=retriever, rerank=rerank, backend=backend)
        self.collection, self.k, self.retriever, self.rerank = self._work.collection, k, retriever, rerank
        self.backend, self.depth, self.filters = backend, depth, filters
        super().__init__(callback_manager=callback_manager)

    def __deepcopy__(self, memo: dict[int, Any]) -> CollectionRetriever:
        """A copy that shares the collection, parts and models."""
        return deep_copied(self, with_parts_shared((self.collection, self.retriever, self.rerank, self.backend), memo))

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        parts: dict[str, Any] = {"retriever": self.retriever, "rerank": self.rerank, "backend": self.backend}
        self._work = self._work.for_settings(self.collection, **parts)
        images = (picture(query_bundle.image_path, None),) if query_bundle.image_path else ()
        filters = (_plain(self.filters) if isinstance(self.filters, MetadataFilters) else self.filters,)
        pages = self._work.run(query_bundle.query_str, images=images, k=self.k, depth=self.depth, filters=filters)
        return [NodeWithScore(node=_node(page), score=page.score) for page in pages]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)


def _plain(filters: MetadataFilters) -> dict[str, Any]:
    """LlamaIndex's filters as mappings."""
    conditions = [_plain(one) if isinstance(one, MetadataFilters) else _condition(one) for one in filters.filters]
    return {"operator": str((filters.condition or "and").upper()), "conditions": conditions}


def _condition(one: Any) -> dict[str, Any]:
    operator, value = str(one.operator.value), one.value
    if operator == "is_empty":
        operator, value = "==", None
    return {"field": one.key, "operator": "not in" if operator == "nin" else operator, "value": value}


def _node(page: Page) -> TextNode:
    more: dict[str, Any] = {"id_": page.item_id, "text": page.text, "metadata": page.metadata}
    return ImageNode(**more, image_path=page.metadata["path"]) if page.is_picture else TextNode(**more)
