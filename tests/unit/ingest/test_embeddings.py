"""Ready embeddings: which layouts are told, what is refused, and what a second run makes of changed and half-written parts."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from makers import ColourEncoder, picture, write_embeddings, write_pictures

from mmrerank.collection import Collection
from mmrerank.collection.encoders import name_of
from mmrerank.collection.verify import check, describe
from mmrerank.errors import FormatError, InputError, ManifestError, ShapeError
from mmrerank.ingest.changes import TICK_NS
from mmrerank.ingest.files import list_files, readers, vectors_at, with_roots
from mmrerank.ingest.run import IngestReport
from mmrerank.parts import module, names
from mmrerank.testing.samples import structured
from mmrerank.types import Query

FAR = "openclip/ViT-B-32.laion2b_s34b_b79k@224"  # its weights are not here, and nothing of this needs them
ROWS = structured(20, 48, seed=5)


def make(tmp_path: Path) -> Collection:
    return Collection.create(tmp_path / "collection")


def adds_up(report: IngestReport) -> bool:
    return report.found == report.expected == report.added + report.updated + report.unchanged + len(report.failed)


def settle(folder: Path) -> None:
    for file in folder.rglob("*"):
        os.utime(file, (time.time() - 60, time.time() - 60))
    time.sleep(2 * TICK_NS / 1e9)


def stored(collection: Collection) -> dict[str, Any]:
    """Item id -> its row."""
    entry = collection.manifest.encoders[0]
    snapshot = collection.version.snapshot
    fields, rows = snapshot.records(snapshot.keys), snapshot.descriptors(snapshot.keys, entry.slug)
    return {field["item_id"]: row for field, row in zip(fields, rows, strict=True)}


def in_parquet(folder: Path, rows: Any, **more: Any) -> Path:
    folder.mkdir()
    for part, some in enumerate(np.array_split(rows, 2)):
        columns = {"text": [f"row {n}" for n in range(len(some))], "embedding": list(some.astype(np.float32)), **more}
        pq.write_table(pa.table(columns), folder / f"train-{part:05}-of-00002.parquet")
    return folder


def in_lance(folder: Path, rows: Any) -> Path:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
    path = folder / "rows.lance"
    lance.write_dataset(pa.table({"id": [f"r{n}" for n in range(len(rows))], "caption": ["x"] * len(rows), "vector": vectors}), str(path))
    return path


def test_rows_of_clip_retrieval_are_taken_with_their_words_and_lengthened_to_one(tmp_path: Path) -> None:
    for part in range(2):
        rows = (3 * ROWS[10 * part : 10 * part + 10]).astype(np.float16)
        write_embeddings(tmp_path / "e", rows, part=part, url=["https://a/b.jpg"] * 10, width=list(range(10)))
    collection = make(tmp_path)
    report = collection.add([tmp_path / "e"], encoders=[FAR])
    assert (report.added, len(report.failed)) == (20, 0)
    assert adds_up(report)
    rows = stored(collection)
    assert len(rows) == 20
    assert all(abs(np.linalg.norm(row) - 1) < 1e-6 for row in rows.values())
    assert np.allclose(rows["img_emb/img_emb_1.npy::3"], ROWS[12], atol=2e-3)
    item = collection.item("img_emb/img_emb_1.npy::3")
    assert (item.text, item.metadata) == ("picture 2 of part 1", {"url": "https://a/b.jpg", "width": 2})
    assert collection.manifest.encoders[0].dimension == 48
    assert "not on this machine" in report.notes[0]
    assert check(collection)["ok"]


def test_an_index_that_may_miss_something_is_tested_without_an_encoder_that_is_not_here(tmp_path: Path) -> None:
    pytest.importorskip("faiss", reason="neither the extra `cpu` nor `gpu` is installed")
    write_embeddings(tmp_path / "e", structured(400, 48, seed=6), part=0)
    collection = Collection.create(tmp_path / "collection", index='faiss_index(kind="ivf", storage="sq8", probes=1000)')
    assert collection.add([tmp_path / "e"], encoders=[FAR]).added == 400
    recall = describe(collection)["indexes"][0]["recall@10"]
    assert set(recall) == {"items"}, "texts would need the encoder"
    assert recall["items"] > 0.9


@pytest.mark.parametrize("layout", ["npy alone", "npy with tables beside", "parquet", "data folder", "lance", "in a folder", "one file"])
def test_layouts_are_told_by_what_lies_there(tmp_path: Path, layout: str) -> None:
    folder = tmp_path / "e"
    if layout.startswith("npy"):
        folder.mkdir()
        for part, some in enumerate(np.array_split(ROWS, 2)):
            np.save(folder / f"part_{part}.npy", some)
            if "tables" in layout:
                pq.write_table(pa.table({"id": [f"{part}-{n}" for n in range(10)]}), folder / f"meta_{part}.parquet")
    elif layout in ("lance", "in a folder"):
        folder.mkdir()
        table = in_lance(folder, ROWS)
        folder = table if layout == "lance" else folder
    elif layout == "one file":
        folder = in_parquet(folder, np.concatenate([ROWS, ROWS])) / "train-00000-of-00002.parquet"
    else:
        in_parquet(folder / "data" if layout == "data folder" and not folder.mkdir() else folder, ROWS)
    collection = make(tmp_path)
    report = collection.add([folder], encoders=[FAR])
    assert report.added == 20, report
    assert np.allclose(sorted(map(tuple, stored(collection).values())), sorted(map(tuple, ROWS)), atol=1e-6)
    assert collection.add([folder]).unchanged == 20
    assert check(collection, content=True)["ok"]
    assert not check(collection, content=True)["files"]


def test_a_collection_is_no_folder_of_ready_embeddings(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "e", ROWS)
    make(tmp_path).add([tmp_path / "e"], encoders=[FAR])
    assert vectors_at(tmp_path / "collection" / "items.lance", readers())[1], "its table has such a column"
    assert vectors_at(tmp_path / "collection", readers()) == (None, ())


def test_a_second_run_reads_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_embeddings(tmp_path / "e", ROWS)
    settle(tmp_path / "e")
    collection = make(tmp_path)
    collection.add([tmp_path / "e"], encoders=[FAR])
    from mmrerank.readers.embeddings import EmbeddingsReader

    def refuse(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(EmbeddingsReader, "rows", refuse)
    again = collection.add([tmp_path / "e"])
    assert (again.unchanged, again.added, again.notes) == (20, 0, ())
    assert adds_up(again)


def test_a_part_of_which_some_rows_are_written_is_brought_to_its_end(tmp_path: Path) -> None:
    """As a kill between two commits leaves it."""
    write_embeddings(tmp_path / "e", ROWS)
    collection = make(tmp_path)
    collection.add([tmp_path / "e"], encoders=[FAR])
    whole = stored(collection)
    collection.remove(filter="item_id LIKE '%1'")
    report = collection.add([tmp_path / "e"])
    assert (report.added, report.unchanged) == (2, 18)
    assert stored(collection).keys() == whole.keys()


def test_changed_longer_and_missing_parts_are_followed(tmp_path: Path) -> None:
    for part in range(2):
        write_embeddings(tmp_path / "e", ROWS[:10], part=part)
    collection = make(tmp_path)
    collection.add([tmp_path / "e"], encoders=[FAR])
    write_embeddings(tmp_path / "e", np.concatenate([ROWS[10:11], ROWS[1:8]]), part=0)
    report = collection.add([tmp_path / "e"])
    assert (report.updated, report.unchanged, report.removed) == (1, 17, 2)
    assert adds_up(report)
    assert np.allclose(stored(collection)["img_emb/img_emb_0.npy::1"], ROWS[10], atol=1e-6)
    (tmp_path / "e/img_emb/img_emb_1.npy").unlink()
    (tmp_path / "e/metadata/metadata_1.parquet").unlink()
    assert collection.add([tmp_path / "e"]).removed == 10
    assert len(collection) == 8


def test_other_words_of_the_same_vectors_are_a_change(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "e", ROWS)
    settle(tmp_path / "e")
    collection = make(tmp_path)
    collection.add([tmp_path / "e"], encoders=[FAR])
    pq.write_table(pa.table({"caption": ["other words", *("picture" for _ in range(19))]}), tmp_path / "e/metadata/metadata_0.parquet")
    assert collection.add([tmp_path / "e"]).updated == 20
    assert collection.item("img_emb/img_emb_0.npy::1").text == "other words"


def test_rows_that_are_no_directions_and_keys_that_come_twice_fail_alone(tmp_path: Path) -> None:
    rows = ROWS.copy()
    rows[3], rows[4, 0] = 0, np.nan
    keys = [f"k{n}" for n in range(20)]
    keys[6], keys[7] = "k5", " "
    write_embeddings(tmp_path / "e", rows, key=keys)
    collection = make(tmp_path)
    for _ in range(2):
        report = collection.add([tmp_path / "e"], encoders=[FAR])
        assert adds_up(report)
        reasons = {failure.path.rpartition("::")[2]: failure.reason for failure in report.failed}
        assert reasons == {
            "k3": "its vector is zero",
            "k4": "its vector has no finite length",
            "row=7": "its key 'k5' came before in this file",
            "row=8": "its key is empty, or no readable text",
        }
        assert len(collection) == 16


def test_counts_and_numbers_that_do_not_belong_together_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "e", ROWS)
    collection = make(tmp_path)
    pq.write_table(pa.table({"caption": ["x"] * 19}), tmp_path / "e/metadata/metadata_0.parquet")
    with pytest.raises(FormatError, match=r"has 20 rows and metadata/metadata_0.parquet, which describes them, 19"):
        collection.add([tmp_path / "e"], encoders=[FAR])
    (tmp_path / "e/metadata/metadata_0.parquet").rename(tmp_path / "e/metadata/metadata_1.parquet")
    with pytest.raises(FormatError, match=r"none has the number of img_emb_0\.npy"):
        collection.add([tmp_path / "e"], encoders=[FAR])
    assert (len(collection), collection.manifest.encoders, collection.manifest.roots) == (0, (), ())


def test_another_dimension_and_no_encoder_are_refused(tmp_path: Path, colour: ColourEncoder) -> None:
    write_embeddings(tmp_path / "e", ROWS[:, :12])
    collection = make(tmp_path)
    with pytest.raises(InputError, match="nobody says which encoder made them"):
        collection.add([tmp_path / "e"])
    collection.add([tmp_path / "e"], encoders=[FAR])
    write_embeddings(tmp_path / "other", ROWS)
    with pytest.raises(ShapeError, match=r"holds rows of 48 numbers; those of .*@224' have 12"):
        collection.add([tmp_path / "other"], encoders=[FAR])


def test_an_encoder_of_another_dimension_is_refused_when_it_is_at_hand(tmp_path: Path, colour: ColourEncoder) -> None:
    write_pictures(tmp_path / "photos", range(4))
    write_embeddings(tmp_path / "e", ROWS[:4, :12], image_path=[f"{n:03}.png" for n in range(4)])
    with pytest.raises(ShapeError, match="holds rows of 12 numbers; those of 'colour' have 48"):
        make(tmp_path).add([tmp_path / "e"], encoders=[colour], read_with=[f"embeddings(pictures={str(tmp_path / 'photos')!r})"])


def test_a_broken_part_fails_and_the_others_go_on(tmp_path: Path) -> None:
    for part in range(2):
        write_embeddings(tmp_path / "e", ROWS, part=part)
    file = tmp_path / "e/img_emb/img_emb_0.npy"
    file.write_bytes(file.read_bytes()[:500])
    report = make(tmp_path).add([tmp_path / "e"], encoders=[FAR])
    assert (report.added, [failure.path for failure in report.failed]) == (20, ["img_emb/img_emb_0.npy"])
    assert adds_up(report)


def with_pictures(tmp_path: Path, colour: ColourEncoder, *, shift: int = 0) -> tuple[Path, Path]:
    write_pictures(tmp_path / "photos", range(12))
    rows = np.roll(colour.encode([picture(n) for n in range(12)]), shift, axis=0)
    write_embeddings(tmp_path / "e", rows, image_path=[f"{n:03}.png" for n in range(12)])
    return tmp_path / "e", tmp_path / "photos"


def test_rows_are_compared_with_what_the_encoder_makes_and_their_pictures_open(tmp_path: Path, colour: ColourEncoder) -> None:
    folder, photos = with_pictures(tmp_path, colour)
    collection = make(tmp_path)
    report = collection.add([folder], encoders=[colour], read_with=[f"embeddings(pictures={str(photos)!r})"])
    assert "12 rows were encoded again by 'colour': cosine 1.000 at the median" in report.notes[0]
    item = collection.item("img_emb/img_emb_0.npy::4")
    assert item.image is not None
    assert np.array_equal(np.asarray(item.image.open()), np.asarray(picture(3)))
    assert item.metadata["image_path"] == "003.png"


def test_pictures_that_the_table_names_outside_of_their_folder_are_none(tmp_path: Path, colour: ColourEncoder) -> None:
    folder, photos = with_pictures(tmp_path, colour)
    paths = [str(photos / f"{n:03}.png") for n in range(11)] + ["../../photos/001.png"]
    write_embeddings(folder, ROWS[:12], image_path=paths)
    collection = make(tmp_path)
    report = collection.add([folder], encoders=[colour])
    assert "no picture or text of those looked at is within reach" in report.notes[0]
    assert all(item.image is None for item in collection)


def test_rows_of_another_length_are_refused_where_nothing_can_be_encoded_too(tmp_path: Path, colour: ColourEncoder) -> None:
    write_embeddings(tmp_path / "e", structured(12, 32, seed=9), image_path=["/nowhere/0.png"] * 12)
    collection = make(tmp_path)
    with pytest.raises(ShapeError, match="rows of 32 numbers; those of 'colour' have 48"):
        collection.add([tmp_path / "e"], encoders=[colour])
    assert len(collection) == 0


def rows_of_another_encoder(tmp_path: Path, colour: ColourEncoder) -> Path:
    write_pictures(tmp_path / "photos", range(12))
    write_embeddings(tmp_path / "e", structured(12, 48, seed=9), image_path=[f"{n:03}.png" for n in range(12)])
    return tmp_path / "e"


def test_rows_of_another_encoder_are_refused_and_nothing_is_kept(tmp_path: Path, colour: ColourEncoder) -> None:
    folder = rows_of_another_encoder(tmp_path, colour)
    collection = make(tmp_path)
    with pytest.raises(ManifestError, match="the rows are not those of 'colour'"):
        collection.add([folder], encoders=[colour], read_with=[f"embeddings(pictures={str(tmp_path / 'photos')!r})"])
    assert (len(collection), collection.manifest.encoders) == (0, ())


def test_words_are_searched_without_the_encoder_and_pictures_with_it(tmp_path: Path, colour: ColourEncoder) -> None:
    folder, photos = with_pictures(tmp_path, colour)
    collection = make(tmp_path)
    collection.add([folder], encoders=[colour], read_with=[f"embeddings(pictures={str(photos)!r})"])
    later = Collection.open(collection.path)  # knows the encoder by its name, which nothing makes
    assert later.search("picture 7", retriever="lexical").hits[0].item.item_id == "img_emb/img_emb_0.npy::8"
    with pytest.raises(InputError, match="colour"):
        later.search(Query(images=(collection.item("img_emb/img_emb_0.npy::8").image,)))
    hits = collection.search(image=photos / "007.png").hits
    assert hits[0].item.item_id == "img_emb/img_emb_0.npy::8"


def test_pictures_and_embeddings_go_into_one_collection(tmp_path: Path, colour: ColourEncoder) -> None:
    folder, photos = with_pictures(tmp_path, colour)
    collection = make(tmp_path)
    report = collection.add([folder, photos], encoders=[colour])
    assert (report.added, len(collection)) == (24, 24)
    assert adds_up(report)
    again = collection.add([folder, photos])
    assert (again.unchanged, again.removed) == (24, 0)
    assert collection.add([photos]).removed == 0
    assert len(collection) == 24


def test_a_folder_with_pictures_in_it_is_no_folder_of_embeddings(tmp_path: Path) -> None:
    write_pictures(tmp_path / "mixed", range(2))
    np.save(tmp_path / "mixed" / "rows.npy", ROWS)
    listing = list_files([tmp_path / "mixed"], with_roots([tmp_path / "mixed"], ()), readers())
    assert (len(listing.files), listing.embeddings) == (2, ())
    assert "embeddings are read when they" in " ".join(listing.passed_over.values())


def test_a_table_whose_columns_are_named_is_read_as_a_table(tmp_path: Path) -> None:
    path = in_parquet(tmp_path / "e", ROWS) / "train-00000-of-00002.parquet"
    listing = list_files([path], with_roots([path], ()), readers(["table(text_column=text)"]))
    assert (len(listing.files), listing.embeddings) == (1, ())


@pytest.mark.parametrize("part", names("encoders"))
def test_an_encoder_that_is_not_made_is_called_as_if_it_were(part: str) -> None:
    name = module(part, station="encoders").tiny().name
    assert name_of(name) == name
