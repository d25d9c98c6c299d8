"""Minute checkpoints of multi-vector architectures with seeded random weights. Test doubles: their vectors mean nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

SPECIAL = ["<pad>", "<bos>", "<eos>", "<image>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"]
SPECIAL += ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
DIMENSION = 16


def save_tiny(folder: Path, architecture: str, *, seed: int) -> None:
    """Writes a checkpoint of one of `ARCHITECTURES` that loads without a network."""
    tokenizer = byte_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, processor = ARCHITECTURES[architecture](tokenizer)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def byte_tokenizer() -> Any:
    """Bytes as tokens, after the special ones."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE(vocab={token: n for n, token in enumerate([*SPECIAL, *letters])}, merges=[]))
    bpe.add_special_tokens(SPECIAL)
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    names = ["input_ids", "attention_mask"]
    ends = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>"}
    return PreTrainedTokenizerFast(tokenizer_object=bpe, model_input_names=names, **ends)


def ends_of(tokenizer: Any) -> dict[str, int]:
    return {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}


def _colqwen2(tokenizer: Any) -> tuple[Any, Any]:
    import transformers as t

    ids = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("vision_start", "vision_end")}
    ids |= {f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{name}_pad|>") for name in ("image", "video")}
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10_000.0}
    text = {**TEXT, **ends_of(tokenizer), "vocab_size": len(tokenizer), "max_position_embeddings": 4096, "rope_parameters": rope}
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2}
    config = t.ColQwen2Config(vlm_config=t.Qwen2VLConfig(text_config=text, vision_config=vision, **ids), embedding_dim=DIMENSION)
    pictures = t.Qwen2VLImageProcessor(size={"shortest_edge": 28 * 28, "longest_edge": 112 * 112})
    return t.ColQwen2ForRetrieval(config), t.ColQwen2Processor(image_processor=pictures, tokenizer=tokenizer)


def _colpali(tokenizer: Any) -> tuple[Any, Any]:
    import transformers as t

    pictures = t.SiglipImageProcessor(size={"height": 56, "width": 56})
    pictures.image_seq_length = 16
    tokenizer.image_token, tokenizer.image_token_id = "<image>", tokenizer.convert_tokens_to_ids("<image>")
    processor = t.ColPaliProcessor(image_processor=pictures, tokenizer=tokenizer)
    text = t.GemmaConfig(**TEXT, **ends_of(tokenizer), vocab_size=len(tokenizer), head_dim=16, max_position_embeddings=4096)
    vision = t.SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
        projection_dim=32,
        vision_use_head=False,
    )
    whole = t.PaliGemmaConfig(text_config=text, vision_config=vision, image_token_index=processor.image_token_id, projection_dim=32)
    return t.ColPaliForRetrieval(t.ColPaliConfig(vlm_config=whole, embedding_dim=DIMENSION)), processor


ARCHITECTURES: dict[str, Callable[[Any], tuple[Any, Any]]] = {"colqwen2": _colqwen2, "colpali": _colpali}
