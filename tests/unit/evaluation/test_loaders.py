"""Every layout on a miniature tree as its authors ship it, and what is said when a file is missing, broken or of another kind."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tomli_w
from makers import picture

from mmrerank.errors import FormatError, InputError, MMRerankError, UnknownName
from mmrerank.evaluation.benchmark import Benchmark, open_benchmark
from mmrerank.evaluation.cards import DATASETS, read_card
from mmrerank.evaluation.loaders import judged
from mmrerank.evaluation.loaders._loaded import below, files_in, text_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def write(root: Path, files: Mapping[str, Any]) -> Path:
    """Writes files below a folder: JSON where the value is no text or bytes, a picture where it is a number."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, int):
            picture(content).save(path)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return root


def lines(*rows: Mapping[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def opened(tmp_path: Path, card: str, split: str | None = None, **expected: Any) -> Benchmark:
    """The miniature in `tmp_path/data` by a shipped card, whose counts and ids give way to those of the miniature."""
    content = tomllib.loads((DATASETS / f"{card}.toml").read_text("utf-8"))
    table = content["benchmark"]
    counted = ("queries", "items", "first_query", "last_query", "first_item", "last_item")
    table["splits"] = {name: {k: v for k, v in entry.items() if k not in counted} for name, entry in table["splits"].items()}
    table["splits"][split or table["split"]] |= expected
    path = tmp_path / "card.toml"
    path.write_text(tomli_w.dumps(content), encoding="utf-8")
    return open_benchmark(path, tmp_path / "data", split)


# ---------------------------------------------------------------------- triplets


def cirr(root: Path, split: str = "val", prefix: str = "dev", judged: bool = True) -> Path:
    names = [f"{prefix}-{n}-0-img0" for n in range(6)]
    pairs = [
        {
            "pairid": 7 + n,
            "reference": names[n],
            "caption": f"caption {n}",
            "img_set": {"id": 1, "members": names, "reference_rank": 0},
            **({"target_hard": names[n + 1], "target_soft": {names[n + 1]: 1.0}} if judged else {}),
        }
        for n in range(2)
    ]
    return write(
        root,
        {
            f"captions/cap.rc2.{split}.json": pairs,
            f"image_splits/split.rc2.{split}.json": {name: f"./{prefix}/{name}.png" for name in names},
            **{f"img_raw/{prefix}/{name}.png": n for n, name in enumerate(names)},
        },
    )


def test_cirr_takes_the_reference_out_and_knows_the_small_gallery(tmp_path: Path) -> None:
    cirr(tmp_path / "data")
    found = opened(tmp_path, "cirr", queries=2, items=6, first_query="7", last_item="dev-5-0-img0.png")
    assert found.qrels == {"7": {"dev-1-0-img0.png": 1}, "8": {"dev-2-0-img0.png": 1}}
    assert found.removed["7"] == {"dev-0-0-img0.png"}
    assert len(found.subsets["7"]) == 6
    assert found.names["dev-0-0-img0.png"] == "dev-0-0-img0"
    assert [source.name for source in found.sources] == ["dev"]
    assert found.queries[0].images[0].open().size == (40, 30)


def test_cirr_test_has_no_judgements_and_a_server(tmp_path: Path) -> None:
    cirr(tmp_path / "data", "test1", "test1", judged=False)
    found = opened(tmp_path, "cirr", "test1")
    assert not found.judged
    assert found.server == "cirr"


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
    found = opened(tmp_path, "circo", queries=1)
    assert found.qrels == {"3": {"000000000007.jpg": 1, "000000000008.jpg": 1}}
    assert (found.sources, found.items, found.removed) == ((), (), {})
    assert found.names["000000000042.jpg"] == "42"


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
    found = opened(tmp_path, "circo", items=2)
    assert [source.name for source in found.sources] == ["000000000042.jpg", "000000000007.jpg"]  # and not 99


def test_fashioniq_has_a_gallery_and_a_group_for_each_category(tmp_path: Path) -> None:
    for n, group in enumerate(("dress", "shirt", "toptee")):
        names = [f"{group}{m}" for m in range(3)]
        entry = {"candidate": names[0], "target": names[1], "captions": ["is longer", "" if n else " has dots "]}
        write(tmp_path / "data", {f"captions/cap.{group}.val.json": [entry], f"image_splits/split.{group}.val.json": names})
    found = opened(tmp_path, "fashioniq", queries=3, first_query="dress-0", last_query="toptee-0")
    assert found.galleries["shirt-0"] == ("shirt0.png", "shirt1.png", "shirt2.png")
    assert [query.text for query in found.queries] == ["is longer and has dots", "is longer", "is longer"]
    assert found.groups == {"dress-0": "dress", "shirt-0": "shirt", "toptee-0": "toptee"}


def test_pictures_alone_can_be_the_query(tmp_path: Path) -> None:
    query = {"id": "a", "query_image": "a.jpg", "positives": ["b.jpg"], "ignore": ["c.jpg"]}
    rows = [{"image": name} for name in ("a.jpg", "b.jpg", "c.jpg")]
    write(tmp_path / "data", {"dev/queries.jsonl": lines(query), "dev/images.jsonl": lines(*rows)})
    found = opened(tmp_path, "instance_photos", queries=1, items=3)
    assert found.queries[0].text is None
    assert found.qrels == {"a": {"b.jpg": 1, "c.jpg": -1}}


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
    shown = [{"val_image_id": n} for n in gallery]
    return {"condition": "wall", "reference": {"val_image_id": 1}, "target": {"val_image_id": target}, "gallery": shown}


def test_the_target_is_searched_beside_its_gallery_once(tmp_path: Path) -> None:
    write(tmp_path / "data", {"genecis/focus_object.json": [genecis_row(2, 3, 4), genecis_row(3, 3, 5)]})
    found = opened(tmp_path, "genecis", queries=2, items=4)
    assert found.galleries["0"] == ("000000000002.jpg", "000000000003.jpg", "000000000004.jpg")
    assert found.galleries["1"] == ("000000000003.jpg", "000000000005.jpg")
    assert found.qrels["1"] == {"000000000003.jpg": 1}


def test_cut_outs_are_items_by_picture_and_box(tmp_path: Path) -> None:
    shown = [{"image_id": 9, "instance_bbox": [n, 2, 3.5, 4]} for n in range(3)]
    row = {"condition": "red", "reference": shown[0], "target": shown[1], "gallery": shown[2:]}
    write(tmp_path / "data", {"genecis/focus_attribute.json": [row]})
    found = opened(tmp_path, "genecis", "focus_attribute")
    assert found.galleries["0"] == ("9-1-2-3.5-4", "9-2-2-3.5-4")
    assert found.queries[0].images == ()
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


# ---------------------------------------------------------------------- documents


def test_questions_of_documents_are_asked_of_one_or_of_all(tmp_path: Path) -> None:
    base = {"doc_type": "Guidebook", "answer_format": "Str", "question": "where?"}
    rows = [
        {**base, "doc_id": "it's.pdf", "evidence_pages": "[0, 3, 5]"},
        {**base, "doc_id": "it's.pdf", "evidence_pages": "[]"},
        {**base, "doc_id": "b.pdf", "evidence_pages": "[1]"},
    ]
    write(tmp_path / "data", {"samples.json": rows, "documents/it's.pdf": b"%PDF", "documents/b.pdf": b"%PDF"})
    found = opened(tmp_path, "mmlongbench_doc", queries=2, first_query="0", last_query="2")
    assert found.qrels["0"] == {"it's.pdf#page=3": 1, "it's.pdf#page=5": 1}
    assert found.queries[0].filter == "document_id = 'it''s.pdf'"
    assert found.groups["2"] == "Guidebook"
    assert opened(tmp_path, "mmlongbench_doc", "corpus").queries[0].filter is None
    (tmp_path / "data/documents/b.pdf").unlink()
    with pytest.raises(InputError, match=r"lacks 1 documents, 'b\.pdf'"):
        opened(tmp_path, "mmlongbench_doc")


def test_pages_of_a_table_are_rows_between_the_ends_of_their_document(tmp_path: Path) -> None:
    questions = [{"Q": "which year?", "A": "2015", "page_id": [0, 2], "type": "Chart"}]
    row = {"doc_name": "a.pdf", "domain": "News", "page_indices": [10, 12], "layout_indices": [0, 1], "questions": questions}
    write(tmp_path / "data", {"MMDocIR_annotations.jsonl": lines(row)})
    found = opened(tmp_path, "mmdocir", queries=1)
    assert found.qrels == {"0": {"MMDocIR_pages.parquet::11": 1, "MMDocIR_pages.parquet::13": 1}}
    assert found.galleries["0"] == tuple(f"MMDocIR_pages.parquet::{n}" for n in (11, 12, 13))
    questions[0]["page_id"] = [3]
    write(tmp_path / "data", {"MMDocIR_annotations.jsonl": lines(row)})
    with pytest.raises(FormatError, match=r"'a\.pdf' has no page 3"):
        opened(tmp_path, "mmdocir")


@pytest.mark.parametrize("evidence", ["[1", "['a']", "5", [1.5], [True]])
def test_evidence_that_is_no_list_of_pages_is_an_error(tmp_path: Path, evidence: Any) -> None:
    row = {"doc_id": "a.pdf", "doc_type": "x", "question": "where?", "evidence_pages": evidence}
    write(tmp_path / "data", {"samples.json": [row]})
    with pytest.raises(FormatError, match="no list of page numbers"):
        opened(tmp_path, "mmlongbench_doc")


# ---------------------------------------------------------------------- judged


def parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)


def test_novel_eval_is_measured_as_shipped_and_searched_with_a_header(tmp_path: Path) -> None:
    data = write(
        tmp_path / "data",
        {
            "queries.tsv": "0\tHow many?\n1\tWho?\n",
            "qrels.txt": "0 Q0 0-0 0\n0 Q0 0-1 2\n1 Q0 1-0 1\n",
            "corpus.tsv": "0-0\ta\n0-1\tb\n1-0\tc\n",
        },
    )
    found = opened(tmp_path, "novel_eval", queries=2, items=3, first_item="corpus.tsv::0-0")
    assert found.qrels["0"] == {"corpus.tsv::0-0": 0, "corpus.tsv::0-1": 2}
    assert found.sources == ()
    write(data, {"corpus.tsv": "id\ttext\n0-0\ta\n0-1\tb\n1-0\tc\n"})
    assert opened(tmp_path, "novel_eval", items=3).sources == (data / "corpus.tsv",)


def test_queries_that_no_judgement_names_are_passed_over(tmp_path: Path) -> None:
    queries = lines({"_id": "a", "text": "how?"}, {"_id": "b", "text": "who?"})
    corpus = lines({"_id": "d1", "title": "t", "text": "x"}, {"_id": "d2", "title": "", "text": "y"})
    qrels = "query-id\tcorpus-id\tscore\nb\td2\t1\n"
    data = write(tmp_path / "data", {"queries.jsonl": queries, "corpus.jsonl": corpus, "qrels/test.tsv": qrels})
    options = {"queries": "queries.jsonl", "query_id": "_id", "text": "{text}", "qrels": "qrels/{split}.tsv"}
    found = judged.load(data, "test", {**options, "corpus": "corpus.jsonl", "corpus_id": "_id"})  # BEIR as it ships
    assert [query.query_id for query in found.queries] == ["b"]
    assert found.qrels == {"b": {"corpus.jsonl::d2": 1}}
    write(data, {"qrels/test.tsv": "query-id\tcorpus-id\tscore\n"})
    with pytest.raises(FormatError, match="none of its 2 queries is judged"):
        judged.load(data, "test", options)


def test_vidore_is_read_from_shards_and_pages_keep_their_shard(tmp_path: Path) -> None:
    place = tmp_path / "data" / "vidore_v3_hr"
    parquet(place / "queries/test-0.parquet", [{"query_id": n, "query": "q", "language": "english" if n else "french"} for n in range(3)])
    parquet(place / "qrels/test-0.parquet", [{"query_id": n, "corpus_id": n, "score": 2.0, "content_type": []} for n in range(3)])
    for shard in range(2):
        pages = [{"corpus_id": 2 * shard + n, "image": {"bytes": b"", "path": None}, "markdown": "text"} for n in range(2)]
        parquet(place / f"corpus/test-{shard}.parquet", pages)
    found = opened(tmp_path, "vidore_v3", "vidore_v3_hr", queries=2, items=4, first_query="1")
    assert found.qrels == {"1": {"test-0.parquet::1": 2}, "2": {"test-1.parquet::2": 2}}
    assert found.read_with == ("table(id_column='corpus_id', text_column='markdown')",)
    assert found.names["test-1.parquet::3"] == "3"


def dl(tmp_path: Path, **change: Any) -> Benchmark:
    candidates = [{"id": "9", "text": "b", "bm25": 4.5}, {"id": "8", "text": "a", "bm25": 4.0}]
    row = {"id": "q1", "query": "what?", "candidates": candidates, "qrels": {"8": 3, "9": 0}, **change}
    write(tmp_path / "data", {"dev.jsonl": lines(row)})
    return opened(tmp_path, "trec_dl", queries=1)


def test_a_first_stage_that_comes_with_the_queries_is_a_run(tmp_path: Path) -> None:
    found = dl(tmp_path)
    assert found.given is not None
    assert found.given.rankings == {"q1": ("corpus.jsonl::9", "corpus.jsonl::8")}
    assert found.given.scores == {"q1": (4.5, 4.0)}
    assert found.qrels == {"q1": {"corpus.jsonl::8": 3, "corpus.jsonl::9": 0}}


def test_a_pool_may_lack_right_items(tmp_path: Path) -> None:
    write(tmp_path / "data", {"corpus.jsonl": lines({"id": "9", "text": "b"})})
    found = dl(tmp_path)
    assert (found.items, found.qrels["q1"]["corpus.jsonl::8"]) == (("corpus.jsonl::9",), 3)


@pytest.mark.parametrize(
    "change",
    [{"candidates": [5]}, {"candidates": [{"id": "9"}]}, {"candidates": [["9", 1], ["9", 0]]}, {"qrels": {"8": 0.5}}, {"qrels": 1.5}],
)
def test_a_broken_first_stage_or_grade_is_an_error(tmp_path: Path, change: Mapping[str, Any]) -> None:
    with pytest.raises(FormatError):
        dl(tmp_path, **change)


def test_a_right_item_outside_the_corpus_and_two_grades_are_errors(tmp_path: Path) -> None:
    data = write(tmp_path / "data", {"queries.tsv": "0\tHow many?\n", "qrels.txt": "0 Q0 0-7 1\n", "corpus.tsv": "0-0\ta\n"})
    with pytest.raises(FormatError, match=r"'corpus\.tsv::0-7' is not in the corpus"):
        opened(tmp_path, "novel_eval")
    write(data, {"qrels.txt": "0 Q0 0-0 1\n0 Q0 0-0 2\n"})
    with pytest.raises(FormatError, match=r"qrels\.txt:2: '0-0' has two grades"):
        opened(tmp_path, "novel_eval")
    write(data, {"qrels.txt": "0 0-0\n"})
    with pytest.raises(FormatError, match="a judgement is"):
        opened(tmp_path, "novel_eval")
    write(data, {"qrels.txt": "0 Q0 0-0 1\n", "corpus.tsv": "0-0\ta\n0-0\tb\n"})
    with pytest.raises(FormatError, match="'0-0' stands twice"):
        opened(tmp_path, "novel_eval")


# ---------------------------------------------------------------------- facts


def test_webqa_keeps_questions_that_pictures_answer(tmp_path: Path) -> None:
    def entry(split: str, right: Sequence[int], wrong: Sequence[int]) -> dict[str, Any]:
        facts = {name: [{"image_id": n, "title": "t"} for n in ids] for name, ids in (("img_posFacts", right), ("img_negFacts", wrong))}
        return {"Q": '"What colour?"', "A": ["red"], "Qcate": "color", "split": split, **facts, "txt_posFacts": [], "txt_negFacts": []}

    content = {"a": entry("val", [1, 2], [3]), "b": entry("val", [], [4]), "c": entry("train", [5], [])}
    write(tmp_path / "data", {"WebQA_train_val.json": content})
    found = opened(tmp_path, "webqa", queries=1, items=3)
    assert found.qrels == {"a": {"1.jpg": 1, "2.jpg": 1}}
    assert found.queries[0].text == "What colour?"
    assert opened(tmp_path, "webqa", "val_question").galleries == {"a": ("1.jpg", "2.jpg", "3.jpg")}


def test_multimodalqa_is_read_packed_and_by_the_places_of_its_pictures(tmp_path: Path) -> None:
    def entry(qid: str, *parts: str) -> dict[str, Any]:
        contexts = [{"doc_id": f"{part}1", "doc_part": part} for part in parts]
        return {
            "qid": qid,
            "question": "who?",
            "supporting_context": contexts,
            "metadata": {"type": "ImageQ", "image_doc_ids": ["image1", "image2"]},
        }

    questions = gzip.compress(lines(entry("a", "image"), entry("b", "image", "text"), entry("c", "table")).encode())
    places = gzip.compress(lines({"id": "image1", "path": "One.jpg"}, {"id": "image2", "path": "Two.png"}).encode())
    write(tmp_path / "data", {"dataset/MMQA_dev.jsonl.gz": questions, "dataset/MMQA_images.jsonl.gz": places})
    found = opened(tmp_path, "multimodalqa", queries=1, items=2)
    assert found.qrels == {"a": {"One.jpg": 1}}
    assert found.items == ("One.jpg", "Two.png")
    write(tmp_path / "data", {"dataset/MMQA_images.jsonl.gz": gzip.compress(lines({"id": "image1", "path": "One.jpg"}).encode())})
    with pytest.raises(FormatError, match="'image2' is not in dataset/MMQA_images"):
        opened(tmp_path, "multimodalqa")


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
    for name in ("cut.gz", "none.gz"):
        with pytest.raises(FormatError, match="cannot be read"):
            text_of(tmp_path / name)
    monkeypatch.setattr("mmrerank.evaluation.loaders._loaded.MAX_BYTES", 3999)
    with pytest.raises(FormatError, match="above the limit"):
        text_of(tmp_path / "whole.gz")


def test_a_folder_stands_for_its_files_only_where_it_holds_no_others(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": 1, "b.png": 2})
    assert files_in(tmp_path, ["b.png", "a.png"]) == (tmp_path,)
    assert files_in(tmp_path, ["b.png"]) == (tmp_path / "b.png",)
    assert files_in(tmp_path / "none", ["b.png"]) == ()
    assert below(tmp_path, "a/b.png") == tmp_path / "a" / "b.png"


def test_a_run_in_official_ids_is_read_in_item_ids(tmp_path: Path) -> None:
    from mmrerank.evaluation.evaluate import evaluate
    from mmrerank.evaluation.runs import Run

    cirr(tmp_path / "data")
    found = opened(tmp_path, "cirr")
    official = Run(tag="other", rankings={"7": ("dev-0-0-img0", "dev-1-0-img0"), "8": ("dev-2-0-img0.png",)})
    measures = evaluate(found, None, run=official).result["measures"]
    assert measures["R@1"]["value"] == 1.0  # the reference, first in query 7, is out
    assert measures["R_subset@1"]["value"] == 1.0
    with pytest.raises(MMRerankError, match="holds no item of cirr/val"):
        evaluate(found, None, run=Run(tag="other", rankings={"7": ("1", "2")}))
