"""The union of first stages: ranks and scores of each, in the order of their fusion."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmrerank.evaluation.benchmark import open_benchmark
from mmrerank.evaluation.evaluate import collection_for
from mmrerank.rerankers.mtm import _tiny
from mmrerank.rerankers.ranknovo_union import stages_of
from mmrerank.types import Candidate, Item, Query
from tools.unions.make import PASSAGE, Pages, Ranked, Sentences, best_of, line, table, write

ROOT = Path(__file__).parents[3]


def test_a_line_says_where_each_stage_has_a_candidate() -> None:
    stages = {"lexical": [("a", 3.0), ("b", 1.0)], "dense": [("b", 0.9), ("c", 0.1)]}
    row = line(Query(query_id="q", text="which"), stages, {"b": 1})
    assert [one["id"] for one in row["candidates"]] == ["q/b", "q/a", "q/c"]
    assert row["candidates"][0]["metadata"] == {"stages": {"lexical": (2, 1.0), "dense": (1, 0.9)}}
    assert row["candidates"][2]["metadata"] == {"stages": {"dense": (2, 0.1)}}
    assert row["qrels"] == {"q/b": 1}


def test_a_union_is_measured_by_its_card_with_the_stages_in_a_table(tmp_path: Path) -> None:
    stages: dict[str, Ranked] = {"lexical": [("a", 3.0), ("b", 1.0)], "dense": [("b", 0.9)]}
    row = line(Query(query_id="q", text="which"), stages, {"b": 1, "never met": 1})
    write(tmp_path / "handbook.jsonl", [row])
    write(tmp_path / "handbook.corpus.jsonl", table(row))
    card = tmp_path / "card.toml"
    card.write_text((ROOT / "datasets" / "unions.toml").read_text(encoding="utf-8").replace("queries = 44", "queries = 1"))
    benchmark = open_benchmark(card, tmp_path, "handbook")
    collection, _ = collection_for(benchmark, tmp_path / "collection")
    assert collection is not None
    assert benchmark.shipped_run is not None
    (ids,) = benchmark.shipped_run.rankings.values()
    assert list(ids) == ["handbook.corpus.jsonl::q/b", "handbook.corpus.jsonl::q/a"]
    (item,) = (one for one in collection.items() if one.item_id == ids[0])
    assert item.text == "b"
    assert stages_of(Candidate(item=item), 1) == {"lexical": (2, 1.0), "dense": (1, 0.9)}


def test_the_best_of_a_page_counts() -> None:
    assert best_of(iter([("a", 0.1), ("b", 0.5), ("a", 0.7)])) == [("a", 0.7), ("b", 0.5)]


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Sentences:
    folder, network = tmp_path_factory.mktemp("bert"), _tiny()
    network.encoder.save_pretrained(folder)
    network.tokenizer.save_pretrained(folder)
    return Sentences(str(folder))


def test_a_page_is_its_best_passage_and_its_best_tokens(sentences: Sentences) -> None:
    texts = {"a": "cheese of the moon", "b": "x" * (PASSAGE + 20) + "cheese of the moon", "c": None}
    pages = Pages([Item(item_id=name, text=text) for name, text in texts.items()], sentences)
    question = sentences.states(sentences.passages("cheese of the moon"))[0]
    assert [len(sentences.passages(text or "")) for text in texts.values()] == [1, 2, 0]
    dense, late = dict(pages.dense(question)), dict(pages.late(question))
    assert set(dense) == set(late) == {"a", "b"}  # a page without text is in neither
    assert dense["a"] == pytest.approx(1.0, abs=1e-3)
    assert late["a"] == pytest.approx(len(question), abs=1e-2)  # each token finds itself
    assert late["b"] < late["a"]


def test_what_is_beside_a_passage_moves_its_states_by_rounding_alone(sentences: Sentences) -> None:
    passages = [sentences.passages(text)[0] for text in ("short", "a longer passage of words")]
    torch.testing.assert_close(sentences.states(passages)[0], sentences.states(passages[:1])[0], atol=5e-2, rtol=0)
