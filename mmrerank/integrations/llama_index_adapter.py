"""LlamaIndex: a node postprocessor that reranks. Extra: `mmrerank[llama-index]`.

    MMRerankPostprocessor(reranker="square", backend="local/PATH", top_n=5).postprocess_nodes(nodes, query_str="a red door")

Nodes come back as copies of their own class in the reranker's order, image nodes with their image. `NodeWithScore.score` is the
reranker's, or None where it gives an order only. `mmrerank_reason`, and `mmrerank_notes` where the order was mended, go to the
node's metadata and are kept from prompts and embeddings. Pictures are `image` (base64), `image_path` or a data URI in `image_url` of
an image node, the `image_resource` of others, or what the metadata names (`mmrerank/documents.py`). A picture at a web address is
not fetched. The `image_path` of a query bundle is asked with.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any

from mmrerank.documents import Unavailable, number, picture, picture_in
from mmrerank.errors import InputError, MissingExtra
from mmrerank.integrations import _reranking
from mmrerank.integrations._documents import ForeignDocument
from mmrerank.types import Backend, Encoder, ImageHandle, Reranker

try:
    from llama_index.core.bridge.pydantic import PrivateAttr
    from llama_index.core.callbacks import CBEventType, EventPayload
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle
except ImportError as error:
    raise MissingExtra.of("llama-index-core", "llama-index", "The LlamaIndex adapter") from error

OURS = (_reranking.REASON, _reranking.NOTES)


class MMRerankPostprocessor(BaseNodePostprocessor):
    """Reranks nodes, and drops those that the reranker holds to be irrelevant. Async calls run in a thread."""

    reranker: Any
    backend: Any = None
    encoder: Any = None
    top_n: int | None = None
    folder: str | None = None
    _work: _reranking.Reranking = PrivateAttr()

    def __init__(
        self,
        reranker: str | Reranker,
        *,
        backend: str | Backend | None = None,
        encoder: str | Encoder | None = None,
        top_n: int | None = None,
        folder: str | Path | None = None,
        **fields: Any,
    ) -> None:
        """
        Args:
            reranker: a part or its name, such as "ragllava(threshold=0.3)".
            backend: the MLLM that a reranker given by name asks.
            encoder: makes the descriptors that a reranker given by name works on.
            top_n: how many nodes come back at most; all when None.
            folder: where paths of pictures are looked up, and which they may not leave; None takes them as they are.
            fields: `callback_manager` of LlamaIndex.

        Raises:
            InputError: an option cannot be used, or the reranker needs one that is missing.
        """
        _reranking.check_count("top_n", top_n)
        reranking = _reranking.Reranking(reranker, backend=backend, encoder=encoder)
        place = None if folder is None else str(folder)
        # By a dict, since pydantic tells a type checker only of the fields of the base that is called.
        own: dict[str, Any] = {"reranker": reranker, "backend": backend, "encoder": encoder, "top_n": top_n, "folder": place}
        super().__init__(**own, **fields)
        self._work = reranking

    @classmethod
    def class_name(cls) -> str:
        """The name LlamaIndex keeps it under."""
        return "MMRerankPostprocessor"

    def _postprocess_nodes(self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None) -> list[NodeWithScore]:
        if not nodes:
            return []
        if query_bundle is None:
            raise InputError("nodes are reranked for a query, and none was given", hint="Pass query_str=... or query_bundle=...")
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: getattr(self.reranker, "name", self.reranker),
            EventPayload.QUERY_STR: query_bundle.query_str,
            EventPayload.TOP_K: self.top_n,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            folder = None if self.folder is None else Path(self.folder)
            documents = [_foreign(scored, folder) for scored in nodes]
            images = (picture(query_bundle.image_path, folder),) if query_bundle.image_path else ()
            order = self._work.run(query_bundle.query_str, documents, images=images, top_n=self.top_n)
            ranked = [NodeWithScore(node=_copy(nodes[line.position].node, line), score=line.score) for line in order]
            event.on_end(payload={EventPayload.NODES: ranked})
        return ranked


def _foreign(scored: NodeWithScore, folder: Path | None) -> ForeignDocument:
    node = scored.node
    return ForeignDocument(
        name=node.node_id,
        text=node.get_content(metadata_mode=MetadataMode.NONE),
        picture=_picture(node, folder) or picture_in(node.metadata, folder),
        score=number(scored.score),
    )


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
    if text.startswith("data:"):
        return picture(text, folder)
    try:
        return picture(base64.b64decode(text, validate=True), folder)
    except (binascii.Error, ValueError) as error:
        return Unavailable("image", f"the image of a node is base64: {error}")


def _copy(node: BaseNode, line: _reranking.Placed) -> BaseNode:
    """The node with its reason; of its own class, with everything else that it holds."""
    metadata = line.added_to(node.metadata)
    exclusions = {
        name: [*(key for key in getattr(node, name) if key not in OURS), *(key for key in OURS if key in metadata)]
        for name in ("excluded_embed_metadata_keys", "excluded_llm_metadata_keys")
    }
    copy: BaseNode = node.model_copy(update={"metadata": metadata, **exclusions})
    return copy
