"""The lists of claims: each title beside its rivals, tweets as they come, and articles in which a claim stands among unrelated text."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from mmrerank.training.data import lists
from tools.claims import make

CLAIMS = [
    {"id": "0", "claim": "The moon is made of cheese.", "title": "Is the moon made of cheese?"},
    {"id": "1", "claim": "Cheese comes from the moon.", "title": "Where cheese comes from"},
    {"id": "2", "claim": "A whale swam up the river.", "title": None},
]


def test_a_title_asks_for_its_own_claim_among_those_like_it() -> None:
    rows = list(make.titles(CLAIMS))
    assert [row["qrels"] for row in rows] == [{"0": 1}, {"1": 1}]  # a claim without a title asks for nothing
    assert [one["id"] for one in rows[0]["candidates"]] == ["0", "1"]
    assert rows[0]["candidates"][0]["text"] == CLAIMS[0]["claim"]


def test_an_article_holds_its_claim_once_among_sentences_of_something_else() -> None:
    sentences = make.unrelated()
    text = make.article(CLAIMS[0], sentences, 0)
    lines = text.splitlines()
    assert len(lines) == make.LENGTH
    assert lines.count("The moon is made of cheese.") == 1
    assert set(lines) - {"The moon is made of cheese."} <= set(sentences)
    assert make.article(CLAIMS[0], sentences, 0) == text
    assert make.article(CLAIMS[0], sentences, 1) != text


def test_what_is_written_is_read_as_judged_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tweet = {"id": "t", "query": "moon cheese!", "bm25_top50": [["1", 3.0], ["0", 2.5], ["2", 0.5]], "qrels": {"0": 1}}
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(claim) + "\n" for claim in CLAIMS), encoding="utf-8")
    (tmp_path / "dev.jsonl").write_text(json.dumps(tweet) + "\n", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["make", "--data", str(tmp_path), "--out", str(tmp_path / "out")])
    make.main()
    group = lists(tmp_path / "out", ["tweets.jsonl"]).groups[0]
    assert [one.item.text for one in group.candidates] == [
        "Where cheese comes from\nCheese comes from the moon.",
        "Is the moon made of cheese?\nThe moon is made of cheese.",
        "A whale swam up the river.",
    ]
    assert group.is_mixed
    articles = lists(tmp_path / "out", ["articles.jsonl"]).groups[0].candidates
    assert [one.item.item_id for one in articles] == ["1", "0", "2"]
    assert len((articles[0].item.text or "").splitlines()) == make.LENGTH
