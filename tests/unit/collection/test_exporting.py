"""Embeddings that are exported: in every layout the rows come back as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from makers import ColourEncoder, write_embeddings, write_pictures

from mmrerank.collection import Collection
from mmrerank.collection.exporting import LAYOUTS, Layout, export
from mmrerank.errors import InputError
from mmrerank.testing.samples import structured
from mmrerank.types import Array


@pytest.fixture
def collection(tmp_path: Path, colour: ColourEncoder) -> Collection:
    write_pictures(tmp_path / "photos", range(7))
    write_embeddings(tmp_path / "e", structured(5, 48, seed=5), weight=list(range(5)))
    made = Collection.create(tmp_path / "c", encoders=[colour])
    made.add([tmp_path / "photos", tmp_path / "e"])
    return made


def rows_of(collection: Collection) -> dict[str, Array]:
    entry = collection.manifest.encoders[0]
    snapshot = collection.version.snapshot
    fields, rows = snapshot.records(snapshot.keys), snapshot.descriptors(snapshot.keys, entry.slug)
    return {field["item_id"]: row for field, row in zip(fields, rows, strict=True)}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("part_rows", [1, 5, 12, 1000])
def test_what_was_exported_is_indexed_as_it_was(tmp_path: Path, collection: Collection, layout: Layout, part_rows: int) -> None:
    report = export(collection.version, tmp_path / "out", layout=layout, part_rows=part_rows)
    parts = sum(file.endswith((".npy", ".parquet", ".lance")) and "metadata/" not in file for file in report.files)
    assert (report.items, report.dimension, parts) == (12, 48, 1 if layout == "lance" else -(-12 // part_rows))
    assert all((tmp_path / "out" / file).exists() for file in report.files)
    again = Collection.create(tmp_path / "again")
    assert again.add([tmp_path / "out"], encoders=[ColourEncoder()]).added == 12
    ours, theirs = rows_of(collection), {item_id.partition("::")[2]: row for item_id, row in rows_of(again).items()}
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(row, theirs[item_id]) for item_id, row in ours.items())
    item = next(item for item in again if item.item_id.endswith("img_emb_0.npy::3"))
    assert (item.text, item.metadata["weight"]) == ("picture 2 of part 0", 2)
    pictured = next(item for item in again if item.item_id.endswith("::004.png"))
    assert pictured.metadata["image_path"] == str(tmp_path / "photos" / "004.png")


def test_a_filter_says_which_rows(tmp_path: Path, collection: Collection) -> None:
    assert export(collection.version, tmp_path / "out", filter="weight > 2").items == 2
    assert pq.read_table(tmp_path / "out/metadata/metadata_0.parquet")["weight"].to_pylist() == [3, 4]
    assert np.load(tmp_path / "out/img_emb/img_emb_0.npy").shape == (2, 48)


def test_what_cannot_be_written_is_refused(tmp_path: Path, collection: Collection) -> None:
    for arguments, why in (
        ({"layout": "csv"}, "expected one of the layouts clip-retrieval, parquet, lance"),
        ({"filter": "weight > 99"}, "no item has a descriptor of 'colour' among those of 'weight > 99'"),
        ({"part_rows": 0}, "at least one row"),
        ({"filter": "nothing > 2"}, "cannot be used"),
    ):
        with pytest.raises(InputError, match=why):
            export(collection.version, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="is not empty"):
        export(collection.version, tmp_path / "photos")
    with pytest.raises(InputError, match="descriptors of none"):
        export(Collection.create(tmp_path / "new").version, tmp_path / "out")
