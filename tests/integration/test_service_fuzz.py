"""Two thousand bad bodies, pictures and archives: each is answered with 4xx and a message, and the service is right afterwards."""

from __future__ import annotations

import base64
import io
import json
import random
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from makers import picture, write_pictures
from served import asked

from mmrerank import Collection

RERANK = ("/v1/rerank", "/v2/rerank", "/rerank")
GOOD: dict[str, dict[str, Any]] = {
    "/v1/rerank": {"query": "red", "documents": ["a red door", {"text": "a boat"}], "top_n": 2},
    "/v2/rerank": {"model": "default", "query": "red", "documents": ["a red door", "a boat"]},
    "/rerank": {"query": "red", "texts": ["a red door", "a boat"]},
    "/v1/search": {"text": "red", "k": 2, "filter": "item_id <> 'x'", "rerank": ["bm25"]},
    "/v1/ask": {"question": "red?", "k": 2},
}
WRONG: tuple[Any, ...] = (
    None,
    -1,
    1.5,
    10**30,
    True,
    [],
    {},
    [[]],
    {"$ref": "#"},
    float("nan"),
    float("inf"),
    "\ud800",
    "\x00",
    "data:image/png;base64,AA",
)
Bad = tuple[str, bytes, str]  # path, body, content type


@cache
def png(seed: int) -> bytes:
    stream = io.BytesIO()
    picture(seed).save(stream, "PNG")
    return stream.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")


def bomb(dice: random.Random) -> bytes:
    """A PNG of some hundred bytes that says it has more pixels than may be decoded."""
    width, height = dice.choice([(60_000, 60_000), (2**31 - 1, 1), (1, 2**31 - 1), (0, 9), (40_001, 1000)])
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def archive(dice: random.Random) -> bytes:
    stream = io.BytesIO()
    if dice.random() < 0.5:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("../../etc/passwd", b"\0" * 100_000)
    else:
        with tarfile.open(fileobj=stream, mode=dice.choice(["w", "w:gz"])) as packed:  # type: ignore[call-overload]
            member = tarfile.TarInfo("/etc/passwd")
            member.size = 5
            packed.addfile(member, io.BytesIO(b"01234"))
    return stream.getvalue()


def broken_picture(dice: random.Random) -> bytes:
    data = bytearray(png(dice.randrange(20)))
    kind = dice.randrange(5)
    if kind == 0:
        return bytes(data[: dice.randrange(len(data) - 12)])
    if kind == 1:
        data[dice.randrange(8, len(data) - 12)] ^= 1 << dice.randrange(8)
        return bytes(data)
    return (bomb, archive, lambda dice: dice.randbytes(dice.randrange(200)))[kind - 2](dice)


def as_picture(dice: random.Random) -> Bad:
    """A request with one broken picture."""
    uri = "data:image/png;base64," + base64.b64encode(broken_picture(dice)).decode()
    body: Any = dice.choice(
        [
            {"query": {"image": uri}, "documents": ["x"]},
            {"query": "q", "documents": ["x", {"image": uri}]},
            {"query": "q", "documents": [{"content": [{"type": "image_url", "image_url": {"url": uri}}]}]},
            {"query": "q", "documents": ["x"], "mmrerank": {"exclude_images": [uri]}},
        ]
    )
    return "/v1/rerank", json.dumps(body).encode(), "application/json"


def as_search(dice: random.Random) -> Bad:
    uri = "data:image/png;base64," + base64.b64encode(broken_picture(dice)).decode()
    return "/v1/search", json.dumps({"text": "red", dice.choice(["images", "exclude_images"]): [uri]}).encode(), "application/json"


def as_field(dice: random.Random) -> Bad:
    """A good request with a needed field of a wrong kind, or left out."""
    path = dice.choice(list(GOOD))
    body = dict(GOOD[path])
    needed = {"/v1/rerank": ["query", "documents"], "/v2/rerank": ["query", "documents"], "/rerank": ["query", "texts"]}
    field = dice.choice(needed.get(path, ["question"] if path == "/v1/ask" else ["k", "images", "positive", "rerank", "exclude_text"]))
    if dice.random() < 0.2 and path != "/v1/search":
        del body[field]
    else:
        wrong = [value for value in WRONG if not (path == "/v1/search" and value == [])]
        body[field] = dice.choice([value for value in wrong if not (value is None and path == "/v1/search")])
        if body[field] == "\x00":
            body[field] = ["\ud800"]
    return path, json.dumps(body).encode(), "application/json"


