"""MTM: its formulas against the values of the note and written out by hand, and what must hold whatever the weights are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmrerank.errors import FormatError
from mmrerank.models.mtm import (
    KeySentences,
    MtmConfig,
    MtmNetwork,
    RougeTransformer,
    first_memory,
    key_sentences,
    moved_memory,
    rouge2,
    scaled,
    within_quantiles,
)
from mmrerank.rerankers.mtm import _tiny

CLAIM = "the tower is made of cheese"
ARTICLE = ["a tower of cheese", "we asked the mayor", "this is not true", "the weather was fine", "cheese is made of milk"]


def test_scaling_is_that_of_the_note() -> None:
    np.testing.assert_allclose(scaled([2, 2, 2]), [1, 1, 1])
    np.testing.assert_allclose(scaled([1, 3]), [1, 0], atol=1e-7)
    assert (np.argsort(scaled([4.0, 1.0, 3.0, 2.0])) == [0, 2, 3, 1]).all()


def test_weights_are_shares() -> None:
    some = KeySentences(places=(3, 1), scores=(0.6, 0.2), patterns=(0, 1))
    np.testing.assert_allclose(some.weights, [0.75, 0.25], atol=1e-6)
    np.testing.assert_allclose(KeySentences(places=(0, 1), scores=(0.0, 0.0), patterns=(0, 0)).weights, [0, 0])
    np.testing.assert_allclose(KeySentences(places=(4,), scores=(0.0,), patterns=(2,)).weights, [1])


def test_where_all_vectors_stand_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    claim, sentences, memory = rng.normal(size=8), rng.normal(size=(6, 8)), rng.normal(size=(3, 8))
    here = key_sentences(claim, sentences, memory, 3)
    there = key_sentences(claim + 5, sentences + 5, memory, 3)
    assert (here.places, here.patterns) == (there.places, there.patterns)
    np.testing.assert_allclose(here.scores, there.scores, atol=1e-9)


def test_scores_are_written_out_by_hand() -> None:
    """Two axes: sentence 0 is the claim's own words, sentence 1 stands where the pattern does, sentence 2 nowhere."""
    claim, memory = np.zeros(2), np.array([[0.0, 3.0]])
    sentences = np.array([[1.0, 0.0], [0.0, 3.0], [4.0, -3.0]])
    chosen = key_sentences(claim, sentences, memory, 3)
    event = [1.0, 1 - (3 - 1) / (5 - 1), 0.0]
    pattern = [1 - np.sqrt(10) / np.sqrt(52), 1.0, 0.0]
    expected = [0.6 * a + 0.4 * b for a, b in zip(event, pattern, strict=True)]
    assert chosen.places == (0, 1, 2)
    np.testing.assert_allclose(chosen.scores, expected, atol=1e-7)


def test_a_pattern_that_is_the_residual_is_at_no_distance() -> None:
    chosen = key_sentences(np.zeros(2), np.array([[1.0, 1.0], [2.0, 0.0]]), np.array([[9.0, 9.0], [2.0, 0.0]]), 2)
    assert dict(zip(chosen.places, chosen.patterns, strict=True))[1] == 1
    assert chosen.scores[chosen.places.index(1)] == pytest.approx(0.4)  # the farthest from the claim, and all of the pattern's share


def test_rouge_targets() -> None:
    assert rouge2([5, 6, 7], [5, 6, 7]) == (1, 1)
    assert rouge2([1, 2, 3], [4, 5, 6]) == (0, 0)
    precision, recall = rouge2([9, 5, 6, 7, 9], [5, 6, 7])
    assert (precision, recall) == (0.5, 1)
    assert rouge2([1, 2, 1, 2], [1, 2]) == (1 / 3, 1)  # a pair counts as often as both have it
    assert rouge2([1], [1]) == (0, 0)


# ---------------------------------------------------------------------- the memory


def test_right_decisions_pull_by_three_tenths_of_the_length() -> None:
    memory, residual = np.array([[3.0, 4.0], [1.0, 0.0]], np.float32), np.array([[6.0, 4.0]], np.float32)
    moved = moved_memory(memory, residual, [0], [0.9], [1])
    np.testing.assert_allclose(moved, [[3 + 0.3 * 5, 4], [1, 0]], atol=1e-6)


