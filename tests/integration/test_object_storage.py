"""A collection whose table lies in object storage, against a server on this machine that speaks S3."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from makers import ColourEncoder, picture, write_embeddings, write_pictures

from mmrerank.cli import main
from mmrerank.collection import Collection
from mmrerank.collection.verify import check
from mmrerank.errors import DamagedData, InputError
from mmrerank.testing.samples import structured

FAR = "openclip/ViT-B-32.laion2b_s34b_b79k@224"  # ready embeddings need none of it


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URI of an empty bucket, which the environment says how to reach."""
    reason = "moto is not installed: pip install 'moto[server]'"
    server_of = pytest.importorskip("moto.server", reason=reason)
    boto = pytest.importorskip("boto3", reason=reason)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    for name, value in {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test", "REGION": "us-east-1", "ALLOW_HTTP": "true"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT", address)
    client = boto.client("s3", region_name="us-east-1", endpoint_url=address)
    httpx.post(f"{address}/moto-api/reset")  # what is there belongs to the process, not to the server
    client.create_bucket(Bucket="photos")
    yield "s3://photos/c.lance"
    client.close()
    server.stop()


def test_a_collection_is_written_searched_changed_and_checked_there(tmp_path: Path, bucket: str, colour: ColourEncoder) -> None:
    write_pictures(tmp_path / "photos", range(9))
    collection = Collection.create(tmp_path / "c", encoders=[colour], table=bucket)
    assert collection.add([tmp_path / "photos"]).added == 9
    assert not (tmp_path / "c/items.lance").exists()
    (tmp_path / "photos/000.png").unlink()
    picture(77).save(tmp_path / "photos/001.png")
    report = collection.add([tmp_path / "photos"])
    assert (report.updated, report.unchanged, report.removed) == (1, 7, 1)
    later = Collection.open(tmp_path / "c")
    assert len(later) == 8
    assert [hit.item.item_id for hit in collection.search(image=picture(77), filter="item_id < '005.png'", k=1).hits] == ["001.png"]
    assert collection.remove(ids=["002.png"]) == 1
    assert check(collection) | {"ok": True, "items": 7, "files": []} == check(collection)
    with pytest.raises(InputError, match=r"s3://photos/c\.lance holds items already"):
        Collection.create(tmp_path / "other", table=bucket)


def test_the_command_line_takes_ready_embeddings_there(tmp_path: Path, bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_embeddings(tmp_path / "e", structured(20, 48, seed=5))
    command = ["index", str(tmp_path / "e"), "--into", str(tmp_path / "c"), "--table", bucket, "--encoder", FAR, "--json"]
    for added in (20, 0):
        assert main(command) == 0
        assert json.loads(capsys.readouterr().out)["added"] == added
    assert main([*command[:-3], "--table", "s3://photos/other.lance", "--json"]) == 1
    assert "and stays there" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_a_storage_that_is_not_there_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: str) -> None:
    Collection.create(tmp_path / "c", table=bucket)
    with pytest.raises(InputError, match="no table can be made at s3://nowhere"):
        Collection.create(tmp_path / "other", table="s3://nowhere/c.lance")
    (tmp_path / "c/collection.toml").write_text((tmp_path / "c/collection.toml").read_text().replace("photos/c", "nowhere/c"))
    with pytest.raises(DamagedData, match="the table s3://nowhere"):
        Collection.open(tmp_path / "c")
