"""Prompts -> tensors, by the checkpoint's own chat template and processor."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from mmrerank.errors import InputError
from mmrerank.types import Message, Prompt

if TYPE_CHECKING:
    from PIL.Image import Image

QWEN = "qwen"  # families of this name have qwen_vl_utils bring pictures to size


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A batch of prompts as a model takes it, padded on the left."""

    inputs: dict[str, Any]
    lengths: list[int]  # tokens of each prompt, without padding
    image_lengths: list[int]  # of these, tokens of pictures

    @property
    def tokens(self) -> int:
        return sum(self.lengths)

    @property
    def image_tokens(self) -> int:
        return sum(self.image_lengths)

    def on(self, device: torch.device) -> dict[str, Any]:
        return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in self.inputs.items()}


class Preparer:
    """Calls a checkpoint's processor, and knows its tokens."""

    def __init__(self, processor: Any, model: Any, name: str) -> None:
        config = model.config
        self.tokenizer = processor.tokenizer
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self._processor, self._name = processor, name
        self._image_token = getattr(config, "image_token_id", None) or getattr(config, "image_token_index", None)
        self._is_qwen = QWEN in str(getattr(config, "model_type", ""))
        self.ids_of = lru_cache(maxsize=256)(self._ids_of)
        ends = model.generation_config.eos_token_id
        self.ends = frozenset(ends if isinstance(ends, list) else [ends if ends is not None else self.tokenizer.eos_token_id])

    def __call__(self, prompts: Sequence[Prompt]) -> Prepared:
        """One batch.

        Raises:
            InputError: the processor does not take the prompt.
        """
        texts = [self._template(prompt) for prompt in prompts]
        pictures = [picture for prompt in prompts for picture in self._pictures(prompt)]
        try:
            made = self._processor(text=texts, images=pictures or None, padding=True, return_tensors="pt")
        except ValueError as error:
            raise InputError(f"the processor of {self._name!r} does not take the prompt: {error}") from error
        lengths = made["attention_mask"].sum(dim=1).tolist()
        pictured = (made["input_ids"] == self._image_token).sum(dim=1).tolist() if self._image_token is not None else [0] * len(prompts)
        return Prepared(inputs=dict(made), lengths=lengths, image_lengths=pictured)

    def _template(self, prompt: Prompt) -> str:
        return str(self._processor.apply_chat_template(_conversation(prompt), tokenize=False, add_generation_prompt=True))

    def _pictures(self, prompt: Prompt) -> list[Image]:
        if not self._is_qwen:
            return [part for message in prompt for part in message.parts if not isinstance(part, str)]
        from qwen_vl_utils import process_vision_info

        processor = self._processor.image_processor
        limits = {"min_pixels": processor.size["shortest_edge"], "max_pixels": processor.size["longest_edge"]}
        found, _ = process_vision_info(_conversation(prompt, **limits), image_patch_size=processor.patch_size)[:2]
        return list(found or [])

    def _ids_of(self, choice: str) -> tuple[int, ...]:
        """The tokens of a choice as the model would begin its answer with them."""
        return tuple(self.tokenizer(choice, add_special_tokens=False)["input_ids"])

    def is_end(self, token: int) -> bool:
        return token in self.ends

    def until_end(self, tokens: Sequence[int]) -> list[int]:
        """The tokens up to and with the first that ends the answer; what follows is padding."""
        for n, token in enumerate(tokens):
            if token in self.ends:
                return list(tokens[: n + 1])
        return list(tokens)

    def text_of(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))


def _conversation(prompt: Prompt, **of_pictures: Any) -> list[dict[str, Any]]:
    return [{"role": message.role, "content": _content(message, of_pictures)} for message in prompt]


def _content(message: Message, of_pictures: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": part, **copy.copy(of_pictures)}
        for part in message.parts
    ]


def extended(inputs: dict[str, Any], tokens: Sequence[int]) -> dict[str, Any]:
    """The batch with the same further text tokens behind each prompt."""
    shape = inputs["input_ids"].shape
    more = torch.tensor(list(tokens), device=inputs["input_ids"].device).expand(shape[0], -1)
    longer = dict(inputs)
    for name, value in inputs.items():
        if isinstance(value, torch.Tensor) and value.shape == shape:
            fill = more if name == "input_ids" else torch.full_like(more, 1 if name == "attention_mask" else 0, dtype=value.dtype)
            longer[name] = torch.cat([value, fill.to(value.dtype)], dim=1)
    return longer