def test_wrong_decisions_push_by_as_much() -> None:
    memory, residual = np.array([[3.0, 4.0]], np.float32), np.array([[6.0, 4.0]], np.float32)
    np.testing.assert_allclose(moved_memory(memory, residual, [0], [0.2], [1]), [[3 - 0.3 * 5, 4]], atol=1e-6)


def test_both_are_weighed_by_how_sure_the_model_was() -> None:
    memory = np.array([[1.0, 0.0]], np.float32)
    residuals = np.array([[2.0, 0.0], [4.0, 0.0], [1.0, 2.0]], np.float32)
    trust = [0.9, 0.7, 0.3]  # weights .4, .2 for what was right, .2 for what was wrong
    right = np.average(residuals[:2], axis=0, weights=[0.4, 0.2]) - memory[0]
    pull = 0.6 / 0.8 * right + 0.2 / 0.8 * (memory[0] - residuals[2])
    np.testing.assert_allclose(
        moved_memory(memory, residuals, [0, 0, 0], trust, [1, 1, 1]), [memory[0] + 0.3 * pull / np.linalg.norm(pull)], atol=1e-6
    )


def test_what_nothing_pulls_stays() -> None:
    memory = np.array([[3.0, 4.0]], np.float32)
    np.testing.assert_array_equal(moved_memory(memory, memory.copy(), [0], [0.9], [1]), memory)
    np.testing.assert_array_equal(moved_memory(memory, memory + 1, [0], [0.5], [0]), memory)


def test_an_even_decision_counts_as_right_for_the_wrong_article_alone_and_weighs_nothing() -> None:
    memory, residuals = np.array([[1.0, 0.0]], np.float32), np.array([[2.0, 0.0], [1.0, 5.0]], np.float32)
    alone = moved_memory(memory, residuals[:1], [0], [0.8], [1])
    np.testing.assert_allclose(moved_memory(memory, residuals, [0, 0], [0.8, 0.5], [1, 0]), alone, atol=1e-6)


def test_the_first_memory_is_the_middles_of_clusters() -> None:
    rng = np.random.default_rng(1)
    middles = np.array([[5.0, 0], [0, 5], [-5, -5]], np.float32)
    points = np.concatenate([middle + rng.normal(scale=0.1, size=(40, 2)) for middle in middles]).astype(np.float32)
    found = first_memory(points, 3)
    assert sorted(np.round(found).astype(int).tolist()) == sorted(middles.astype(int).tolist())


def test_quantiles() -> None:
    assert within_quantiles(np.arange(9)).tolist() == [False, False, True, True, True, False, False, False, False]


# ---------------------------------------------------------------------- networks


def logits(network: MtmNetwork, article: list[str], chosen: KeySentences) -> Any:
    with torch.no_grad():
        return network([CLAIM], [[article[place] for place in chosen.places]], [chosen.weights], [chosen.patterns])[0].numpy()


def test_the_network_is_its_formula() -> None:
    """One sentence at a time, by transformers' own call."""
    network = _tiny()
    chosen = network.selected(CLAIM, ARTICLE)
    tokenizer, parts = network.tokenizer, []
    with torch.no_grad():
        for place, weight, pattern in zip(chosen.places, chosen.weights, chosen.patterns, strict=True):
            inputs = tokenizer(CLAIM, ARTICLE[place], return_tensors="pt", return_token_type_ids=True)
            states = network.encoder(**inputs).last_hidden_state[0]
            middle = len(CLAIM) + 1  # of letters: [CLS] claim [SEP] sentence [SEP]
            u, z = states[1:middle].mean(0), states[middle + 1 : -1].mean(0)
            parts.append(float(weight) * torch.cat([u, z, network.memory[pattern]]))
        x = sum(parts)
        for n, one in enumerate(network.maps):
            x = x @ one.weight.T + (0 if one.bias is None else one.bias)  # type: ignore[union-attr, operator]
            x = torch.nn.functional.gelu(x) if n < 4 else x
    np.testing.assert_allclose(logits(network, ARTICLE, chosen), x.numpy(), atol=1e-5)  # type: ignore[union-attr]


