"""How each client is pointed at the service and what it makes of the reply: places of the documents, best first.

A function a client, with the base URL as its users write it. Nothing of a client is changed; what is sent for programs that are no
packages (open-webui, Dify, RAGFlow, Continue) is written down as their sources send and read it, with where that was seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

QUERY = "red bicycle"
DOCUMENTS = ["a green car", "a red bicycle at a wall", "soup of the day", "the old bicycle"]
BEST = [1, 3]
HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the service is, and what lets one in."""

    url: str  # without a path
    key: str
    collection: str  # a folder, for the clients of the agents' server
    command: tuple[str, ...]  # that starts mmrerank


@dataclass(frozen=True, kw_only=True)
class Client:
    name: str
    package: str  # whose version is told; "" for payloads
    base: str  # as its users write it
    ask: Callable[[Place], list[int]]
    sends_key: bool = True


CLIENTS: list[Client] = []


def client(name: str, package: str, base: str, *, sends_key: bool = True) -> Callable[[Callable[[Place], list[int]]], Any]:
    def registered(ask: Callable[[Place], list[int]]) -> Callable[[Place], list[int]]:
        CLIENTS.append(Client(name=name, package=package, base=base, ask=ask, sends_key=sends_key))
        return ask

    return registered


def post(place: Place, path: str, body: dict[str, Any]) -> Any:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {place.key}"}
    request = urllib.request.Request(place.url + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


def by_score(scores: list[float]) -> list[int]:
    return sorted(range(len(scores)), key=lambda place: -scores[place])


def places(texts: list[str]) -> list[int]:
    return [DOCUMENTS.index(text) for text in texts]


# ---------------------------------------------------------------- Cohere


@client("cohere, ClientV2", "cohere", "http://HOST:8080")
def cohere_v2(place: Place) -> list[int]:
    import cohere

    reply = cohere.ClientV2(api_key=place.key, base_url=place.url).rerank(model="default", query=QUERY, documents=DOCUMENTS, top_n=2)
    return [result.index for result in reply.results]


@client("cohere, ClientV2", "cohere", "http://HOST:8080/v1")
def cohere_v2_below_a_version(place: Place) -> list[int]:
    import cohere

    reply = cohere.ClientV2(api_key=place.key, base_url=f"{place.url}/v1").rerank(model="default", query=QUERY, documents=DOCUMENTS)
    return [result.index for result in reply.results]


@client("cohere, Client", "cohere", "http://HOST:8080")
def cohere_v1(place: Place) -> list[int]:
    import cohere

    made = cohere.Client(api_key=place.key, base_url=place.url)
    reply = made.rerank(model="default", query=QUERY, documents=DOCUMENTS, top_n=2, return_documents=True)
    assert [result.document.text for result in reply.results] == [DOCUMENTS[n] for n in BEST]
    return [result.index for result in reply.results]


@client("cohere-ai (npm)", "npm:cohere-ai", "http://HOST:8080")
def cohere_npm(place: Place) -> list[int]:
    script = [os.environ.get("NODE", "node"), str(HERE / "cohere.cjs"), place.url, place.key, json.dumps([QUERY, DOCUMENTS])]
    done = subprocess.run(script, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-500:]
    order: list[int] = json.loads(done.stdout)
    return order


@client("openai, embeddings", "openai", "http://HOST:8080/v1")
def openai_embeddings(place: Place) -> list[int]:
    import openai

    made = openai.OpenAI(api_key=place.key, base_url=f"{place.url}/v1")
    rows = [entry.embedding for entry in made.embeddings.create(model="default", input=["a cat", "a dog"]).data]
    assert len(rows) == 2
    assert abs(sum(value * value for value in rows[0]) - 1) < 1e-3
    return BEST


# ---------------------------------------------------------------- litellm


def with_litellm(place: Place, model: str, base: str, **more: Any) -> list[int]:
    import litellm

    litellm.telemetry = False
    reply = litellm.rerank(model=model, query=QUERY, documents=DOCUMENTS, top_n=2, api_base=base, api_key=place.key, **more)
    return [result["index"] for result in reply.results]


for _provider, _ends in (
    ("cohere", ("", "/v1/rerank", "/v2/rerank")),
    ("jina_ai", ("", "/v1", "/v1/rerank")),
    ("infinity", ("/infinity", "/infinity/v1")),
    ("huggingface", ("", "/rerank")),
    ("hosted_vllm", ("", "/v1", "/v1/rerank")),
    ("voyage", ("", "/v1")),
    ("nvidia_nim", ("", "/v1")),
    ("nvidia_nim/ranking", ("", "/v1")),
):
    for _end in _ends:

        def _ask(place: Place, provider: str = _provider, end: str = _end) -> list[int]:
            return with_litellm(place, f"{provider}/default", place.url + end)

        client(f"litellm, {_provider}/", "litellm", f"http://HOST:8080{_end}")(_ask)


@client("litellm, together_ai/ (its address is fixed; what it sends and how it reads)", "litellm", "http://HOST:8080/v1")
def litellm_together(place: Place) -> list[int]:
    from litellm.llms.together_ai.rerank.transformation import TogetherAIRerankConfig

    body = {"model": "default", "query": QUERY, "documents": DOCUMENTS, "top_n": 2, "rank_fields": None, "return_documents": True}
    reply = TogetherAIRerankConfig()._transform_response(post(place, "/v1/rerank", body))
    return [result["index"] for result in reply.results or []]


# ---------------------------------------------------------------- LangChain


def with_langchain(compressor: Any) -> list[int]:
    from langchain_core.documents import Document

    return places([one.page_content for one in compressor.compress_documents([Document(page_content=d) for d in DOCUMENTS], QUERY)])


@client("langchain-cohere", "langchain-cohere", "http://HOST:8080")
def langchain_cohere(place: Place) -> list[int]:
    from langchain_cohere import CohereRerank

    return with_langchain(CohereRerank(base_url=place.url, cohere_api_key=place.key, model="default", top_n=2))


@client("langchain-community, InfinityRerank", "langchain-community", "http://HOST:8080", sends_key=False)
def langchain_infinity(place: Place) -> list[int]:
    from infinity_client.client import Client as InfinityClient
    from langchain_community.document_compressors.infinity_rerank import InfinityRerank

    return with_langchain(InfinityRerank(client=InfinityClient(base_url=place.url), model="default", top_n=2))


@client("langchain-community, JinaRerank (its address is fixed; its session is sent here)", "langchain-community", "http://HOST:8080")
def langchain_jina(place: Place) -> list[int]:
    from langchain_community.document_compressors import JinaRerank
    from requests.adapters import HTTPAdapter

    class Here(HTTPAdapter):
        def send(self, request: Any, *rest: Any, **more: Any) -> Any:
            request.url = request.url.replace("https://api.jina.ai", place.url)
            return super().send(request, *rest, **more)

    compressor = JinaRerank(jina_api_key=place.key, model="default", top_n=2)
    compressor.session.mount("https://api.jina.ai", Here())
    return with_langchain(compressor)


for _end in ("", "/v1"):

    @client("langchain-nvidia-ai-endpoints, NVIDIARerank", "langchain-nvidia-ai-endpoints", f"http://HOST:8080{_end}")
    def langchain_nvidia(place: Place, end: str = _end) -> list[int]:
        from langchain_nvidia_ai_endpoints import NVIDIARerank

        return with_langchain(NVIDIARerank(base_url=place.url + end, model="bm25", api_key=place.key, top_n=2))


# ---------------------------------------------------------------- Voyage, DashScope, infinity, Xinference


@client("voyageai", "voyageai", "http://HOST:8080/v1")
def voyage(place: Place) -> list[int]:
    import voyageai

    made = voyageai.Client(api_key=place.key, base_url=f"{place.url}/v1")
    return [result.index for result in made.rerank(QUERY, DOCUMENTS, model="default", top_k=2).results]


@client("dashscope, TextReRank", "dashscope", "http://HOST:8080/api/v1")
def with_dashscope(place: Place) -> list[int]:
    import dashscope

    reply = dashscope.TextReRank.call(
        model="default",
        query=QUERY,
        documents=DOCUMENTS,
        top_n=2,
        return_documents=True,
        api_key=place.key,
        base_address=f"{place.url}/api/v1",
    )
    assert reply.status_code == 200, reply
    return [result.index for result in reply.output.results]


@client("infinity-client", "infinity-client", "http://HOST:8080", sends_key=False)
def infinity(place: Place) -> list[int]:
    from infinity_client.api.default import rerank
    from infinity_client.client import Client as InfinityClient
    from infinity_client.models import RerankInput

    reply = rerank.sync(client=InfinityClient(base_url=place.url), body=RerankInput(query=QUERY, documents=DOCUMENTS, top_n=2))
    return [result.index for result in reply.results]


@client("xinference-client", "xinference-client", "http://HOST:8080")
def xinference(place: Place) -> list[int]:
    from xinference_client import RESTfulClient

    reply = RESTfulClient(place.url, api_key=place.key).get_model("bm25").rerank(DOCUMENTS, QUERY, top_n=2)
    return [result["index"] for result in reply["results"]]


# ---------------------------------------------------------------- LlamaIndex


def with_llama_index(processor: Any) -> list[int]:
    from llama_index.core.schema import NodeWithScore, TextNode

    nodes = [NodeWithScore(node=TextNode(text=text)) for text in DOCUMENTS]
    return places([node.text for node in processor.postprocess_nodes(nodes, query_str=QUERY)])


@client("llama-index, CohereRerank", "llama-index-postprocessor-cohere-rerank", "http://HOST:8080")
def llama_index_cohere(place: Place) -> list[int]:
    from llama_index.postprocessor.cohere_rerank import CohereRerank

    return with_llama_index(CohereRerank(api_key=place.key, base_url=place.url, model="default", top_n=2))


@client("llama-index, JinaRerank", "llama-index-postprocessor-jinaai-rerank", "http://HOST:8080/v1")
def llama_index_jina(place: Place) -> list[int]:
    from llama_index.postprocessor.jinaai_rerank import JinaRerank

    return with_llama_index(JinaRerank(api_key=place.key, base_url=f"{place.url}/v1", model="default", top_n=2))


@client("llama-index, TextEmbeddingInference", "llama-index-postprocessor-tei-rerank", "http://HOST:8080")
def llama_index_tei(place: Place) -> list[int]:
    from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

    return with_llama_index(TextEmbeddingInference(base_url=place.url, auth_token=f"Bearer {place.key}", top_n=2))


@client("llama-index, XinferenceRerank", "llama-index-postprocessor-xinference-rerank", "http://HOST:8080", sends_key=False)
def llama_index_xinference(place: Place) -> list[int]:
    from llama_index.postprocessor.xinference_rerank import XinferenceRerank

    return with_llama_index(XinferenceRerank(base_url=place.url, model="default", top_n=2))


# ---------------------------------------------------------------- Haystack


def with_haystack(ranker: Any, **more: Any) -> list[int]:
    from haystack import Document

    if hasattr(ranker, "warm_up"):
        ranker.warm_up()
    return places([one.content for one in ranker.run(query=QUERY, documents=[Document(content=d) for d in DOCUMENTS], **more)["documents"]])


@client("haystack, CohereRanker", "cohere-haystack", "http://HOST:8080")
def haystack_cohere(place: Place) -> list[int]:
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.cohere import CohereRanker

    return with_haystack(CohereRanker(model="default", api_key=Secret.from_token(place.key), api_base_url=place.url, top_k=2))


@client("haystack, JinaRanker", "jina-haystack", "http://HOST:8080/v1/rerank")
def haystack_jina(place: Place) -> list[int]:
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.jina import JinaRanker

    return with_haystack(JinaRanker(model="default", api_key=Secret.from_token(place.key), base_url=f"{place.url}/v1/rerank", top_k=2))


@client("haystack, HuggingFaceTEIRanker", "huggingface-api-haystack", "http://HOST:8080")
def haystack_tei(place: Place) -> list[int]:
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker

    return with_haystack(HuggingFaceTEIRanker(url=place.url, token=Secret.from_token(place.key), top_k=2))


@client("haystack, VLLMRanker", "vllm-haystack", "http://HOST:8080/v1")
def haystack_vllm(place: Place) -> list[int]:
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.vllm import VLLMRanker

    return with_haystack(VLLMRanker(model="default", api_key=Secret.from_token(place.key), api_base_url=f"{place.url}/v1", top_k=2))


# ---------------------------------------------------------------- payloads of programs


@client("open-webui, external reranker", "", "http://HOST:8080/v1/rerank")
def open_webui(place: Place) -> list[int]:
    """backend/open_webui/retrieval/models/external.py at 0668cb7f35ea."""
    reply = post(place, "/v1/rerank", {"model": "default", "query": QUERY, "documents": DOCUMENTS, "top_n": len(DOCUMENTS)})
    return by_score([result["relevance_score"] for result in sorted(reply["results"], key=lambda result: result["index"])])


@client("Dify, OpenAI-API-compatible and Xinference", "", "http://HOST:8080/v1")
def dify(place: Place) -> list[int]:
    """The rerank model of dify_plugin's openai_compatible: documents are read back, and scores by index."""
    body = {"model": "default", "query": QUERY, "documents": DOCUMENTS, "top_n": 2, "return_documents": True}
    reply = post(place, "/v1/rerank", body)
    assert [result["document"]["text"] for result in reply["results"]] == [DOCUMENTS[n] for n in BEST]
    return [result["index"] for result in reply["results"]]


@client("RAGFlow, Xinference", "", "http://HOST:8080/v1/rerank")
def ragflow_xinference(place: Place) -> list[int]:
    """rag/llm/rerank_model.py at 009e18f09447: booleans as texts, tokens read from the reply itself."""
    body = {"model": "default", "query": QUERY, "return_documents": "true", "return_len": "true", "documents": DOCUMENTS}
    reply = post(place, "/v1/rerank", body)
    assert reply["tokens"]["input_tokens"] + reply["tokens"]["output_tokens"] >= 0
    return [result["index"] for result in reply["results"]]


@client("RAGFlow, Jina", "", "http://HOST:8080/v1/rerank")
def ragflow_jina(place: Place) -> list[int]:
    """The same file: the usage is read."""
    reply = post(place, "/v1/rerank", {"model": "default", "query": QUERY, "documents": DOCUMENTS, "top_n": len(DOCUMENTS)})
    assert reply["usage"]["total_tokens"] >= 0
    return [result["index"] for result in reply["results"]]


@client("RAGFlow, NVIDIA", "", "http://HOST:8080/v1")
def ragflow_nvidia(place: Place) -> list[int]:
    body = {"model": "default", "query": {"text": QUERY}, "passages": [{"text": d} for d in DOCUMENTS], "truncate": "END", "top_n": 4}
    return [one["index"] for one in sorted(post(place, "/v1/ranking", body)["rankings"], key=lambda one: -one["logit"])]


@client("Continue, huggingface-tei", "", "http://HOST:8080/")
def continue_tei(place: Place) -> list[int]:
    """core/llm/llms/HuggingFaceTEI.ts at 26952c45ca4d."""
    request = urllib.request.Request(f"{place.url}/info", headers={"Authorization": f"Bearer {place.key}"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        about = json.load(reply)
    assert about["model_id"]
    assert about["max_client_batch_size"] > 0
    body = {
        "query": QUERY,
        "return_text": False,
        "raw_scores": False,
        "texts": DOCUMENTS,
        "truncation_direction": "Right",
        "truncate": True,
    }
    return by_score([one["score"] for one in sorted(post(place, "/rerank", body), key=lambda one: one["index"])])


@client("Continue, OpenAI-compatible", "", "http://HOST:8080/v1/")
def continue_openai(place: Place) -> list[int]:
    """core/llm/index.ts at 1e39df3632fc: a list `data` is expected."""
    reply = post(place, "/v1/rerank", {"model": "default", "query": QUERY, "documents": DOCUMENTS})
    return by_score([one["relevance_score"] for one in sorted(reply["data"], key=lambda one: one["index"])])


@client("Continue, vllm", "", "http://HOST:8080/v1/")
def continue_vllm(place: Place) -> list[int]:
    """core/llm/llms/Vllm.ts of earlier versions: scores of pairs."""
    body = {"model": "default", "text_1": QUERY, "text_2": DOCUMENTS, "encoding_format": "float"}
    return by_score([one["score"] for one in sorted(post(place, "/v1/score", body)["data"], key=lambda one: one["index"])])


@client("Elasticsearch, typed objects", "", "http://HOST:8080/_inference/rerank/default")
def elasticsearch(place: Place) -> list[int]:
    """The body of its rerank inference, as its reference describes it."""
    body = {"query": {"type": "text", "value": QUERY}, "input": [{"type": "text", "format": "text", "value": d} for d in DOCUMENTS]}
    return [one["index"] for one in post(place, "/_inference/rerank/default", body)["rerank"]]


# ---------------------------------------------------------------- agents


async def tools_of(server: Any) -> list[int]:
    from mcp import Client as McpClient

    async with McpClient(server) as made:
        reply = await made.call_tool("rerank", {"query": QUERY, "documents": DOCUMENTS})
    assert not reply.is_error, reply.content
    return [result["index"] for result in reply.structured_content["result"]]


@client("mcp, over standard input and output", "mcp", "mmrerank mcp COLLECTION", sends_key=False)
def mcp_stdio(place: Place) -> list[int]:
    from mcp import StdioServerParameters

    command, *arguments = place.command
    return asyncio.run(tools_of(StdioServerParameters(command=command, args=[*arguments, "mcp", place.collection], env=dict(os.environ))))


@client("mcp, over HTTP", "mcp", "http://HOST:8090/mcp", sends_key=False)
def mcp_http(place: Place) -> list[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen([*place.command, "mcp", place.collection, "--port", str(port)], stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(600):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                time.sleep(0.1)
            return asyncio.run(tools_of(f"http://127.0.0.1:{port}/mcp"))
        finally:
            process.terminate()
