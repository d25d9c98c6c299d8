"""Indexing with Ray's workers: what one process makes, after kills too; nobody sees a row before all are there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from makers import ColourEncoder, picture, write_pictures, write_tar

from mmrerank.collection import Collection
from mmrerank.collection.verify import check
from mmrerank.errors import InputError
from mmrerank.ingest import ray_workers
from mmrerank.ingest.run import IngestReport
from mmrerank.store.table import Table

pytest.importorskip("ray", reason="ray is not installed: pip install 'mmrerank[ray]'")
COLOUR = "makers:ColourEncoder"  # which workers make by its place
CHANGING = ("seen_ns", "key")


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[Any]:
    """Two workers of this machine, who find the makers of the tests."""
    import ray

    places = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", places)
        ray_workers.started(ray, num_cpus=2)
        yield ray
        ray.shutdown()


def older_state(folder: Path) -> None:
    write_pictures(folder, range(10))
    write_tar(folder / "shard.tar", range(6))


def newer_state(folder: Path) -> None:
    for n in range(4):
        (folder / f"{n:03}.png").unlink()
    for n in range(4, 7):
        picture(n + 1000).save(folder / f"{n:03}.png")
    write_pictures(folder / "new", range(20, 30))
    write_tar(folder / "shard.tar", range(3, 9))
    (folder / "broken.png").write_bytes(b"\x89PNG broken")


def rows_of(collection: Collection) -> dict[str, dict[str, Any]]:
    """Item id -> its fields and descriptor, failed ones too."""
    entry = collection.manifest.encoders[0]
    snapshot = collection.version.snapshot
    rows = {row["item_id"]: row for row in snapshot.table([name for name in snapshot.fields if name != "seen_ns"])}
    vectors = snapshot.descriptors(snapshot.described(entry.slug), entry.slug)
    for key, vector in zip(snapshot.described(entry.slug).tolist(), vectors, strict=True):
        next(row for row in rows.values() if row["key"] == key)["vector"] = vector
    return rows


def are_alike(one: Collection, other: Collection) -> bool:
    ours, theirs = rows_of(one), rows_of(other)
    return ours.keys() == theirs.keys() and all(
        np.allclose(row.pop("vector", 0), theirs[item_id].pop("vector", 0), atol=1e-6) and row == theirs[item_id]
        for item_id, row in ours.items()
    )


def counts(report: IngestReport) -> tuple[Any, ...]:
    failed = sorted((failure.path, failure.reason) for failure in report.failed)
    return report.expected, report.found, report.added, report.updated, report.unchanged, report.removed, failed


def made(path: Path) -> Collection:
    return Collection.create(path, encoders=[COLOUR])


def test_the_result_is_that_of_one_process(tmp_path: Path) -> None:
    alone, shared = made(tmp_path / "alone"), made(tmp_path / "shared")
    for state in (older_state, newer_state, lambda _: None):
        state(tmp_path / "files")
        reports = [
            alone.add([tmp_path / "files"], commit_items=4),
            shared.add([tmp_path / "files"], commit_items=4, workers="ray"),
        ]
        assert counts(reports[0]) == counts(reports[1])
        assert are_alike(alone, shared)
        assert check(shared)["ok"]
        assert not (shared.path / "staging").exists()


def test_fields_of_any_type_come_out_as_in_one_process(tmp_path: Path) -> None:
    import json

    values: list[Any] = [1, 2, 3.5, "four", True, None, 7, "8"]
    for n, value in enumerate(values):
        (tmp_path / f"{n}.jsonl").write_text(json.dumps({"text": f"row {n}", "size": value, f"own_{n % 3}": n}) + "\n")
    paths = sorted(tmp_path.glob("*.jsonl"))
    alone, shared = made(tmp_path / "alone"), made(tmp_path / "shared")
    alone.add(paths, commit_items=1)
    shared.add(paths, commit_items=1, workers="ray")
    assert {row["item_id"]: row for row in alone.version.snapshot.table(["item_id", "size", "own_0", "own_1", "own_2"])} == {
        row["item_id"]: row for row in shared.version.snapshot.table(["item_id", "size", "own_0", "own_1", "own_2"])
    }


def test_another_encoder_is_added_to_what_is_there(tmp_path: Path) -> None:
    older_state(tmp_path / "files")
    collection = Collection.create(tmp_path / "c")
    collection.add([tmp_path / "files"])
    report = collection.add([tmp_path / "files"], encoders=[COLOUR], workers="ray", commit_items=4)
    assert report.updated == 16
    alone = made(tmp_path / "alone")
    alone.add([tmp_path / "files"])
    assert are_alike(alone, collection)


class Stopped(Exception):
    pass


def test_what_was_staged_is_taken_up_and_nobody_sees_a_row_before_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older_state(tmp_path / "files")
    collection = made(tmp_path / "c")
    seen: list[int] = []

    def stopped(*_: Any) -> None:
        seen.append(len(Collection.open(collection.path)))
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(Table, "append_fragments", stopped)
        with pytest.raises(Stopped):
            collection.add([tmp_path / "files"], commit_items=4, workers="ray")
    assert (seen, len(list((collection.path / "staging").glob("*/result.json")))) == ([0], 4)

    def refuse(*_: Any) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(ray_workers.Worker, "encode", refuse)  # the class is sent to the workers as it is then
    report = collection.add([tmp_path / "files"], commit_items=4, workers="ray")
    assert (report.added, len(collection)) == (16, 16)
    data = {path.name for path in (collection.table.path / "data").iterdir()}
    used = {Path(file.path).name for fragment in collection.table._dataset.get_fragments() for file in fragment.metadata.files}
    assert data == used, "what the stopped run had written is gone"


def test_rows_that_came_meanwhile_are_not_doubled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the driver is killed right after its commit, and what was staged lies there still."""
    older_state(tmp_path / "files")
    collection = made(tmp_path / "c")
    monkeypatch.setattr(ray_workers, "is_current", lambda *_: False)
    monkeypatch.setattr("mmrerank.ingest.ray_workers.shutil.rmtree", lambda *_, **__: None)
    for _ in range(2):
        collection.add([tmp_path / "files"], commit_items=4, workers="ray")
        assert len(collection) == 16
    assert check(collection)["ok"]


def test_what_is_no_cluster_is_refused(tmp_path: Path, colour: ColourEncoder) -> None:
    with pytest.raises(InputError, match=r"expected 'ray' or 'ray://HOST:PORT'; got 'dask'"):
        made(tmp_path / "c").add([tmp_path], workers="dask")
