"""One way of reranking in five dialects: shapes, indexes, scores, errors, and what a document may be."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from fastapi.testclient import TestClient
from makers import coloured, write_pictures
from served import ByNumber, Reversed, asked

from mmrerank import Collection
from mmrerank.parts import make
from mmrerank.service.settings import Limits
from mmrerank.testing.fakes import FakeBackend

NUMBERS = ["0.2", "0.9", "0.0", "0.5"]
TURNED = Reversed()
INIT = RequestValidationError.__init__


def uri(number: int) -> str:
    stream = io.BytesIO()
    coloured(number).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dialects")
    write_pictures(folder / "photos", range(3))
    (folder / "t.jsonl").write_text('{"id": "a", "text": "a red door"}\n{"id": "b", "text": "a green boat"}\n', encoding="utf-8")
    made = Collection.create(folder / "things")
    made.add([folder / "photos", folder / "t.jsonl"])
    return folder / "things"


@pytest.fixture(scope="module")
def client(collection: Path) -> Iterator[TestClient]:
    rerankers = {"numbers": ByNumber(), "turned": TURNED, "yes": "ragllava"}
    with asked(collections=(collection,), rerankers=rerankers, backend=FakeBackend(), limits=Limits(documents=20, pictures=3)) as client:
        yield client


def post(client: TestClient, path: str, **body: Any) -> Any:
    reply = client.post(path, json={"query": "q", **body})
    assert reply.status_code == 200, reply.text
    return reply.json()


def refused(client: TestClient, path: str, **body: Any) -> tuple[int, str, str | None]:
    reply = client.post(path, json={"query": "q", **body})
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return reply.status_code, error["message"], error["param"]


def test_cohere(client: TestClient) -> None:
    reply = post(client, "/v2/rerank", model="numbers", documents=NUMBERS, top_n=3)
    assert [(r["index"], r["relevance_score"]) for r in reply["results"]] == [(1, 0.9), (3, 0.5), (0, 0.2)]
    assert "document" not in reply["results"][0]
    assert reply["meta"]["api_version"] == {"version": "2"}
    assert reply["meta"]["billed_units"] == {"search_units": 1}
    assert reply["results"][0]["mmrerank"] == {"raw_score": 9.0, "explanation": "says 0.9", "irrelevant": False}
    assert reply["mmrerank"]["scale"] == "score"


def test_jina_gives_documents_back_unless_told_not_to(client: TestClient) -> None:
    documents = [
        "0.1",
        {"text": "0.3"},
        {"content": [{"type": "text", "text": "0.2"}, {"type": "image_url", "image_url": {"url": uri(1)}}]},
    ]
    reply = post(client, "/v1/rerank", model="numbers", documents=documents)
    assert [r["index"] for r in reply["results"]] == [1, 2, 0]
    assert [r["document"].get("text") for r in reply["results"]] == ["0.3", "0.2", "0.1"]
    assert reply["results"][1]["document"]["multi_modal"] == [{"type": "image_url", "image_url": {"url": uri(1)}}]
    assert reply["model"] == "numbers"
    assert set(reply["usage"]) == {"prompt_tokens", "completion_tokens", "total_tokens"}
    bare = post(client, "/v1/rerank", documents=documents, return_documents=False, mmrerank={"explain": False})
    assert bare["results"] == [
        {"index": 1, "relevance_score": 0.3},
        {"index": 2, "relevance_score": 0.2},
        {"index": 0, "relevance_score": 0.1},
    ]


def test_tei_gives_a_bare_array(client: TestClient) -> None:
    assert post(client, "/rerank", texts=NUMBERS)[:2] == [{"index": 1, "score": 0.9}, {"index": 3, "score": 0.5}]
    raw = post(client, "/rerank", texts=NUMBERS, raw_scores=True, return_text=True, truncate=True, truncation_direction="Right")
    assert raw[0] == {"index": 1, "score": 9.0, "text": "0.9"}


def test_infinity_gives_plain_documents(client: TestClient) -> None:
    reply = post(client, "/rerank", model="numbers", documents=NUMBERS, top_n=1, return_documents=True, raw_scores=False)
    assert reply["object"] == "rerank"
    assert post(client, "/rerank", model="default/not-specified", documents=NUMBERS)["object"] == "rerank", "its client without a model"
    assert reply["results"] == [{"index": 1, "relevance_score": 0.9, "document": "0.9"}]
    assert post(client, "/rerank", documents=NUMBERS, raw_scores=True)["results"][0]["relevance_score"] == 9.0


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank"])
def test_voyage_is_told_by_its_fields(client: TestClient, path: str) -> None:
    for own in ({"top_k": 1}, {"truncation": True, "top_k": None}):
        reply = post(client, path, model="numbers", documents=NUMBERS, return_documents=True, **own)
        assert reply["data"][0] == {"index": 1, "relevance_score": 0.9, "document": "0.9"}
        assert (reply["object"], len(reply["data"])) == ("list", own["top_k"] or 4)


@pytest.mark.parametrize("path", ["/reranking", "/v1/reranking", "/v1/rerankings", "/v1/reranks"])
def test_paths_of_other_servers_lead_to_the_same(client: TestClient, path: str) -> None:
    assert post(client, path, model="numbers", documents=NUMBERS)["results"][0]["index"] == 1


def test_scores_stay_in_the_order_of_the_documents(client: TestClient) -> None:
    fields = (("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2"))
    for path, (one, many) in itertools.product(("/v1/score", "/score"), fields):
        reply = client.post(path, json={"model": "numbers", one: "q", many: NUMBERS}).json()
        assert [(entry["index"], entry["score"], entry["object"]) for entry in reply["data"]] == [
            (n, float(number), "score") for n, number in enumerate(NUMBERS)
        ]
    pairs = client.post("/v1/score", json={"model": "numbers", "text_1": ["q", "r"], "text_2": ["0.2", "0.9"]}).json()
    assert [entry["score"] for entry in pairs["data"]] == [0.2, 0.9]
    refusal = client.post("/v1/score", json={"text_1": ["q", "r"], "text_2": ["0.2"]})
    assert (refusal.status_code, "one query, or one a document" in refusal.json()["detail"]) == (422, True)


IN_NVIDIA = {"passages": [{"text": number} for number in NUMBERS]}
IN_DASHSCOPE = {"input": {"query": "q", "documents": NUMBERS}}
IN_ELASTIC = {"input": NUMBERS}
NOTED = "nothing is done about: guidance, max_tokens_per_doc"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/rerank", {"documents": NUMBERS}),
        ("/v2/rerank", {"documents": NUMBERS}),
        ("/rerank", {"texts": NUMBERS}),
        ("/rerank", {"documents": NUMBERS, "raw_scores": False}),
        ("/v1/rerank", {"documents": NUMBERS, "top_k": None}),
        ("/v1/ranking", IN_NVIDIA),
        ("/rerank", IN_ELASTIC),
        ("/v1/score", {"text_1": "q", "text_2": NUMBERS}),
    ],
)
def test_fields_that_nothing_is_done_about_are_said(client: TestClient, path: str, body: dict[str, Any]) -> None:
    query = {} if "text_1" in body else {"query": "q"}
    reply = client.post(path, json={**query, **body, "max_tokens_per_doc": 9, "guidance": "be strict", "priority": None})
    assert reply.headers["x-mmrerank-notes"] == NOTED
    assert reply.headers["x-mmrerank-reranked"] == "true"
    if "texts" not in body:  # a bare array has room for nothing else
        notes = reply.json()["mmrerank"]
        assert (notes[0] if isinstance(notes, list) else notes)["notes"] == [NOTED]
    quiet = client.post(path, json={**query, **body})
    assert "x-mmrerank-notes" not in quiet.headers


@pytest.mark.parametrize("path", ["/infinity/rerank", "/infinity/v1/rerank", "/v1/infinity/rerank"])
def test_a_path_of_its_own_makes_a_body_infinitys(client: TestClient, path: str) -> None:
    """litellm sends the same to vLLM, whose documents come back as objects."""
    body = {"model": "numbers", "query": "q", "documents": NUMBERS, "return_documents": True}
    assert client.post(path, json=body).json()["results"][0]["document"] == "0.9"
    assert client.post("/rerank", json=body).json()["results"][0]["document"] == {"text": "0.9"}


def test_what_clients_send_as_null_or_as_text_was_not_named(client: TestClient) -> None:
    reply = post(client, "/v1/rerank", model=None, documents=NUMBERS, top_n=None, return_documents=None, mmrerank=None)  # Xinference
    assert reply["results"][0]["document"] == {"text": "0.9"}
    reply = post(client, "/v1/rerank", documents=NUMBERS, return_documents="true", return_len="true")  # RAGFlow
    assert reply["tokens"] == {"input_tokens": 0, "output_tokens": 0}
    assert [(one["index"], one["relevance_score"]) for one in reply["data"]][:2] == [(1, 0.9), (3, 0.5)]  # Continue
    assert reply["meta"]["billed_units"] == {"search_units": 1}


def test_a_model_is_described(client: TestClient) -> None:
    assert client.get("/v1/models/turned").json()["model_type"] == "rerank"
    assert client.get("/v1/models/default").json()["id"] == "numbers"
    assert client.get("/v1/models/nothing").status_code == 404
    assert client.get("/v1/cluster/auth").json() == {"auth": False}
    about = client.get("/info").json()
    assert (about["model_id"], about["max_client_batch_size"], about["auto_truncate"]) == ("numbers", 20, False)


@pytest.mark.parametrize("path", ["/v1/ranking", "/ranking", "/v1/retrieval/nvidia/some-model/reranking", "/rerank"])
def test_nvidia_gets_rankings_on_the_scale_of_the_method(client: TestClient, path: str) -> None:
    reply = client.post(path, json={"model": "numbers", "query": {"text": "q"}, **IN_NVIDIA, "truncate": "END"}).json()
    assert [(line["index"], line["logit"]) for line in reply["rankings"]] == [(1, 9.0), (3, 5.0), (0, 2.0), (2, 0.0)]
    assert reply["mmrerank"]["notes"] == ["nothing is done about: truncate"]


def test_a_raw_score_is_given_only_where_every_document_has_one() -> None:
    """Log-odds of some beside zeros of the others would put those first that nobody looked at."""
    with asked(rerankers={"some": make("ragllava(depth=2)", station="rerankers", backend=FakeBackend())}) as client:
        for body in ({"texts": NUMBERS, "raw_scores": True}, IN_NVIDIA):
            reply = client.post("/rerank", json={"query": "q", **body}).json()
            lines = reply if isinstance(reply, list) else reply["rankings"]
            scores = [line.get("score", line.get("logit")) for line in lines]
            assert scores == sorted(scores, reverse=True)


def test_a_model_may_stand_in_the_path(client: TestClient) -> None:
    for path in ("/v1/retrieval/turned/reranking", "/_inference/rerank/turned", "/v1/_inference/rerank/turned"):
        reply = client.post(path, json={"query": "q", **IN_ELASTIC})
        assert [line["index"] for line in reply.json()["rerank"]] == [3, 2, 1, 0]
    assert client.post("/_inference/rerank/nothing", json={"query": "q", **IN_ELASTIC}).status_code == 404


@pytest.mark.parametrize("path", ["/api/v1/services/rerank/text-rerank/text-rerank", "/v1/rerank"])
def test_dashscope_speaks_of_input_and_output(client: TestClient, path: str) -> None:
    parameters = {"top_n": 2, "return_documents": True, "instruct": "be strict"}
    reply = client.post(path, json={"model": "numbers", **IN_DASHSCOPE, "parameters": parameters}).json()
    assert reply["output"]["results"] == [
        {"index": 1, "relevance_score": 0.9, "document": {"text": "0.9"}},
        {"index": 3, "relevance_score": 0.5, "document": {"text": "0.5"}},
    ]
    assert reply["usage"]["total_tokens"] == 0
    assert reply["request_id"]
    assert reply["mmrerank"]["notes"] == ["nothing is done about: parameters.instruct"]
    refusal = client.post(path, json={"model": "nothing", **IN_DASHSCOPE}).json()
    assert (refusal["code"], refusal["message"]) == ("NoSuchThing", refusal["error"]["message"])
    assert refusal["request_id"]


def test_elasticsearchs_typed_objects_are_texts_and_pictures(client: TestClient) -> None:
    picture = {"type": "image", "format": "base64", "value": uri(1)}
    reply = post(
        client, "/rerank", model="turned", query=picture, input=[{"type": "text", "value": "a boat"}, picture], return_documents=True
    )
    assert reply["rerank"] == [{"index": 1, "relevance_score": 1.0}, {"index": 0, "relevance_score": 0.5}]
    assert TURNED.queries[-1].images
    assert [(c.item.text, c.item.image is not None) for c in TURNED.given[-1]] == [("a boat", False), (None, True)]
    assert [line["index"] for line in post(client, "/rerank", model="numbers", query="q", input="0.3")["rerank"]] == [0]


@pytest.mark.parametrize(
    "document",
    [
        {"type": "image", "value": uri(1)},
        {"type": "image_url", "image_url": {"url": uri(1)}},
        {"image_url": uri(1)},
        {"type": "image_base64", "image_base64": uri(1)},
        {"content": [{"type": "image_base64", "image_base64": uri(1)}]},
        {"content": [{"type": "image_url", "image_url": uri(1)}]},
        {"content": [{"type": "image", "value": uri(1)}]},
        {"content": [{"type": "image", "image": uri(1)}]},
    ],
)
@pytest.mark.parametrize("dialect", [{"documents": []}, {"documents": [], "top_k": 1}, {"passages": []}, {"input": []}])
def test_a_picture_is_written_in_many_ways(client: TestClient, document: dict[str, Any], dialect: dict[str, Any]) -> None:
    field = next(iter(dialect))
    post(client, "/v1/rerank", **{**dialect, "model": "turned", field: [document]})
    (candidate,) = TURNED.given[-1]
    assert candidate.item.image is not None
    assert candidate.item.image.open().getpixel((0, 0)) == coloured(1).getpixel((0, 0))


def test_several_pictures_of_a_document_are_all_shown_side_by_side(client: TestClient) -> None:
    parts = [{"type": "text", "text": "two views"}, *({"type": "image_url", "image_url": {"url": uri(n)}} for n in (1, 2))]
    reply = post(client, "/v1/rerank", model="turned", documents=[{"content": parts}, {"image": uri(3)}])
    first, second = TURNED.given[-1]
    assert first.item.text == "two views"
    sheet = first.item.image.open()  # type: ignore[union-attr]
    one, other = coloured(1), coloured(2)
    assert sheet.getpixel((0, 0)) == one.getpixel((0, 0))
    assert sheet.getpixel((sheet.width - 1, 0)) == other.getpixel((other.width - 1, 0))
    assert sheet.width > one.width + other.width
    assert second.item.image.open().size == coloured(3).size  # type: ignore[union-attr]
    assert reply["mmrerank"]["notes"] == ["documents with several pictures are shown as one picture that holds them side by side"]
    assert "several" not in str(post(client, "/v1/rerank", model="turned", documents=[{"image": uri(3)}])["mmrerank"]["notes"])


def test_every_dialects_clients_find_the_message_of_an_error(client: TestClient) -> None:
    reply = client.post("/rerank", json={"query": "q", "texts": []}).json()
    message = reply["error"]["message"]
    assert (reply["message"], reply["detail"], reply["error_type"], reply["code"]) == (
        message,
        message,
        "invalid_request_error",
        "ValidationError",
    )


def test_an_instruction_that_a_method_does_not_take_is_said(client: TestClient) -> None:
    reply = post(client, "/v1/rerank", documents=NUMBERS, instruction="be strict")
    assert reply["mmrerank"]["notes"] == ["left aside, since this method takes none: the instruction of the query"]
    assert post(client, "/v2/rerank", documents=NUMBERS, instruction="be strict")["mmrerank"]["notes"] == [
        "nothing is done about: instruction"
    ]


def test_what_neither_tei_nor_infinity_sends_is_answered_as_vllm_does(client: TestClient) -> None:
    reply = post(client, "/rerank", model="numbers", documents=[{"content": [{"type": "text", "text": one}]} for one in NUMBERS], top_n=1)
    assert [(result["index"], result["document"]) for result in reply["results"]] == [(1, {"text": "0.9"})]
    assert reply["usage"]["total_tokens"] >= 0


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
def test_nothing_done_never_looks_like_a_result(path: str) -> None:
    """A model that gives no answer that can be read: no document is worth more than another, and the reply says so."""
    silent = make("mm_r5", station="rerankers", backend=FakeBackend(answer=lambda prompt: "I cannot rank these."))
    with asked(rerankers={"silent": silent}) as client:
        reply = post(client, path, documents=["a boat", "a hill"])
    assert [(result["index"], result["relevance_score"]) for result in reply["results"]] == [(0, 0.0), (1, 0.0)]
    assert (reply["mmrerank"]["reranked"], reply["mmrerank"]["status"], reply["mmrerank"]["scale"]) == (False, "fallback", "none")
    assert reply["mmrerank"]["notes"]


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
def test_an_order_alone_becomes_falling_scores(client: TestClient, path: str) -> None:
    results = post(client, path, model="turned", documents=NUMBERS)["results"]
    assert [(r["index"], r["relevance_score"]) for r in results] == [(3, 1.0), (2, 0.75), (1, 0.5), (0, 0.25)]


def test_the_first_configured_model_is_the_default_and_all_are_listed(client: TestClient) -> None:
    for name in (None, "default", "numbers"):
        assert post(client, "/v1/rerank", model=name, documents=NUMBERS)["model"] == "numbers"
    for path in ("/v1/models", "/models"):
        assert [card["id"] for card in client.get(path).json()["data"]] == ["numbers", "turned", "yes", "bm25"]


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
def test_a_model_that_is_not_there_is_answered_with_the_real_ones(client: TestClient, path: str) -> None:
    status, message, param = refused(client, path, model="rerank-v3.5", documents=NUMBERS)
    assert (status, param) == (404, "model")
    assert "there are: bm25, default, numbers, turned, yes." in message


def test_with_nothing_configured_bm25_answers() -> None:
    with asked() as client:
        reply = post(client, "/v2/rerank", model="default", query="red door", documents=["a boat", "the red door", "a door"])
        assert [r["index"] for r in reply["results"]] == [1, 2, 0]
        assert reply["mmrerank"]["method"] == "bm25(k1=1.5, b=0.75)"
        assert [card["id"] for card in client.get("/v1/models").json()["data"]] == ["bm25"]


def test_pictures_reach_the_reranker_however_they_are_given(client: TestClient) -> None:
    documents = [{"image": uri(1)}, {"image": uri(2).partition(",")[2]}, {"content": [{"type": "image_url", "image_url": {"url": uri(3)}}]}]
    post(client, "/v1/rerank", model="turned", documents=documents)
    pictures = [candidate.item.image.open().getpixel((0, 0)) for candidate in TURNED.given[-1]]  # type: ignore[union-attr]
    assert pictures == [coloured(n).getpixel((0, 0)) for n in (1, 2, 3)]
    both = {"text": "but green", "image": uri(1)}
    post(client, "/v1/rerank", model="turned", query=both, documents=["x"], mmrerank={"exclude_text": ["boat"], "exclude_images": [uri(2)]})
    query = TURNED.queries[-1]
    assert (query.text, len(query.images), query.exclude_text, len(query.exclude_images)) == ("but green", 1, ("boat",), 1)


def test_indexed_items_stand_for_their_picture_and_text(client: TestClient) -> None:
    reply = post(client, "/v1/rerank", model="turned", query={"id": "000.png"}, documents=[{"id": "001.png"}])
    assert reply["results"][0]["document"] == {"id": "001.png"}
    assert TURNED.given[-1][0].item.image is not None
    assert TURNED.queries[-1].images
    text_id = next(item.item_id for item in Collection.open(_path(client)).items() if item.item_id.endswith("::a"))
    reply = post(client, "/v1/rerank", model="bm25", query="red", documents=["a boat", {"id": text_id, "collection": "things"}])
    assert [r["index"] for r in reply["results"]] == [1, 0]
    assert refused(client, "/v1/rerank", documents=[{"id": "nothing"}])[::2] == (404, "documents.0")
    assert refused(client, "/v1/rerank", documents=[{"id": "a", "collection": "nothing"}])[0] == 404


def _path(client: TestClient) -> Path:
    path: Path = client.app.state.service.settings.collections[0]  # type: ignore[attr-defined]
    return path


def test_a_single_document_is_one_document_with_all_its_parts(client: TestClient) -> None:
    parts = [{"type": "text", "text": "0.5"}, {"type": "image_url", "image_url": {"url": uri(1)}}]
    assert len(post(client, "/v1/rerank", documents={"content": parts})["results"]) == 1
    assert len(post(client, "/v1/rerank", documents="0.5")["results"]) == 1


def test_a_picture_in_a_text_field_is_refused_with_the_right_shape(client: TestClient) -> None:
    picture = uri(1)
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("/v1/rerank", {"query": picture, "documents": ["x"]}),
        ("/v1/rerank", {"documents": ["x", picture]}),
        ("/v1/rerank", {"documents": [{"text": picture}]}),
        ("/v1/rerank", {"documents": [{"content": [{"type": "text", "text": picture}]}]}),
        ("/v2/rerank", {"documents": [picture]}),
        ("/rerank", {"texts": [picture]}),
        ("/rerank", {"documents": [picture]}),
        ("/v1/search", {"text": picture}),
    ]
    for path, body in bodies:
        reply = client.post(path, json={"query": "q", **body} if "rerank" in path else body)
        assert reply.status_code == 422, (path, body)
        assert '{"image": "data:image/png;base64,..."}' in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("document", "where", "words"),
    [
        ({"image": "data:image/png;base64,AAAA"}, "documents.1", "not a picture"),
        ({"image": "data:image/png,AAAA"}, "documents.1", "base64"),
        ({"image": "data:image/png;base64,%%%%%"}, "documents.1", "no base64"),
        ({"image": "https://example.com/a.png"}, "documents.1", "no URL is fetched here. Send the picture"),
        ({"image": "/etc/passwd"}, "documents.1", "no base64"),
        ({"image": "file:///etc/passwd"}, "documents.1", "no base64"),
        ({}, "documents.1", 'an object with "text"'),
        ({"content": []}, "documents.1.content", "at least 1"),
        ({"content": [{"type": "video_url", "video_url": {"url": "x"}}]}, "documents.1.content.0", "video_url"),
        ({"type": "image", "value": "AAAA"}, "documents.1", "not a picture"),
        ({"type": "audio", "value": "AAAAA"}, "documents.1", '"type": "text" or "image"'),
        ({"type": "text", "value": uri(1)}, "documents.1", '{"image": "data:image/png;base64,..."}'),
        (7, "documents.1", "expected a text; got a number"),
    ],
)  # fmt: skip
def test_a_document_that_cannot_be_read_is_named(client: TestClient, document: Any, where: str, words: str) -> None:
    status, message, param = refused(client, "/v1/rerank", documents=["x", document])
    assert status in (400, 422)
    assert param == where
    assert words in message


def test_counts_are_limited(client: TestClient) -> None:
    assert "at most 20 documents" in refused(client, "/v1/rerank", documents=["1"] * 21)[1]
    assert "at most 3 pictures" in refused(client, "/v1/rerank", documents=[{"image": uri(n)} for n in range(4)])[1]
    assert refused(client, "/v1/rerank", documents=[])[0] == 422
    assert refused(client, "/v1/rerank", documents=["1"], query="")[0] == 422
    assert refused(client, "/v1/rerank", documents=["1"], top_n=-1)[0] == 422
    assert len(post(client, "/v1/rerank", documents=["0.1"] * 4, top_n=0)["results"]) == 4


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/rerank", {"documents": [7] * 50_000}, "documents.0"),
        ("/v1/rerank", {"documents": ["x"] * 50_000}, "documents"),
        ("/v2/rerank", {"documents": [{}] * 50_000}, "documents.0"),
        ("/rerank", {"texts": [7] * 50_000}, "texts.0"),
        ("/rerank", {"documents": [7] * 50_000}, "documents.0"),
        ("/v1/rerank", {"documents": ["x"], "mmrerank": {str(n): n for n in range(50_000)}}, "mmrerank"),
        ("/v1/search", {str(n): n for n in range(50_000)}, None),
    ],
)  # fmt: skip
def test_of_many_wrong_entries_one_is_told_and_the_others_are_not_looked_at(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any], param: str | None
) -> None:
    found: list[int] = []
    monkeypatch.setattr(
        RequestValidationError, "__init__", lambda self, errors, **more: (found.append(len(errors)), INIT(self, errors, **more))[1]
    )
    status, message, where = refused(client, path, **body)
    assert (status, where, found) == (422, param, [1])
    assert len(message) < 1500


def test_what_is_wrong_is_told_shortly(client: TestClient) -> None:
    document = {"content": [{"type": "x" * 100_000}]}
    assert len(refused(client, "/v1/rerank", documents=[document])[1]) < 1500


def test_documents_held_to_be_irrelevant_come_back_too_and_are_marked() -> None:
    from mmrerank.parts import make

    strict = make("ragllava(threshold=0.99)", station="rerankers", backend=FakeBackend())
    with asked(rerankers={"strict": strict}) as client:
        results = post(client, "/v1/rerank", documents=["a", "b", "c"])["results"]
        assert sorted(r["index"] for r in results) == [0, 1, 2]
        assert all(r["mmrerank"]["irrelevant"] for r in results)


def test_what_was_mended_is_said() -> None:
    with asked(rerankers={"mm_r5": "mm_r5"}, backend=FakeBackend(answer=lambda prompt: "no idea")) as client:
        documents = [{"image": uri(n)} for n in range(2)]
        reply = post(client, "/v1/rerank", documents=documents)
        assert reply["mmrerank"]["status"] == "fallback"
        assert [r["index"] for r in reply["results"]] == [0, 1]
        assert post(client, "/v2/rerank", documents=documents)["meta"]["warnings"] == reply["mmrerank"]["notes"]
        metrics = client.get("/metrics").text
        assert 'mmrerank_repairs_total{stage="mm_r5",status="fallback"} 2.0' in metrics


def test_an_instruction_reaches_the_reranker_from_the_field_of_its_dialect_or_ours(collection: Path) -> None:
    prompts: list[str] = []

    def choose(prompt: Any, choices: Any) -> list[float]:
        prompts.append("".join(part for message in prompt for part in message.parts if isinstance(part, str)))
        return [0.0, 0.0]

    judge = "judge(recipe=qwen3_reranker, instruction='Find doors')"
    with asked(collections=(collection,), rerankers={"judge": judge}, backend=FakeBackend(choose=choose)) as client:
        post(client, "/v1/rerank", documents=["a red door"])
        post(client, "/v1/rerank", documents=["a red door"], instruction="Find windows")
        post(client, "/v2/rerank", documents=["a red door"], mmrerank={"instruction": "Find boats"})
    assert [prompt.partition("<Instruct>: ")[2].partition("\n")[0] for prompt in prompts] == ["Find doors", "Find windows", "Find boats"]
