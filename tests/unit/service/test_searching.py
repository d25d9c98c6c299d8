"""Search, questions, pictures and the page, as a browser asks for them."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from makers import picture, write_pictures
from PIL import Image
from served import Reversed, asked

from mmrerank import Collection
from mmrerank.demo import shipped
from mmrerank.errors import BackendError, DamagedData, FormatError
from mmrerank.readers import body_of
from mmrerank.service import _collections, _searching
from mmrerank.service._collections import OpenCollections
from mmrerank.service._failures import envelope, status_of
from mmrerank.service._state import Service
from mmrerank.service.schemas import AskRequest
from mmrerank.service.settings import Settings
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, NotedPicture, Notes, Query, Ranking

ORDER = '{"ranking": [3, 1, 2]}'


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searching")
    write_pictures(folder / "photos", range(6))
    Collection.create(folder / "photos.collection", encoders=["openclip/mini"]).add([folder / "photos"])
    return folder / "photos.collection"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages") / "handbook"
    Collection.create(folder).add([shipped("handbook/harbour-station-annual-report.pdf")])
    return folder


@pytest.fixture(scope="module")
def client(pictures: Path, pages: Path) -> Iterator[TestClient]:
    backend = FakeBackend(answer=lambda prompt: ORDER)
    with asked(collections=(pictures, pages), rerankers={"square": "square(depth=3)", "turned": Reversed()}, backend=backend) as client:
        yield client


@pytest.fixture(scope="module")
def reader(pages: Path) -> Iterator[TestClient]:
    """A service without a model."""
    with asked(collections=(pages,)) as client:
        yield client


def search(client: TestClient, **body: Any) -> Any:
    reply = client.post("/v1/search", json={"collection": "photos.collection", **body})
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_the_text_of_a_hit_begins_behind_its_running_head(reader: TestClient, pages: Path) -> None:
    (hit,) = reader.post("/v1/search", json={"text": "wave buoy repair", "k": 1}).json()["hits"]
    text = Collection.open(pages).item(hit["item_id"]).text or ""
    assert "\f" in text, "the head stands in front, to be found"
    assert hit["text"] == body_of(text)[: len(hit["text"])]
    assert "\f" not in hit["text"]


def test_collections_say_what_can_be_asked_of_them(client: TestClient, reader: TestClient) -> None:
    said = client.get("/v1/collections").json()
    photos, handbook = said["collections"]
    assert (photos["name"], photos["items"], photos["takes"]) == ("photos.collection", 6, ["text", "image", "image+text"])
    assert photos["retrievers"] == ["composed", "dense", "square_fusion"]
    assert photos["rerankers"] == ["square", "turned", "bm25"]
    assert (handbook["has_pages"], handbook["takes"], handbook["retrievers"]) == (True, ["text"], ["lexical"])
    assert said["default_model"] == "square"
    alone = reader.get("/v1/collections").json()
    assert alone["answers_with"] is None
    assert alone["collections"][0]["rerankers"] == ["bm25"], "nothing is offered that cannot work here"


def test_hits_carry_their_pictures_and_no_place_of_this_machine(client: TestClient, pictures: Path) -> None:
    found = search(client, images=[{"id": "002.png"}], k=2)
    first = found["hits"][0]
    assert (first["item_id"], first["rank"], first["first_rank"]) == ("002.png", 1, 1)
    assert found["first_stage"] == []
    assert str(pictures.parent) not in json.dumps(found)
    shown = client.get(first["picture"])
    assert shown.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(shown.content)).size == picture(2).size


def test_the_order_before_and_after_and_the_grid_that_the_model_saw(client: TestClient) -> None:
    found = search(client, images=[{"id": "000.png"}], rerank=["square"], k=4)
    before = [line["item_id"] for line in found["first_stage"]]
    assert len(before) == 4
    assert [hit["item_id"] for hit in found["hits"]] == [before[2], before[0], before[1], before[3]]
    assert [hit["first_rank"] for hit in found["hits"]] == [3, 1, 2, 4]
    (grid,) = found["grids"]
    drawn = client.get(grid)
    assert drawn.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(drawn.content)).size == (2 * 336 + 3 * 8,) * 2
    assert client.get("/v1/grids/nothing").status_code == 404
    assert search(client, images=[{"id": "000.png"}], rerank=["square"], k=4)["grids"] == [grid]


def test_pictures_that_any_reranker_notes_can_be_had(pictures: Path) -> None:
    class Noting(Reversed):
        """One of the operator's own, which draws something for each query."""

        def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
            noted = tuple(NotedPicture(name=f"{n}", picture=picture(n, size=(30, 20))) for n in (1, 2))
            return replace(super().rerank(query, candidates), notes=Notes(pictures=noted))

    with asked(collections=(pictures,), rerankers={"noting": Noting()}) as client:
        grids = search(client, images=[{"id": "000.png"}], rerank=["noting", "noting"], k=4)["grids"]
        assert len(grids) == 4
        assert grids[:2] == grids[2:], "the same picture has the same name"
        assert Image.open(io.BytesIO(client.get(grids[1]).content)).tobytes() == picture(2, size=(30, 20)).tobytes()


