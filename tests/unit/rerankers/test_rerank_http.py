"""Asking a rerank service: what is sent in each dialect, and an order out of whatever comes back."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from makers import InMemory, coloured
from PIL import Image

from mmrerank.errors import BackendError, InputError
from mmrerank.rerankers.rerank_http import Options, RerankHttp
from mmrerank.types import Candidate, Item, Query

SCORES = {"a": 0.1, "b": 0.9, "c": 0.5}


def candidates(*texts: str) -> list[Candidate]:
    return [Candidate(item=Item(item_id=text or "silent", text=text), score=1.0) for text in texts]


def part(answer: Callable[[Any], Any], *, status: int = 200, **options: Any) -> tuple[RerankHttp, list[httpx.Request]]:
    requests: list[httpx.Request] = []

    def served(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(status, json=answer(json.loads(request.content)))

    fields = {"server": "http://localhost:8080/v1/rerank#m", "backoff_s": 0.0, "retries": 1, **options}
    return RerankHttp(Options(**fields), "key", transport=httpx.MockTransport(served)), requests


def jina(body: Any) -> Any:
    results = [{"index": n, "relevance_score": SCORES[document]} for n, document in enumerate(body["documents"])]
    return {"results": results}  # not in order: scores count


def tei(body: Any) -> Any:
    return [{"index": n, "score": SCORES[text]} for n, text in enumerate(body["texts"])]


@pytest.mark.parametrize(
    ("dialect", "answer", "field"), [("jina", jina, "documents"), ("cohere", jina, "documents"), ("tei", tei, "texts")]
)
def test_scores_map_by_index_in_every_dialect(dialect: str, answer: Callable[[Any], Any], field: str) -> None:

    reranker, requests = part(answer, dialect=dialect)
    ranking = reranker.rerank(Query(text="q"), candidates("a", "b", "c"))
    assert [(c.item.item_id, c.score) for c in ranking.candidates] == [("b", 0.9), ("c", 0.5), ("a", 0.1)]
    body = json.loads(requests[0].content)
    assert (body["query"], body["model"], body[field]) == ("q", "m", ["a", "b", "c"])
    assert requests[0].headers["authorization"] == "Bearer key"
    assert "mmrerank" not in body


def test_pictures_and_exclusions_go_along_where_the_dialect_has_a_place() -> None:
    reranker, requests = part(lambda body: {"results": [{"index": 0, "relevance_score": 1.0}]})
    item = Item(item_id="p", text="caption", image=InMemory(coloured(3)))
    query = Query(text="but green", images=(InMemory(coloured(1)),), exclude_text=("boat",), exclude_images=(InMemory(coloured(2)),))
    reranker.rerank(query, [Candidate(item=item)])
    body = json.loads(requests[0].content)
    assert [part["type"] for part in body["query"]["content"]] == ["text", "image_url"]
    assert body["documents"][0]["image"].startswith("data:image/png;base64,")
    assert body["documents"][0]["text"] == "caption"
    assert body["mmrerank"]["exclude_text"] == ["boat"]
    texts_only, _ = part(tei, dialect="tei")
    with pytest.raises(InputError, match="carries a query of text"):
        texts_only.rerank(query, candidates("a"))


def test_what_does_not_come_back_or_cannot_be_sent_keeps_its_order_behind() -> None:
    reranker, requests = part(lambda body: {"results": [{"index": 2, "relevance_score": 0.9}, {"index": 7, "relevance_score": 0.8}]})
    ranking = reranker.rerank(Query(text="q"), candidates("a", "", "b", "c"))
    assert json.loads(requests[0].content)["documents"] == ["a", "b", "c"]
    assert [(c.item.item_id, c.score) for c in ranking.candidates] == [("c", 0.9), ("a", None), ("b", None), ("silent", None)]
    assert ranking.notes.status == "repaired"
    assert "1 results were repeated or out of range and dropped" in ranking.notes.messages
    assert ranking.notes.reasons == {
        "c": "the service gives 0.900",
        "a": "no score in the answer",
        "b": "no score in the answer",
        "silent": "not sent: it has neither a picture nor a text",
    }
    assert "silent: not sent: it has neither a picture nor a text" in ranking.notes.messages


@pytest.mark.parametrize("answer", [{"what": 1}, {"results": [{"index": "x", "relevance_score": 1}]}, 7, {"results": None}])
def test_a_reply_that_is_no_ranking_is_an_error(answer: Any) -> None:
    with pytest.raises(BackendError, match="no ranking"):
        part(lambda body: answer)[0].rerank(Query(text="q"), candidates("a"))


def test_a_refusal_is_told_with_its_words_and_an_overload_tried_again() -> None:
    refusal = {"error": {"message": "no model is called 'm'", "type": "not_found_error", "code": None}}
    with pytest.raises(BackendError, match=r"status 404.*no model is called 'm'") as caught:
        part(lambda body: refusal, status=404)[0].rerank(Query(text="q"), candidates("a"))
    assert not caught.value.retryable
    busy, requests = part(lambda body: refusal, status=503)
    with pytest.raises(BackendError) as caught:
        busy.rerank(Query(text="q"), candidates("a"))
    assert caught.value.retryable
    assert len(requests) == 2


@pytest.mark.parametrize("server", ["", "localhost:8080", "ftp://host/x", "http://user:secret@host/rerank", "http://host/rerank?key=1"])
def test_an_address_that_is_none_is_refused(server: str) -> None:
    with pytest.raises(InputError):
        RerankHttp(Options(server=server))


def test_large_pictures_travel_small() -> None:
    reranker, requests = part(lambda body: {"results": [{"index": n, "relevance_score": 1.0} for n in range(2)]})
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (600, 500, 3), dtype=np.uint8))
    reranker.rerank(Query(text="q"), [Candidate(item=Item(item_id=str(n), image=InMemory(p))) for n, p in enumerate([noise, coloured(1)])])
    large, small = (document["image"] for document in json.loads(requests[0].content)["documents"])
    assert large.startswith("data:image/jpeg;base64,")
    assert small.startswith("data:image/png;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(large.partition(",")[2]))).size == (500, 600)


@pytest.mark.parametrize(("status", "words"), [(413, "max_pixels"), (413, "depth"), (401, "MMRERANK_RERANK_KEY")])
def test_a_refusal_says_what_to_do(status: int, words: str) -> None:
    reranker, _ = part(lambda body: {}, status=status)
    with pytest.raises(BackendError, match=words):
        reranker.rerank(Query(text="q"), candidates("a"))
