"""Each adapter inside a real pipeline of its framework, with a language model that repeats its context: at once, later, as it comes, and
after the pipeline was saved and loaded."""

from __future__ import annotations

import asyncio
import copy
import csv
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from makers import coloured

from mmrerank import Collection
from mmrerank.errors import InputError, UnknownName
from mmrerank.types import Candidate, Query, Ranking

QUESTION = "which gauge stands in the harbour"
FIRST = "the gauge of the harbour"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Texts in a table, indexed."""
    texts = [FIRST, "a gauge on the river", "the harbour at night", "a heron"]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["key", "text", "year"], *([f"k{n}", text, 1970 + n] for n, text in enumerate(texts))])
    Collection.create(tmp_path / "c").add([tmp_path / "t.csv"])
    return tmp_path


@pytest.fixture(autouse=True)
def no_telemetry() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HAYSTACK_TELEMETRY_ENABLED", "false")
        yield


def add_row(folder: Path, text: str) -> None:
    """What another process does: a row more, by a collection object of its own."""
    with (folder / "t.csv").open("a", newline="") as file:
        csv.writer(file).writerow([f"new{len(text)}", text, 2000])
    Collection.open(folder / "c").add([folder / "t.csv"])


# --------------------------------------------------------------------------- LangChain


def langchain_chain(retriever: Any, compressor: Any) -> Any:
    """Question -> pages -> the best of them -> prompt -> model -> text."""
    from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_core.runnables import RunnableLambda, RunnablePassthrough

    class Repeating(GenericFakeChatModel):
        def _generate(self, messages: Any, *args: Any, **options: Any) -> Any:
            self.messages = iter([AIMessage(content=messages[-1].content)])
            return super()._generate(messages, *args, **options)

    def best(question: str) -> str:
        return "; ".join(document.page_content for document in compressor.compress_documents(retriever.invoke(question), question))

    async def best_later(question: str) -> str:
        pages = await retriever.ainvoke(question)
        return "; ".join(document.page_content for document in await compressor.acompress_documents(pages, question))

    prompt = ChatPromptTemplate.from_messages([("user", "{context}")])
    model = Repeating(messages=iter([]))
    return {"context": RunnableLambda(best, best_later), "question": RunnablePassthrough()} | prompt | model | StrOutputParser()


def test_langchain_answers_at_once_later_and_as_it_comes(folder: Path) -> None:
    pytest.importorskip("langchain_core", reason="the extra 'langchain' is not installed")
    from mmrerank.integrations.langchain_adapter import CollectionRetriever, MMRerankCompressor

    retriever, compressor = CollectionRetriever(folder / "c", k=3), MMRerankCompressor("bm25", top_n=1)
    chain = langchain_chain(retriever, compressor)
    assert chain.invoke(QUESTION) == FIRST
    assert asyncio.run(chain.ainvoke(QUESTION)) == FIRST
    assert "".join(chain.stream(QUESTION)) == FIRST
    assert chain.batch([QUESTION, "heron"]) == [FIRST, "a heron"]

    async def streamed() -> str:
        return "".join([piece async for piece in chain.astream(QUESTION)])

    assert asyncio.run(streamed()) == FIRST
    for twin in (pickle.loads(pickle.dumps((retriever, compressor))), copy.deepcopy((retriever, compressor))):
        assert langchain_chain(*twin).invoke(QUESTION) == FIRST
    assert langchain_chain(retriever, MMRerankCompressor(**compressor.model_dump())).invoke(QUESTION) == FIRST


def test_langchain_searches_with_what_is_asked_at_run_time(folder: Path) -> None:
    pytest.importorskip("langchain_core", reason="the extra 'langchain' is not installed")
    from mmrerank.integrations.langchain_adapter import CollectionRetriever

    retriever = CollectionRetriever(folder / "c", filter="year < 1972", rerank="bm25")
    assert [d.page_content for d in retriever.invoke(QUESTION, k=1)] == [FIRST]
    assert [d.page_content for d in retriever.invoke(QUESTION, filter={"year": 1971})] == ["a gauge on the river"]
    assert retriever.invoke(QUESTION, filter={"year": [1972, 1973]}) == []
    assert [d.page_content for d in asyncio.run(retriever.ainvoke(QUESTION, k=1, filter="year > 1970"))] == ["a gauge on the river"]
    assert retriever.invoke(QUESTION)[0].metadata["source"] == str(folder / "t.csv")
    with pytest.raises(UnknownName, match="filter"):
        retriever.invoke(QUESTION, filters="year = 1971")
    with pytest.raises(InputError, match="no item has"):
        retriever.invoke(QUESTION, filter={"yeer": 1971})
    changed = retriever.model_copy(update={"k": 1, "filter": None, "rerank": ("bm25",)})
    assert len(changed.invoke("harbour")) == 1


# --------------------------------------------------------------------------- LlamaIndex


def llama_engine(retriever: Any, postprocessor: Any, *, streaming: bool = False) -> Any:
    from llama_index.core.llms.mock import MockLLM
    from llama_index.core.query_engine import RetrieverQueryEngine

    return RetrieverQueryEngine.from_args(retriever, llm=MockLLM(), node_postprocessors=[postprocessor], streaming=streaming)


def test_llama_index_answers_at_once_later_and_as_it_comes(folder: Path) -> None:
    pytest.importorskip("llama_index.core", reason="the extra 'llama-index' is not installed")
    from mmrerank.integrations.llama_index_adapter import CollectionRetriever, MMRerankPostprocessor

    retriever, postprocessor = CollectionRetriever(folder / "c", k=3), MMRerankPostprocessor("bm25", top_n=1)
    engine = llama_engine(retriever, postprocessor)
    for response in (engine.query(QUESTION), asyncio.run(engine.aquery(QUESTION))):
        assert FIRST in str(response)
        assert [node.node.node_id for node in response.source_nodes] == ["t.csv::k0"]
    streamed = llama_engine(retriever, postprocessor, streaming=True).query(QUESTION)
    assert FIRST in "".join(streamed.response_gen)
    twins = [pickle.loads(pickle.dumps(part)) for part in (retriever, postprocessor)]
    assert FIRST in str(llama_engine(*twins).query(QUESTION))
    again = MMRerankPostprocessor.from_dict(postprocessor.to_dict())
    assert FIRST in str(llama_engine(copy.deepcopy(retriever), again).query(QUESTION))


def test_llama_index_finds_with_filters_and_gives_picture_nodes(folder: Path) -> None:
    pytest.importorskip("llama_index.core", reason="the extra 'llama-index' is not installed")
    from llama_index.core.schema import ImageNode, QueryBundle
    from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

    from mmrerank.integrations.llama_index_adapter import CollectionRetriever

    newer = MetadataFilter(key="year", operator=FilterOperator.GTE, value=1971)
    not_these = MetadataFilter(key="year", operator=FilterOperator.NIN, value=[1972])
    both = MetadataFilters(filters=[newer, MetadataFilters(filters=[not_these])], condition=FilterCondition.AND)
    nodes = CollectionRetriever(folder / "c", filters=both, rerank="bm25").retrieve("gauge harbour")
    assert [node.text for node in nodes] == ["a gauge on the river"]
    odd = MetadataFilters(filters=[MetadataFilter(key="year", operator=FilterOperator.ANY, value=["a"])])
    with pytest.raises(UnknownName, match="any"):
        CollectionRetriever(folder / "c", filters=odd).retrieve("gauge")
    coloured(1).save(folder / "red.png")
    pictures = Collection.create(folder / "p", encoders=["openclip/mini"])
    pictures.add([folder / "red.png"])
    bundle = QueryBundle(query_str="", image_path=str(folder / "red.png"))
    (node,) = CollectionRetriever(pictures, retriever="composed").retrieve(bundle)
    assert isinstance(node.node, ImageNode)
    assert node.node.image_path == str(folder / "red.png")
    with pytest.raises(UnknownName, match="Did you mean 'filters'"):
        CollectionRetriever(folder / "c", filter="year > 1970")


def test_llama_index_traces_a_reranking_with_all_its_notes() -> None:
    pytest.importorskip("llama_index.core", reason="the extra 'llama-index' is not installed")
    from llama_index.core.instrumentation import get_dispatcher
    from llama_index.core.instrumentation.event_handlers import BaseEventHandler
    from llama_index.core.schema import NodeWithScore, TextNode

    from mmrerank.integrations.llama_index_adapter import MMRerankPostprocessor
    from mmrerank.testing.fakes import FakeBackend

    class Listening(BaseEventHandler):
        events: ClassVar[list[Any]] = []

        def handle(self, event: Any, **_: Any) -> None:
            self.events.append(event)

    handler, dispatcher = Listening(), get_dispatcher()
    dispatcher.add_event_handler(handler)
    try:
        gone = {name: {"image_path": f"gone-{name}.png"} for name in ("a", "b")}
        nodes = [NodeWithScore(node=TextNode(text="", id_=name, metadata=metadata)) for name, metadata in gone.items()]
        MMRerankPostprocessor("ragllava(modality=image)", backend=FakeBackend()).postprocess_nodes(nodes, query_str="a")
    finally:
        dispatcher.event_handlers.remove(handler)
    start, end = (event for event in handler.events if event.class_name().startswith("ReRank"))
    assert (start.class_name(), end.class_name()) == ("ReRankStartEvent", "ReRankEndEvent")
    assert (start.top_n, [node.node.node_id for node in end.nodes]) == (2, ["a", "b"])
    assert len([note for note in end.tags["mmrerank_notes"] if "cannot be opened" in note]) == 2
    for scored in end.nodes:
        status, own = scored.node.metadata["mmrerank_notes"]
        assert (status, own.partition(".png")[0]) == ("completed", f"not asked about: gone-{scored.node.node_id}")


# --------------------------------------------------------------------------- Haystack


def haystack_pipeline(*parts: Any) -> Any:
    """Question -> retriever -> ranker -> prompt, which stands for what a generator gets."""
    import haystack
    from haystack.components.builders import PromptBuilder

    pipeline = haystack.Pipeline()
    for name, part in zip(("retriever", "ranker"), parts, strict=True):
        pipeline.add_component(name, part)
    pipeline.add_component("prompt", PromptBuilder(template="{% for d in documents %}{{ d.content }}{% endfor %}", required_variables="*"))
    pipeline.connect("retriever.documents", "ranker.documents")
    pipeline.connect("ranker.documents", "prompt.documents")
    return pipeline


def test_haystack_answers_at_once_and_later_and_from_its_saved_form(folder: Path) -> None:
    haystack = pytest.importorskip("haystack", reason="the extra 'haystack' is not installed")
    from mmrerank.integrations.haystack_adapter import CollectionRetriever, MMRerankRanker

    retriever, ranker = CollectionRetriever(folder / "c", top_k=3, rerank="bm25"), MMRerankRanker("bm25", top_k=1)
    pipeline = haystack_pipeline(retriever, ranker)
    data = {"retriever": {"query": QUESTION}, "ranker": {"query": QUESTION}}
    assert pipeline.run(data)["prompt"]["prompt"] == FIRST
    again = haystack.Pipeline.loads(
        pipeline.dumps(), allowed_modules=["mmrerank.integrations.haystack_adapter", "haystack.components.builders.*"]
    )
    assert again.run(data)["prompt"]["prompt"] == FIRST
    assert again.get_component("retriever").rerank == "bm25"
    for part in (copy.deepcopy(ranker), pickle.loads(pickle.dumps(ranker))):
        assert part.run(QUESTION, retriever.run(QUESTION)["documents"])["documents"][0].content == FIRST

    async def later() -> Any:
        documents = (await retriever.run_async(QUESTION))["documents"]
        return (await ranker.run_async(QUESTION, documents))["documents"]

    assert [document.content for document in asyncio.run(later())] == [FIRST]


def test_haystack_hands_what_was_ranked_to_a_generator_word_by_word_and_later(folder: Path) -> None:
    pytest.importorskip("haystack", reason="the extra 'haystack' is not installed")
    from haystack_parts import Echo

    from mmrerank.integrations.haystack_adapter import CollectionRetriever, MMRerankRanker

    pipeline = haystack_pipeline(CollectionRetriever(folder / "c", top_k=3), MMRerankRanker("bm25", top_k=1))
    pipeline.add_component("generator", Echo())
    pipeline.connect("prompt.prompt", "generator.prompt")
    data = {"retriever": {"query": QUESTION}, "ranker": {"query": QUESTION}}
    words: list[str] = []
    streamed = pipeline.run({**data, "generator": {"streaming_callback": lambda chunk: words.append(chunk.content)}})
    assert streamed["generator"]["replies"] == [FIRST]
    assert words == FIRST.split()
    assert asyncio.run(pipeline.run_async(data))["generator"]["replies"] == [FIRST]


@pytest.mark.parametrize(
    ("filters", "years"),
    [
        ({"field": "meta.year", "operator": "==", "value": 1971}, [1971]),
        ({"field": "year", "operator": "!=", "value": 1971}, [1970, 1972, 1973]),
        ({"field": "content", "operator": "in", "value": ["a heron", "it's"]}, [1973]),
        ({"field": "meta.year", "operator": "not in", "value": [1970, 1971]}, [1972, 1973]),
        ({"field": "id", "operator": "==", "value": "t.csv::k2"}, [1972]),
        ({"field": "meta.page_number", "operator": "==", "value": None}, [1970, 1971, 1972, 1973]),
        (
            {
                "operator": "OR",
                "conditions": [
                    {"field": "meta.year", "operator": "<", "value": 1971},
                    {"operator": "NOT", "conditions": [{"field": "meta.year", "operator": "<=", "value": 1972}]},
                ],
            },
            [1970, 1973],
        ),
        ("year = 1972", [1972]),
        ({}, [1970, 1971, 1972, 1973]),
    ],
)
def test_haystack_filters_hold_at_run_time(folder: Path, filters: Any, years: list[int]) -> None:
    pytest.importorskip("haystack", reason="the extra 'haystack' is not installed")
    from mmrerank.integrations.haystack_adapter import CollectionRetriever

    documents = CollectionRetriever(folder / "c").run("harbour gauge river night heron", filters=filters)["documents"]
    assert sorted(document.meta["year"] for document in documents) == years


# --------------------------------------------------------------------------- what all share


def retrievers(collection: Any, **options: Any) -> dict[str, Callable[[str], list[str]]]:
    """Each framework's retriever over a collection: a question -> the ids of its hits."""
    from mmrerank.integrations import haystack_adapter, langchain_adapter, llama_index_adapter

    first, second, third = (
        module.CollectionRetriever(collection, **options) for module in (langchain_adapter, haystack_adapter, llama_index_adapter)
    )
    return {
        "langchain": lambda question: [document.id for document in first.invoke(question)],
        "haystack": lambda question: [document.id for document in second.run(question)["documents"]],
        "llama-index": lambda question: [node.node.node_id for node in third.retrieve(question)],
    }


