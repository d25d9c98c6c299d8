"""What a user holds: search with every index, filters, removal, caches that heal, clear refusals."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from makers import ColourEncoder, picture, write_pictures, write_tar

from mmrerank import Query
from mmrerank.collection import Collection
from mmrerank.collection.verify import check, describe
from mmrerank.errors import DamagedData, InputError, ManifestError, UnknownName

INDEXES = ["flat", "flat(engine=torch)", "faiss_index", "faiss_index(kind=hnsw)", "faiss_index(kind=ivf)", "faiss_index(storage=fp16)"]


class Held:
    """A picture in memory as an image handle."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def open(self):  # type: ignore[no-untyped-def]
        return picture(self.seed)


def like(seed: int, **fields: object) -> Query:
    return Query(images=(Held(seed),), **fields)  # type: ignore[arg-type]


def ids(collection: Collection, query: Query | str, **options: object) -> list[str]:
    return [hit.item.item_id for hit in collection.search(query, **options).hits]  # type: ignore[arg-type]


@pytest.fixture
def collection(tmp_path: Path, photos: Path, colour: ColourEncoder) -> Collection:
    made = Collection.create(tmp_path / "collection", encoders=[colour])
    made.add([photos])
    return made


@pytest.mark.parametrize("index", INDEXES)
def test_every_index_finds_the_picture_itself_first_with_cosine_one(
    tmp_path: Path, photos: Path, colour: ColourEncoder, index: str
) -> None:
    made = Collection.create(tmp_path / "c", encoders=[colour], index=index)
    made.add([photos])
    best = made.search(like(3)).hits[0]
    assert best.item.item_id == "003.png"
    assert best.score == pytest.approx(1.0, abs=1e-6)


def test_every_index_gives_the_same_ranking_and_scores(tmp_path: Path, photos: Path, colour: ColourEncoder) -> None:
    rankings = []
    for n, index in enumerate(INDEXES):
        made = Collection.create(tmp_path / f"c{n}", encoders=[colour], index=index)
        made.add([photos])
        rankings.append([(hit.item.item_id, hit.score) for hit in made.search(like(100), k=9).hits])
    assert all(ranking == rankings[0] for ranking in rankings)


class RoundingEncoder(ColourEncoder):
    """Rows that depend on how many are encoded at once, in the last digits, as matrix products do on some processors."""

    batch_size = 5

    def encode(self, values: list, *, normalise: bool = True):  # type: ignore[type-arg,no-untyped-def]
        rows = super().encode(values, normalise=normalise)
        return (rows * (1 + 6e-8 * (len(values) % 3 - np.arange(len(values)) % 2))[:, None]).astype(np.float32)


@pytest.mark.parametrize("index", INDEXES)
def test_equal_pictures_stand_by_id_whatever_batch_they_were_encoded_in(tmp_path: Path, index: str) -> None:
    for name in ("0", "2", "1"):
        write_pictures(tmp_path / "photos" / name, range(7))
    made = Collection.create(tmp_path / "c", encoders=[RoundingEncoder()], index=index)
    made.add([tmp_path / "photos"])
    assert ids(made, like(3), k=2) == ["0/003.png", "1/003.png"]
    assert ids(made, like(3), k=3, rerank="superglobal")[:3] == ["0/003.png", "1/003.png", "2/003.png"]
    scores = [hit.score for hit in made.search(like(3), k=3).hits]
    assert scores[0] == scores[1] == scores[2]


@pytest.mark.parametrize("index", INDEXES)
def test_a_filter_means_the_same_on_every_index(tmp_path: Path, colour: ColourEncoder, index: str) -> None:
    write_pictures(tmp_path / "photos", range(60))
    made = Collection.create(tmp_path / "c", encoders=[colour], index=index)
    made.add([tmp_path / "photos"])
    everything = ids(made, like(100), k=60)
    some = {f"{n:03}.png" for n in (7, 21, 40)}
    condition = "item_id IN ('007.png', '021.png', '040.png')"
    assert ids(made, like(100, filter=condition), k=10) == [i for i in everything if i in some]
    assert ids(made, like(100, filter="width = 1")) == []


def test_pictures_that_are_alike_stand_in_the_order_of_their_ids(tmp_path: Path, colour: ColourEncoder) -> None:
    for name in ("b", "a", "d", "c"):
        (tmp_path / "photos").mkdir(exist_ok=True)
        picture(1).save(tmp_path / "photos" / f"{name}.png")
    made = Collection.create(tmp_path / "c", encoders=[colour])
    made.add([tmp_path / "photos"])
    assert ids(made, like(1), k=3) == ["a.png", "b.png", "c.png"]


