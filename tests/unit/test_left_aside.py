"""What a method does not use of a query is said, by rerankers and first stages alike."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from makers import coloured

from mmrerank import picture
from mmrerank.parts import make
from mmrerank.protocols import Reranker
from mmrerank.rerankers.rerank_http import Options, RerankHttp
from mmrerank.retrievers import lexical
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Item, Query

FULL = Query(text="a door", images=(picture(coloured(1)),), exclude_text=("red",), exclude_images=(picture(coloured(2)),) * 2)
CANDIDATES = [Candidate(item=Item(item_id=name, text=f"a {name} door")) for name in ("red", "green")]


def aside(reranker: Reranker, query: Query = FULL) -> list[str]:
    return [message for message in reranker.rerank(query, CANDIDATES).notes.messages if "left aside" in message]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bm25", "1 picture, 2 excluded pictures"),
        ("ragllava(modality='text')", "2 excluded pictures"),
        ("mm_r5(modality='text')", "1 picture, 1 excluded text, 2 excluded pictures"),
    ],
)
def test_a_reranker_says_what_it_does_not_use(name: str, words: str) -> None:
    backend = FakeBackend(answer=lambda prompt: "<answer>[2, 1]</answer>")
    part = make(name, station="rerankers", **({} if name == "bm25" else {"backend": backend}))
    assert [message.rpartition(": ")[2] for message in aside(part)] == [words]
    assert aside(part, Query(text="a door")) == []


def test_words_are_all_that_lexical_looks_for() -> None:
    part = lexical.tiny()
    text = Query(text="red")
    assert part.retrieve(text, 3).notes.messages == ()
    (message,) = part.retrieve(replace(FULL, text="red"), 3).notes.messages
    assert message.endswith("1 picture, 2 excluded pictures")


def service(reply: dict[str, Any], dialect: Any = "jina") -> RerankHttp:
    def answer(request: httpx.Request) -> httpx.Response:
        documents = json.loads(request.content)["documents"]
        results = [{"index": n, "relevance_score": 1 / (n + 1)} for n in range(len(documents))]
        return httpx.Response(200, json={"results": results, **reply})

    return RerankHttp(Options(server="http://localhost/v1/rerank", dialect=dialect), transport=httpx.MockTransport(answer))


def test_a_service_of_others_heeds_no_exclusions() -> None:
    ranking = service({}).rerank(FULL, CANDIDATES)
    assert ranking.notes.messages == ("left aside, since this method does not use it: 1 excluded text, 2 excluded pictures",)
    assert ranking.notes.status == "ok", "nothing of the order was mended"
    assert aside(service({}, "cohere"), replace(FULL, images=())) == list(ranking.notes.messages)


def test_what_a_service_of_ours_leaves_aside_is_handed_on() -> None:
    assert aside(service({"mmrerank": {"notes": []}})) == []
    notes = {"mmrerank": {"notes": ["left aside, since this method does not use it: 1 picture"]}}
    assert aside(service(notes)) == ["the service notes: left aside, since this method does not use it: 1 picture"]
