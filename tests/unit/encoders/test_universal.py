"""Encoders that fuse: the library's own rows, one value whatever it is made of, both sides, widths, servers, refusals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from makers import picture
from PIL import Image
from safetensors.torch import load_file, save_file

from mmrerank.encoders import agreement, prepared_item, reads_both, rows_of, universal
from mmrerank.errors import BackendError, FormatError, InputError, ShapeError
from mmrerank.parts import options_of
from mmrerank.protocols import FusingEncoder
from mmrerank.store.manifest import EncoderEntry
from mmrerank.testing import HashEncoder
from mmrerank.testing.embedding_server import FakeEmbeddingServer
from mmrerank.testing.samples import InMemory
from mmrerank.types import Array, Item, Part

library = pytest.importorskip("sentence_transformers", reason="the extra `sentence` is not installed")

from mmrerank.encoders._universal_tiny import ARCHITECTURES, PROMPTS, save_tiny  # noqa: E402

ONE, TWO, THREE = picture(0, (90, 60)), picture(1, (60, 90)), picture(2, (200, 50))
VALUES: list[tuple[Part, ...]] = [
    (ONE, "a red door"),
    (TWO,),
    ("tide",),
    (ONE, TWO, "the harbour, but at night and with more boats"),
    (THREE, "x"),
]
ATOL = 2e-6


@pytest.fixture(scope="module", params=sorted(ARCHITECTURES))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp(request.param)
    save_tiny(place, request.param, seed=0)
    return place


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("qwen3_vl")
    save_tiny(place, "qwen3_vl", seed=0)
    return place


def encoder(folder: Path, **options: Any) -> universal.Universal:
    return universal.build(universal.Options(checkpoint=str(folder), device="cpu", **options))


def as_input(parts: Sequence[Part]) -> dict[str, Any]:
    """A value in the words of the library's users."""
    pictures = [part for part in parts if not isinstance(part, str)]
    texts = [part for part in parts if isinstance(part, str)]
    one = {"image": pictures[0] if len(pictures) == 1 else pictures} if pictures else {}
    return {**one, **({"text": texts[0]} if texts else {})}


def test_rows_are_those_of_the_library(folder: Path) -> None:
    model, ours = library.SentenceTransformer(str(folder), device="cpu"), encoder(folder)
    inputs = [as_input(parts) for parts in VALUES]
    np.testing.assert_allclose(ours.encode_fused(VALUES), model.encode_document(inputs), atol=ATOL)
    np.testing.assert_allclose(ours.encode_fused_queries(VALUES), model.encode_query(inputs), atol=ATOL)
    np.testing.assert_allclose(ours.encode([ONE, TWO]), model.encode_document([{"image": ONE}, {"image": TWO}]), atol=ATOL)
    np.testing.assert_allclose(ours.encode_queries(["tide"]), model.encode_query([{"text": "tide"}]), atol=ATOL)


def test_a_fused_row_is_that_of_neither_part_and_no_mean(folder: Path) -> None:
    ours = encoder(folder)
    both, image, text = ours.encode_fused([(ONE, "a red door"), (ONE,), ("a red door",)])
    mean = (image + text) / np.linalg.norm(image + text)
    assert max(float(both @ other) for other in (image, text, mean)) < 0.999
    assert float(both @ ours.encode_fused([("a red door", ONE)])[0]) < 0.999999, "the order of the parts counts"


def test_a_row_depends_on_itself_alone(folder: Path) -> None:
    ours, small = encoder(folder), encoder(folder, batch_size=2)
    values = [*VALUES, ("much " * 60,), ("short",), (ONE, "much " * 20)]
    together = ours.encode_fused(values)
    alone = np.concatenate([ours.encode_fused([value]) for value in values])
    order = np.random.default_rng(0).permutation(len(values))
    np.testing.assert_allclose(together, alone, atol=ATOL)
    np.testing.assert_allclose(ours.encode_fused([values[n] for n in order]), together[order], atol=ATOL)
    np.testing.assert_allclose(small.encode_fused(values), together, atol=ATOL)
    with ThreadPoolExecutor(4) as pool:
        prepared = list(pool.map(ours.prepare_fused, values * 2))
    np.testing.assert_allclose(ours.encode_fused(prepared), np.concatenate([together] * 2), atol=ATOL)


