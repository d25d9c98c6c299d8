"""WikiQA and TrecQA as `mmrerank evaluate` reads them: the ids of training, BM25's order, and the card that opens them."""

from __future__ import annotations

import json
from pathlib import Path

from mmrerank.evaluation.benchmark import open_benchmark
from mmrerank.training.data import lists
from tools.answers.make import PARTS, build

ROOT = Path(__file__).parents[3]
SENTENCES = [{"text": "Cheese is made of milk.", "grade": 0}, {"text": "The moon is made of rock.", "grade": 1}]


def test_a_run_over_what_is_written_names_the_sentences_as_training_does(tmp_path: Path) -> None:
    for part in PARTS:
        path = tmp_path / f"{part.replace('-', '/')}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"id": f"{part}-1", "query": "what is the moon made of", "candidates": SENTENCES}) + "\n")
    assert build(tmp_path, tmp_path / "answers") == {**dict.fromkeys(PARTS, 1), "corpus": 8}
    (group,) = lists(tmp_path, ["wikiqa/dev.jsonl"]).groups
    (row,) = [json.loads(line) for line in (tmp_path / "answers" / "wikiqa-dev.jsonl").read_text().splitlines()]
    assert [one["id"] for one in row["candidates"]] == ["wikiqa-dev-1-1", "wikiqa-dev-1-0"]  # BM25 prefers the sentence with "moon"
    assert row["qrels"] == dict(group.grades) == {"wikiqa-dev-1-0": 0, "wikiqa-dev-1-1": 1}


def test_the_card_opens_what_is_written(tmp_path: Path) -> None:
    test_a_run_over_what_is_written_names_the_sentences_as_training_does(tmp_path)
    card = (ROOT / "datasets" / "answer_sentences.toml").read_text(encoding="utf-8")
    small = tmp_path / "card.toml"
    small.write_text(card.replace("queries = 122, items = 15513", "queries = 1, items = 8"), encoding="utf-8")
    benchmark = open_benchmark(small, tmp_path / "answers", "wikiqa-dev")
    assert benchmark.shipped_run is not None
    assert [list(ids) for ids in benchmark.shipped_run.rankings.values()] == [
        ["corpus.jsonl::wikiqa-dev-1-1", "corpus.jsonl::wikiqa-dev-1-0"]
    ]
