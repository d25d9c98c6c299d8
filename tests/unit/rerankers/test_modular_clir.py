"""modular_clir: which module each document goes through, and folders that are not whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file
from torch import nn

from mmrerank.errors import FormatError, InputError
from mmrerank.models.language_modules import Route, save_stack
from mmrerank.parts import make
from mmrerank.rerankers.modular_clir import ModularClir, Options, _tiny
from mmrerank.types import Candidate, Item, Query

QUERY = Query(text="red door")


def candidates(*languages: str | None) -> list[Candidate]:
    words = ("a red door", "haus am see", "night", "a bird 12", "zwei rote tueren")
    return [
        Candidate(item=Item(item_id=f"i{n}", text=words[n % 5], metadata={"language": one} if one else {}))
        for n, one in enumerate(languages)
    ]


def reranker(**options: object) -> ModularClir:
    return ModularClir(Options(**options), *_tiny())  # type: ignore[arg-type]


def raw(one: ModularClir, items: list[Candidate], query: Query = QUERY) -> dict[str, float | None]:
    return {c.item.item_id: c.raw_score for c in one.rerank(query, items).candidates}


def test_each_document_goes_through_the_module_of_its_language() -> None:
    mixed = raw(reranker(), candidates("de", "en", None, "de", "en"))
    for language, ids in (("de", ("i0", "i3")), ("en", ("i1", "i2", "i4"))):
        alone = raw(reranker(document_language=language), candidates(None, None, None, None, None))
        for one in ids:
            assert mixed[one] == pytest.approx(alone[one], abs=1e-5)


@pytest.mark.parametrize(
    ("route", "ours", "theirs"), [("document", "de", "de"), ("query", "en", "en"), ("both", "en", "de"), ("none", None, None)]
)
def test_the_route_chooses_whose_language_counts(route: str, ours: str | None, theirs: str | None) -> None:
    network, tokenizer = _tiny()
    one = reranker(route=route, query_language="en", document_language="de")
    inputs = tokenizer(["red door"], ["night"], return_tensors="pt", return_token_type_ids=True)
    direct = network(inputs["input_ids"], inputs["attention_mask"], inputs["token_type_ids"], Route(query=ours, document=theirs))
    assert raw(one, [Candidate(item=Item(item_id="a", text="night"))])["a"] == pytest.approx(float(direct.detach()), abs=1e-5)


def test_a_language_without_a_module_is_ranked_without_one_and_told() -> None:
    ranking = reranker(document_language="sw").rerank(QUERY, candidates(None, "de"))
    assert "no module of the language 'sw'" in " ".join(ranking.notes.messages)
    plain = raw(reranker(route="none"), candidates(None))
    assert raw(reranker(document_language="sw"), candidates(None)) == pytest.approx(plain)


def test_every_candidate_has_a_score_whatever_the_batch() -> None:
    """37 are no multiple of a batch."""
    many = candidates(*["de", "en", None] * 12, "de")
    results = [raw(reranker(batch_size=size), many) for size in (1, 16, 64)]
    assert all(None not in result.values() and len(result) == 37 for result in results)
    for one in many:
        values = [result[one.item.item_id] for result in results]
        np.testing.assert_allclose(values, values[0], atol=1e-5)


def test_a_folder_is_loaded_and_one_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    network, tokenizer = _tiny()
    network.encoder.save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    save_stack(network.languages["de"], tmp_path / "languages" / "de")  # type: ignore[arg-type]
    save_stack(network.ranking["ranking"], tmp_path / "ranking")  # type: ignore[arg-type]
    name = f"modular_clir/{tmp_path}"
    with pytest.raises(FormatError, match="no head of the module that ranks"):
        make(name, station="rerankers")
    save_file({key: value.contiguous() for key, value in network.head.state_dict().items()}, tmp_path / "ranking" / "head.safetensors")
    loaded = make(f"{name}(document_language=de)", station="rerankers")
    ours = raw(reranker(document_language="de"), candidates(None, None))
    assert {c.item.item_id: c.raw_score for c in loaded.rerank(QUERY, candidates(None, None)).candidates} == pytest.approx(ours, abs=1e-5)
    save_stack(network.ranking["ranking"], tmp_path / "languages" / "fi", head=nn.Linear(16, 1))  # type: ignore[arg-type]
    (tmp_path / "languages" / "fi" / "adapter.safetensors").write_bytes(b"no tensors")
    with pytest.raises(FormatError, match="no module for this network"):
        make(name, station="rerankers")


def test_a_folder_has_to_be_named() -> None:
    with pytest.raises(InputError, match="needs a folder"):
        make("modular_clir", station="rerankers")