def test_more_hits_than_items_are_all_items(collection: Collection) -> None:
    assert len(collection.search(like(1), k=500).hits) == len(collection) == 9


def test_several_pictures_and_weights(collection: Collection) -> None:
    assert set(ids(collection, Query(images=(Held(1), Held(2))), k=2)) == {"001.png", "002.png"}
    assert ids(collection, Query(images=(Held(1), Held(2)), weights=(0.1, 0.9)), k=1) == ["002.png"]


def test_an_excluded_picture_sinks(collection: Collection) -> None:
    plain = ids(collection, Query(images=(Held(1), Held(2))), k=9)
    without = ids(collection, Query(images=(Held(1), Held(2)), exclude_images=(Held(2),)), k=9)
    assert plain.index("002.png") < without.index("002.png")
    assert without[0] == "001.png"


@pytest.mark.parametrize("condition", ["width = 1) OR (width > 0", "1=1) OR (1=1", "item_id = 'a' ) --"])
def test_a_filter_cannot_close_the_brackets_around_it(collection: Collection, condition: str) -> None:
    with pytest.raises(InputError, match="closes a bracket that it did not open"):
        collection.search("gate", filter=condition)
    with pytest.raises(InputError, match="closes a bracket"):
        collection.remove(filter=condition)


def test_brackets_in_texts_and_names_are_no_brackets(collection: Collection) -> None:
    assert list(collection.search("gate", filter="item_id = ')' OR (item_id = '(((' )").hits) == []


def test_what_is_wrong_with_a_filter_is_said_without_columns_of_the_storage(collection: Collection) -> None:
    for condition in ("nothing = 1", "1=1; drop table"):
        with pytest.raises(InputError, match="cannot be used") as caught:
            collection.search("gate", filter=condition)
        said = str(caught.value)
        assert not any(name in said for name in ("SELECT", "state", "content_hash", "seen_ns", "file_mtime_ns")), said
        assert "Fields: item_id, document_id, page_number, text, file" in said


def test_removal_by_id_path_document_and_filter(tmp_path: Path, collection: Collection, photos: Path) -> None:
    assert collection.remove(ids=["000.png"]) == 1
    assert collection.remove(paths=[photos / "more"]) == 1
    assert collection.remove(filter="item_id = '001.png'") == 1
    assert len(collection) == 6
    assert "000.png" not in ids(collection, like(0), k=9)
    (tmp_path / "shards").mkdir()
    write_tar(tmp_path / "shards" / "a.tar", range(3))
    collection.add([tmp_path / "shards" / "a.tar"])
    assert collection.remove(paths=[tmp_path / "shards" / "a.tar"]) == 3
    for wrong in ({"ids": ["nothing"]}, {"paths": [tmp_path]}, {}, {"filter": "nosuch = 1"}):
        with pytest.raises(InputError):
            collection.remove(**wrong)  # type: ignore[arg-type]
    assert len(collection) == 6


def test_another_process_sees_what_was_written_after_a_refresh(collection: Collection, colour: ColourEncoder) -> None:
    other = Collection.open(collection.path)
    other._encoders.use(other.manifest.encoders[0], colour)
    assert len(other) == 9
    collection.remove(ids=["000.png"])
    assert len(other) == 9
    other.refresh()
    assert len(other) == 8


@pytest.mark.parametrize("damage", ["delete", "flip", "other index", "not json"])
def test_a_damaged_index_cache_is_rebuilt(collection: Collection, colour: ColourEncoder, damage: str) -> None:
    before = ids(collection, like(100), k=9)
    place = next(path for path in (collection.path / "indexes").iterdir() if path.name.startswith("colour"))
    data = next(place.glob("data-*"))
    if damage == "delete":
        shutil.rmtree(data) if data.is_dir() else data.unlink()
    elif damage == "flip":
        file = next(f for f in [data, *data.rglob("*")] if f.is_file())
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)
    elif damage == "other index":
        state = place / "cache.json"
        state.write_text(state.read_text().replace("faiss_index(", "other("))
    else:
        (place / "cache.json").write_text("{")
    again = Collection.open(collection.path)
    again._encoders.use(again.manifest.encoders[0], colour)
    assert ids(again, like(100), k=9) == before


def test_the_index_cache_follows_additions_and_removals(collection: Collection, photos: Path) -> None:
    collection.search(like(0))
    write_pictures(photos, range(50, 55))
    collection.add([photos])
    collection.remove(ids=["003.png"])
    assert ids(collection, like(52), k=1) == ["052.png"]
    assert "003.png" not in ids(collection, like(3), k=20)
    assert len(ids(collection, like(3), k=20)) == 13


