"""MVP's networks: the steps written out, and what must hold whatever the weights are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmrerank.errors import FormatError, InputError
from mmrerank.models.mvp import EncoderViews, T5Views, Views, by_anchors, load_views
from mmrerank.rerankers.mvp import _tiny_views

TEXTS = ("a red door", "the harbour at night", "a", "a door that is red and shut 12 times")


def tiny_t5(folder: Path) -> Path:
    """A saved T5 with seeded random weights over letters and sentinels."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    sentinels = [f"<extra_id_{k}>" for k in range(8)]
    letters = ["<pad>", "</s>", "<unk>", *sentinels, *"abcdefghijklmnopqrstuvwxyz0123456789 |:<>_", "Q", "C"]
    tokenizer = Tokenizer(models.WordLevel({letter: n for n, letter in enumerate(letters)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    names: dict[str, Any] = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "extra_special_tokens": sentinels}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2}
    config = T5Config(vocab_size=len(letters), pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, **sizes)
    T5ForConditionalGeneration(config).eval().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["t5", "bert"])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Views:
    return load_views(str(tiny_t5(tmp_path_factory.mktemp("t5"))), views=4, device="cpu") if request.param == "t5" else _tiny_views(4)


def width_of(network: Views) -> int:
    if isinstance(network, T5Views):
        return int(network.network.config.d_model)
    assert isinstance(network, EncoderViews)
    return int(network.encoder.config.hidden_size)


def scores(network: Views, texts: tuple[str, ...] = TEXTS, *, batch: int = 16) -> np.ndarray[Any, Any]:
    return network.view_scores("what is red", texts, length=64, batch=batch).numpy()


def test_another_order_of_candidates_is_another_order_of_scores_and_no_more(network: Views) -> None:
    order = [2, 0, 3, 1]
    np.testing.assert_allclose(scores(network, tuple(TEXTS[n] for n in order)), scores(network)[:, order], atol=1e-5)


def test_batches_of_the_encoder_change_nothing(network: Views) -> None:
    np.testing.assert_allclose(scores(network, batch=1), scores(network, batch=3), atol=1e-5)


def test_equal_candidates_have_equal_scores(network: Views) -> None:
    twice = scores(network, (*TEXTS, TEXTS[0]))
    np.testing.assert_allclose(twice[:, 0], twice[:, -1], atol=1e-5)


def test_one_candidate_more_changes_the_others(network: Views) -> None:
    assert not np.allclose(scores(network, TEXTS[:3]), scores(network)[:, :3], atol=1e-4)


def test_a_view_sees_its_own_vectors_only(network: Views) -> None:
    torch.manual_seed(2)
    width = width_of(network)
    views, there = torch.randn(1, 5, 4, width), torch.ones(1, 5, dtype=torch.bool)
    moved = views.clone()
    moved[:, :, 1] += torch.randn(1, 5, width)
    with torch.no_grad():
        before, after = network.anchors(views, there), network.anchors(moved, there)
    np.testing.assert_allclose(after[:, [0, 2, 3]], before[:, [0, 2, 3]], atol=1e-6)
    assert not np.allclose(after[:, 1], before[:, 1], atol=1e-3)


def test_candidates_that_are_not_there_change_no_anchor(network: Views) -> None:
    torch.manual_seed(2)
    width = width_of(network)
    views = torch.randn(1, 5, 4, width)
    with torch.no_grad():
        some = network.anchors(views[:, :3], torch.ones(1, 3, dtype=torch.bool))
        masked = network.anchors(views, torch.tensor([[True, True, True, False, False]]))
    np.testing.assert_allclose(masked, some, atol=1e-5)


def test_training_scores_what_is_scored_in_use(network: Views) -> None:
    sequences = [network.ids("what is red", text, 64) for text in TEXTS]
    ids, mask = network.padded(sequences)
    with torch.no_grad():
        trained, anchors = network(ids[None], mask[None], torch.ones(1, len(TEXTS), dtype=torch.bool))
    np.testing.assert_allclose(trained[0], scores(network).mean(axis=0), atol=1e-5)
    assert anchors.shape[:2] == (1, 4)


