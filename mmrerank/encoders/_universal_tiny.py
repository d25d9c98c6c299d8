"""Minute checkpoints that fuse pictures and texts, as sentence-transformers folders with seeded random weights. Test doubles: their
vectors mean nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mmrerank.encoders._multivector_tiny import TEXT, byte_tokenizer, ends_of

TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message['role'] }}
{% for part in message['content'] -%}
{%- if part['type'] == 'text' -%}{{ part['text'] }}{%- else -%}<|vision_start|><|image_pad|><|vision_end|>{%- endif -%}
{%- endfor -%}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""
PROMPTS = {"query": "Find what is meant.", "document": "Describe what is shown."}
ROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10_000.0}
SPREAD = 0.5  # of the weights: at the usual 0.02 all rows of so small a model lie within rounding of each other


def save_tiny(folder: Path, architecture: str, *, seed: int) -> None:
    """Writes a checkpoint of one of `ARCHITECTURES` that loads without a network: the last token's state, of unit length."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, processor = ARCHITECTURES[architecture](byte_tokenizer())
    with tempfile.TemporaryDirectory() as bare:
        model.save_pretrained(bare)
        processor.save_pretrained(bare)
        first = Transformer(bare, processing_kwargs={"chat_template": {"add_generation_prompt": True}})
    whole = SentenceTransformer(modules=[first, Pooling(TEXT["hidden_size"], "lasttoken"), Normalize()], prompts=PROMPTS, device="cpu")
    whole.save(str(folder), create_model_card=False)


def _ids(tokenizer: Any) -> dict[str, int]:
    ids = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("vision_start", "vision_end")}
    return ids | {f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{name}_pad|>") for name in ("image", "video")}


def _text(tokenizer: Any, **more: Any) -> dict[str, Any]:
    sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": 4096, "rope_parameters": ROPE, "initializer_range": SPREAD}
    return {**TEXT, **ends_of(tokenizer), **sizes, **more}


def _qwen3_vl(tokenizer: Any) -> tuple[Any, Any]:
    import transformers as t

    vision: dict[str, Any] = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32}
    vision |= {"deepstack_visual_indexes": [0], "num_position_embeddings": 64, "initializer_range": SPREAD}
    config = t.Qwen3VLConfig(text_config=_text(tokenizer, head_dim=16), vision_config=vision, **_ids(tokenizer))
    pictures = t.Qwen2VLImageProcessor(size={"shortest_edge": 32 * 32, "longest_edge": 128 * 128}, patch_size=16)
    videos = t.Qwen3VLVideoProcessor()
    return t.Qwen3VLModel(config), t.Qwen3VLProcessor(pictures, tokenizer, videos, chat_template=TEMPLATE)


def _qwen2_5_vl(tokenizer: Any) -> tuple[Any, Any]:
    import transformers as t

    vision: dict[str, Any] = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": 32,
        "fullatt_block_indexes": [1],
    }
    vision |= {"initializer_range": SPREAD}
    config = t.Qwen2_5_VLConfig(text_config=_text(tokenizer), vision_config=vision, **_ids(tokenizer))
    pictures = t.Qwen2VLImageProcessor(size={"shortest_edge": 28 * 28, "longest_edge": 112 * 112})
    videos = t.Qwen2VLVideoProcessor()
    return t.Qwen2_5_VLModel(config), t.Qwen2_5_VLProcessor(pictures, tokenizer, videos, chat_template=TEMPLATE)


ARCHITECTURES: dict[str, Callable[[Any], tuple[Any, Any]]] = {"qwen3_vl": _qwen3_vl, "qwen2_5_vl": _qwen2_5_vl}
