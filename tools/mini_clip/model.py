"""The mini CLIP as an ordinary open_clip folder: configuration, weights and tokenizer, loadable without a network."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.mini_clip.data import MEAN, STD
from tools.mini_clip.recipe import Model

if TYPE_CHECKING:
    import torch

PAD, UNKNOWN, START, END = "<pad>", "<unknown>", "<start>", "<end>"
PUNCTUATION = r"[,:;.!?()\"'’‘“”&/]"


def write_tokenizer(folder: Path, texts: Iterable[str], model: Model) -> None:
    """A small BPE tokenizer over `texts`: lower case, no accents, no punctuation but hyphens.

    The end mark gets the highest id, because open_clip's default pooling takes the highest id of a text as its end.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Replace(Regex(PUNCTUATION), " ")]
    )
    # a mark before each word, not one after it: with `end_of_word_suffix` the trainer orders its letters by a random hash
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    trainer = trainers.BpeTrainer(vocab_size=model.vocabulary - 1, special_tokens=[PAD, UNKNOWN, START], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([END])
    tokenizer.decoder = decoders.Metaspace()
    ids = {mark: tokenizer.token_to_id(mark) for mark in (START, END)}
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=list(ids.items()))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        bos_token=START,
        eos_token=END,
        model_max_length=model.context_length,
    )
    fast.save_pretrained(folder)


def write_config(folder: Path, model: Model) -> None:
    """`open_clip_config.json` for a folder that has its tokenizer already."""
    tokens = len(json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]) + 1
    config = {
        "model_cfg": {
            "embed_dim": model.embed_dim,
            "custom_text": True,
            "vision_cfg": {
                "timm_model_name": model.trunk,
                "timm_model_pretrained": False,
                "timm_pool": "avg",
                "timm_proj": "linear",
                "image_size": model.side_px,
            },
            "text_cfg": {
                "context_length": model.context_length,
                "vocab_size": tokens,
                "width": model.text_width,
                "heads": model.text_heads,
                "layers": model.text_layers,
                "hf_tokenizer_name": "tokenizer-in-this-folder",  # open_clip reads the folder itself; the name only has to be there
            },
        },
        "preprocess_cfg": {"mean": [MEAN] * 3, "std": [STD] * 3, "interpolation": "bicubic", "resize_mode": "shortest"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def new_model(folder: Path, seed: int) -> torch.nn.Module:
    """The model of the folder's configuration with random weights."""
    import open_clip
    import torch

    torch.manual_seed(seed)
    config = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))["model_cfg"]
    config.pop("custom_text")
    model: torch.nn.Module = open_clip.CustomTextCLIP(**config)
    return model


def write_weights(folder: Path, state: Mapping[str, torch.Tensor]) -> None:
    """`open_clip_model.safetensors`, floats as fp16."""
    from safetensors.torch import save_file

    halves: dict[str, Any] = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu() for name, value in state.items()
    }
    save_file(halves, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
