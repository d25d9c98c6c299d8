"""The cross-encoder driver: with a fake, and with sentence-transformers' own class over a tiny network made here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from makers import InMemory, coloured
from worded import candidates

from mmrerank.errors import BackendError, FormatError, ShapeError
from mmrerank.rerankers._cross_encoder import cross_encoder
from mmrerank.rerankers._pointwise import sigmoid
from mmrerank.testing.fakes import FakePredictor
from mmrerank.types import Candidate, Item, Query, Ranking

QUERY = Query(query_id="q", text="red door")


class WordsInCommon:
    """A reranker of one's own over any cross-encoder."""

    name = "words_in_common"
    pointwise = True

    def __init__(self) -> None:
        self.predictor = FakePredictor()

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        return cross_encoder(query, candidates, self.predictor)


def test_a_reranker_of_ones_own_in_ten_lines() -> None:
    ranking = WordsInCommon().rerank(QUERY, candidates(["a boat", "a red boat", "the red door", "red"]))
    assert ranking.item_ids == ("item-2", "item-1", "item-3", "item-0")
    assert [c.score for c in ranking.candidates] == [1.0, 0.5, 0.5, 0.0]
    assert ranking.notes.reasons["item-2"] == "score 1.000"
    assert WordsInCommon().rerank(QUERY, []).candidates == ()


def test_pairs_are_predicted_by_length_longest_first_and_scores_find_their_way_back() -> None:
    predictor = FakePredictor()
    texts = ["red " * n + "x" for n in (3, 9, 1, 7, 5)]
    ranking = cross_encoder(QUERY, candidates([*texts, "red door"]), predictor, batch=2)
    lengths = [[len(item.split()) for _, item in batch] for batch in predictor.batches]
    assert lengths == [[10, 8], [6, 4], [2, 2]]
    assert ranking.item_ids == ("item-5", "item-0", "item-1", "item-2", "item-3", "item-4")


def test_texts_are_cut_by_words_on_both_sides() -> None:
    predictor = FakePredictor()
    query = Query(text=" ".join(f"q{n}" for n in range(100)))
    cross_encoder(query, candidates(["w " * 900]), predictor, words=50, query_words=10)
    ((asked, item),) = predictor.batches[0]
    assert (asked.split(), item.split()) == ([f"q{n}" for n in range(10)], ["w"] * 50)


def test_pictures_go_along_as_the_library_takes_them() -> None:
    predictor = FakePredictor()
    pictured = [
        Candidate(item=Item(item_id="both", text="red door", image=InMemory(coloured(1, size=(300, 200))))),
        Candidate(item=Item(item_id="bare", image=InMemory(coloured(2)))),
        Candidate(item=Item(item_id="words", text="red")),
    ]
    query = Query(text="red door", images=(InMemory(coloured(3)),))
    ranking = cross_encoder(query, pictured, predictor, modality="both", max_pixels=15_000)
    asked, items = (
        predictor.batches[0][0][0],
        {str(side.get("text", "-") if isinstance(side, dict) else side): side for _, side in predictor.batches[0]},
    )
    assert asked == {"image": coloured(3), "text": "red door"}
    assert items["red door"]["image"].size == (150, 100)
    assert items["-"] == {"image": coloured(2)}
    assert items["red"] == "red"
    assert ranking.item_ids == ("both", "words", "bare")


def test_what_cannot_be_shown_stays_behind_and_auto_says_what_it_chose() -> None:
    class Broken:
        def open(self):  # type: ignore[no-untyped-def]
            raise FormatError("truncated", path="b.png")

    mixed = [Candidate(item=Item(item_id="broken", image=Broken())), *candidates(["red door", ""])]
    ranking = cross_encoder(QUERY, mixed, FakePredictor())
    assert ranking.item_ids == ("item-0", "broken", "item-1")
    assert ranking.notes.messages == (
        "broken: not shown to the model: it has no text",
        "item-1: not shown to the model: it has neither a picture nor a text",
    )
    assert cross_encoder(Query(text="a query"), mixed[1:2], FakePredictor(), modality="auto").notes.messages == ("shown as text: item-0",)


class Fixed:
    def __init__(self, values: Any) -> None:
        self.values = values

    def predict(self, inputs: Sequence[Any]) -> Any:
        return self.values


def test_any_shape_of_one_score_a_pair_is_taken_and_none_else() -> None:
    two = candidates(["a", "b"])
    for values in ([1.0, 2.0], np.array([[1.0], [2.0]]), np.array([1, 2], dtype=np.float16)):
        ranking = cross_encoder(QUERY, two, Fixed(values), to_score=sigmoid, label="P")
        assert ranking.item_ids == ("item-1", "item-0")
        assert ranking.candidates[0].score == pytest.approx(0.880797, abs=1e-6)
        assert ranking.candidates[0].raw_score == 2
    for values in ([1.0], np.ones((2, 3))):
        with pytest.raises(ShapeError, match="one score for each of 2 pairs"):
            cross_encoder(QUERY, two, Fixed(values))
    with pytest.raises(BackendError, match="1 of 2 pairs"):
        cross_encoder(QUERY, two, Fixed([float("nan"), 1.0]))


def tiny_checkpoint(folder: Path) -> Path:
    """A BERT with random weights that gives a pair one number, and a tokenizer of a few words."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "green", "door", "boat", "a", "the", *(f"w{n}" for n in range(40))]
    tokenizer = Tokenizer(WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **special).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = transformers.BertConfig(vocab_size=len(words), num_labels=1, initializer_range=0.5, **sizes)  # so that scores lie apart
    transformers.BertForSequenceClassification(config).eval().save_pretrained(folder)
    return folder


def test_the_cross_encoder_of_sentence_transformers_is_one(tmp_path: Path) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    model = sentence_transformers.CrossEncoder(str(tiny_checkpoint(tmp_path)), device="cpu")
    texts = ["a red door", "the boat " + " ".join(f"w{n}" for n in range(30)), "green", "a green boat", "a red door"]
    ranking = cross_encoder(QUERY, candidates(texts), model, batch=2)
    alone = {f"item-{n}": float(model.predict([("red door", text)])[0]) for n, text in enumerate(texts)}
    assert {c.item.item_id: c.score for c in ranking.candidates} == pytest.approx(alone, abs=1e-4)
    places = {item_id: place for place, item_id in enumerate(ranking.item_ids)}
    assert places["item-4"] == places["item-0"] + 1, "equal pairs keep their order, whatever they were batched with"
    assert max(alone.values()) - min(alone.values()) > 0.01
    turned = cross_encoder(QUERY, candidates(texts)[::-1], model, batch=3)
    assert {c.item.item_id: c.score for c in turned.candidates} == pytest.approx(alone, abs=1e-4)
