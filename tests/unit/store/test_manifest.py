from __future__ import annotations

from pathlib import Path

import pytest

from mmrerank.errors import DamagedData, InputError
from mmrerank.store.manifest import EncoderEntry, Manifest, Root, read_manifest, write_manifest


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    manifest = Manifest(
        index="faiss_index(kind='flat')",
        roots=(Root(path="/a b"), Root(path='/quo"te', prefix="b/")),
        encoders=(EncoderEntry(name="openclip/mini", dimension=128, weights="abc"),),
        made_by={"libraries": {"numpy": "2"}},
    )
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    assert [file.name for file in tmp_path.iterdir()] == ["collection.toml"]


def test_a_folder_without_one_is_no_collection(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mmrerank index"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "text", ["format = 1", "not toml = =", 'format = 1\nindex = "x"\nroots = [{wrong = 1}]', 'format = 99\nindex = "x"']
)
def test_a_broken_or_newer_one_is_damaged_data(tmp_path: Path, text: str) -> None:
    (tmp_path / "collection.toml").write_text(text)
    with pytest.raises(DamagedData, match=r"collection\.toml"):
        read_manifest(tmp_path)


def test_old_manifests_keep_loading() -> None:
    old = read_manifest(Path(__file__).parents[2] / "golden" / "collection-0.1.0")
    assert old.encoders[0].name == "openclip/mini"
    assert old.roots[1].prefix == "more/"
