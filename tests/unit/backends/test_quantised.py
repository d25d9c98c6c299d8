"""Quantised folders, where what reads them is installed: scores are those of transformers over the same weights, alone and in a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import saved

from mmrerank.backends import _kinds
from mmrerank.backends.local import Options, build
from mmrerank.types import Message, Prompt

CHOICES = ("Yes", "No")
PROMPTS: tuple[Prompt, ...] = tuple((Message(role="raw", parts=("what was asked for " * 3 + "image " * n,)),) for n in (1, 9, 3, 5))


def quantised(folder: Path, place: Path, settings: Any) -> Path:
    """A folder of the same model with quantised weights."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoModelForCausalLM.from_pretrained(folder, quantization_config=settings, dtype=torch.float32, device_map="cpu").save_pretrained(place)
    AutoTokenizer.from_pretrained(folder).save_pretrained(place)
    return place


def by_torchao() -> Any:
    pytest.importorskip("torchao", reason="weights of 8 bits are read by torchao")
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    return TorchAoConfig(Int8WeightOnlyConfig())


def by_bitsandbytes() -> Any:
    pytest.importorskip("bitsandbytes", reason="weights of 8 bits are read by bitsandbytes")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_8bit=True)


@pytest.mark.parametrize("settings", [by_torchao, by_bitsandbytes])
def test_a_quantised_folder_scores_as_in_transformers(settings: Any, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = quantised(saved(tmp_path, "qwen3"), tmp_path / "quantised", settings())
    backend = build(Options(model=str(folder), device="cpu"))
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", device_map="cpu")
    ids = [backend._prepare.ids_of(choice, backend._prepare.begun(PROMPTS[0]))[0] for choice in CHOICES]
    with torch.inference_mode():
        inputs = [backend.inputs([prompt]) for prompt in PROMPTS]
        expected = torch.stack([plain(**one, logits_to_keep=1).logits[0, -1].float().log_softmax(-1)[ids] for one in inputs]).numpy()
    for _ in range(2):  # the second time from what was kept of the first, where that is exact
        assert np.abs(backend.choice_logprobs(PROMPTS, CHOICES).logprobs - expected).max() < 1e-4
    assert (
        np.abs(expected - build(Options(model=str(tmp_path / "qwen3"), device="cpu")).choice_logprobs(PROMPTS, CHOICES).logprobs).max()
        > 1e-4
    )


@pytest.mark.parametrize(("method", "alone"), [("bitsandbytes", True), ("torchao", False), (None, False)])
def test_only_weights_that_answer_by_their_company_are_run_over_alone(method: str | None, alone: bool) -> None:
    class Config:
        def to_dict(self) -> dict[str, Any]:
            return {"quantization_config": {"quant_method": method}} if method else {}

    assert _kinds.is_of_company(Config()) is alone
