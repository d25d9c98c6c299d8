"""Multi-vector encoders: the processors' own scores, batches without padding, pooling to a budget, refusals."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from makers import picture
from PIL import Image
from safetensors.torch import load_file, save_file

from mmrerank.encoders import multivector
from mmrerank.encoders._multivector_tiny import ARCHITECTURES, save_tiny
from mmrerank.encoders._token_pooling import pooled_to, ward_labels
from mmrerank.errors import FormatError, InputError
from mmrerank.retrievers._max_sim import max_sim

PICTURES = [picture(0, (90, 60)), picture(1, (60, 90)), picture(2, (200, 50)), picture(3, (90, 60)), picture(4, (1, 1))]
TEXTS = ["a red door", "tide", "what did the harbour gauge cost in 1953?"]


@pytest.fixture(scope="module", params=sorted(ARCHITECTURES))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp(request.param)
    save_tiny(place, request.param, seed=0)
    return place


def encoder(folder: Path, **options: object) -> multivector.Multivector:
    return multivector.build(multivector.Options(checkpoint=str(folder), device="cpu", **options))


def test_scores_are_those_of_the_processor_itself(folder: Path) -> None:
    kind = multivector.CLASSES[json.loads((folder / "config.json").read_text())["model_type"]]
    model = getattr(transformers, f"{kind}ForRetrieval").from_pretrained(folder).eval()
    processor = getattr(transformers, f"{kind}Processor").from_pretrained(folder)
    with torch.inference_mode():
        pages = [model(**processor(images=[one.convert("RGB")])).embeddings[0] for one in PICTURES]
        queries = [model(**processor(text=[text])).embeddings[0] for text in TEXTS]
    expected = [[float(processor.score_retrieval([query], [page])[0, 0]) for page in pages] for query in queries]
    ours = encoder(folder)
    tokens = ours.encode_tokens(PICTURES)
    np.testing.assert_allclose([max_sim(query, tokens) for query in ours.encode_tokens(TEXTS)], expected, atol=2e-5)


def test_tokens_do_not_depend_on_neighbours(folder: Path) -> None:
    ours = encoder(folder, batch_size=3)
    for values in (PICTURES, TEXTS):
        together = ours.encode_tokens(values)
        for value, rows in zip(values, together, strict=True):
            alone = ours.encode_tokens([value])[0]
            np.testing.assert_allclose(rows, alone, atol=2e-6)
            np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(ours.pooled(together), ours.encode(values), atol=2e-6)


def test_a_budget_bounds_pages_and_not_queries(folder: Path) -> None:
    free, bound = encoder(folder), encoder(folder, budget=7)
    assert "budget=7" in bound.name
    assert [len(rows) for rows in bound.encode_tokens(PICTURES)] == [7] * len(PICTURES)
    for ours, theirs in zip(bound.encode_tokens(TEXTS), free.encode_tokens(TEXTS), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_inputs_are_made_in_threads(folder: Path) -> None:
    ours = encoder(folder)
    with ThreadPoolExecutor(4) as pool:
        prepared = list(pool.map(ours.prepare, PICTURES * 4))
    np.testing.assert_allclose(ours.encode(prepared[:5]), ours.encode(PICTURES), atol=2e-6)


def test_extreme_pictures_are_taken(folder: Path) -> None:
    matrices = encoder(folder).encode_tokens([Image.new("RGB", (1, 1)), Image.new("RGB", (3000, 1)), Image.new("RGBA", (2, 900))])
    assert all(np.isfinite(rows).all() for rows in matrices)


@pytest.mark.parametrize("count", [1, 2, 9, 40, 60])
def test_clusters_are_those_of_scipy(count: int) -> None:
    hierarchy = pytest.importorskip("scipy.cluster.hierarchy")
    rows = np.random.default_rng(count).standard_normal((60, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    theirs = hierarchy.fcluster(hierarchy.linkage(rows, method="ward"), t=count, criterion="maxclust")
    ours = ward_labels(rows, count)
    assert len(set(ours.tolist())) == count
    assert all(size == 1 for size in Counter(dict.fromkeys(zip(ours.tolist(), theirs.tolist(), strict=True), 1)).values())
    assert len(set(zip(ours.tolist(), theirs.tolist(), strict=True))) == count


def test_pooled_vectors_are_means_of_their_clusters() -> None:
    rows = np.array([[1, 0], [0, 1], [0.8, 0.6], [1, 0]], dtype=np.float32)
    np.testing.assert_allclose(pooled_to(rows, 2), [np.array([2.8, 0.6]) / np.hypot(2.8, 0.6), [0, 1]], atol=1e-6)
    assert pooled_to(rows, None) is rows
    assert pooled_to(rows, 4) is rows
    assert pooled_to(np.ones((5, 1), dtype=np.float32), 1).tolist() == [[1.0]]


def test_a_checkpoint_without_all_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "torn")
    weights = load_file(folder / "model.safetensors")
    gone = next(key for key in weights if "embedding_proj_layer" in key)
    save_file({key: value for key, value in weights.items() if key != gone}, tmp_path / "torn" / "model.safetensors", {"format": "pt"})
    with pytest.raises(FormatError, match="lack"):
        encoder(tmp_path / "torn")


def test_what_is_no_such_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.json"):
        encoder(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(FormatError, match="model_type is 'bert'"):
        encoder(tmp_path)
    with pytest.raises(InputError, match="1 or more"):
        encoder(tmp_path, budget=0)
