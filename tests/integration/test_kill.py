"""`mmrerank index` is killed (SIGKILL) at random points; the next run must end with exactly the right items.

A server process imports everything once and forks a child per run, so that a round costs what the indexing costs and not
the imports. Each round starts from a collection of an older state of the files, so additions, changes and removals are
all under way when the kill comes.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from makers import picture, write_pictures, write_tar

from mmrerank.encoders.openclip import save_tiny

KILLS = 25
FIRST_KILLS = 5
SERVER = Path(__file__).with_name("kill_server.py")


class Server:
    """Runs `mmrerank` commands in forked children; kills them after a delay when told to."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([sys.executable, str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, arguments: list[str], kill_after_s: float | None = None) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"arguments": arguments, "kill_after_s": kill_after_s}) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=300)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def server() -> Any:
    running = Server()
    yield running
    running.close()


def older_state(folder: Path) -> None:
    write_pictures(folder, range(30))
    write_pictures(folder / "below", range(30, 40))
    write_tar(folder / "shard.tar", range(10))


def newer_state(folder: Path) -> set[str]:
    """Changes the files; returns the ids that must be there in the end."""
    for n in range(10):
        (folder / f"{n:03}.png").unlink()
    for n in range(10, 20):
        picture(n + 1000).save(folder / f"{n:03}.png")
    write_pictures(folder / "new", range(60, 90))
    write_tar(folder / "shard.tar", range(5, 15))
    (folder / "broken.png").write_bytes(b"\x89PNG broken")
    pictures = {f"{n:03}.png" for n in range(10, 30)} | {f"below/{n:03}.png" for n in range(30, 40)}
    return pictures | {f"new/{n:03}.png" for n in range(60, 90)} | {f"shard.tar::{n:03}" for n in range(5, 15)}


def index(folder: Path, collection: Path) -> list[str]:
    return ["index", str(folder), "--into", str(collection), "--commit-items", "4", "--json"]


def test_killed_at_any_point_the_next_run_ends_with_exactly_the_right_items(tmp_path: Path, server: Server) -> None:
    (tmp_path / "encoder").mkdir()
    save_tiny(tmp_path / "encoder", seed=0)
    photos, template = tmp_path / "photos", tmp_path / "template"
    older_state(photos)
    first = server.run([*index(photos, template), "--encoder", f"openclip/local-dir:{tmp_path / 'encoder'}"])
    assert first["code"] == 0
    wanted = newer_state(photos)
    shutil.copytree(template, tmp_path / "unhurt")
    whole = server.run(index(photos, tmp_path / "unhurt"))
    assert json.loads(whole["stdout"])["removed"] > 0
    generator, killed, latest = random.Random(0), 0, whole["seconds"]
    while killed < KILLS:
        collection = tmp_path / "hurt"
        shutil.copytree(template, collection)
        hurt = server.run(index(photos, collection), kill_after_s=generator.uniform(0, latest))
        if hurt["killed"]:
            killed += 1
        else:  # it was done before the kill came: the machine is faster now than when the whole run was timed
            latest = min(latest, hurt["seconds"])
        check_next_run(server, photos, collection, wanted)
        shutil.rmtree(collection)


def test_killed_while_a_collection_is_made_the_same_command_makes_it(tmp_path: Path, server: Server) -> None:
    (tmp_path / "encoder").mkdir()
    save_tiny(tmp_path / "encoder", seed=0)
    write_pictures(tmp_path / "photos", range(8))
    collection = tmp_path / "c"
    command = [*index(tmp_path / "photos", collection), "--encoder", f"openclip/local-dir:{tmp_path / 'encoder'}"]
    latest = server.run(command)["seconds"]
    for n in range(FIRST_KILLS):
        shutil.rmtree(collection)
        server.run(command, kill_after_s=latest * n / FIRST_KILLS)
        assert json.loads(server.run(command)["stdout"])["found"] == 8
        held = json.loads(server.run(["info", str(collection), "--json"])["stdout"])
        assert [held["items"], *(encoder["items"] for encoder in held["encoders"])] == [8, 8]


def test_killed_while_small_files_are_joined_and_the_index_is_rebuilt_the_next_run_ends_right(tmp_path: Path, server: Server) -> None:
    """More than a twentieth is new, in many commits: the end of the run joins them and builds the index anew."""
    pytest.importorskip("faiss", reason="neither the extra `cpu` nor `gpu` is installed")
    (tmp_path / "encoder").mkdir()
    save_tiny(tmp_path / "encoder", seed=0)
    photos, template = tmp_path / "photos", tmp_path / "template"
    write_pictures(photos, range(24))
    made = [*index(photos, template), "--encoder", f"openclip/local-dir:{tmp_path / 'encoder'}"]
    assert server.run([*made, "--recipe", 'faiss_index(kind="ivf", storage="rabitq")'])["code"] == 0
    write_pictures(photos, range(24, 60))
    (photos / "003.png").unlink()
    shutil.copytree(template, tmp_path / "unhurt")
    generator, killed, latest = random.Random(1), 0, server.run(index(photos, tmp_path / "unhurt"))["seconds"]
    while killed < KILLS:
        collection = tmp_path / "hurt"
        shutil.copytree(template, collection)
        hurt = server.run(index(photos, collection), kill_after_s=generator.uniform(0.4 * latest, latest))
        killed += hurt["killed"]
        latest = latest if hurt["killed"] else min(latest, hurt["seconds"])
        report = json.loads(server.run(index(photos, collection))["stdout"])
        assert report["found"] == report["added"] + report["unchanged"] == 59
        verified = json.loads(server.run(["verify", str(collection), "--json"])["stdout"])
        assert verified | {"ok": True, "items": 59, "rebuilt": [], "files": []} == verified
        assert verified["recall"][0]["recall@10"]["items"] == 1.0  # more proposals than rows
        shutil.rmtree(collection)


def check_next_run(server: Server, photos: Path, collection: Path, wanted: set[str]) -> None:
    done = server.run(index(photos, collection))
    report = json.loads(done["stdout"])
    assert report["found"] == report["expected"] == len(wanted) + 1
    assert report["added"] + report["updated"] + report["unchanged"] == len(wanted)
    assert [failure["path"] for failure in report["failed"]] == ["broken.png"]
    held = server.run(["search", str(collection), "--text", "anything", "--k", "500", "--json"])
    assert {hit["item_id"] for hit in json.loads(held["stdout"])["hits"]} == wanted
    verified = server.run(["verify", str(collection), "--json"])
    assert json.loads(verified["stdout"])["ok"] is True
    again = server.run(index(photos, collection))
    assert json.loads(again["stdout"])["unchanged"] == len(wanted)