def test_the_score_is_the_product_of_anchor_and_view() -> None:
    torch.manual_seed(0)
    views, anchors = torch.randn(2, 3, 4, 5), torch.randn(2, 4, 5)
    for b, k, n in np.ndindex(2, 4, 3):
        assert by_anchors(views, anchors)[b, k, n].item() == pytest.approx(float(views[b, n, k] @ anchors[b, k]), abs=1e-5)


def test_the_passage_alone_is_cut(network: Views) -> None:
    whole, cut = network.ids("what is red", "a door " * 30, 400), network.ids("what is red", "a door " * 30, 50)
    assert len(cut) == 50
    assert cut[:-1] == whole[:49]
    assert cut[-1] == whole[-1] == network.ending[0]
    with pytest.raises(InputError, match="none is left for a passage"):
        network.ids("what is red " * 9, "a door", 60)


def test_control_tokens_in_a_text_are_letters(network: Views) -> None:
    name = "<extra_id_1>" if isinstance(network, T5Views) else "[unused1]"
    assert set(network.letters(f"a {name} door")).isdisjoint(network.view_ids)  # type: ignore[arg-type]


def test_the_published_layout(tmp_path: Path) -> None:
    """View tokens, query and context as the released code writes them, and the decoder's start; a direct computation with transformers."""
    network = load_views(str(tiny_t5(tmp_path)), views=2, device="cpu")
    assert isinstance(network, T5Views)
    written = "<extra_id_0><extra_id_1> | Query: a | Context: b</s>"
    ids = network.ids("a", "b", 64)
    assert network.tokenizer.decode(ids).replace(" ", "") == written.replace(" ", "")
    t5 = network.network
    with torch.no_grad():
        states = t5.encoder(input_ids=torch.tensor([ids])).last_hidden_state[:, :2]  # one candidate, two views
        anchors = [
            t5.decoder(
                input_ids=torch.tensor([[t5.config.decoder_start_token_id]]), encoder_hidden_states=states[:, [k]]
            ).last_hidden_state[0, 0]
            for k in range(2)
        ]
    by_hand = [float(anchors[k] @ states[0, k]) for k in range(2)]
    np.testing.assert_allclose(network.view_scores("a", ["b"], length=64, batch=4)[:, 0], by_hand, atol=1e-5)


def test_a_saved_network_is_the_same_again(tmp_path: Path) -> None:
    made = _tiny_views(4)
    made.save(tmp_path)
    np.testing.assert_allclose(scores(load_views(str(tmp_path), views=4, device="cpu")), scores(made), atol=1e-6)


def test_another_number_of_views_than_was_trained_is_refused(tmp_path: Path) -> None:
    _tiny_views(4).save(tmp_path)
    with pytest.raises(InputError, match="trained with 4 views, not 2"):
        load_views(str(tmp_path), views=2)


def test_more_views_than_there_are_tokens_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no 9 sentinels"):
        load_views(str(tiny_t5(tmp_path)), views=9)


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    from mmrerank.rerankers.cross_encoder import save_tiny

    save_tiny(tmp_path / "bert", seed=0)
    with pytest.raises(FormatError, match="a checkpoint of bert, not of T5"):
        load_views(str(tmp_path / "bert"), views=4)
    with pytest.raises(InputError, match="no folder, and no name on the hub"):
        load_views(str(tmp_path / "nothing here"), views=4)


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    _tiny_views(4).save(tmp_path)
    tensors = load_file(tmp_path / "anchors.safetensors")
    save_file({name: value for name, value in tensors.items() if name != "start"}, tmp_path / "anchors.safetensors")
    with pytest.raises(FormatError, match="missing in anchors"):
        load_views(str(tmp_path), views=4)