def test_verify_finds_damage_and_heals_caches(collection: Collection, photos: Path) -> None:
    collection.search(like(0))
    assert check(collection) | {"ok": True, "problems": [], "rebuilt": [], "files": []} == check(collection)
    (photos / "000.png").unlink()
    picture(70).save(photos / "001.png")
    assert [line.split()[0] for line in check(collection)["files"]] == ["000.png", "001.png"]
    collection.table.fill(["002.png"], {"descriptor:" + collection.manifest.encoders[0].slug: [np.full(48, 9.0, np.float32)]})
    collection.refresh()
    report = check(collection)
    assert report["ok"] is False
    assert "unit length" in report["problems"][0]


def test_describe_tells_what_is_held(collection: Collection, photos: Path) -> None:
    (photos / "broken.png").write_bytes(b"no")
    collection.add([photos])
    held = describe(collection)
    assert (held["items"], held["encoders"][0]["items"]) == (9, 9)
    assert [failure["path"] for failure in held["failed"]] == ["broken.png"]
    assert {"width", "height", "item_id"} <= set(held["fields"])
    assert held["roots"][0]["path"] == str(photos)
    assert "numpy" in held["made_by"]["libraries"]


def test_what_cannot_be_answered_is_refused_with_the_way_out(collection: Collection) -> None:
    with pytest.raises(InputError, match="lexical"):
        collection.search("text needs an encoder for it", retriever="dense")
    with pytest.raises(InputError, match="composed"):
        collection.search(Query(text="a", images=(Held(1),)), retriever="dense")
    with pytest.raises(ManifestError, match=r"'colour'.*|.*'openclip/mini'"):
        collection.search(like(1), retriever="dense(encoder='openclip/mini')")
    with pytest.raises(UnknownName, match="dense"):
        collection.search(like(1), retriever="dens")
    with pytest.raises(InputError, match="cancel"):
        collection.search(like(1, exclude_images=(Held(1),)), retriever="dense(exclude_weight=1.0)")
    with pytest.raises(InputError, match="at least 1"):
        collection.search(like(1), k=0)


def test_an_encoder_with_other_weights_is_refused(tmp_path: Path, photos: Path, colour: ColourEncoder) -> None:
    class Weighted(ColourEncoder):
        weights_hash = "one"

    made = Collection.create(tmp_path / "c", encoders=[Weighted()])
    made.add([photos])

    class Other(ColourEncoder):
        weights_hash = "two"

    again = Collection.open(tmp_path / "c")
    with pytest.raises(ManifestError, match="one"):
        again.add([photos], encoders=[Other()])


def test_a_damaged_table_is_said_to_be_damaged(collection: Collection) -> None:
    for file in (collection.path / "items.lance" / "_versions").iterdir():
        file.write_bytes(b"broken")
    with pytest.raises(DamagedData):
        Collection.open(collection.path)


def test_default_first_stages(tmp_path: Path, collection: Collection) -> None:
    assert collection.version.default_retriever(like(1)) == "dense"
    assert collection.version.default_retriever(Query(text="a", images=(Held(1),))) == "composed"
    assert collection.version.default_retriever(Query(text="a")) == "lexical"


def test_one_thing_alone_is_taken_as_one(tmp_path: Path, photos: Path) -> None:
    made = Collection.create(tmp_path / "c", encoders="openclip/mini")
    assert made.add(photos).added == len(made) > 0
    assert made.search(like(3), rerank="superglobal").stages[-1].name.startswith("superglobal(")
    made.remove(ids="003.png")
    assert made.remove(paths=photos / "002.png") == 1


def test_a_backend_is_given_by_its_name(collection: Collection, tmp_path: Path) -> None:
    script = tmp_path / "answers.jsonl"
    script.write_text('{"text": "{\\"ranking\\": [2, 1]}"}\n', encoding="utf-8")
    found = collection.search(like(3), k=2, rerank="square", backend=f"scripted/{script}", depth=2)
    assert found.stages[-1].cost.calls == 1
    assert collection.ask("a door", retriever="lexical", backend=f"scripted/{script}").answered_by.startswith("generative")
    assert [hit.item.item_id for hit in found.hits] == [c.item.item_id for c in found.stages[0].ranking.candidates[1::-1]]


def test_an_index_of_texts_makes_no_collection(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="searches text"):
        Collection.create(tmp_path / "c", index="bm25_index")
    with pytest.raises(UnknownName, match="there are: auto, faiss_index, flat, milvus_index\\."):
        Collection.create(tmp_path / "c", index="hnsw")
    assert not (tmp_path / "c").exists()


def test_a_version_is_searched_by_a_text_too(collection: Collection) -> None:
    assert collection.version.search("nothing has text").hits == ()
