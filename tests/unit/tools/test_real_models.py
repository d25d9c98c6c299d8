"""Real small models from packages: made once, whole or not at all, and what is missing is said with how to get it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmrerank.parts import make as make_part
from mmrerank.types import Candidate, Item, Query
from tools.real_models.make import INSTALL, MissingPackage, make, package_folder, plain_config


def writer(calls: list[Path]):  # type: ignore[no-untyped-def]
    def write(folder: Path) -> None:
        calls.append(folder)
        folder.mkdir()
        (folder / "config.json").write_text("{}")

    return write


def test_a_model_is_made_once_and_the_folder_stands_when_it_is_whole(tmp_path: Path) -> None:
    calls: list[Path] = []
    makers = {"one": writer(calls)}
    assert make(tmp_path / "models", "one", makers) == tmp_path / "models" / "one" == make(tmp_path / "models", "one", makers)
    assert calls == [tmp_path / "models" / "one.part"]
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["one"]


def test_what_a_kill_left_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "one.part").mkdir()
    (tmp_path / "one.part" / "half").write_text("")
    (tmp_path / "two.part").symlink_to(tmp_path / "absent")
    for name in ("one", "two"):
        assert [path.name for path in make(tmp_path, name, {name: writer([])}).iterdir()] == ["config.json"]


def test_a_package_that_is_not_installed_is_told_with_how_to_get_it() -> None:
    with pytest.raises(MissingPackage, match="not installed") as caught:
        package_folder("no_package_of_this_name")
    assert INSTALL in str(caught.value)


def test_a_configuration_without_quantisation_is_otherwise_the_same() -> None:
    from transformers import LlamaConfig

    config = LlamaConfig(hidden_size=32, vocab_size=7)
    config.quantization_config = {"quant_method": "gguf"}
    plain = plain_config(config)
    assert not hasattr(plain, "quantization_config")
    assert (plain.hidden_size, plain.vocab_size) == (32, 7)


def test_the_real_model_asks_what_a_passage_answers(real_models: Path) -> None:
    """SmolLM2-135M, zero-shot: the passage that answers stands first though it came last."""
    texts = ("The ferry leaves at eight.", "Bread rises faster in a warm kitchen.", "The lighthouse was built in 1871 by Anna Berg.")
    candidates = [Candidate(item=Item(item_id=str(n), text=text)) for n, text in enumerate(texts)]
    reranker = make_part(f"query_likelihood()/local/{real_models / 'smollm2'}", station="rerankers")
    assert reranker.rerank(Query(text="when was the lighthouse built"), candidates).item_ids[0] == "2"