def as_bytes(dice: random.Random) -> Bad:
    """No JSON at all, or too deep, or cut, or said to be something else."""
    good = json.dumps(GOOD["/v1/rerank"]).encode()
    body = dice.choice(
        [
            b"",
            b"null",
            b"[" * dice.randrange(1, 20_000),
            b'{"a":' * dice.randrange(1, 5_000),
            good[: dice.randrange(len(good) - 1)],
            dice.randbytes(dice.randrange(1, 300)),
            archive(dice),
            b"\xff\xfe" + good,
            b"query=red&documents=x",
        ]
    )
    return (
        dice.choice(list(GOOD)),
        body,
        dice.choice(["application/json", "text/plain", "application/zip", "application/x-www-form-urlencoded"]),
    )


def as_name(dice: random.Random) -> Bad:
    """Names and conditions that lead out of what is served."""
    strange = ["../../etc/passwd", "/etc/passwd", "square(grids='/tmp/x')", "local/etc", "\x00", "a" * 299, "%2e%2e", "{}", "__class__"]
    body: Any = dice.choice(
        [
            {"text": "red", "collection": dice.choice(strange)},
            {"text": "red", "rerank": [dice.choice(strange)]},
            {"text": "red", "retriever": dice.choice([*strange, "dense(encoder='x')"])},
            {"positive": [dice.choice(strange)]},
            {"text": "red", "negative": [dice.choice(strange)]},
            {
                "text": "red",
                "filter": dice.choice(["; DROP TABLE items", "item_id = ", "nothing = 1", "'", "\x00", "((((", "1 / 'a'", 'x" OR']),
            },
            {"text": "red", "k": dice.choice([0, -1, 10**9])},
            {"text": "red", "depth": dice.choice([0, 10**9])},
            {"text": "red", "unknown": 1},
            {"images": [{"id": dice.choice(strange)}]},
            {"images": [dice.choice(["http://127.0.0.1/", "file:///etc/passwd", "/etc/passwd", "data:,x"])]},
            {},
        ]
    )
    return "/v1/search", json.dumps(body).encode(), "application/json"


MAKERS: tuple[Callable[[random.Random], Bad], ...] = (as_picture, as_search, as_field, as_bytes, as_name)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder: Path = tmp_path_factory.mktemp("fuzz")
    write_pictures(folder / "photos", range(2))
    (folder / "t.jsonl").write_text('{"id": "a", "text": "a red door"}\n{"id": "b", "text": "a green boat"}\n', encoding="utf-8")
    made = Collection.create(folder / "things")
    made.add([folder / "photos", folder / "t.jsonl"])
    with asked(collections=(folder / "things",)) as client:
        yield client


def right(client: TestClient) -> dict[str, Any]:
    """What the service says to good requests."""
    replies = {path: client.post(path, json=body) for path, body in GOOD.items()}
    assert all(reply.status_code == 200 for reply in replies.values()), {path: reply.text for path, reply in replies.items()}
    orders = {path: replies[path].json()["results"] for path in ("/v1/rerank", "/v2/rerank")}
    return {
        **{path: [(line["index"], line["relevance_score"]) for line in found] for path, found in orders.items()},
        "/rerank": replies["/rerank"].json(),
        "/v1/search": [(hit["item_id"], hit["score"]) for hit in replies["/v1/search"].json()["hits"]],
        "/v1/ask": replies["/v1/ask"].json()["answer"],
    }


def test_two_thousand_bad_requests_are_refused_and_change_nothing(client: TestClient) -> None:
    before, dice, statuses = right(client), random.Random(7), Counter[int]()
    for n in range(2000):
        path, body, kind = MAKERS[n % len(MAKERS)](dice)
        reply = client.post(path, content=body, headers={"content-type": kind})
        said = (n, path, body[:300], reply.status_code, reply.text[:300])
        assert 400 <= reply.status_code < 500, said
        error = reply.json()["error"]
        assert error["message"], said
        assert "Traceback" not in reply.text, said
        assert str(Path(__file__).parents[2]) not in reply.text, said
        statuses[reply.status_code] += 1
    assert {400, 404, 422} <= set(statuses), statuses
    assert right(client) == before
    assert client.get("/healthz").json()["requests"] == 0


@pytest.mark.parametrize(
    "path",
    ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static//etc/passwd", "/static/%00", "/static/" + "a" * 5000],
)
def test_no_file_outside_of_the_page_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("item", ["../../etc/passwd", "/etc/passwd", "photos/000.png/..", "' OR 1=1 --", "\x00"])
def test_no_picture_of_what_is_not_in_the_collection_is_served(client: TestClient, item: str) -> None:
    for kind in ("picture", "thumbnail"):
        reply = client.get(f"/v1/collections/things/{kind}", params={"id": item})
        assert 400 <= reply.status_code < 500
        assert reply.json()["error"]["message"]
