"""Layouts of pictures on miniature trees as their authors ship them, and what is said when a file is missing, broken or of another kind."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from trees import cirr, lines, opened, write

from mmrerank.errors import FormatError, InputError, MMRerankError, UnknownName
from mmrerank.evaluation.benchmark import open_benchmark
from mmrerank.evaluation.cards import DATASETS, read_card
from mmrerank.evaluation.evaluate import evaluate
from mmrerank.evaluation.loaders._loaded import below, files_in, text_of
from mmrerank.evaluation.runs import Run

# ---------------------------------------------------------------------- triplets


def test_cirr_takes_the_reference_out_and_knows_the_small_gallery(tmp_path: Path) -> None:
    cirr(tmp_path / "data")
    benchmark = opened(tmp_path, "cirr", queries=2, items=6, first_query="7", last_item="dev-5-0-img0.png")
    assert benchmark.qrels == {"7": {"dev-1-0-img0.png": 1}, "8": {"dev-2-0-img0.png": 1}}
    assert benchmark.removed["7"] == {"dev-0-0-img0.png"}
    assert len(benchmark.subsets["7"]) == 6
    assert benchmark.names["dev-0-0-img0.png"] == "dev-0-0-img0"
    assert [source.name for source in benchmark.sources] == ["dev"]
    assert benchmark.queries[0].images[0].open().size == (40, 30)


def test_cirr_test_has_no_judgements_and_a_server(tmp_path: Path) -> None:
    cirr(tmp_path / "data", "test1", "test1", judged=False)
    benchmark = opened(tmp_path, "cirr", "test1")
    assert not benchmark.judged
    assert benchmark.server == "cirr"


def test_annotations_alone_are_enough_to_measure_runs(tmp_path: Path) -> None:
    query = {
        "id": 3,
        "reference_img_id": 42,
        "target_img_id": 7,
        "gt_img_ids": [7, 8],
        "relative_caption": "is red",
        "shared_concept": "a cup",
    }
    write(tmp_path / "data", {"val.json": [query]})  # beside one another, without the folder `annotations`
    benchmark = opened(tmp_path, "circo", queries=1)
    assert benchmark.qrels == {
        "3": {"000000000007.jpg": 2, "000000000008.jpg": 1}
    }  # the picture that the query was written for, and the other
    assert (benchmark.sources, benchmark.items, benchmark.removed) == ((), (), {})
    assert benchmark.names["000000000042.jpg"] == "42"


def test_the_picture_that_a_query_was_written_for_is_told_from_the_other_right_ones(tmp_path: Path) -> None:
    """CIRCO: a perfect run once had a recall of 0, since all right pictures were of grade 1."""
    query = {"id": 3, "reference_img_id": 42, "target_img_id": 7, "gt_img_ids": [7, 8], "relative_caption": "is red"}
    write(tmp_path / "data", {"val.json": [query]})
    benchmark = replace(opened(tmp_path, "circo"), measures=("R(rel=2)@1", "mAP@5", "R@1", "P@2"))
    runs = [Run(tag="t", rankings={"3": order}) for order in (("7", "8"), ("8", "7"))]
    measured = [{name: of["value"] for name, of in evaluate(benchmark, None, run=run).result["measures"].items()} for run in runs]
    assert measured[0] == {"R(rel=2)@1": 1.0, "mAP@5": 1.0, "R@1": 0.5, "P@2": 1.0}
    assert measured[1] == {"R(rel=2)@1": 0.0, "mAP@5": 1.0, "R@1": 0.5, "P@2": 1.0}


def test_a_list_of_pictures_is_needed_once_there_are_pictures(tmp_path: Path) -> None:
    query = {"id": 3, "reference_img_id": 42, "gt_img_ids": [7], "relative_caption": "is red"}
    write(tmp_path / "data", {"annotations/val.json": [query], "COCO2017_unlabeled/unlabeled2017/000000000042.jpg": 1})
    with pytest.raises(InputError, match="image_info_unlabeled2017"):
        opened(tmp_path, "circo")
    write(
        tmp_path / "data",
        {
            "COCO2017_unlabeled/annotations/image_info_unlabeled2017.json": {"images": [{"id": 42}, {"id": 7}]},
            "COCO2017_unlabeled/unlabeled2017/000000000007.jpg": 2,
            "COCO2017_unlabeled/unlabeled2017/000000000099.jpg": 2,
        },
    )
    benchmark = opened(tmp_path, "circo", items=2)
    assert [source.name for source in benchmark.sources] == ["000000000042.jpg", "000000000007.jpg"]  # and not 99


def test_fashioniq_has_a_gallery_and_a_group_for_each_category(tmp_path: Path) -> None:
    for n, group in enumerate(("dress", "shirt", "toptee")):
        names = [f"{group}{m}" for m in range(3)]
        entry = {"candidate": names[0], "target": names[1], "captions": ["is longer", "" if n else " has dots "]}
        write(tmp_path / "data", {f"captions/cap.{group}.val.json": [entry], f"image_splits/split.{group}.val.json": names})
    benchmark = opened(tmp_path, "fashioniq", queries=3, first_query="dress-0", last_query="toptee-0")
    assert benchmark.galleries["shirt-0"] == ("shirt0.png", "shirt1.png", "shirt2.png")
    assert [query.text for query in benchmark.queries] == ["is longer and has dots", "is longer", "is longer"]
    assert benchmark.groups == {"dress-0": "dress", "shirt-0": "shirt", "toptee-0": "toptee"}


def test_pictures_alone_can_be_the_query(tmp_path: Path) -> None:
    query = {"id": "a", "query_image": "a.jpg", "positives": ["b.jpg"], "ignore": ["c.jpg"]}
    rows = [{"image": name} for name in ("a.jpg", "b.jpg", "c.jpg")]
    write(tmp_path / "data", {"dev/queries.jsonl": lines(query), "dev/images.jsonl": lines(*rows)})
    benchmark = opened(tmp_path, "instance_photos", queries=1, items=3)
    assert benchmark.queries[0].text is None
    assert benchmark.qrels == {"a": {"b.jpg": 1, "c.jpg": -1}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pairid": 8}, "'8' stands twice"),
        ({"caption": None}, "'caption' is a NoneType"),
        ({"reference": "dev-9-0-img0"}, "in no list"),
        ({"reference": ""}, "expected text or a whole number"),
        ({"reference": []}, "'reference' is a list"),
        ({"target_hard": []}, "'7' names no right picture"),
        ({"img_set": {}}, "lacks 'img_set.members'"),
    ],
)
def test_a_wrong_record_is_named(tmp_path: Path, change: Mapping[str, Any], message: str) -> None:
    path = cirr(tmp_path / "data") / "captions/cap.rc2.val.json"
    pairs = json.loads(path.read_text())
    path.write_text(json.dumps([{**pairs[0], **change}, pairs[1]]))
    with pytest.raises(FormatError, match=message):
        opened(tmp_path, "cirr")


def test_a_split_is_judged_as_a_whole(tmp_path: Path) -> None:
    path = cirr(tmp_path / "data") / "captions/cap.rc2.val.json"
    pairs = json.loads(path.read_text())
    del pairs[1]["target_hard"]
    path.write_text(json.dumps(pairs))
    with pytest.raises(FormatError, match="1 of 2 queries have no judgement, '8' the first"):
        opened(tmp_path, "cirr")


def test_missing_pictures_are_counted(tmp_path: Path) -> None:
    (cirr(tmp_path / "data") / "img_raw/dev/dev-3-0-img0.png").unlink()
    with pytest.raises(InputError, match=r"lacks 1 of 6 files, 'dev-3-0-img0\.png'") as raised:
        opened(tmp_path, "cirr")
    assert "NLVR2" in raised.value.hint  # where to get them


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "a\0b"])
def test_a_picture_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    query = {"id": "a", "query_image": name, "positives": [name], "ignore": []}
    write(tmp_path / "data", {"dev/queries.jsonl": lines(query), "dev/images.jsonl": lines({"image": name})})
    with pytest.raises(InputError, match="leads out"):
        opened(tmp_path, "instance_photos")


# ---------------------------------------------------------------------- galleries, captions


def genecis_row(target: int, *gallery: int) -> dict[str, Any]:
    pictures = [{"val_image_id": n} for n in gallery]
    return {"condition": "wall", "reference": {"val_image_id": 1}, "target": {"val_image_id": target}, "gallery": pictures}


def test_the_target_is_searched_beside_its_gallery_once(tmp_path: Path) -> None:
    write(tmp_path / "data", {"genecis/focus_object.json": [genecis_row(2, 3, 4), genecis_row(3, 3, 5)]})
    benchmark = opened(tmp_path, "genecis", queries=2, items=4)
    assert benchmark.galleries["0"] == ("000000000002.jpg", "000000000003.jpg", "000000000004.jpg")
    assert benchmark.galleries["1"] == ("000000000003.jpg", "000000000005.jpg")
    assert benchmark.qrels["1"] == {"000000000003.jpg": 1}


def test_cut_outs_are_items_by_picture_and_box(tmp_path: Path) -> None:
    pictures = [{"image_id": 9, "instance_bbox": [n, 2, 3.5, 4]} for n in range(3)]
    row = {"condition": "red", "reference": pictures[0], "target": pictures[1], "gallery": pictures[2:]}
    write(tmp_path / "data", {"genecis/focus_attribute.json": [row]})
    benchmark = opened(tmp_path, "genecis", "focus_attribute")
    assert benchmark.galleries["0"] == ("9-1-2-3.5-4", "9-2-2-3.5-4")
    assert benchmark.queries[0].images == ()
    row["target"] = {"image_id": 9, "instance_bbox": [1, 2]}
    write(tmp_path / "data", {"genecis/focus_attribute.json": [row]})
    with pytest.raises(FormatError, match="left, top, width and height"):
        opened(tmp_path, "genecis", "focus_attribute")


def karpathy(count: int, captions: int = 6) -> dict[str, Any]:
    def image(n: int) -> dict[str, Any]:
        sentences = [{"raw": f"caption {m} of {n}", "sentid": 10 * n + m} for m in range(captions)]
        return {"filename": f"{n}.jpg", "filepath": "val2014", "split": "test" if n else "train", "sentences": sentences}

    return {"dataset": "coco", "images": [image(n) for n in range(count + 1)]}


def test_five_captions_a_picture_count_and_folds_are_thousands_in_order(tmp_path: Path) -> None:
    write(tmp_path / "data", {"dataset_coco.json": karpathy(10)})
    whole = opened(tmp_path, "coco_captions", queries=50, items=10, first_query="10", first_item="1.jpg", last_item="10.jpg")
    assert whole.qrels["14"] == {"1.jpg": 1}
    assert "15" not in whole.qrels
    fold = opened(tmp_path, "coco_captions", "fold2", queries=10, items=2)
    assert fold.items == ("3.jpg", "4.jpg")


def test_too_few_captions_are_an_error(tmp_path: Path) -> None:
    write(tmp_path / "data", {"dataset_flickr30k.json": karpathy(2, captions=4)})
    with pytest.raises(FormatError, match="4 captions; expected 5"):
        opened(tmp_path, "flickr30k")


# ---------------------------------------------------------------------- what all share


@pytest.mark.parametrize("content", ["[{", "{}", "[1]", '["a"]', "[" * 100_000, "\x80", b"\xff\xfe\x00", "1" * 5000])
def test_a_file_of_another_kind_is_named(tmp_path: Path, content: str | bytes) -> None:
    data = cirr(tmp_path / "data")
    write(data, {"captions/cap.rc2.val.json": content})
    with pytest.raises(FormatError, match=r"cap\.rc2\.val\.json"):
        opened(tmp_path, "cirr")


def test_a_missing_file_comes_with_where_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for card in (read_card(path) for path in sorted(DATASETS.glob("*.toml"))):
        with pytest.raises(InputError) as raised:
            open_benchmark(card.path, tmp_path / "data")
        assert raised.value.hint == card.get_it != ""
    with pytest.raises(InputError, match="name their folder"):
        open_benchmark(DATASETS / "cirr.toml")
    with pytest.raises(InputError, match="there is no folder"):
        open_benchmark(DATASETS / "cirr.toml", tmp_path / "nowhere")


@pytest.mark.parametrize("expected", [{"queries": 3}, {"items": 5}, {"first_query": "8"}, {"last_item": "other.png"}])
def test_other_counts_and_ids_than_the_card_says_are_an_error(tmp_path: Path, expected: Mapping[str, Any]) -> None:
    cirr(tmp_path / "data")
    with pytest.raises(FormatError, match=r"expected, .* found") as raised:
        opened(tmp_path, "cirr", **expected)
    assert raised.value.hint


def test_an_option_that_no_layout_has_is_answered_with_the_real_ones(tmp_path: Path) -> None:
    cirr(tmp_path / "data")
    with pytest.raises(UnknownName, match="Did you mean 'relevant'"):
        opened(tmp_path, "cirr", relevnt="x")


def test_packed_text_that_is_broken_or_too_large_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = gzip.compress(b"x" * 4000)
    write(tmp_path, {"cut.gz": packed[:-9], "whole.gz": packed, "none.gz": b"no gzip"})
    assert text_of(tmp_path / "whole.gz") == "x" * 4000
    assert text_of(tmp_path / "none.gz") == "no gzip"  # as browsers leave files that they unpacked
    with pytest.raises(FormatError, match="cannot be read"):
        text_of(tmp_path / "cut.gz")
    monkeypatch.setattr("mmrerank.text_files.MAX_BYTES", 3999)
    with pytest.raises(FormatError, match="above the limit"):
        text_of(tmp_path / "whole.gz")


def test_a_folder_stands_for_its_files_only_where_it_holds_no_others(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": 1, "b.png": 2})
    assert files_in(tmp_path, ["b.png", "a.png"]) == (tmp_path,)
    assert files_in(tmp_path, ["b.png"]) == (tmp_path / "b.png",)
    assert files_in(tmp_path / "none", ["b.png"]) == (tmp_path / "none",)  # for `open_benchmark` to say that it is missing
    assert below(tmp_path, "a/b.png") == tmp_path / "a" / "b.png"


def test_a_run_in_official_ids_is_read_in_item_ids(tmp_path: Path) -> None:
    cirr(tmp_path / "data")
    benchmark = opened(tmp_path, "cirr")
    official = Run(tag="other", rankings={"7": ("dev-0-0-img0", "dev-1-0-img0"), "8": ("dev-2-0-img0.png",)})
    measures = evaluate(benchmark, None, run=official).result["measures"]
    assert measures["R@1"]["value"] == 1.0  # the reference, first in query 7, is out
    assert measures["R_subset@1"]["value"] == 1.0
    with pytest.raises(MMRerankError, match="holds no item of cirr/val"):
        evaluate(benchmark, None, run=Run(tag="other", rankings={"7": ("1", "2")}))