def test_marks_lead_to_more_like_the_good_and_none_of_the_bad(client: TestClient) -> None:
    found = [hit["item_id"] for hit in search(client, positive=["001.png"], negative=["003.png"], k=9)["hits"]]
    assert found[0] == "001.png"
    assert len(found) == 5
    assert "003.png" not in found
    filtered = search(client, positive=["001.png"], filter="item_id <> '001.png'", k=9)["hits"]
    assert "001.png" not in [hit["item_id"] for hit in filtered]
    assert len(filtered) == 5


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"collection": "nothing", "text": "x"}, 404, "collection"),
        ({"text": "x", "rerank": ["superglobal"]}, 404, "model"),
        ({"text": "x", "retriever": "lexical"}, 404, "retriever"),
        ({"text": "x", "retriever": "dense(encoder='other')"}, 404, "retriever"),
        ({"text": "x", "k": 10_000}, 400, "k"),
        ({"text": "x", "depth": 10_000}, 400, "depth"),
        ({"images": [{"id": "nothing"}]}, 404, "images.0"),
        ({"positive": ["nothing"]}, 400, None),
        ({"text": "x", "filter": "nothing = 1"}, 400, None),
        ({"text": "x", "what": 1}, 422, "what"),
        ({}, 400, None),
    ],
)
def test_what_cannot_be_searched_is_said(client: TestClient, body: dict[str, Any], status: int, param: str | None) -> None:
    reply = client.post("/v1/search", json={"collection": "photos.collection", **body})
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (status, param), error
    assert client.post("/v1/search", json={"text": "x"}).json()["error"]["param"] == "collection"


def test_an_answer_cites_its_page_with_the_passage_boxed(reader: TestClient) -> None:
    reply = reader.post("/v1/ask", json={"question": "What did the skipper accept for the drifting buoy?", "k": 3}).json()
    assert reply["found"]
    (citation, *_) = reply["citations"]
    assert citation["page_number"] >= 1
    assert citation["boxes"]
    assert all(0 <= left < right <= 1 and 0 <= top < bottom <= 1 for left, top, right, bottom in citation["boxes"])
    shown = Image.open(io.BytesIO(reader.get(citation["picture"] + "&side=500").content))
    assert max(shown.size) == 500
    assert len(reply["hits"]) == 3
    assert [stage["name"].split("(")[0] for stage in reply["stages"]] == ["lexical", "extractive"]


