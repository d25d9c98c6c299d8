"""The mini MLLM as an ordinary folder of transformers: configuration, weights, tokenizer, processor, chat template."""

from __future__ import annotations

import math
import string
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrerank.prompting.files import SHIPPED
from tools.mini_mllm.recipe import Model
from tools.mini_mllm.vocabulary import END, IMAGE, SPECIAL, START, STOP, VIDEO, VISION_END, VISION_START

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    import torch

# a space goes with the word after it, but never with a number, so that every number is one token wherever it stands
WORDS = r", (?=\d)| (?=\d)|\d{1,2}| skin tone| ?[\p{L}\p{M}'’\-]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SHORTEST_PIECE = 6  # letters of a prompt's text that is worth a token of its own
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def prompt_pieces(file: str = "*") -> list[str]:
    """What a shipped prompt, or all of them, say around their placeholders; each piece becomes one token."""
    texts: list[str] = []
    for path in sorted(SHIPPED.glob(f"{file}.toml")):
        for piece in tomllib.loads(path.read_text(encoding="utf-8"))["pieces"].values():
            texts += [literal.strip(" ") for literal, *_ in string.Formatter().parse(piece)]
    return [text for text in dict.fromkeys(texts) if len(text) >= SHORTEST_PIECE]


def new_tokenizer(texts: Iterable[str], pieces: Iterable[str], model: Model) -> Any:
    """A byte-level BPE tokenizer over `texts`, in which the pieces of the prompts are single tokens."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(WORDS), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=model.bpe_tokens,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return with_pieces(tokenizer, pieces, model)


def with_pieces(tokenizer: Any, pieces: Iterable[str], model: Model) -> Any:
    """The tokenizer as transformers loads it, with new pieces behind those it has; their rows of the embedding are free."""
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    tokenizer.add_tokens([AddedToken(text, normalized=False, special=False) for text in pieces])
    if tokenizer.get_vocab_size() > model.vocabulary:
        raise ValueError(f"{tokenizer.get_vocab_size()} tokens do not fit a vocabulary of {model.vocabulary}")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=STOP,
        pad_token=END,
        additional_special_tokens=[START, VISION_START, VISION_END, IMAGE, VIDEO],
        model_max_length=2048,
    )


def new_processor(tokenizer: Any, model: Model) -> Any:
    """The Qwen2.5-VL processor for this tokenizer and these pixels."""
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

    size = {"shortest_edge": model.token_px**2, "longest_edge": model.max_pixels}
    pixels: dict[str, Any] = {
        "patch_size": model.patch_px,
        "temporal_patch_size": 1,
        "merge_size": 2,
        "size": size,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**pixels),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(**pixels),
        chat_template=TEMPLATE,
    )


def new_config(tokenizer: Any, model: Model) -> Any:
    """The configuration; every id is set, since the defaults lie beyond a small vocabulary."""
    from transformers import Qwen2_5_VLConfig

    ids = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in SPECIAL}
    return Qwen2_5_VLConfig(
        text_config=_text_config(model, ids),
        vision_config=_vision_config(model),
        image_token_id=ids[IMAGE],
        video_token_id=ids[VIDEO],
        vision_start_token_id=ids[VISION_START],
        vision_end_token_id=ids[VISION_END],
        tie_word_embeddings=True,
    )


def _text_config(model: Model, ids: Mapping[str, int]) -> dict[str, Any]:
    half = model.text_width // model.text_heads // 2
    # frequencies for time, height, width, in turns: in one run each, as large models have them, width would get the slow ones
    # only, which tell no two columns of a small picture apart
    sections = [2, 3, 3] * (half // 8)
    return {
        "vocab_size": model.vocabulary,
        "hidden_size": model.text_width,
        "intermediate_size": model.text_inner,
        "num_hidden_layers": model.text_layers,
        "num_attention_heads": model.text_heads,
        "num_key_value_heads": model.text_key_heads,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0, "mrope_section": sections},
        "bos_token_id": None,
        "eos_token_id": ids[STOP],
        "pad_token_id": ids[END],
        "tie_word_embeddings": True,
    }


def _vision_config(model: Model) -> dict[str, Any]:
    return {
        "depth": model.vision_layers,
        "hidden_size": model.vision_width,
        "intermediate_size": model.vision_inner,
        "num_heads": model.vision_heads,
        "out_hidden_size": model.text_width,
        "patch_size": model.patch_px,
        "spatial_merge_size": 2,
        "temporal_patch_size": 1,
        "window_size": 4 * model.token_px,
        "fullatt_block_indexes": list(range(model.vision_layers)),
    }


def new_model(config: Any, seed: int) -> Any:
    """The model of that configuration with random weights; the projections into the residual stream start smaller."""
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration

    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            layers = config.vision_config.depth if "visual" in name else config.text_config.num_hidden_layers
            if name.endswith(("o_proj.weight", "attn.proj.weight", "down_proj.weight")):
                weight.mul_(1 / math.sqrt(2 * layers))
    return model


def export(folder: Path, model: Any, processor: Any) -> None:
    """The folder that AutoProcessor and AutoModelForImageTextToText load, weights as bfloat16."""
    import torch
    from transformers import GenerationConfig, Qwen2_5_VLForConditionalGeneration

    folder.mkdir(parents=True, exist_ok=True)
    halved = Qwen2_5_VLForConditionalGeneration(model.config).to(torch.bfloat16)
    halved.load_state_dict(_bfloat16(model.state_dict()))
    ids = {"eos_token_id": processor.tokenizer.eos_token_id, "pad_token_id": processor.tokenizer.pad_token_id}
    halved.generation_config = GenerationConfig(do_sample=False, **ids)
    halved.save_pretrained(folder)
    processor.save_pretrained(folder)


def _bfloat16(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    import torch

    return {name: value.to("cpu", torch.bfloat16) for name, value in state.items()}