def test_vectors_are_means_of_word_vectors() -> None:
    network = _tiny()
    words = network.encoder.embeddings.word_embeddings.weight.detach()
    rows = network.vectors(["ab", ""])
    np.testing.assert_allclose(rows[0], words[[4, 5]].mean(0), atol=1e-6)
    assert not rows[1].any()


def test_sentences_that_are_not_read_change_nothing_wherever_they_stand() -> None:
    network = _tiny()
    chosen = network.selected(CLAIM, ARTICLE)
    rest = [n for n in range(5) if n not in chosen.places]
    order = list(range(5))
    order[rest[0]], order[rest[1]] = rest[1], rest[0]
    other = [ARTICLE[n] for n in order]
    np.testing.assert_allclose(logits(network, other, network.selected(CLAIM, other)), logits(network, ARTICLE, chosen), atol=1e-6)


def test_articles_of_a_batch_do_not_touch_each_other() -> None:
    network = _tiny()
    articles = [ARTICLE, ARTICLE[:1], ["a"]]
    chosen = [network.selected(CLAIM, article) for article in articles]
    read = [[article[place] for place in one.places] for article, one in zip(articles, chosen, strict=True)]
    with torch.no_grad():
        together = network([CLAIM] * 3, read, [one.weights for one in chosen], [one.patterns for one in chosen]).numpy()
    for n, article in enumerate(articles):
        np.testing.assert_allclose(together[n], logits(network, article, chosen[n]), atol=1e-5)


def test_released_layers_squash_their_logits() -> None:
    network = _tiny()
    as_released = MtmNetwork(network.encoder, network.tokenizer, MtmConfig(sentences=2, patterns=3, released=True)).eval()
    as_released.load_state_dict(network.state_dict())
    chosen = network.selected(CLAIM, ARTICLE)
    squashed = logits(as_released, ARTICLE, chosen)
    assert (squashed > -0.18).all()
    assert not np.allclose(squashed, logits(network, ARTICLE, chosen), atol=1e-4)


def test_the_anchor_is_zero_at_first_and_not_after_a_step() -> None:
    """In the released code it stays 0, and nothing flows back from it."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    student = RougeTransformer(BertModel(BertConfig(vocab_size=40, **sizes), add_pooling_layer=False))
    ids = torch.randint(4, 40, (2, 6))
    assert student.anchor().item() == 0
    optimiser = torch.optim.SGD(student.parameters(), lr=0.5)
    (student(ids, torch.ones_like(ids), torch.zeros_like(ids)) - 1).square().mean().backward()
    optimiser.step()
    optimiser.zero_grad()
    assert student.anchor().item() > 0
    student.anchor().backward()
    assert student.encoder.embeddings.word_embeddings.weight.grad.abs().sum() > 0
    upper = [weight for name, weight in student.encoder.named_parameters() if ".layer.1." in name]
    assert all(weight.grad is None or not weight.grad.any() for weight in upper), "one layer alone is trained"


def test_a_saved_network_is_the_same_again(tmp_path: Path) -> None:
    network = _tiny()
    network.save(tmp_path)
    again = MtmNetwork.load(tmp_path)
    chosen = network.selected(CLAIM, ARTICLE)
    assert again.selected(CLAIM, ARTICLE) == chosen
    np.testing.assert_allclose(logits(again, ARTICLE, chosen), logits(network, ARTICLE, chosen), atol=1e-6)


@pytest.mark.parametrize("damage", ["no settings", "no memory", "other sizes", "no weights"])
def test_what_is_no_network_is_refused(damage: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    _tiny().save(tmp_path)
    head, settings = tmp_path / "mtm.safetensors", tmp_path / "mtm.json"
    if damage == "no settings":
        settings.unlink()
    elif damage == "no memory":
        save_file({name: value for name, value in load_file(head).items() if name != "memory"}, tmp_path / "mtm.safetensors")
    elif damage == "other sizes":
        settings.write_text(json.dumps({**json.loads(settings.read_text()), "patterns": 7}))
    else:
        head.unlink()
    with pytest.raises(FormatError, match=r"no network of MTM|missing in the weights: memory"):
        MtmNetwork.load(tmp_path)
