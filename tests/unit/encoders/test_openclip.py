"""The open_clip encoder on minute real models, written to disk and loaded again."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import BertTokenizer

from mmrerank.encoders import openclip as module
from mmrerank.errors import BackendError, FormatError, InputError, UnknownName
from mmrerank.parts import make

TEXTS = ["a cat on a mat", "two dogs", "", "the red house by the sea, seen from a boat that comes home in the evening"]
ARCHITECTURE = "mmrerank-tiny"


def picture(seed, height, width):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


PICTURES = [picture(0, 40, 75), picture(1, 90, 31), picture(2, 32, 32)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip")
    module.save_tiny(path, seed=1)
    return path


@pytest.fixture
def architecture(folder, monkeypatch):
    """The tiny model as one of open_clip's architectures, with a tag `here` that points to its weights."""
    config = json.loads((folder / module.CONFIG).read_text())["model_cfg"]
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, ARCHITECTURE, config)
    tags = {"here": {"file": str(folder / module.WEIGHTS[0])}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, ARCHITECTURE, tags)
    return tags


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    """Neither a network nor a cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


def built(checkpoint, **options):
    return module.build(module.Options(checkpoint=str(checkpoint), device="cpu", **options))


def changed(folder, target, change):
    """A copy of the checkpoint folder with its weights changed."""
    target.mkdir(exist_ok=True)
    state = load_file(folder / module.WEIGHTS[0])
    change(state)
    save_file(state, target / module.WEIGHTS[0])
    (target / module.CONFIG).write_text((folder / module.CONFIG).read_text())
    return target


# What it computes


def test_rows_are_those_of_open_clip(folder):
    encoder = built(folder)
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    model.eval()
    with torch.inference_mode():
        images = model.encode_image(torch.stack([transform(image) for image in PICTURES]), normalize=True).numpy()
        texts = model.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS), normalize=True).numpy()
    np.testing.assert_allclose(encoder.encode(PICTURES), images, atol=1e-6)
    np.testing.assert_allclose(encoder.encode(TEXTS), texts, atol=1e-6)


def test_other_weights_give_other_rows(folder):
    assert np.abs(built(folder).encode(PICTURES) - module.tiny().encode(PICTURES)).max() > 0.01
    assert built(folder).weights_hash != module.tiny().weights_hash


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_stays_close(folder, precision):
    encoder = built(folder, precision=precision)
    for values in (PICTURES, TEXTS):
        np.testing.assert_allclose(encoder.encode(values), built(folder).encode(values), atol=0.02)
    assert encoder.name == f"openclip/{folder}(precision={precision!r})"


def test_on_a_cpu_auto_is_fp32(folder):
    assert built(folder).precision == "fp32"
    assert built(folder).name == f"openclip/{folder}"


def test_a_row_that_is_not_finite_is_an_error(folder, tmp_path):
    endless = changed(folder, tmp_path / "endless", lambda state: state["visual.proj"].fill_(float("inf")))
    with pytest.raises(InputError, match="not finite"):
        built(endless).encode(PICTURES)


def test_threads_prepare_what_one_prepares(folder):
    values = [*PICTURES, *TEXTS] * 8
    encoder = built(folder)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(encoder.prepare, values))
    for value, prepared in zip(values, together, strict=True):
        np.testing.assert_array_equal(prepared, encoder.prepare(value))


def test_prepared_inputs_of_another_size_are_refused(folder):
    encoder = built(folder)
    with pytest.raises(InputError, match="different shapes"):
        encoder.encode([encoder.prepare(PICTURES[0]), np.zeros((3, 64, 64), dtype=np.float32)])


def test_a_very_long_picture_is_cut_around_its_middle(folder):
    encoder = built(folder)
    long = picture(3, 40, 40 * 40)
    np.testing.assert_allclose(encoder.prepare(long), encoder._transform(long), atol=1e-6)
    assert encoder.encode([Image.new("RGB", (1, 100_000)), Image.new("RGB", (100_000, 1))]).shape == (2, encoder.dimension)


def test_pictures_of_another_mode_are_read_as_rgb(folder):
    encoder = built(folder)
    for mode in ("L", "P", "RGBA", "CMYK"):
        image = PICTURES[0].convert(mode)
        np.testing.assert_array_equal(encoder.prepare(image), encoder.prepare(image.convert("RGB")))


# Where it loads from


def test_every_name_of_one_checkpoint_gives_the_same_rows(folder, architecture, tmp_path, monkeypatch):
    state = load_file(folder / module.WEIGHTS[0])
    torch.save(state, tmp_path / "plain.pt")
    torch.save({"epoch": 1, "state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "trained.pt")
    monkeypatch.chdir(folder.parent)
    monkeypatch.setattr(module, "MINI", folder)
    arguments = [
        f"local-dir:{folder}",
        str(folder),
        folder.name,
        "mini",
        f"{folder}@32",
        f"{ARCHITECTURE}.here",
        f"{ARCHITECTURE}:{folder / module.WEIGHTS[0]}",
        f"{ARCHITECTURE}:{tmp_path}/plain.pt",
        f"{ARCHITECTURE}:{tmp_path}/trained.pt",
    ]
    expected = built(folder).encode(PICTURES), built(folder).encode(TEXTS)
    for argument in arguments:
        encoder = make(f"openclip/{argument}(device='cpu')", station="encoders")
        assert encoder.name == f"openclip/{argument}"
        assert encoder.dimension == 24
        np.testing.assert_allclose(encoder.encode(PICTURES), expected[0], atol=1e-6)
        np.testing.assert_allclose(encoder.encode(TEXTS), expected[1], atol=1e-6)


def test_the_default_is_the_embedded_model(folder, monkeypatch):
    monkeypatch.setattr(module, "MINI", folder)
    assert make("openclip", station="encoders").name == "openclip/mini"


def test_without_the_embedded_model_the_error_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MINI", tmp_path / "clip")
    with pytest.raises(InputError, match="no embedded CLIP"):
        make("openclip/mini")


def test_a_side_resizes_the_position_embeddings(folder):
    encoder = built(f"{folder}@64")
    assert encoder.prepare(PICTURES[0]).shape == (3, 64, 64)
    assert encoder.encode(PICTURES).shape == (3, 24)


def test_quick_gelu_follows_the_tag_of_the_weights(folder, architecture):
    plain = built(f"{ARCHITECTURE}.here")
    architecture["here"]["quick_gelu"] = True
    quick = built(f"{ARCHITECTURE}.here")
    forced = open_clip.create_model_from_pretrained(f"local-dir:{folder}", force_quick_gelu=True, return_transform=False).eval()
    with torch.inference_mode():
        expected = forced.encode_text(torch.from_numpy(np.stack([quick.prepare(text) for text in TEXTS])), normalize=True).numpy()
    np.testing.assert_allclose(quick.encode(TEXTS), expected, atol=1e-6)
    assert np.abs(quick.encode(TEXTS) - plain.encode(TEXTS)).max() > 1e-5


def test_the_tags_own_normalisation_is_used(folder, architecture):
    architecture["here"].update(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    white = built(f"{ARCHITECTURE}.here").prepare(Image.new("RGB", (32, 32), "white"))
    np.testing.assert_allclose(white, 1.0)


def test_a_tokenizer_in_the_folder_is_used(folder, tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "dog"]
    BertTokenizer(vocab={word: number for number, word in enumerate(words)}).save_pretrained(tmp_path)
    config = json.loads((folder / module.CONFIG).read_text())
    config["model_cfg"]["text_cfg"] |= {"vocab_size": len(words), "hf_tokenizer_name": "never/asked", "context_length": 6}
    state = load_file(folder / module.WEIGHTS[0])
    state["token_embedding.weight"] = state["token_embedding.weight"][: len(words)].clone()
    state["positional_embedding"] = state["positional_embedding"][:6].clone()
    save_file(state, tmp_path / module.WEIGHTS[0])
    (tmp_path / module.CONFIG).write_text(json.dumps(config))
    encoder = built(tmp_path)
    assert encoder.prepare("a cat").tolist() == [2, 5, 6, 3, 0, 0]
    values = ["a cat", "a dog", "cat dog cat dog cat dog"] * 20
    with ThreadPoolExecutor(8) as pool:
        assert [ids.tolist() for ids in pool.map(encoder.prepare, values)] == [encoder.prepare(value).tolist() for value in values]


# What it refuses


def lacks_a_key(state):
    del state["visual.ln_post.weight"]


def has_one_more_key(state):
    state["visual.more"] = torch.ones(1)


def has_another_shape(state):
    state["text_projection"] = state["text_projection"][:, :8].clone()


def has_another_grid(state):
    state["visual.positional_embedding"] = torch.ones(26, 32)


def has_another_context(state):
    state["positional_embedding"] = torch.ones(20, 32)


DAMAGES = [lacks_a_key, has_one_more_key, has_another_shape, has_another_grid, has_another_context]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_weights_that_do_not_fit_exactly_are_an_error(folder, architecture, damage, tmp_path):
    target = changed(folder, tmp_path / "damaged", damage)
    torch.save(load_file(target / module.WEIGHTS[0]), tmp_path / "damaged.pt")
    for checkpoint in (target, f"{ARCHITECTURE}:{tmp_path}/damaged.pt", f"{ARCHITECTURE}:{target / module.WEIGHTS[0]}"):
        with pytest.raises(FormatError):
            built(checkpoint)


@pytest.mark.parametrize("damage", DAMAGES[:3], ids=lambda damage: damage.__name__)
def test_weights_of_a_tag_have_to_fit_too(folder, architecture, damage, tmp_path):
    target = changed(folder, tmp_path / "damaged", damage)
    architecture["here"]["file"] = str(target / module.WEIGHTS[0])
    with pytest.raises(FormatError):
        built(f"{ARCHITECTURE}.here")


class Harmless:
    pass


@pytest.mark.parametrize("content", ["nothing", "object"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_that_is_no_state_dict_is_an_error(architecture, content, suffix, tmp_path):
    file = tmp_path / f"weights{suffix}"
    if content == "nothing":
        file.touch()
    else:
        torch.save({"state_dict": Harmless()}, file)
    with pytest.raises(FormatError):
        built(f"{ARCHITECTURE}:{file}")


def test_a_folder_without_weights_is_an_error(folder, tmp_path):
    (tmp_path / module.CONFIG).write_text((folder / module.CONFIG).read_text())
    with pytest.raises(FormatError, match="no weights"):
        built(tmp_path)
    for name in ("one.safetensors", "two.safetensors"):
        (tmp_path / name).write_bytes((folder / module.WEIGHTS[0]).read_bytes())
    with pytest.raises(FormatError, match=r"one\.safetensors, two\.safetensors"):
        built(tmp_path)


@pytest.mark.parametrize("names", [["b.bin"], ["model.safetensors", "b.bin"], [*module.WEIGHTS]])
def test_the_weights_of_a_folder_are_those_that_open_clip_takes(names, tmp_path):
    for name in names:
        (tmp_path / name).touch()
    assert str(module._weights_in(tmp_path)) == open_clip.factory._find_checkpoint_in_dir(tmp_path)


@pytest.mark.parametrize("config", ["", "{}", '{"model_cfg": {"embed_dim": 24}}', '{"model_cfg": {"vision_cfg": {"wide": 3}}}'])
def test_a_config_that_says_nothing_is_an_error(folder, config, tmp_path):
    target = changed(folder, tmp_path / "clip", lambda state: None)
    (target / module.CONFIG).write_text(config)
    with pytest.raises(FormatError):
        built(target)


def test_a_tokenizer_that_the_model_does_not_know_is_an_error(folder, tmp_path):
    config = json.loads((folder / module.CONFIG).read_text())
    config["model_cfg"]["text_cfg"]["vocab_size"] = 100

    def shorter(state):
        state["token_embedding.weight"] = state["token_embedding.weight"][:100].clone()

    target = changed(folder, tmp_path / "clip", shorter)
    (target / module.CONFIG).write_text(json.dumps(config))
    with pytest.raises(FormatError, match="the model knows 100"):
        built(target)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("ViT-B32.openai", "Did you mean 'ViT-B-32'?"),
        ("ViT-B-32.laion2b_s34b", "laion2b_s34b_b79k"),
        ("ViT-B-32", "there are: .*openai"),
        ("nothing-like-it.openai", "no openclip architecture"),
        ("minni", "Did you mean 'mini'"),
        ("ViT-B-23:x.pt", "Did you mean 'ViT-B-32'?"),
    ],
)
def test_unknown_names_are_answered_with_real_ones(argument, message):
    with pytest.raises(UnknownName, match=message):
        make(f"openclip/{argument}")


@pytest.mark.parametrize(
    "argument", ["/no/such/folder", "no/such", "local-dir:/no/such", "ViT-B-32:/no/such.pt", "ViT-B-32:x.npz", "~/no", "mini@0"]
)
def test_paths_that_are_not_there_are_an_error(argument, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.npz").touch()
    with pytest.raises(InputError):
        make(f"openclip/{argument}")


@pytest.mark.parametrize("argument", ["ViT-B-32.laion2b_s34b_b79k@224", "RN50.openai", "hf-hub:timm/vit_base_patch16_clip_224.openai"])
def test_without_a_network_the_error_names_the_alternatives(argument, no_hub):
    with pytest.raises(BackendError) as caught:
        make(f"openclip/{argument}")
    assert caught.value.retryable
    assert "openclip/local-dir:PATH" in caught.value.hint
    assert "openclip/mini" in caught.value.hint


@pytest.mark.parametrize("options", [{"device": "quantum"}, {"device": "cuda:99"}, {"batch_size": 0}])
def test_knobs_that_cannot_be_are_refused(folder, options):
    with pytest.raises(InputError):
        module.build(module.Options(checkpoint=str(folder), **options))
