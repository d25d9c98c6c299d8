"""Every index keeps the contract of what it searches; a new file in `mmrerank/index/` is found by itself. Damaged files of ours besides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmrerank import parts
from mmrerank.errors import DamagedData, ManifestError
from mmrerank.testing import RowIndexContract, TextIndexContract
from mmrerank.testing.samples import shuffled_ids, structured

NAMES = parts.names("index")
OVER = {name: parts.module(name, station="index").SEARCHES for name in NAMES}
OVER_ROWS = [name for name in NAMES if OVER[name] == "rows"]
ROWS, IDS = structured(60, 8, seed=1), shuffled_ids(60, seed=1)


def there_or_skip(name: str) -> None:
    """Skips where the library of an index is no part of the installation."""
    library = {"milvus_index": "milvus_lite"}.get(name)
    if library is not None:
        pytest.importorskip(library, reason=f"{library} is not installed: pip install 'mmrerank[milvus]'")


class TestRowIndex(RowIndexContract):
    @pytest.fixture(autouse=True, params=OVER_ROWS)
    def _named(self, request: pytest.FixtureRequest) -> None:
        self.part = request.param
        there_or_skip(request.param)

    def test_its_tiny_has_the_default_options(self) -> None:
        assert self.options() == self.module.Options()


class TestTextIndex(TextIndexContract):
    @pytest.fixture(autouse=True, params=[name for name in NAMES if OVER[name] == "text"])
    def _named(self, request: pytest.FixtureRequest) -> None:
        self.part = request.param

    def test_its_tiny_has_the_default_options(self) -> None:
        assert self.options() == self.module.Options()


def test_there_are_indexes_to_check() -> None:
    assert {"flat", "faiss_index"} <= set(OVER_ROWS)
    assert set(OVER.values()) == {"rows", "text"}


@pytest.fixture(params=OVER_ROWS)
def full(request: pytest.FixtureRequest) -> Any:
    there_or_skip(request.param)
    index = parts.module(request.param, station="index").tiny()
    index.add(IDS, ROWS)
    return index


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "longer", "flipped", "other"])
def test_a_damaged_file_is_noticed_and_changes_nothing(full: Any, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "index"
    full.save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4 if damage == "flipped" else 0
    content = {"empty": b"", "cut": data[: len(data) * 2 // 3], "longer": data + b"\0", "flipped": data, "other": b"\x93NUMPY" * 99}
    path.unlink() if damage == "missing" else path.write_bytes(content[damage])
    with pytest.raises(DamagedData, match="index"):
        full.load(path)
    assert full.search(ROWS[:1], 1)[0].ids.tolist() == [IDS[0]]


def test_a_failed_save_leaves_the_former_file(full: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "index"
    full.save(path)
    before = path.read_bytes()

    def fails(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fails)
    full.remove(IDS[:3])
    with pytest.raises(OSError, match="disk full"):
        full.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["index"]


def test_a_file_of_another_dimension_is_refused(full: Any, tmp_path: Path) -> None:
    full.save(tmp_path / "index")
    other = parts.make(full.name, station="index", dimension=9)
    with pytest.raises(ManifestError, match="dimension"):
        other.load(tmp_path / "index")
