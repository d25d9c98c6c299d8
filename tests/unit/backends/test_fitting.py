"""Which part reads a checkpoint, by its files: the kinds of the table of released ones, and the traps that make noise of a ranking."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from mmrerank.backends import checkpoint_in, fits, traps
from mmrerank.errors import FormatError, InputError

MODULES = "sentence_transformers.models."
LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
QWEN_VL = {"model_type": "qwen2_vl", "architectures": ["Qwen2VLForConditionalGeneration"]}
BERT = {"model_type": "bert", "architectures": ["BertForSequenceClassification"]}


def written(folder: Path, files: Mapping[str, Any], weights: tuple[str, ...] = ()) -> Path:
    for name, content in files.items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    if weights:
        save_file({name: np.zeros((1, 1), np.float32) for name in weights}, folder / "model.safetensors")
    return folder


def parts(folder: Path) -> list[str]:
    return [fit.part for fit in fits(checkpoint_in(folder))]


CASES = {
    "a causal language model": ({"config.json": LLAMA}, ["local/PATH", "query_likelihood/local/PATH"]),
    "one that sees": ({"config.json": QWEN_VL}, ["local/PATH", "query_likelihood/local/PATH"]),
    "a cross-encoder": ({"config.json": {**BERT, "id2label": {"0": "LABEL_0"}}}, ["cross_encoder/PATH"]),
    "a classifier": ({"config.json": {**BERT, "id2label": {"0": "no", "1": "yes", "2": "?"}}}, []),
    "late interaction": ({"config.json": {"model_type": "colpali", "architectures": ["ColPaliForRetrieval"]}}, ["multivector/PATH"]),
    "an adapter": ({"adapter_config.json": {"base_model_name_or_path": "org/base", "task_type": "CAUSAL_LM"}}, ["local/PATH"]),
    "an adapter of a classifier": (
        {"adapter_config.json": {"base_model_name_or_path": "org/base", "task_type": "SEQ_CLS"}},
        ["cross_encoder/PATH"],
    ),
    "an adapter that brings a head": (
        {"adapter_config.json": {"base_model_name_or_path": "org/base", "task_type": "CAUSAL_LM", "modules_to_save": ["score"]}},
        ["cross_encoder/PATH"],
    ),
    "an open_clip checkpoint": ({"open_clip_config.json": {}}, ["openclip/PATH"]),
    "a GGUF file": ({"model.gguf": "GGUF"}, ["local/PATH/model.gguf"]),
    "a sentence encoder": (
        {"config.json": {"model_type": "bert", "architectures": ["BertModel"]}, "modules.json": [{"type": f"{MODULES}Pooling"}]},
        ["sentence/PATH"],
    ),
    "an encoder that fuses": ({"config.json": QWEN_VL, "modules.json": [{"type": f"{MODULES}Pooling"}]}, ["universal/PATH"]),
    "a reranker of sentence-transformers": (
        {"config.json": LLAMA, "modules.json": [{"type": "sentence_transformers.cross_encoder.modules.LogitScore"}]},
        ["cross_encoder/PATH"],
    ),
    "a multi-vector encoder of sentence-transformers": (
        {
            "config.json": {"model_type": "bert"},
            "modules.json": [{"type": "x.Dense"}],
            "config_sentence_transformers.json": {"model_type": "MultiVectorEncoder"},
        },
        ["multivector/PATH"],
    ),
}


@pytest.mark.parametrize(("files", "expected"), CASES.values(), ids=CASES.keys())
def test_the_files_say_which_part_reads_it(tmp_path: Path, files: dict[str, Any], expected: list[str]) -> None:
    assert parts(written(tmp_path, files)) == expected


def test_a_template_for_pairs_names_the_cross_encoder_before_the_backend(tmp_path: Path) -> None:
    template = "{% for m in messages %}{% if m['role'] == 'query' %}Q{% elif m['role'] == 'document' %}D{% endif %}{% endfor %}"
    folder = written(tmp_path, {"config.json": LLAMA, "tokenizer_config.json": {"chat_template": template}})
    assert parts(folder)[:2] == ["cross_encoder/PATH", "local/PATH"]


@pytest.mark.parametrize(("head", "config"), [("score", QWEN_VL), ("projector", LLAMA)])
def test_a_language_model_with_another_head_is_read_by_no_part_and_says_why(tmp_path: Path, head: str, config: dict[str, Any]) -> None:
    """jina-reranker-m0 and v3: a loader that drops the head ranks by noise."""
    folder = written(tmp_path, {"config.json": config}, weights=("model.embed.weight", f"{head}.0.weight"))
    assert parts(folder) == []
    assert any(head in trap and "noise" in trap for trap in traps(checkpoint_in(folder)))


def test_what_would_go_wrong_is_said(tmp_path: Path) -> None:
    config = {**BERT, "id2label": {"0": "LABEL_0"}, "auto_map": {"AutoModel": "x.Y"}, "quantization_config": {"quant_method": "awq"}}
    folder = written(tmp_path, {"config.json": config}, weights=("bert.embeddings.weight",))
    words = " ".join(traps(checkpoint_in(folder)))
    assert all(piece in words for piece in ("remote_code=True", "without the weights of its head", "awq"))
    whole = written(tmp_path, {"config.json": {**BERT, "id2label": {"0": "LABEL_0"}}}, weights=("bert.x", "classifier.weight"))
    assert traps(checkpoint_in(whole)) == []


def test_a_causal_model_without_a_template_is_told_so_and_one_with_it_is_not(tmp_path: Path) -> None:
    bare = written(tmp_path, {"config.json": LLAMA})
    assert any("no chat template" in trap for trap in traps(checkpoint_in(bare)))
    assert traps(checkpoint_in(written(tmp_path, {"chat_template.jinja": "{{ messages }}"}))) == []


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no checkpoint"):
        checkpoint_in(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        checkpoint_in(tmp_path / "absent")
    with pytest.raises(FormatError, match="expected an object"):
        checkpoint_in(written(tmp_path, {"config.json": "[]"}))
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(FormatError, match="no safetensors file"):
        checkpoint_in(tmp_path)
