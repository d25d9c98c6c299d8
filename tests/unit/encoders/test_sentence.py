"""The sentence-transformers encoder on a minute real BERT, written to disk and loaded again."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("sentence_transformers", reason="the extra `sentence` is not installed")

from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from mmrerank.encoders import sentence as module
from mmrerank.errors import BackendError, FormatError, InputError, MissingExtra
from mmrerank.parts import make

TEXTS = ["a cat on a mat", "two dogs", "", "words and more words " * 20]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sentence")
    module.save_tiny(path, seed=1)
    return path


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    """Neither a network nor a cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


def built(folder, **options):
    return module.build(module.Options(checkpoint=str(folder), device="cpu", **options))


def changed(folder, target, change):
    """A copy of the checkpoint folder with its weights changed."""
    shutil.copytree(folder, target)
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, target / "model.safetensors", metadata={"format": "pt"})
    return target


def test_rows_are_those_of_sentence_transformers(folder):
    encoder = built(folder)
    plain = SentenceTransformer(str(folder), device="cpu")
    np.testing.assert_allclose(encoder.encode(TEXTS), plain.encode_document(TEXTS, normalize_embeddings=True), atol=1e-6)
    np.testing.assert_allclose(encoder.encode_queries(TEXTS), plain.encode_query(TEXTS, normalize_embeddings=True), atol=1e-6)


def test_queries_get_the_prompt_of_queries(folder):
    encoder = built(folder)
    np.testing.assert_allclose(encoder.encode_queries(TEXTS), encoder.encode([f"query: {text}" for text in TEXTS]), atol=1e-6)
    assert np.abs(encoder.encode_queries(TEXTS) - encoder.encode(TEXTS)).max() > 0.01
    assert encoder.encode_queries([]).shape == (0, encoder.dimension)


def test_what_follows_the_last_token_read_does_not_count(folder):
    encoder = built(folder)
    assert encoder.max_tokens == 32
    long = "x y " * 40
    np.testing.assert_allclose(encoder.encode([long]), encoder.encode([long + "z"]), atol=1e-6)


@pytest.mark.parametrize(("count", "expected"), [(0, 1), (4, 1), (5, 2), (6, 2), (7, 3), (400, 199)])
def test_passages_leave_out_no_word_and_a_short_text_is_left_as_it_is(count, expected):
    pieces = [f"w{n}" for n in range(count)]
    text = "\n".join(pieces)
    cut = module.passages(text, 4, 2)
    assert len(cut) == expected
    assert cut == [text] if count <= 4 else all(len(passage.split()) <= 4 for passage in cut)
    assert {word for passage in cut for word in passage.split()} == set(pieces)


def test_a_long_text_has_a_row_a_passage(folder):
    encoder = built(folder, words=4, step=2)
    text = "a b c d e f g"
    rows = encoder.encode_tokens([text, "x y"])
    assert [len(some) for some in rows] == [3, 1]
    np.testing.assert_allclose(rows[0], built(folder).encode(["a b c d", "c d e f", "e f g"]), atol=1e-6)
    mean = rows[0].mean(axis=0)
    np.testing.assert_allclose(encoder.encode([text])[0], mean / np.linalg.norm(mean), atol=1e-6)
    assert encoder.name == f"sentence/{folder}(words=4, step=2)"


def test_a_page_without_blanks_is_cut_by_characters_and_not_at_the_last_token_read(folder):
    text = "".join(chr(0x4E00 + n) for n in range(50))
    assert module.passages(text, 20, 10) == [text[:20], text[10:30], text[20:40], text[30:]]
    lines = "\n".join([text[:25], text[25:]])
    assert [len(passage.replace(" ", "")) for passage in module.passages(lines, 20, 10)] == [20] * 4
    assert len(built(folder, words=20, step=10).encode_tokens([text])[0]) == 4


def test_a_text_that_lost_its_blanks_is_cut_as_if_it_had_them():
    text = "thetidegaugewasbuilt" * 6  # 120 letters, as 20 words
    assert module.passages(text, 10, 10) == [text[:60], text[60:]]
    assert module.passages(f"{text[:60]} b c d", 3, 3) == [f"{text[:60]} b c", "d"]  # 60 are one