class Removing:
    """Removes an item while it reranks, as another thread might."""

    name = "removing"

    def __init__(self, collection: Collection) -> None:
        self.collection = collection

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        self.collection.remove(ids=[candidates[-1].item.item_id])
        return Ranking(query_id=query.query_id, candidates=tuple(candidates))


@pytest.mark.parametrize("extra", ["langchain", "haystack", "llama-index"])
def test_a_retriever_sees_one_version_and_the_newest_one_the_next_time(folder: Path, extra: str) -> None:
    for package in ("langchain_core", "haystack", "llama_index.core"):
        pytest.importorskip(package)
    by_folder = retrievers(folder / "c")[extra]
    assert by_folder("heron quay") == ["t.csv::k3"]
    add_row(folder, "a heron on the quay")
    assert sorted(by_folder("heron quay")) == ["t.csv::k3", "t.csv::new19"]
    collection = Collection.open(folder / "c")
    assert len(retrievers(collection, rerank=Removing(collection))[extra]("heron")) == 2
    assert len(by_folder("heron")) == 1


@pytest.mark.parametrize("options", [{"rerank": "bm26"}, {"rerank": ["bm25", "bm26"]}, {"retriever": "lexicla"}, {"rerank": "ragllava"}])
def test_a_retriever_says_when_it_is_made_what_does_not_exist(folder: Path, options: dict[str, Any]) -> None:
    for package in ("langchain_core", "haystack", "llama_index.core"):
        pytest.importorskip(package)
    with pytest.raises(InputError):
        retrievers(folder / "c", **options)


