"""Descriptors over HTTP: those that a collection is searched by, in the shapes of OpenAI, Jina and infinity."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from makers import coloured, write_pictures
from served import asked

from mmrerank import Collection


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embeddings")
    write_pictures(folder / "photos", range(2))
    made = Collection.create(folder / "things", encoders=["openclip/mini"])
    made.add([folder / "photos"])
    return folder / "things"


@pytest.fixture(scope="module")
def client(collection: Path) -> Iterator[TestClient]:
    with asked(collections=(collection,)) as client:
        yield client


def uri(number: int) -> str:
    stream = io.BytesIO()
    coloured(number).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def rows(client: TestClient, path: str = "/v1/embeddings", **body: Any) -> np.ndarray[Any, Any]:
    reply = client.post(path, json=body)
    assert reply.status_code == 200, reply.text
    assert [entry["index"] for entry in reply.json()["data"]] == list(range(len(reply.json()["data"])))
    return np.array([entry["embedding"] for entry in reply.json()["data"]], np.float32)


def test_texts_and_pictures_get_the_rows_of_the_encoder(client: TestClient, collection: Path) -> None:
    (encoder,) = Collection.open(collection).version.encoders()
    texts = encoder.encode(["a red boat", "a hill"])
    assert np.allclose(rows(client, input=["a red boat", "a hill"]), texts, atol=1e-5)
    assert np.allclose(rows(client, input="a red boat", path="/embeddings"), texts[:1], atol=1e-5)
    picture = encoder.encode([coloured(1)])
    mixed = rows(client, model=encoder.name, input=["a hill", {"image": uri(1)}, {"text": "a red boat"}])
    assert np.allclose(mixed, np.concatenate([texts[1:], picture, texts[:1]]), atol=1e-5)
    assert np.allclose(rows(client, model="default", input=[uri(1)], modality="image"), picture, atol=1e-5), "as infinity's clients"


def test_base64_is_little_endian_float32(client: TestClient) -> None:
    packed = client.post("/v1/embeddings", json={"input": "a hill", "encoding_format": "base64"}).json()["data"][0]["embedding"]
    assert np.array_equal(np.frombuffer(base64.b64decode(packed), "<f4"), rows(client, input="a hill")[0])


def test_openais_sdk_gets_them(collection: Path) -> None:
    openai = pytest.importorskip("openai", reason="openai is not installed")
    from served import serving

    with serving(collections=(collection,)) as url, openai.DefaultHttpxClient() as http:
        for base in (url, f"{url}/v1"):
            made = openai.OpenAI(api_key="none", base_url=base, max_retries=0, http_client=http)
            reply = made.embeddings.create(model="default", input=["a hill", "a boat"])  # it asks for base64 by itself
            assert len(reply.data) == 2
            assert np.linalg.norm(reply.data[0].embedding) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"input": [[1, 2, 3]]}, 422, "token ids"),
        ({"input": [1, 2]}, 422, "token ids"),
        ({"input": []}, 422, "at least 1"),
        ({"input": ["a", " "]}, 400, "input.1: expected one text or one picture"),
        ({"input": [{"text": "a", "image": uri(1)}]}, 400, "one text or one picture"),
        ({"input": [{"id": "000.png"}]}, 400, "not given out"),
        ({"input": "a", "dimensions": 7}, 400, "dimensions; got 7"),
        ({"input": "a", "model": "text-embedding-3-small"}, 404, "openclip/mini"),
        ({"input": [uri(1)]}, 422, "data URI in a text field"),
    ],
)  # fmt: skip
def test_what_cannot_be_encoded_is_refused_with_the_reason(client: TestClient, body: dict[str, Any], status: int, words: str) -> None:
    reply = client.post("/v1/embeddings", json=body)
    assert reply.status_code == status, reply.text
    assert words in reply.json()["error"]["message"]


def test_without_an_encoder_it_says_what_to_do() -> None:
    with asked() as client:
        reply = client.post("/v1/embeddings", json={"input": "a"})
        assert (reply.status_code, "--encoder" in reply.json()["detail"]) == (404, True)


def test_fields_that_nothing_is_done_about_are_said(client: TestClient) -> None:
    reply = client.post("/v1/embeddings", json={"input": "a hill", "user": "me", "input_type": "query"}).json()
    assert reply["mmrerank"]["notes"] == ["nothing is done about: user"]
