"""Programs that others wrote, pointed at the service as they are: Cohere's SDK, OpenAI's, clients in the manner of Jina and TEI."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence

import httpx
import pytest
from served import ByNumber, serving

from mmrerank.parts import make
from mmrerank.protocols import Reranker
from mmrerank.types import Candidate, Item, Query, Ranking

NUMBERS = [f"{n / 40:.3f}" for n in range(40)]
random.Random(0).shuffle(NUMBERS)
BEST_FIRST = sorted(range(40), key=lambda n: -float(NUMBERS[n]))


class Unscored(ByNumber):
    """The same order without scores."""

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        ranking = super().rerank(query, candidates)
        return Ranking(query_id=query.query_id, candidates=tuple(Candidate(item=c.item) for c in ranking.candidates))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(rerankers={"numbers": ByNumber(), "unscored": Unscored()}, token="s3cret") as url:
        yield url


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    """Given to the SDKs, which leave their own open."""
    with httpx.Client() as client:
        yield client


def test_coheres_sdk_reranks(url: str, http: httpx.Client) -> None:
    cohere = pytest.importorskip("cohere", reason="cohere is not installed")
    client = cohere.ClientV2(api_key="s3cret", base_url=url, httpx_client=http)
    reply = client.rerank(model="numbers", query="which is largest?", documents=NUMBERS, top_n=5)
    assert [result.index for result in reply.results] == BEST_FIRST[:5]
    assert [result.relevance_score for result in reply.results] == [float(NUMBERS[n]) for n in BEST_FIRST[:5]]
    assert reply.id
    assert reply.meta is not None
    assert reply.meta.billed_units is not None
    assert reply.meta.billed_units.search_units == 1
    everything = client.rerank(model="unscored", query="q", documents=NUMBERS)
    assert [result.index for result in everything.results] == BEST_FIRST
    assert all(0 <= result.relevance_score <= 1 for result in everything.results)


def test_coheres_older_and_asynchronous_clients_rerank(url: str, http: httpx.Client) -> None:
    cohere = pytest.importorskip("cohere", reason="cohere is not installed")
    older = cohere.Client(api_key="s3cret", base_url=url, httpx_client=http)
    reply = older.rerank(model="numbers", query="q", documents=NUMBERS, top_n=2, return_documents=True)
    assert [(result.index, result.document.text) for result in reply.results] == [(n, NUMBERS[n]) for n in BEST_FIRST[:2]]

    async def asked() -> list[int]:
        async with httpx.AsyncClient() as asynchronous:
            client = cohere.AsyncClientV2(api_key="s3cret", base_url=url, httpx_client=asynchronous)
            reply = await client.rerank(model="numbers", query="q", documents=NUMBERS, max_tokens_per_doc=500, priority=1)
            return [result.index for result in reply.results]

    assert asyncio.run(asked()) == BEST_FIRST


def test_coheres_sdk_tells_a_wrong_key_and_a_wrong_model(url: str, http: httpx.Client) -> None:
    cohere = pytest.importorskip("cohere", reason="cohere is not installed")
    with pytest.raises(cohere.UnauthorizedError):
        cohere.ClientV2(api_key="wrong", base_url=url, httpx_client=http).rerank(model="numbers", query="q", documents=["1"])
    with pytest.raises(cohere.NotFoundError) as caught:
        cohere.ClientV2(api_key="s3cret", base_url=url, httpx_client=http).rerank(model="rerank-v3.5", query="q", documents=["1"])
    assert "numbers" in caught.value.body["error"]["message"]


def test_openais_sdk_lists_the_models_and_reads_the_errors(url: str, http: httpx.Client) -> None:
    openai = pytest.importorskip("openai", reason="openai is not installed")
    client = openai.OpenAI(api_key="s3cret", base_url=f"{url}/v1", max_retries=0, http_client=http)
    assert [model.id for model in client.models.list()] == ["numbers", "unscored", "bm25"]
    reply = client.post("/rerank", body={"model": "numbers", "query": "q", "documents": NUMBERS}, cast_to=dict[str, object])
    assert [result["index"] for result in reply["results"]] == BEST_FIRST  # type: ignore[attr-defined]
    with pytest.raises(openai.NotFoundError) as caught:
        client.post("/rerank", body={"model": "nothing", "query": "q", "documents": ["1"]}, cast_to=dict[str, object])
    assert (caught.value.param, caught.value.code) == ("model", "NoSuchThing")


def test_a_client_of_jina_puts_its_documents_in_order(url: str) -> None:
    """As gateways and frameworks do it: scores back to documents by index, whatever order the reply has."""
    for model in ("numbers", "unscored"):
        body = {"model": model, "query": "q", "documents": NUMBERS, "top_n": 40, "return_documents": True}
        reply = httpx.post(f"{url}/v1/rerank", json=body, headers={"Authorization": "Bearer s3cret"}).json()
        shuffled = random.Random(1).sample(reply["results"], 40)
        scores = {result["index"]: result["relevance_score"] for result in shuffled}
        assert all(result["document"]["text"] == NUMBERS[result["index"]] for result in shuffled)
        assert sorted(range(40), key=lambda n: -scores[n]) == BEST_FIRST
        assert reply["usage"]["total_tokens"] == 0


def test_a_client_of_tei_puts_its_texts_in_order(url: str) -> None:
    headers = {"Authorization": "Bearer s3cret"}
    body = {"query": "q", "texts": NUMBERS, "raw_scores": False, "truncate": True}
    reply = httpx.post(f"{url}/rerank", json=body, headers=headers).json()
    assert [line["index"] for line in reply] == BEST_FIRST
    assert [set(line) for line in reply] == [{"index", "score"}] * 40
    for line in random.Random(2).sample(reply, 40):
        assert line["score"] == float(NUMBERS[line["index"]])


@pytest.fixture
def part(url: str) -> Reranker:
    """The service as a reranker, which goes wherever a reranker goes."""
    reranker: Reranker = make(f"rerank_http/{url}/v1/rerank#numbers", station="rerankers", api_key="s3cret")
    return reranker


def test_langchain_reranks_with_the_service(part: Reranker) -> None:
    pytest.importorskip("langchain_core", reason="the extra 'langchain' is not installed")
    from langchain_core.documents import Document

    from mmrerank.integrations.langchain_adapter import MMRerankCompressor

    came = MMRerankCompressor(part, top_n=5).compress_documents([Document(page_content=number) for number in NUMBERS], "q")
    assert [document.page_content for document in came] == [NUMBERS[n] for n in BEST_FIRST[:5]]
    assert came[0].metadata["relevance_score"] == float(NUMBERS[BEST_FIRST[0]])


def test_llama_index_reranks_with_the_service(part: Reranker) -> None:
    pytest.importorskip("llama_index.core", reason="the extra 'llama-index' is not installed")
    from llama_index.core.schema import NodeWithScore, TextNode

    from mmrerank.integrations.llama_index_adapter import MMRerankPostprocessor

    nodes = [NodeWithScore(node=TextNode(text=number)) for number in NUMBERS]
    came = MMRerankPostprocessor(part, top_n=5).postprocess_nodes(nodes, query_str="q")
    assert [(node.text, node.score) for node in came] == [(NUMBERS[n], float(NUMBERS[n])) for n in BEST_FIRST[:5]]


def test_haystack_reranks_with_the_service_by_name_and_key(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAYSTACK_TELEMETRY_ENABLED", "false")  # read when it is imported; on, it writes to the home folder
    monkeypatch.setenv("SERVICE_TOKEN", "s3cret")
    pytest.importorskip("haystack", reason="the extra 'haystack' is not installed")
    from haystack import Document
    from haystack.utils import Secret

    from mmrerank.integrations.haystack_adapter import MMRerankRanker

    ranker = MMRerankRanker(f"rerank_http/{url}/v1/rerank#numbers", top_k=5, api_key=Secret.from_env_var("SERVICE_TOKEN"))
    came = ranker.run(query="q", documents=[Document(content=number) for number in NUMBERS])["documents"]
    assert [(document.content, document.score) for document in came] == [(NUMBERS[n], float(NUMBERS[n])) for n in BEST_FIRST[:5]]


@pytest.mark.parametrize(("path", "dialect"), [("/v1/rerank", "jina"), ("/v2/rerank", "cohere"), ("/rerank", "jina"), ("/rerank", "tei")])
def test_our_own_client_speaks_every_dialect_of_the_service(url: str, path: str, dialect: str) -> None:
    part = make(f"rerank_http(server='{url}{path}#numbers', dialect='{dialect}')", station="rerankers", api_key="s3cret")
    candidates = [Candidate(item=Item(item_id=str(n), text=number)) for n, number in enumerate(NUMBERS)]
    ranking = part.rerank(Query(text="q"), candidates)
    assert [int(item_id) for item_id in ranking.item_ids] == BEST_FIRST
    assert [candidate.score for candidate in ranking.candidates] == [float(NUMBERS[n]) for n in BEST_FIRST]
