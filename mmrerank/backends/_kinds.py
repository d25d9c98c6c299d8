"""What a checkpoint is, by its own configuration: whether it takes pictures, whether it answers, and what reads it where it does not.

A generic loader would give a random head to a model that was saved without one, and leave the head of another aside: both answer,
and the ranking that comes of it is noise.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmrerank.errors import FormatError

CLASSIFIERS = ("ForSequenceClassification", "ForTokenClassification", "ForRegression")
RETRIEVERS = ("ForRetrieval",)
HEADS = ("score.", "classifier.", "classification_head.", "custom_text_proj.", "embedding_proj_layer.", "projector.", "linear.")
ANSWERS = (
    "Take a model that answers: image-text-to-text, such as Qwen/Qwen2.5-VL-7B-Instruct, or a causal language model; "
    "a served one: chat_http/URL#MODEL."
)
SCORES = (
    "A reranker with a head of its own is read by cross_encoder/{name}; where the head is code that came with it, by "
    "cross_encoder/{name}(remote_code=True) once you have read that code, or it is served: rerank_http."
)
EMBEDS = "A text encoder is read by sentence/{name}; one that takes pictures, or both, by universal/{name}."
OF_COMPANY = ("bitsandbytes",)  # ways of quantising whose products move with the other rows of a batch (tried: 0.50.2 on a CPU)
MANY = "An encoder of many vectors an item is read by multivector/{name}."


def check_head(name: str, config: Any) -> None:
    """FormatError where the configuration names a head that gives no answers; says which part reads it."""
    for architecture in config.architectures or ():
        if str(architecture).endswith(CLASSIFIERS):
            raise FormatError(f"{architecture} scores texts and gives no answers", path=name, hint=SCORES.format(name=name))
        if str(architecture).endswith(RETRIEVERS):
            raise FormatError(f"{architecture} encodes and gives no answers", path=name, hint=MANY.format(name=name))


def sees(name: str, config: Any) -> bool:
    """Whether the configuration is that of a model that takes pictures; FormatError where it is of one that answers nothing."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    own = config.to_dict().get("auto_map") or {}  # classes of a checkpoint that brings its own code
    if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING or "AutoModelForImageTextToText" in own:
        return True
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING or "AutoModelForCausalLM" in own:
        return False
    raise FormatError(f"a model of the kind {config.model_type!r}, which answers no questions", path=name, hint=ANSWERS)


def silence(name: str, network: Any, missing: Iterable[str], head: Iterable[str]) -> str:
    """Why the model gives no answers although its states can be read, with the part that reads it; "" where it answers.

    Args:
        network: as it was loaded, with a head of whatever worth.
        missing: the names of weights that the checkpoint lacks.
        head: the names of the head's own weights.
    """
    if encoder := _pooled(Path(name)):
        return encoder
    kind = str((network.config.architectures or [""])[0])
    if kind == type(network.base_model).__name__ or set(missing) & set(head):
        return f"{name!r} was saved without a head ({kind}), so that any answer would be noise. {EMBEDS.format(name=name)}"
    return ""


def _pooled(folder: Path) -> str:
    """What reads a folder of sentence-transformers whose states are pooled; "" for any other."""
    modules = _json(folder / "modules.json")
    kinds = [str(module.get("type")) for module in modules if isinstance(module, dict)] if isinstance(modules, list) else []
    if not any(kind.endswith("Pooling") for kind in kinds):
        return ""
    settings = _json(folder / "config_sentence_transformers.json")
    model_type = settings.get("model_type") if isinstance(settings, dict) else None
    reads = SCORES if model_type == "CrossEncoder" else EMBEDS
    return f"{str(folder)!r} pools its states ({', '.join(kind.rpartition('.')[2] for kind in kinds)}) and was trained for that. " + (
        reads.format(name=folder)
    )


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def is_of_company(config: Any) -> bool:
    """Whether what the model says of a prompt moves with the prompts beside it, and with where a pass over it begins: by .42 of a
    log-probability between a batch of twelve and one (SmolLM2-135M in 8 bits), by .05 in 4 bits."""
    quantised = config.to_dict().get("quantization_config") or {}
    return quantised.get("quant_method") in OF_COMPANY


def hint_for(name: str, keys: Iterable[str]) -> str:
    """Which part reads a checkpoint with these weights beside the model's own; "" where nothing is known of them."""
    if not any(key.startswith(HEADS) or any(f".{head}" in key for head in HEADS) for key in keys):
        return ""
    return f"These are of a head that no answer comes from. {SCORES.format(name=name)} {EMBEDS.format(name=name)}"