def test_what_the_newest_version_holds_stays_open_where_nothing_changed(folder: Path) -> None:
    collection = Collection.open(folder / "c")
    version = collection.version
    collection.refresh()
    assert collection.version is version
    add_row(folder, "a tern")
    collection.refresh()
    assert collection.version is not version


def test_rows_of_a_table_keep_their_pictures_through_retriever_and_reranker(tmp_path: Path) -> None:
    pytest.importorskip("langchain_core", reason="the extra 'langchain' is not installed")
    import base64
    import io
    import json

    from mmrerank.integrations.langchain_adapter import CollectionRetriever, MMRerankCompressor
    from mmrerank.testing.fakes import FakeBackend

    stream = io.BytesIO()
    coloured(5).save(stream, "PNG")
    row = {"key": "k", "text": "a red thing", "image": base64.b64encode(stream.getvalue()).decode()}
    (tmp_path / "t.jsonl").write_text(json.dumps(row) + "\n")
    collection = Collection.create(tmp_path / "c")
    collection.add([tmp_path / "t.jsonl"])
    (document,) = CollectionRetriever(collection).invoke("red thing")
    backend = FakeBackend()
    (document,) = MMRerankCompressor("ragllava(modality=image, threshold=0.0)", backend=backend).compress_documents([document], "red")
    assert "relevance_score" in document.metadata
    result = collection.search("red thing")
    twin = pickle.loads(pickle.dumps(result))
    assert twin[0].item.image.open().getpixel((0, 0)) == coloured(5).getpixel((0, 0))