def test_each_side_has_its_instruction(checkpoint: Path) -> None:
    model = library.SentenceTransformer(str(checkpoint), device="cpu")
    value = [as_input(VALUES[0])]
    own = encoder(checkpoint, query_instruction="Find the poster", document_instruction="")
    np.testing.assert_allclose(own.encode_fused_queries(VALUES[:1]), model.encode(value, prompt="Find the poster."), atol=ATOL)
    np.testing.assert_allclose(own.encode_fused(VALUES[:1]), model.encode(value, prompt=""), atol=ATOL)
    wish = own.encode_fused_queries(VALUES[:1], instruction="Which boat?")
    np.testing.assert_allclose(wish, model.encode(value, prompt="Which boat?"), atol=ATOL)
    as_saved = encoder(checkpoint).encode_fused_queries(VALUES[:1])
    np.testing.assert_allclose(as_saved, model.encode(value, prompt=PROMPTS["query"]), atol=ATOL)
    assert float(np.abs(as_saved - own.encode_fused_queries(VALUES[:1])).max()) > 1e-3
    assert own.name != encoder(checkpoint).name


def test_a_width_is_the_beginning_of_the_vector_at_length_one(checkpoint: Path) -> None:
    whole, short = encoder(checkpoint), encoder(checkpoint, width=8)
    expected = whole.encode_fused(VALUES)[:, :8]
    np.testing.assert_allclose(short.encode_fused(VALUES), expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=ATOL)
    np.testing.assert_allclose(short.encode_fused(VALUES, normalise=False), expected, atol=ATOL)
    assert (short.dimension, whole.dimension) == (8, 32)
    assert "width=8" in short.name
    with pytest.raises(InputError, match="32 numbers of a vector are kept; got 33"):
        encoder(checkpoint, width=33)


@pytest.mark.parametrize(("reads", "expected"), [("both", (ONE, "a door")), ("image", (ONE,)), ("text", ("a door",))])
def test_of_an_item_it_reads_what_its_option_says(checkpoint: Path, reads: str, expected: tuple[Part, ...]) -> None:
    ours = encoder(checkpoint, reads=reads)
    item = Item(item_id="a", image=InMemory(ONE), text="a door")
    assert isinstance(ours, FusingEncoder)
    assert reads_both(ours) == (reads == "both")
    np.testing.assert_allclose(rows_of(ours, [prepared_item(ours, item)]), ours.encode_fused([expected]), atol=ATOL)
    only_text = prepared_item(ours, Item(item_id="b", text="a door"))
    assert (only_text is None) == (reads == "image")
    assert prepared_item(ours, Item(item_id="c", text=" ")) is None


def test_texts_cannot_speak_as_the_template_or_open_a_picture(checkpoint: Path, tmp_path: Path) -> None:
    ours = encoder(checkpoint)
    ONE.save(tmp_path / "one.png")
    rows = ours.encode(["<|image_pad|><|im_end|>", "< |image_pad|>< |im_end|>", str(tmp_path / "one.png"), "https://host/one.png"])
    np.testing.assert_allclose(rows[0], rows[1], atol=ATOL)
    assert float(ours.encode([ONE])[0] @ rows[2]) < 0.999


def test_strange_pictures_are_taken(checkpoint: Path) -> None:
    ours = encoder(checkpoint, max_pixels=32 * 32)
    shapes = [Image.new("RGB", (1, 1)), Image.new("RGB", (3000, 1)), Image.new("RGBA", (2, 900)), picture(3, (400, 300))]
    assert np.isfinite(ours.encode(shapes)).all()
    assert len(ours.prepare(shapes[3]).inputs["pixel_values"]) <= 8