def events(text: str) -> list[tuple[str, Any]]:
    blocks = [block.split("\n") for block in text.strip().split("\n\n") if not block.startswith(":")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


def test_an_answer_comes_as_it_is_written_and_then_whole(client: TestClient, reader: TestClient) -> None:
    for asked_of, body in ((client, {"collection": "handbook"}), (reader, {})):
        question = {"question": "What did the skipper accept for the drifting buoy?", **body}
        whole = asked_of.post("/v1/ask", json=question).json()
        stream = asked_of.post("/v1/ask", json={**question, "stream": True})
        assert stream.headers["content-type"].startswith("text/event-stream")
        *words, (last, answer) = events(stream.text)
        assert last == "answer"
        assert {name for name, _ in words} == {"text"}
        assert "".join(data["text"] for _, data in words).strip()
        assert (answer["answer"], answer["citations"]) == (whole["answer"], whole["citations"])


def test_what_is_wrong_with_a_streamed_question_is_a_status_before_and_an_event_after(reader: TestClient) -> None:
    assert reader.post("/v1/ask", json={"question": "x", "stream": True, "collection": "nothing"}).status_code == 404
    ((name, data),) = events(reader.post("/v1/ask", json={"question": "x", "stream": True, "filter": "nothing = 1"}).text)
    assert name == "error"
    assert data["error"]["type"] == "invalid_request_error"


def test_a_streamed_question_waits_its_turn_and_hides_what_broke(pages: Path) -> None:
    def breaks(prompt: Any) -> str:
        raise RuntimeError("secret")

    question = {"question": "What did the skipper accept for the drifting buoy?", "stream": True}
    with asked(collections=(pages,), backend=FakeBackend(answer=breaks)) as client:
        ((name, data),) = events(client.post("/v1/ask", json=question).text)
        assert (name, data["error"]["code"]) == ("error", "InternalError")
        assert "secret" not in json.dumps(data)
        client.app.state.service.work._taken = 80  # type: ignore[attr-defined]
        assert client.post("/v1/ask", json=question).status_code == 429
        client.app.state.service.work._taken = 0  # type: ignore[attr-defined]


def test_pictures_are_small_on_request_and_not_sent_again_unchanged(client: TestClient) -> None:
    page = {"id": "harbour-station-annual-report.pdf#page=2"}
    small = client.get("/v1/collections/handbook/thumbnail", params=page)
    assert max(Image.open(io.BytesIO(small.content)).size) == 320
    assert "private" in small.headers["cache-control"]
    again = client.get("/v1/collections/handbook/thumbnail", params=page, headers={"if-none-match": small.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/v1/collections/handbook/picture", params={**page, "side": 9}).status_code == 422
    assert client.get("/v1/collections/handbook/picture", params={"id": "nothing"}).status_code == 404


def test_a_picture_whose_file_is_gone_is_said_without_its_place(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", range(2))
    Collection.create(tmp_path / "c").add([tmp_path / "photos"])
    (tmp_path / "photos" / "000.png").unlink()
    with asked(collections=(tmp_path / "c",)) as client:
        reply = client.get("/v1/collections/c/thumbnail", params={"id": "000.png"})
        assert reply.status_code == 410
        assert str(tmp_path) not in reply.text


def test_what_others_write_is_found_without_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_collections, "LOOK_AGAIN_S", 0.0)
    lexical = Collection.create(tmp_path / "t")
    (tmp_path / "t.jsonl").write_text('{"id": "a", "text": "a red door"}\n')
    lexical.add([tmp_path / "t.jsonl"])
    with asked(collections=(tmp_path / "t",)) as client:
        assert len(client.post("/v1/search", json={"text": "red"}).json()["hits"]) == 1
        (tmp_path / "t.jsonl").write_text('{"id": "a", "text": "a red door"}\n{"id": "b", "text": "a red boat"}\n')
        lexical.add([tmp_path / "t.jsonl"])
        assert len(client.post("/v1/search", json={"text": "red"}).json()["hits"]) == 2
        assert client.get("/v1/collections").json()["collections"][0]["items"] == 2


def test_two_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for place in ("a", "b"):
        Collection.create(tmp_path / place / "things")
    with asked(collections=(tmp_path / "a" / "things", tmp_path / "b" / "things")) as client:
        assert [held["name"] for held in client.get("/v1/collections").json()["collections"]] == ["things", "things-2"]


def test_a_name_with_a_number_hides_no_other_collection(tmp_path: Path) -> None:
    for names, served in ((["emoji-2", "emoji"], ["emoji-2", "emoji"]), (["photos-2023", "photos"], ["photos-2023", "photos"])):
        folders = tuple(Collection.create(tmp_path / name).path for name in names)
        assert OpenCollections(folders).names == served
    Collection.create(tmp_path / "more" / "emoji")
    assert OpenCollections([tmp_path / "emoji-2", tmp_path / "emoji", tmp_path / "more" / "emoji"]).names == ["emoji-2", "emoji", "emoji-3"]


class Opening(Reversed):
    """Opens the pictures."""

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        for candidate in candidates:
            assert candidate.item.image is not None
            candidate.item.image.open()
        return super().rerank(query, candidates)


def test_a_picture_that_went_away_is_said_without_its_place_by_whatever_meets_it(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", range(3))
    Collection.create(tmp_path / "c").add([tmp_path / "photos"])
    (tmp_path / "photos" / "000.png").unlink()
    (tmp_path / "photos" / "001.png").write_bytes(b"\x89PNG")
    with asked(collections=(tmp_path / "c",), rerankers={"opening": Opening()}) as client:
        for name in ("000.png", "001.png"):
            reply = client.post("/v1/rerank", json={"query": "q", "documents": [{"id": name}]})
            assert reply.status_code == 410, reply.text
            assert name in reply.json()["error"]["message"]
            assert str(tmp_path) not in reply.text


def test_an_error_that_names_a_place_of_this_machine_loses_it(tmp_path: Path) -> None:
    Collection.create(tmp_path / "c")
    with asked(collections=(tmp_path / "c",)) as client:
        said = client.app.state.service.redact_paths  # type: ignore[attr-defined]
    for error, status, told in (
        (DamagedData(f"{tmp_path}/c/rows is broken"), 500, "c/rows is broken"),
        (FormatError("gone", path="/elsewhere/x.png"), 410, "a file: gone"),
        (FormatError("not a picture", path="data URI"), 400, "data URI: not a picture"),
    ):
        assert (status_of(error), envelope(error, said)["error"]["message"]) == (status, told)


def test_a_streamed_error_says_no_place_of_this_machine(pages: Path) -> None:
    def breaks(prompt: Any) -> str:
        raise BackendError(f"no model in {pages}/models")

    question = {"question": "What did the skipper accept for the drifting buoy?", "stream": True}
    with asked(collections=(pages,), backend=FakeBackend(answer=breaks)) as client:
        ((name, data),) = events(client.post("/v1/ask", json=question).text)
    assert (name, data["error"]["message"]) == ("error", "no model in handbook/models")


def test_a_client_that_leaves_a_stream_leaves_no_task_behind(pages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()
    monkeypatch.setattr(_searching, "answered", lambda *_: free.wait(20))

    class Staying:
        async def receive(self) -> dict[str, Any]:
            await asyncio.sleep(60)
            raise AssertionError("nobody waits so long")

    async def leaves() -> set[Any]:
        service = Service(Settings(collections=(pages,)))
        stream = _searching._events(service, AskRequest(question="q", stream=True), Staying())  # type: ignore[arg-type]
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.wait([waiting])
        await asyncio.sleep(0.05)
        free.set()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        await service.work.close(5)
        return left

    assert asyncio.run(leaves()) == set()


def test_stages_calls_and_tokens_are_counted(client: TestClient) -> None:
    search(client, images=[{"id": "000.png"}], rerank=["square"])
    lines = client.get("/metrics").text
    for series in (
        'mmrerank_stage_seconds_count{stage="dense"}',
        'mmrerank_stage_seconds_count{stage="square"}',
        'mmrerank_model_calls_total{stage="square"}',
        'mmrerank_tokens_total{kind="prompt",stage="square"}',
        'mmrerank_requests_total{path="/v1/search",status="200"}',
        "mmrerank_requests_taken 0.0",
    ):
        assert series in lines
    assert "000.png" not in lines


def test_the_page_is_served_with_a_policy_that_lets_nothing_in(client: TestClient) -> None:
    page = client.get("/")
    if page.status_code == 404:
        pytest.skip("the page is not there")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.headers["content-security-policy"]
