"""Token vectors by sentence-transformers and by a server: the library's own, both sides, no neighbour counts, refusals."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from makers import picture

from mmrerank.encoders import multivector
from mmrerank.encoders._multivector_models import Sided
from mmrerank.errors import BackendError, FormatError, InputError
from mmrerank.protocols import QueryTokenEncoder
from mmrerank.retrievers._many_vectors import query_vectors
from mmrerank.testing.embedding_server import FakeEmbeddingServer
from mmrerank.types import Array, Part

library = pytest.importorskip("sentence_transformers", reason="the extra `sentence` is not installed")

PICTURES = [picture(0, (90, 60)), picture(1, (60, 90)), picture(2, (200, 50))]
TEXTS = ["a red door", "tide", "what did the harbour gauge cost in 1953?"]
ATOL = 3e-6
PROMPTS = {"query": "asked: ", "document": "page: "}


def save_pictures(folder: Path) -> None:
    """A ColQwen-like folder: states of a Qwen3-VL, projected, a unit row a token."""
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    from mmrerank.encoders._multivector_tiny import byte_tokenizer
    from mmrerank.encoders._universal_tiny import ARCHITECTURES

    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as bare:
        torch.manual_seed(0)
        model, processor = ARCHITECTURES["qwen3_vl"](byte_tokenizer())
        model.save_pretrained(bare)
        processor.save_pretrained(bare)
        first = Transformer(bare)
        head = Dense(32, 16, bias=False, activation_function=torch.nn.Identity(), module_input_name="token_embeddings")
        parts = [first, head, MultiVectorMask(), Normalize(module_input_name="token_embeddings")]
        whole = library.MultiVectorEncoder(modules=parts, prompts=PROMPTS, device="cpu")
        whole.save(str(folder), create_model_card=False)


def save_texts(folder: Path) -> None:
    """A ColBERT: a BERT over letters whose queries are lengthened with mask tokens."""
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    from mmrerank.encoders.sentence import save_tiny

    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as bare:
        torch.manual_seed(0)
        save_tiny(Path(bare), seed=0)
        first = Transformer(bare, query_expansion={"strategy": "fixed", "length": 24})
        head = Dense(16, 8, bias=False, activation_function=torch.nn.Identity(), module_input_name="token_embeddings")
        parts = [first, head, MultiVectorMask(), Normalize(module_input_name="token_embeddings")]
        library.MultiVectorEncoder(modules=parts, prompts=PROMPTS, device="cpu").save(str(folder), create_model_card=False)


@pytest.fixture(scope="module", params=[save_pictures, save_texts])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("multivector")
    request.param(place)
    return place


def encoder(folder: Path, **options: Any) -> Any:
    return multivector.build(multivector.Options(checkpoint=str(folder), device="cpu", **options))


def alike(ours: Sequence[Array], theirs: Sequence[Any]) -> None:
    assert [rows.shape for rows in ours] == [tuple(rows.shape) for rows in theirs]
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, np.asarray(other), atol=ATOL)


def test_token_vectors_are_those_of_the_library(folder: Path) -> None:
    model, ours = library.MultiVectorEncoder(str(folder), device="cpu"), encoder(folder)
    assert isinstance(ours, Sided)
    alike(ours.encode_tokens(TEXTS), model.encode_document([{"text": text} for text in TEXTS], convert_to_numpy=True))
    alike(ours.encode_query_tokens(TEXTS), model.encode_query([{"text": text} for text in TEXTS], convert_to_numpy=True))
    if "image" in ours.takes:
        alike(ours.encode_tokens(PICTURES), model.encode_document([{"image": one} for one in PICTURES], convert_to_numpy=True))
    assert ours.dimension == ours.encode_tokens(TEXTS)[0].shape[1]
    assert int(ours.weights_hash, 16) > 0


def test_a_query_goes_the_way_of_queries(folder: Path) -> None:
    ours = encoder(folder)
    assert isinstance(ours, QueryTokenEncoder)
    np.testing.assert_array_equal(query_vectors(ours, "tide"), ours.encode_query_tokens(["tide"])[0])
    assert query_vectors(ours, "tide").shape != ours.encode_tokens(["tide"])[0].shape
    wish = encoder(folder, query_instruction="another: ")
    assert np.abs(wish.encode_query_tokens(["tide"])[0][-1] - ours.encode_query_tokens(["tide"])[0][-1]).max() > 1e-4


def test_vectors_do_not_depend_on_neighbours(folder: Path) -> None:
    ours = encoder(folder, batch_size=3)
    for values in [TEXTS, PICTURES] if "image" in ours.takes else [TEXTS]:
        together = ours.encode_tokens(values)
        alike(together, [ours.encode_tokens([value])[0] for value in values])
        alike(ours.encode_tokens([ours.prepare(value) for value in values]), together)
        np.testing.assert_allclose(ours.pooled(together), ours.encode(values), atol=ATOL)
    alike(ours.encode_query_tokens(TEXTS), [ours.encode_query_tokens([text])[0] for text in TEXTS])


def test_a_budget_bounds_what_is_found(folder: Path) -> None:
    bound = encoder(folder, budget=3)
    assert {len(rows) for rows in bound.encode_tokens(TEXTS)} == {3}
    alike(bound.encode_query_tokens(TEXTS), encoder(folder).encode_query_tokens(TEXTS))


def test_what_it_does_not_take_is_refused(folder: Path) -> None:
    ours = encoder(folder)
    with pytest.raises(InputError, match="takes a PIL picture"):
        ours.encode_tokens([3])
    with pytest.raises(InputError, match="one modality a call" if "image" in ours.takes else "takes text, not image"):
        ours.encode_tokens([PICTURES[0], "tide"])
    with pytest.raises(InputError, match="generation_prompt is for servers"):
        encoder(folder, generation_prompt=True)


def test_a_folder_without_a_projection_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
    BertModel(BertConfig(**sizes)).save_pretrained(tmp_path)
    with pytest.raises(FormatError, match="model_type is 'bert'"):
        encoder(tmp_path)


def test_the_family_of_transformers_takes_no_instruction(tmp_path: Path) -> None:
    from mmrerank.encoders._multivector_tiny import save_tiny

    save_tiny(tmp_path, "colqwen2", seed=0)
    with pytest.raises(InputError, match="takes no instruction"):
        encoder(tmp_path, query_instruction="Find it.")


# ---------------------------------------------------------------------- servers


def served(double: FakeEmbeddingServer, **options: Any) -> Sided:
    whole = multivector.Options(checkpoint="http://double.invalid:8000/v1#m", retries=0, **options)
    return multivector.served(whole, transport=httpx.MockTransport(double))


def test_a_server_gives_a_vector_for_each_token() -> None:
    double = FakeEmbeddingServer()
    ours = served(double, query_instruction="Find it.")
    tokens = ours.encode_tokens([PICTURES[0], PICTURES[1]])
    assert [rows.shape for rows in tokens] == [(3, 16), (3, 16)]
    np.testing.assert_allclose(np.linalg.norm(np.concatenate(tokens), axis=1), 1, atol=1e-6)
    ours.encode_query_tokens(["tide"])
    assert double.paths == ["/pooling"] * 4
    assert double.requests[-1]["task"] == "token_embed"
    assert [message["role"] for message in double.requests[-1]["messages"]] == ["system", "user"]
    assert ours.name == "multivector/http://double.invalid:8000/v1#m(query_instruction='Find it.')"
    assert ours.weights_hash == ""


def test_a_server_gives_what_the_checkpoint_gives_here(tmp_path: Path) -> None:
    save_pictures(tmp_path)
    here = encoder(tmp_path, document_instruction="")

    def tokens(parts: Sequence[Part], instruction: str) -> Array:
        rows: Array = here.encode_tokens(list(parts))[0]
        return rows

    there = served(FakeEmbeddingServer(embed_tokens=tokens))
    alike(there.encode_tokens(PICTURES), here.encode_tokens(PICTURES))


def test_vectors_of_another_width_are_told() -> None:
    widths = iter([16, 12])
    with pytest.raises(BackendError, match="gave vectors of 12 numbers; before, they had 16"):
        served(FakeEmbeddingServer(embed_tokens=lambda parts, wish: np.ones((2, next(widths)), np.float32))).encode_tokens(["a"])
    with pytest.raises(BackendError, match="no vector"):
        served(FakeEmbeddingServer(embed_tokens=lambda parts, wish: np.ones(3, np.float32)))