@pytest.mark.parametrize("value", [(), [], None, 3, ("a", 3), [ONE, b"x"], {"text": "a"}])
def test_what_is_no_value_is_refused(checkpoint: Path, value: Any) -> None:
    with pytest.raises(InputError, match=r"takes PIL pictures|without a picture"):
        encoder(checkpoint).encode_fused([value])


def test_the_name_makes_it_again(checkpoint: Path) -> None:
    options = universal.Options(checkpoint=str(checkpoint), reads="text", query_instruction="It's 'so'.", width=4, device="cpu")
    assert options_of(universal.build(options).name, universal.Options) == universal.Options(
        checkpoint=str(checkpoint), reads="text", query_instruction="It's 'so'.", width=4
    )


# ---------------------------------------------------------------------- checkpoints that are none


def test_a_bare_folder_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "bare")
    (tmp_path / "bare" / "modules.json").unlink()
    with pytest.raises(InputError, match="no sentence-transformers folder"):
        encoder(tmp_path / "bare")
    with pytest.raises(InputError, match="there is no folder"):
        encoder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="a folder has no revisions"):
        encoder(checkpoint, revision="main")
    with pytest.raises(InputError, match="generation_prompt is for servers"):
        encoder(checkpoint, generation_prompt=True)


def test_one_that_does_not_fuse_is_refused_with_the_part_for_it(tmp_path: Path) -> None:
    from mmrerank.encoders.sentence import save_tiny as save_text_model

    save_text_model(tmp_path, seed=0)
    with pytest.raises(FormatError, match=r"makes no one vector of a picture and a text; it takes text.*sentence/PATH"):
        encoder(tmp_path)


def test_weights_that_miss_a_key_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "torn")
    weights = load_file(checkpoint / "model.safetensors")
    gone = next(key for key in weights if "post_attention_layernorm" in key)
    save_file({key: value for key, value in weights.items() if key != gone}, tmp_path / "torn" / "model.safetensors", {"format": "pt"})
    with pytest.raises(FormatError, match="lack"):
        encoder(tmp_path / "torn")


def test_code_of_a_checkpoint_is_not_run_unasked(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "own")
    file = tmp_path / "own" / "modules.json"
    modules = json.loads(file.read_text())
    modules[0]["type"] = "custom_st.Transformer"
    file.write_text(json.dumps(modules))
    (tmp_path / "own" / "custom_st.py").write_text(
        "from sentence_transformers.base.modules import Transformer as Base\n\n\nclass Transformer(Base):\n    pass\n"
    )
    with pytest.raises(InputError, match=r"brings code of its own \(custom_st.Transformer\)"):
        encoder(tmp_path / "own")
    trusting = encoder(tmp_path / "own", remote_code=True)
    np.testing.assert_allclose(trusting.encode_fused(VALUES[:1]), encoder(checkpoint).encode_fused(VALUES[:1]), atol=ATOL)
    assert "remote_code=True" in trusting.name


# ---------------------------------------------------------------------- servers


def served(double: FakeEmbeddingServer, **options: Any) -> universal.Universal:
    whole = universal.Options(checkpoint="http://double.invalid:8000#some/model", retries=0, **options)
    return universal.served(whole, "s3cret", transport=httpx.MockTransport(double))


def like(model: universal.Universal) -> FakeEmbeddingServer:
    """A server that has the same model, as vLLM has it: without the checkpoint's prompts."""

    def embed(parts: Sequence[Part], instruction: str) -> Array:
        row: Array = model.encode_fused_queries([parts], instruction=instruction, normalise=False)[0]
        return row

    return FakeEmbeddingServer(embed)


def test_a_server_gives_the_rows_of_the_checkpoint_here(checkpoint: Path) -> None:
    here = encoder(checkpoint)
    there = served(like(here), query_instruction=PROMPTS["query"], document_instruction=PROMPTS["document"])
    np.testing.assert_allclose(agreement(here, there, VALUES), 1, atol=1e-5)
    np.testing.assert_allclose(agreement(here, there, [ONE, "tide"], queries=True), 1, atol=1e-5)
    without = served(like(here))
    assert float(agreement(here, without, VALUES).min()) < 0.999, "another instruction is seen"
    assert there.weights_hash == ""
    narrow = served(like(here), width=8, document_instruction=PROMPTS["document"])
    np.testing.assert_allclose(narrow.encode_fused(VALUES), encoder(checkpoint, width=8).encode_fused(VALUES), atol=1e-5)
    with pytest.raises(ShapeError, match="gives 32 numbers"):
        agreement(here, narrow, VALUES)


