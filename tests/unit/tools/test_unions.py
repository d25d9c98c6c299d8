"""The union of first stages: ranks and scores of each, in the order of their fusion."""

from __future__ import annotations

import pytest
import torch

from mmrerank.rerankers.mtm import _tiny
from mmrerank.types import Item, Query
from tools.unions.make import PASSAGE, Pages, Sentences, best_of, line


def test_a_line_says_where_each_stage_has_a_candidate() -> None:
    stages = {"lexical": [("a", 3.0), ("b", 1.0)], "dense": [("b", 0.9), ("c", 0.1)]}
    row = line(Query(query_id="q", text="which"), stages, {"b": 1})
    assert [one["id"] for one in row["candidates"]] == ["b", "a", "c"]
    assert row["candidates"][0]["metadata"] == {"stages": {"lexical": (2, 1.0), "dense": (1, 0.9)}}
    assert row["candidates"][2]["metadata"] == {"stages": {"dense": (2, 0.1)}}
    assert row["qrels"] == {"b": 1}


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
