"""Tiny random checkpoints of real architectures, for tests: they load and answer as large ones do, and mean nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

MARKS = [str(n) for n in range(1, 26)]
SPECIAL = ["<pad>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
CORPUS = ["Yes No Is this what was asked for? The question is: Image 1: user assistant system ranking think answer relevant first"]
TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message['role'] }}
{% for part in message['content'] -%}
{%- if part['type'] == 'text' -%}{{ part['text'] }}{%- else -%}PICTURE{%- endif -%}
{%- endfor -%}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""
TEXT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message['role'] }}
{{ message['content'] }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""
TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}


def save_tiny(folder: Path, architecture: str, *, seed: int) -> None:
    """Writes a checkpoint of one of `ARCHITECTURES`, `TEXT_ARCHITECTURES` or `OTHERS` that loads without a network."""
    tokenizer = _tokenizer()
    torch.manual_seed(seed)
    model, processor = {**ARCHITECTURES, **TEXT_ARCHITECTURES, **OTHERS}[architecture](tokenizer)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(CORPUS * 3, trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet))
    bpe.add_tokens(["Yes", "No", *MARKS])
    names = ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", eos_token="<|im_end|>", model_input_names=names)


def _ids(tokenizer: Any) -> dict[str, int]:
    tokens = {"image": "<|image_pad|>", "video": "<|video_pad|>", "vision_start": "<|vision_start|>", "vision_end": "<|vision_end|>"}
    return {f"{name}_token_id": int(tokenizer.convert_tokens_to_ids(token)) for name, token in tokens.items()}


def _text(tokenizer: Any, **more: Any) -> dict[str, Any]:
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    return {**TEXT, "vocab_size": len(tokenizer), "max_position_embeddings": 4096, **ends, **more}


def _qwen2_5_vl(tokenizer: Any) -> tuple[Any, Any]:
    import transformers as t

    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32, "fullatt_block_indexes": [1]}
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10_000.0}
    config = t.Qwen2_5_VLConfig(text_config=_text(tokenizer, rope_parameters=rope), vision_config=vision, **_ids(tokenizer))
    processor = t.Qwen2_5_VLProcessor(
        image_processor=t.Qwen2VLImageProcessor(size={"shortest_edge": 28 * 28, "longest_edge": 112 * 112}),
        tokenizer=tokenizer,
        video_processor=t.Qwen2VLVideoProcessor(),
        chat_template=TEMPLATE.replace("PICTURE", "<|vision_start|><|image_pad|><|vision_end|>"),
    )
    return t.Qwen2_5_VLForConditionalGeneration(config), processor


def _qwen2_vl(tokenizer: Any) -> tuple[Any, Any]:
    import transformers as t

    vision = {"depth": 2, "embed_dim": 32, "num_heads": 2, "hidden_size": 32, "mlp_ratio": 2}
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10_000.0}
    config = t.Qwen2VLConfig(text_config=_text(tokenizer, rope_parameters=rope), vision_config=vision, **_ids(tokenizer))
    processor = t.Qwen2VLProcessor(
        image_processor=t.Qwen2VLImageProcessor(size={"shortest_edge": 28 * 28, "longest_edge": 112 * 112}),
        tokenizer=tokenizer,
        video_processor=t.Qwen2VLVideoProcessor(),
        chat_template=TEMPLATE.replace("PICTURE", "<|vision_start|><|image_pad|><|vision_end|>"),
    )
    return t.Qwen2VLForConditionalGeneration(config), processor


def _qwen3_vl(tokenizer: Any) -> tuple[Any, Any]:
    import transformers as t

    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": 32,
        "deepstack_visual_indexes": [0],
    }
    vision |= {"num_position_embeddings": 64}
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10_000.0}
    text = _text(tokenizer, rope_parameters=rope, head_dim=16)
    config = t.Qwen3VLConfig(text_config=text, vision_config=vision, **_ids(tokenizer))
    processor = t.Qwen3VLProcessor(
        image_processor=t.Qwen2VLImageProcessor(size={"shortest_edge": 32 * 32, "longest_edge": 128 * 128}, patch_size=16),
        tokenizer=tokenizer,
        video_processor=t.Qwen3VLVideoProcessor(),
        chat_template=TEMPLATE.replace("PICTURE", "<|vision_start|><|image_pad|><|vision_end|>"),
    )
    return t.Qwen3VLForConditionalGeneration(config), processor


CLIP = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56, "patch_size": 14}


def _llava(tokenizer: Any) -> tuple[Any, Any]:
    import transformers as t

    image_token = _ids(tokenizer)["image_token_id"]
    config = t.LlavaConfig(
        vision_config=t.CLIPVisionConfig(**CLIP), text_config=t.LlamaConfig(**_text(tokenizer)), image_token_index=image_token
    )
    processor = t.LlavaProcessor(
        image_processor=t.CLIPImageProcessor(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token="<|image_pad|>",
        chat_template=TEMPLATE.replace("PICTURE", "<|image_pad|>"),
    )
    return t.LlavaForConditionalGeneration(config), processor


def _llava_onevision(tokenizer: Any) -> tuple[Any, Any]:
    import transformers as t

    vision = t.SiglipVisionConfig(**CLIP, vision_use_head=False)
    ids = _ids(tokenizer)
    pinpoints = [[56, 56], [56, 112], [112, 56], [112, 112]]
    config = t.LlavaOnevisionConfig(
        vision_config=vision,
        text_config=t.Qwen2Config(**_text(tokenizer)),
        image_token_index=ids["image_token_id"],
        video_token_index=ids["video_token_id"],
        image_grid_pinpoints=pinpoints,
    )
    processor = t.LlavaOnevisionProcessor(
        image_processor=t.LlavaOnevisionImageProcessor(size={"height": 56, "width": 56}, image_grid_pinpoints=pinpoints),
        tokenizer=tokenizer,
        video_processor=t.LlavaOnevisionVideoProcessor(),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        image_token="<|image_pad|>",
        video_token="<|video_pad|>",
        chat_template=TEMPLATE.replace("PICTURE", "<|image_pad|>"),
    )
    return t.LlavaOnevisionForConditionalGeneration(config), processor


def _text_model(tokenizer: Any, kind: str, head: str = "ForCausalLM", **more: Any) -> tuple[Any, Any]:
    import transformers as t

    tokenizer.chat_template = TEXT_TEMPLATE
    config = getattr(t, f"{kind}Config")(**_text(tokenizer, **more))
    return getattr(t, f"{kind}{head}")(config), tokenizer


def _gpt2(tokenizer: Any) -> tuple[Any, Any]:
    """A model whose positions are absolute: it notices where padding is counted."""
    import transformers as t

    tokenizer.chat_template = TEXT_TEMPLATE
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    config = t.GPT2Config(vocab_size=len(tokenizer), n_positions=1024, n_embd=32, n_layer=2, n_head=2, tie_word_embeddings=True, **ends)
    return t.GPT2LMHeadModel(config), tokenizer


ARCHITECTURES: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen2_vl": _qwen2_vl,
    "qwen3_vl": _qwen3_vl,
    "llava": _llava,
    "llava_onevision": _llava_onevision,
}
TEXT_ARCHITECTURES: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "llama": partial(_text_model, kind="Llama"),
    "qwen2": partial(_text_model, kind="Qwen2"),
    "qwen3": partial(_text_model, kind="Qwen3", head_dim=16),
    "gpt2": _gpt2,
}
OTHERS: dict[str, Callable[[Any], tuple[Any, Any]]] = {  # of which `local` reads the states at most
    "qwen3_classifier": partial(_text_model, kind="Qwen3", head="ForSequenceClassification", head_dim=16, num_labels=1),
    "qwen3_headless": partial(_text_model, kind="Qwen3", head="Model", head_dim=16),
}