@given(st.text("ab é\n\t\u00a0\u3000,.", max_size=60), st.integers(1, 8), st.data())
def test_where_there_are_blanks_words_stand_between_them(text, words, data):
    step = data.draw(st.integers(1, words))
    pieces = text.split()
    starts = range(0, len(pieces) - words + step, step)
    expected = [text] if len(pieces) <= words else [" ".join(pieces[start : start + words]) for start in starts]
    assert module.passages(text, words, step) == expected


@pytest.mark.parametrize("options", [{"words": 0, "step": 0}, {"step": 0}, {"words": 10, "step": 11}])
def test_passages_that_would_leave_out_words_are_refused(options):
    with pytest.raises(InputError, match="none is left out"):
        module.Options(checkpoint="x", **options)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_stays_close(folder, precision):
    np.testing.assert_allclose(built(folder, precision=precision).encode(TEXTS), built(folder).encode(TEXTS), atol=0.05)


def test_a_relative_folder_and_a_name_in_the_grammar_load_the_same(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    for argument in (str(folder), folder.name, f"./{folder.name}"):
        encoder = make(f"sentence/{argument}(device='cpu')", station="encoders")
        assert encoder.name == f"sentence/{argument}(words=100, step=50)"
        np.testing.assert_allclose(encoder.encode(TEXTS), built(folder).encode(TEXTS), atol=1e-6)


def test_other_weights_have_another_hash(folder):
    assert built(folder).weights_hash == built(folder).weights_hash != module.tiny().weights_hash


def lacks_a_layer(state):
    del state["encoder.layer.1.output.dense.weight"]


def has_another_shape(state):
    state["encoder.layer.1.output.dense.weight"] = state["encoder.layer.1.output.dense.weight"][:4].clone()


@pytest.mark.parametrize("damage", [lacks_a_layer, has_another_shape], ids=lambda damage: damage.__name__)
def test_weights_that_do_not_fit_are_an_error(folder, damage, tmp_path):
    with pytest.raises(FormatError, match="not a complete"):
        built(changed(folder, tmp_path / "damaged", damage))


def test_berts_own_pooler_may_be_absent(folder, tmp_path):
    def without_pooler(state):
        for key in [key for key in state if key.startswith("pooler.")]:
            del state[key]

    encoder = built(changed(folder, tmp_path / "poolerless", without_pooler))
    np.testing.assert_allclose(encoder.encode(TEXTS), built(folder).encode(TEXTS), atol=1e-6)


class Bomb:
    """A pickle that makes a file when it is read without care."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("safe", [True, False])
def test_a_bin_is_read_but_a_pickle_of_more_than_tensors_is_refused_unread(folder, tmp_path, safe):
    shutil.copytree(folder, tmp_path / "bin", ignore=shutil.ignore_patterns("model.safetensors"))
    state = load_file(folder / "model.safetensors")
    torch.save(state if safe else {**state, "bomb": Bomb(tmp_path / "exploded")}, tmp_path / "bin" / "pytorch_model.bin")
    if safe:
        np.testing.assert_allclose(built(tmp_path / "bin").encode(TEXTS), built(folder).encode(TEXTS), atol=1e-6)
    else:
        with pytest.raises(FormatError, match="not a complete"):
            built(tmp_path / "bin")
    assert not (tmp_path / "exploded").exists()


def test_a_folder_without_weights_is_an_error(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "empty", ignore=shutil.ignore_patterns("model.safetensors"))
    with pytest.raises(FormatError):
        built(tmp_path / "empty")


def test_a_bare_transformers_folder_is_refused_rather_than_pooled_by_a_guess(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "bare", ignore=shutil.ignore_patterns("modules.json"))
    with pytest.raises(InputError, match=r"modules\.json"):
        built(tmp_path / "bare")


@pytest.mark.parametrize("name", ["/no/such", "./no", "a/b/c", "-x", "what is this"])
def test_names_that_cannot_be_are_refused(name, no_hub):
    with pytest.raises(InputError):
        built(name)


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"])
def test_without_a_network_the_error_names_the_alternatives(name, no_hub):
    with pytest.raises(BackendError) as caught:
        make(f"sentence/{name}")
    assert caught.value.retryable
    assert "sentence/PATH" in caught.value.hint


def test_without_the_extra_the_error_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtra, match=r"mmrerank\[sentence\]"):
        built(folder)