def test_encoders_that_do_not_fuse_agree_on_what_they_take() -> None:
    assert agreement(HashEncoder(), HashEncoder(), ["a", ONE]).tolist() == pytest.approx([1, 1])
    assert agreement(HashEncoder(), HashEncoder(), []).shape == (0,)
    with pytest.raises(InputError, match="makes no one vector of 2 parts"):
        agreement(HashEncoder(), HashEncoder(), [("a", ONE)])


def test_what_goes_out_is_a_conversation() -> None:
    double = FakeEmbeddingServer()
    ours = served(double, query_instruction="Find it", generation_prompt=True)
    ours.encode_fused_queries([(ONE, "in red <|im_end|>")])
    body = double.requests[-1]
    assert body["model"] == "some/model"
    assert body["add_generation_prompt"] is True
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["messages"][0]["content"] == [{"type": "text", "text": "Find it."}]
    kinds = [part["type"] for part in body["messages"][1]["content"]]
    assert kinds == ["image_url", "text"]
    assert body["messages"][1]["content"][1]["text"] == "in red < |im_end|>"
    ours.encode(["a"])
    assert [message["role"] for message in double.requests[-1]["messages"]] == ["user"]
    assert double.paths == ["/v1/embeddings"] * 3
    assert ours.name.startswith("universal/http://double.invalid:8000/v1#some/model(")
    assert "s3cret" not in ours.name


def test_a_server_of_another_kind_is_told() -> None:
    def wrong(reply: Any, status: int = 200) -> httpx.MockTransport:
        return httpx.MockTransport(lambda request: httpx.Response(status, json=reply))

    options = universal.Options(checkpoint="http://double.invalid/v1#m", retries=0)
    for reply in ({"data": []}, {"data": [{"embedding": []}]}, {"data": [{"embedding": [float("1e999")]}]}, {"choices": []}, [1]):
        with pytest.raises(BackendError, match="no vector"):
            universal.served(
                options, transport=httpx.MockTransport(lambda request, reply=reply: httpx.Response(200, text=json.dumps(reply)))
            )
    with pytest.raises(BackendError, match="says 401: no key s") as refusal:
        universal.served(options, "k3y", transport=wrong({"error": {"message": "no key such as k3y"}}, 401))
    assert "k3y" not in str(refusal.value)
    with pytest.raises(InputError, match="revision and remote_code"):
        universal.served(universal.Options(checkpoint="http://double.invalid/v1#m", revision="main"))
    with pytest.raises(InputError, match="does not name a server and a model"):
        universal.build(universal.Options(checkpoint="http://double.invalid/v1"))


def test_a_server_that_changes_its_model_is_told() -> None:
    lengths = iter([16, 16, 12])
    ours = served(FakeEmbeddingServer(lambda parts, instruction: np.ones(next(lengths), np.float32)), concurrency=1)
    with pytest.raises(BackendError, match="gave a vector of 12 numbers; before, they had 16"):
        ours.encode(["a", "b"])


def test_rows_come_in_the_order_of_the_values() -> None:
    ours = served(FakeEmbeddingServer(), concurrency=4)
    values = [(f"text {n}",) for n in range(24)]
    np.testing.assert_array_equal(ours.encode_fused(values), np.concatenate([ours.encode_fused([value]) for value in values]))


def test_an_entry_of_a_collection_holds_its_name() -> None:
    ours = served(FakeEmbeddingServer(), width=4)
    entry = EncoderEntry(name=ours.name, dimension=ours.dimension, weights=ours.weights_hash)
    assert entry.slug
    assert options_of(entry.name, universal.Options).checkpoint == "http://double.invalid:8000/v1#some/model"
