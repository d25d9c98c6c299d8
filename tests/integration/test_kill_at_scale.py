"""SIGKILL while ready embeddings are appended, and in Ray's workers and driver: the next run ends with exactly the right rows.

More rounds than these few: `MMRERANK_KILLS=25 python -m pytest tests/integration/test_kill_at_scale.py`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from makers import write_embeddings, write_pictures, write_tar

from mmrerank.collection import Collection

KILLS = int(os.environ.get("MMRERANK_KILLS", "2"))
COLOUR = "makers:ColourEncoder"
ROWS, PARTS = 35_000, 4  # of 48 numbers each part: three commits
FOLDERS = Path(__file__).parents[1], Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location("test_kill", Path(__file__).with_name("test_kill.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
test_kill = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(test_kill)


@contextmanager
def serving(**variables: str) -> Iterator[Any]:
    """A process that runs commands, in which the makers of the tests are found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([*map(str, FOLDERS), os.environ.get("PYTHONPATH", "")]))
        for name, value in variables.items():
            patch.setenv(name, value)
        server = test_kill.Server()
        yield server
        server.close()


def result_of(server: Any, *arguments: str) -> dict[str, Any]:
    done = server.run([*arguments, "--json"])
    assert done["code"] == 0, done
    result: dict[str, Any] = json.loads(done["stdout"])
    return result


def test_killed_while_embeddings_are_appended_the_next_run_has_each_row_once(tmp_path: Path) -> None:
    for part in range(PARTS):
        rows = np.random.default_rng(part).standard_normal((ROWS, 48)).astype(np.float16)
        write_embeddings(tmp_path / "e", rows, part=part, width=list(range(ROWS)))
    command = ["index", str(tmp_path / "e"), "--into", str(tmp_path / "c"), "--encoder", COLOUR]
    with serving() as server:
        latest = server.run(command)["seconds"]
        generator, killed, partly = random.Random(1), 0, 0
        while killed < KILLS:
            shutil.rmtree(tmp_path / "c")
            hurt = server.run(command, kill_after_s=generator.uniform(latest / 3, latest))
            killed += hurt["killed"]
            latest = latest if hurt["killed"] else min(latest, hurt["seconds"])
            report = result_of(server, *command)
            partly += 0 < report["unchanged"] < ROWS * PARTS
            assert report["expected"] == report["found"] == report["added"] + report["unchanged"] == ROWS * PARTS
            print(f"{killed} kills, {partly} of them between two commits", flush=True)
            verified = result_of(server, "verify", str(tmp_path / "c"))
            assert (verified["ok"], verified["items"]) == (True, ROWS * PARTS)
            assert result_of(server, *command)["unchanged"] == ROWS * PARTS


def older_state(folder: Path) -> None:
    write_pictures(folder, range(24))
    write_tar(folder / "shard.tar", range(8))


def newer_state(folder: Path) -> int:
    """Changes the files; returns how many items there are then."""
    (folder / "000.png").unlink()
    write_pictures(folder / "new", range(40, 64))
    write_tar(folder / "shard.tar", range(4, 12))
    return 23 + 24 + 8


def workers_of(ray_process: int) -> list[int]:
    """The processes of this cluster in which actors of ours are."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                words = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if words.startswith(b"ray::Worker") and ray_process in ancestors(int(folder.name)):
                found.append(int(folder.name))
    return found


def ancestors(process: int) -> list[int]:
    line = []
    while process > 1:
        try:
            process = int((Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
        line.append(process)
    return line


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where a cluster of two workers is reached."""
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'mmrerank[ray]'")
    from mmrerank.ingest.ray_workers import started

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([*map(str, FOLDERS), os.environ.get("PYTHONPATH", "")]))
        started(ray, num_cpus=2)
        yield ray.get_runtime_context().gcs_address
        ray.shutdown()


@contextmanager
def killing_workers(generator: random.Random, latest: float) -> Iterator[list[int]]:
    """Kills two workers, each at a random moment up to so many seconds after it was first seen; gets those that died."""
    ended, dead = threading.Event(), list[int]()

    def kill() -> None:
        while len(dead) < 2 and not ended.wait(0.05):
            left = [process for process in workers_of(os.getpid()) if process not in dead]
            if left and not ended.wait(generator.uniform(0, latest)):
                with suppress(ProcessLookupError):
                    os.kill(left[0], signal.SIGKILL)
                    dead.append(left[0])

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield dead
    finally:
        ended.set()
        thread.join()


def test_killed_in_workers_and_driver_the_next_run_ends_with_exactly_the_right_items(tmp_path: Path, address: str) -> None:
    files, template = tmp_path / "files", tmp_path / "template"
    older_state(files)
    with serving(RAY_ADDRESS=address) as server:
        first = ["index", str(files), "--into", str(template), "--encoder", COLOUR]
        assert result_of(server, *first)["added"] == 32
        wanted = newer_state(files)
        command = ["index", str(files), "--into", str(tmp_path / "c"), "--workers", "ray", "--commit-items", "4"]
        shutil.copytree(template, tmp_path / "alone")
        result_of(server, "index", str(files), "--into", str(tmp_path / "alone"))
        right = rows_of(tmp_path / "alone")
        generator, drivers, workers, latest, longest = random.Random(2), 0, 0, 30.0, 5.0
        while min(drivers, workers) < KILLS:
            shutil.rmtree(tmp_path / "c", ignore_errors=True)
            shutil.copytree(template, tmp_path / "c")
            if drivers <= workers:
                hurt = server.run(command, kill_after_s=generator.uniform(latest / 4, latest))
                drivers += hurt["killed"]
                latest = latest if hurt["killed"] else min(latest, hurt["seconds"])
                holds_all(result_of(server, *command), wanted)
            else:
                with killing_workers(generator, longest) as dead:
                    holds_all(result_of(server, *command), wanted)
                workers += len(dead)
                longest = longest if dead else longest / 2  # they were done before that
            print(f"{drivers} drivers and {workers} workers killed", flush=True)
            verified = result_of(server, "verify", str(tmp_path / "c"))
            assert (verified["ok"], verified["items"]) == (True, wanted)
            assert not (tmp_path / "c" / "staging").exists()
            assert rows_of(tmp_path / "c") == right, "the rows are those of one process"
            assert result_of(server, *command)["unchanged"] == wanted


def rows_of(folder: Path) -> dict[str, tuple[dict[str, Any], bytes]]:
    """Item id -> its fields, but for when it was looked at, and its descriptor; failed ones too."""
    with Collection.open(folder) as collection:
        snapshot = collection.version.snapshot
        keys, rows = snapshot.some_described(snapshot.keys, collection.manifest.encoders[0].slug)
        descriptors = {key: row.tobytes() for key, row in zip(keys.tolist(), rows, strict=True)}
        table = snapshot.table([name for name in snapshot.fields if name != "seen_ns"])
        return {row["item_id"]: (row, descriptors.get(row["key"], b"")) for row in table}


def holds_all(report: dict[str, Any], wanted: int) -> None:
    assert report["found"] == report["expected"] == report["added"] + report["updated"] + report["unchanged"] == wanted