class Locked:
    """A part that does not pickle."""

    name = "locked"

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        return Ranking(query_id=query.query_id, candidates=tuple(Candidate(item=c.item) for c in candidates))


def test_copies_share_parts_and_a_part_that_does_not_pickle_is_named() -> None:
    pytest.importorskip("llama_index.core", reason="the extra 'llama-index' is not installed")
    from mmrerank.integrations.llama_index_adapter import MMRerankPostprocessor

    part = Locked()
    postprocessor = MMRerankPostprocessor(part)
    assert copy.deepcopy(postprocessor).reranker is part
    assert postprocessor.model_copy(deep=True).reranker is part
    with pytest.raises(InputError, match="reranker is a Locked"):
        pickle.dumps(postprocessor)
    assert postprocessor.reranker is part


def test_an_order_is_scored_by_place_only_where_that_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    haystack = pytest.importorskip("haystack", reason="the extra 'haystack' is not installed")
    from mmrerank.integrations.haystack_adapter import MMRerankRanker

    documents = [haystack.Document(content=text) for text in "abcd"]
    assert [d.score for d in MMRerankRanker(Locked()).run("q", documents)["documents"]] == [None] * 4
    assert "score_by_place=True" in caplog.text
    scored = MMRerankRanker(Locked(), score_by_place=True, top_k=3).run("q", documents)["documents"]
    assert [d.score for d in scored] == [1.0, 0.75, 0.5]
    assert all("scored by its place alone" in d.meta["mmrerank_reason"] for d in scored)


FORKED = """
import os, torch, mmrerank
torch.set_num_threads(2)
_ = torch.ones(400, 400) @ torch.ones(400, 400)
child = os.fork()
if child == 0:
    rows = torch.ones(400, 400) @ torch.ones(400, 400)  # waits for ever where the threads of the parent are missed
    os._exit(0 if float(rows[0, 0]) == 400 else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="nothing forks there")
def test_a_process_forked_after_torch_was_used_does_not_hang() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], env=environment, timeout=120, capture_output=True, text=True)
    assert (run.returncode, run.stdout.strip()) == (0, "0"), run.stderr
