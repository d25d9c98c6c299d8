"""Tiny random checkpoints whose tokenizers have the answers of rerankers as single tokens, and templates of their kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import transformers
from tiny_models import saved

from mmrerank.backends.local import Local, Options, build

ANSWERS = ("yes", "no", "0", "<think>", "</think>")
PAIR_TEMPLATE = """\
{%- set q = messages | selectattr('role', 'eq', 'query') | first -%}
{%- set d = messages | selectattr('role', 'eq', 'document') | first -%}
{%- set s = messages | selectattr('role', 'eq', 'system') | list -%}
<|im_start|>system
Its own sentence.<|im_end|>
<|im_start|>user
<Instruct>: {{ s[0].content if s else 'Its own task' }}
<Query>: {{ q.content }}
<Document>: {{ d.content }}<|im_end|>
<|im_start|>assistant
"""
"""Of a text model; control tokens and labels as such templates have them, the sentences made up."""


def checkpoint(
    folder: Path, architecture: str, *, answers: Sequence[str] = ANSWERS, template: str = "", files: Mapping[str, str] | None = None
) -> Path:
    """A folder of its own with one of the tiny architectures that says these answers in one token.

    Args:
        template: the chat template, where it is not the architecture's own.
        files: further ones, name -> text.
    """
    place = folder / f"{architecture}-{len(list(folder.iterdir()))}"
    source = saved(folder / "plain", architecture)
    sees = "vl" in architecture or "llava" in architecture
    kind = transformers.AutoModelForImageTextToText if sees else transformers.AutoModelForCausalLM
    model = kind.from_pretrained(source)
    processor = (transformers.AutoProcessor if sees else transformers.AutoTokenizer).from_pretrained(source)
    tokenizer = processor.tokenizer if sees else processor
    tokenizer.add_tokens(list(answers))
    torch.manual_seed(1)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    if template:
        processor.chat_template = template
    model.save_pretrained(place)
    processor.save_pretrained(place)
    for name, text in (files or {}).items():
        (place / name).write_text(text, encoding="utf-8")
    return place


def loaded(folder: Path, **options: int) -> Local:
    """The backend over such a folder, on the CPU."""
    return build(Options(model=str(folder), device="cpu", **options))


def whole(backend: Local, prompt: object) -> str:
    """The text that the model reads for a prompt, byte for byte."""
    return backend._prepare.text(prompt)  # type: ignore[arg-type]


def direct_logits(folder: Path, text: str, tokens: Sequence[str]) -> list[float]:
    """Logits of single tokens behind a text, by transformers alone: one text model, one prompt, no padding."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        logits = model(input_ids=ids).logits[0, -1]
    return [float(logits[tokenizer.convert_tokens_to_ids(token)]) for token in tokens]
