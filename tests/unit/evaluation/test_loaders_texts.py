"""Layouts whose queries are texts (documents, judged texts, questions with their pictures) on miniature trees, whole and broken."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from trees import lines, opened, write

from mmrerank.errors import FormatError, InputError
from mmrerank.evaluation.benchmark import Benchmark
from mmrerank.evaluation.evaluate import evaluate
from mmrerank.evaluation.loaders import judged
from mmrerank.evaluation.runs import Run

# ---------------------------------------------------------------------- documents


def test_questions_of_documents_are_asked_of_one_or_of_all(tmp_path: Path) -> None:
    base = {"doc_type": "Guidebook", "answer_format": "Str", "question": "where?"}
    rows = [
        {**base, "doc_id": "it's.pdf", "evidence_pages": "[0, 3, 5]"},
        {**base, "doc_id": "it's.pdf", "evidence_pages": "[]"},
        {**base, "doc_id": "b.pdf", "evidence_pages": "[1]"},
    ]
    write(tmp_path / "data", {"samples.json": rows, "documents/it's.pdf": b"%PDF", "documents/b.pdf": b"%PDF"})
    benchmark = opened(tmp_path, "mmlongbench_doc", queries=2, first_query="0", last_query="2")
    assert benchmark.qrels["0"] == {"it's.pdf#page=3": 1, "it's.pdf#page=5": 1}
    assert benchmark.queries[0].filter == "document_id = 'it''s.pdf'"
    assert benchmark.groups["2"] == "Guidebook"
    assert opened(tmp_path, "mmlongbench_doc", "corpus").queries[0].filter is None
    (tmp_path / "data/documents/b.pdf").unlink()
    with pytest.raises(InputError, match=r"lacks 1 documents, 'b\.pdf'"):
        opened(tmp_path, "mmlongbench_doc")


def test_pages_of_a_table_are_rows_between_the_ends_of_their_document(tmp_path: Path) -> None:
    questions = [{"Q": "which year?", "A": "2015", "page_id": [0, 2], "type": "Chart"}]
    row = {"doc_name": "a.pdf", "domain": "News", "page_indices": [10, 12], "layout_indices": [0, 1], "questions": questions}
    write(tmp_path / "data", {"MMDocIR_annotations.jsonl": lines(row)})
    benchmark = opened(tmp_path, "mmdocir", queries=1)
    assert benchmark.qrels == {"0": {"MMDocIR_pages.parquet::11": 1, "MMDocIR_pages.parquet::13": 1}}
    assert benchmark.galleries["0"] == tuple(f"MMDocIR_pages.parquet::{n}" for n in (11, 12, 13))
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
    benchmark = opened(tmp_path, "novel_eval", queries=2, items=3, first_item="corpus.tsv::0-0")
    assert benchmark.qrels["0"] == {"corpus.tsv::0-0": 0, "corpus.tsv::0-1": 2}
    assert benchmark.sources == ()
    write(data, {"corpus.tsv": "id\ttext\n0-0\ta\n0-1\tb\n1-0\tc\n"})
    assert opened(tmp_path, "novel_eval", items=3).sources == (data / "corpus.tsv",)


def test_queries_that_no_judgement_names_are_passed_over(tmp_path: Path) -> None:
    queries = lines({"_id": "a", "text": "how?"}, {"_id": "b", "text": "who?"})
    corpus = lines({"_id": "d1", "title": "t", "text": "x"}, {"_id": "d2", "title": "", "text": "y"})
    qrels = "query-id\tcorpus-id\tscore\nb\td2\t1\n"
    data = write(tmp_path / "data", {"queries.jsonl": queries, "corpus.jsonl": corpus, "qrels/test.tsv": qrels})
    options = {"queries": "queries.jsonl", "query_id": "_id", "text": "{text}", "qrels": "qrels/{split}.tsv"}
    benchmark = judged.load(data, "test", {**options, "corpus": "corpus.jsonl", "corpus_id": "_id"})  # BEIR as it ships
    assert [query.query_id for query in benchmark.queries] == ["b"]
    assert benchmark.qrels == {"b": {"corpus.jsonl::d2": 1}}
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
    benchmark = opened(tmp_path, "vidore_v3", "vidore_v3_hr", queries=2, items=4, first_query="1")
    assert benchmark.qrels == {"1": {"test-0.parquet::1": 2}, "2": {"test-1.parquet::2": 2}}
    assert benchmark.read_with == ("table(id_column='corpus_id', text_column='markdown')",)
    assert benchmark.names["test-1.parquet::3"] == "3"


def dl(tmp_path: Path, **change: Any) -> Benchmark:
    candidates = [{"id": "9", "text": "b", "bm25": 4.5}, {"id": "8", "text": "a", "bm25": 4.0}]
    row = {"id": "q1", "query": "what?", "candidates": candidates, "qrels": {"8": 3, "9": 0}, **change}
    write(tmp_path / "data", {"dev.jsonl": lines(row)})
    return opened(tmp_path, "trec_dl", queries=1)


def test_a_first_stage_that_comes_with_the_queries_is_a_run(tmp_path: Path) -> None:
    benchmark = dl(tmp_path)
    assert benchmark.shipped_run is not None
    assert benchmark.shipped_run.rankings == {"q1": ("corpus.jsonl::9", "corpus.jsonl::8")}
    assert benchmark.shipped_run.scores == {"q1": (4.5, 4.0)}
    assert benchmark.qrels == {"q1": {"corpus.jsonl::8": 3, "corpus.jsonl::9": 0}}


def test_official_ids_are_known_without_the_table(tmp_path: Path) -> None:
    """A run in the ids of MS MARCO once scored 0 where corpus.jsonl is not there: only its rows gave names to the items."""
    benchmark = dl(tmp_path)
    assert benchmark.missing == (tmp_path / "data" / "corpus.jsonl",)
    official, ours = (Run(tag="t", rankings={"q1": (f"{mark}8", f"{mark}9")}) for mark in ("", "corpus.jsonl::"))
    assert evaluate(benchmark, None, run=official).result["measures"]["nDCG@10"]["value"] == 1.0
    assert benchmark.in_item_ids(official).rankings == ours.rankings
    beside = evaluate(benchmark, None, compare=[official]).result["systems"][1]
    assert beside["measures"]["nDCG@10"]["value"] == 1.0
    with pytest.raises(InputError, match="holds no item of trec_dl"):
        evaluate(benchmark, None, run=Run(tag="t", rankings={"q1": ("seven", "six")}))


def test_a_pool_may_lack_right_items(tmp_path: Path) -> None:
    write(tmp_path / "data", {"corpus.jsonl": lines({"id": "9", "text": "b"})})
    benchmark = dl(tmp_path)
    assert (benchmark.items, benchmark.qrels["q1"]["corpus.jsonl::8"]) == (("corpus.jsonl::9",), 3)


@pytest.mark.parametrize(
    "change",
    [
        {"candidates": [5]},
        {"candidates": [{"id": "9"}]},
        {"candidates": [["9", 1], ["9", 0]]},
        {"qrels": {"8": 0.5}},
        {"qrels": 1.5},
        {"qrels": [{"id": "x"}]},
    ],
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
    benchmark = opened(tmp_path, "webqa", queries=1, items=3)
    assert benchmark.qrels == {"a": {"1.jpg": 1, "2.jpg": 1}}
    assert benchmark.queries[0].text == "What colour?"
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
    benchmark = opened(tmp_path, "multimodalqa", queries=1, items=2)
    assert benchmark.qrels == {"a": {"One.jpg": 1}}
    assert benchmark.items == ("One.jpg", "Two.png")
    write(tmp_path / "data", {"dataset/MMQA_images.jsonl.gz": gzip.compress(lines({"id": "image1", "path": "One.jpg"}).encode())})
    with pytest.raises(FormatError, match="'image2' is not in dataset/MMQA_images"):
        opened(tmp_path, "multimodalqa")
