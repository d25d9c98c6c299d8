"""What only one framework asks of its adapter: retrievers over a collection, image nodes, saved pipelines."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from makers import coloured

from mmrerank import Collection
from mmrerank.errors import InputError
from mmrerank.types import Candidate, Query, Ranking

PAGES = {"harbour": "The harbour gauge cost 1200 pounds.", "lamp": "The lamp of the harbour burns oil.", "bird": "Terns nest on the roof."}


class Reversed:
    """Turns the order round and keeps the colours it was shown."""

    name = "reversed"

    def __init__(self) -> None:
        self.colours: list[Any] = []
        self.queries: list[Query] = []

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        self.queries.append(query)
        self.colours = [c.item.image.open().getpixel((0, 0)) if c.item.image else None for c in candidates]
        return Ranking(query_id=query.query_id, candidates=tuple(reversed(candidates)))


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    folder = tmp_path_factory.mktemp("frameworks")
    rows = "".join(f'{{"id": "{name}", "text": "{text}"}}\n' for name, text in PAGES.items())
    (folder / "pages.jsonl").write_text(rows, encoding="utf-8")
    collection = Collection.create(folder / "pages.collection")
    collection.add([folder / "pages.jsonl"])
    return collection


@pytest.fixture
def haystack() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HAYSTACK_TELEMETRY_ENABLED", "false")  # read when it is imported; on, it writes to the home folder
        yield pytest.importorskip("haystack", reason="the extra 'haystack' is not installed")


def test_langchain_finds_pages_of_a_collection(collection: Collection) -> None:
    pytest.importorskip("langchain_core", reason="the extra 'langchain' is not installed")
    from mmrerank.integrations.langchain_adapter import CollectionRetriever, MMRerankCompressor

    documents = CollectionRetriever(collection, k=2).invoke("what did the harbour gauge cost?")
    own = collection.search("what did the harbour gauge cost?", k=2).hits
    assert [document.id for document in documents] == [hit.item.item_id for hit in own]
    assert documents[0].page_content == PAGES["harbour"]
    assert documents[0].metadata["item_id"] == documents[0].id
    assert Path(documents[0].metadata["path"]).name == "pages.jsonl"
    assert documents[0].metadata["score"] == own[0].score
    by_folder = CollectionRetriever(collection.path, k=2)
    assert asyncio.run(by_folder.ainvoke("harbour")) == by_folder.invoke("harbour")
    reranked = MMRerankCompressor(Reversed()).compress_documents(documents, "harbour")
    assert [document.id for document in reranked] == [document.id for document in reversed(documents)]


def test_langchain_retrieves_with_filter_and_reranker(collection: Collection) -> None:
    pytest.importorskip("langchain_core", reason="the extra 'langchain' is not installed")
    from mmrerank.integrations.langchain_adapter import CollectionRetriever

    plain = CollectionRetriever(collection).invoke("harbour")
    turned = CollectionRetriever(collection, rerank=[Reversed()]).invoke("harbour")
    assert [document.id for document in turned] == [document.id for document in plain][::-1]
    only = CollectionRetriever(collection, filter="text LIKE '%lamp%'", tags=["mine"])
    assert [document.page_content for document in only.invoke("harbour")] == [PAGES["lamp"]]
    assert only.tags == ["mine"]
    with pytest.raises(InputError, match="at least 1"):
        CollectionRetriever(collection, k=0)


def image_base64(number: int) -> str:
    stream = io.BytesIO()
    coloured(number).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def test_llama_index_keeps_image_nodes_whole(tmp_path: Path) -> None:
    pytest.importorskip("llama_index.core", reason="the extra 'llama-index' is not installed")
    from llama_index.core.schema import ImageDocument, ImageNode, NodeRelationship, NodeWithScore, QueryBundle, TextNode

    from mmrerank.integrations.llama_index_adapter import MMRerankPostprocessor

    coloured(3).save(tmp_path / "three.png")
    text = TextNode(text="words", id_="text")
    nodes = [
        ImageNode(text="one", image=image_base64(1), id_="one", relationships={NodeRelationship.SOURCE: text.as_related_node_info()}),
        ImageDocument(image_path=str(tmp_path / "three.png"), id_="three"),
        text,
    ]
    part = Reversed()
    bundle = QueryBundle(query_str="red", image_path=str(tmp_path / "three.png"))
    order = MMRerankPostprocessor(part, top_n=3).postprocess_nodes([NodeWithScore(node=n, score=0.1) for n in nodes], query_bundle=bundle)
    assert [type(scored.node) for scored in order] == [TextNode, ImageDocument, ImageNode]
    assert [scored.node.node_id for scored in order] == ["text", "three", "one"]
    assert part.colours == [coloured(1).getpixel((0, 0)), coloured(3).getpixel((0, 0)), None]
    assert part.queries[0].images[0].open().getpixel((0, 0)) == coloured(3).getpixel((0, 0))
    last = order[2].node
    assert isinstance(last, ImageNode)
    assert last.image == nodes[0].image
    assert last.resolve_image().getvalue() == nodes[0].resolve_image().getvalue()
    assert last.relationships == nodes[0].relationships


def test_llama_index_says_that_a_query_is_missing() -> None:
    pytest.importorskip("llama_index.core", reason="the extra 'llama-index' is not installed")
    from llama_index.core.schema import NodeWithScore, TextNode

    from mmrerank.integrations.llama_index_adapter import MMRerankPostprocessor

    with pytest.raises(InputError, match="none was given"):
        MMRerankPostprocessor(Reversed()).postprocess_nodes([NodeWithScore(node=TextNode(text="a"))])


def test_haystack_runs_retriever_and_ranker_in_a_pipeline(haystack: Any, collection: Collection) -> None:
    from mmrerank.integrations.haystack_adapter import CollectionRetriever, MMRerankRanker

    pipeline = haystack.Pipeline()
    pipeline.add_component("retriever", CollectionRetriever(collection, top_k=2))
    pipeline.add_component("ranker", MMRerankRanker(Reversed()))
    pipeline.connect("retriever.documents", "ranker.documents")
    outputs = pipeline.run({"retriever": {"query": "harbour gauge"}, "ranker": {"query": "harbour gauge"}}, {"retriever"})
    own = [hit.item.item_id for hit in collection.search("harbour gauge", k=2).hits]
    assert [document.id for document in outputs["retriever"]["documents"]] == own
    assert [document.id for document in outputs["ranker"]["documents"]] == own[::-1]


def test_haystack_saves_a_pipeline_by_names(haystack: Any, collection: Collection) -> None:
    from mmrerank.integrations.haystack_adapter import CollectionRetriever, MMRerankRanker

    pipeline = haystack.Pipeline()
    secret = haystack.utils.Secret.from_env_var("MMRERANK_API_KEY", strict=False)
    pipeline.add_component("retriever", CollectionRetriever(collection, filter="text LIKE '%harbour%'", api_key=secret))
    pipeline.add_component(
        "ranker", MMRerankRanker("ragllava(threshold=0.2)", backend="scripted/answers.jsonl", top_k=2, folder="pictures")
    )
    pipeline.connect("retriever.documents", "ranker.documents")
    again = haystack.Pipeline.loads(pipeline.dumps(), allowed_modules=["mmrerank.integrations.haystack_adapter"])
    assert again.to_dict() == pipeline.to_dict()
    assert again.get_component("ranker").folder == Path("pictures")
    with pytest.raises(InputError, match="only names can be saved"):
        MMRerankRanker(Reversed()).to_dict()


def test_haystack_reads_the_picture_in_a_blob(haystack: Any) -> None:
    from haystack.dataclasses import ByteStream

    from mmrerank.integrations.haystack_adapter import MMRerankRanker

    blobs = [ByteStream(data=base64.b64decode(image_base64(n)), mime_type="image/png") for n in (4, 6)]
    documents = [haystack.Document(blob=blob, meta={"n": n}) for n, blob in enumerate(blobs)]
    part = Reversed()
    order = MMRerankRanker(part, top_k=1).run("red", documents, top_k=2)["documents"]
    assert part.colours == [coloured(4).getpixel((0, 0)), coloured(6).getpixel((0, 0))]
    assert [document.blob for document in order] == blobs[::-1]
