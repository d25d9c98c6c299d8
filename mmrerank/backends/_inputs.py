"""Prompts -> tensors, by the checkpoint's own chat template and processor."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, cast

import torch
from jinja2 import TemplateError

from mmrerank.errors import InputError
from mmrerank.types import LazyPicture, Message, Part, Prompt, opened

if TYPE_CHECKING:
    from PIL.Image import Image

QWEN = "qwen"  # in the names of the families whose released examples bring pictures to size by qwen_vl_utils
PIXELS_A_TOKEN = 28 * 28  # of a picture, where the processor does not tell
UNOPENED_TOKENS = 256  # of a picture whose size is not known yet: an estimate that moves no score
PER_TOKEN = ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids")  # inputs that grow with the prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A batch of prompts as a model takes it, padded on the left."""

    inputs: dict[str, Any]
    lengths: list[int]  # tokens of each prompt, without padding
    image_lengths: list[int]  # of these, tokens of pictures

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
        self._resizes = QWEN in str(getattr(config, "model_type", ""))
        self._special = _special(processor)
        self._lock = threading.Lock()  # a tokenizer that pads changes its own state
        self.ids_of = lru_cache(maxsize=256)(self._ids_of)
        self._picture_tokens = lru_cache(maxsize=4096)(self._picture_tokens_of)
        ends = model.generation_config.eos_token_id
        end_ids = [*(ends if isinstance(ends, list) else [ends]), self.tokenizer.eos_token_id]
        self.ends = frozenset(int(end) for end in end_ids if end is not None)

    def __call__(self, prompts: Sequence[Prompt]) -> Prepared:
        """One batch.

        Raises:
            InputError: the processor does not take the prompt.
        """
        pictures = [self._sized(picture) for prompt in prompts for picture in _pictures(prompt)]
        try:
            texts = [self._template(prompt) for prompt in prompts]
            with self._lock:
                features = self._processor(text=texts, images=pictures or None, padding=True, return_tensors="pt")
        except (ValueError, TemplateError) as error:
            raise InputError(f"the processor of {self._name!r} does not take the prompt: {error}") from error
        lengths = features["attention_mask"].sum(dim=1).tolist()
        image_lengths = (
            (features["input_ids"] == self._image_token).sum(dim=1).tolist() if self._image_token is not None else [0] * len(prompts)
        )
        return Prepared(inputs=dict(features), lengths=lengths, image_lengths=image_lengths)

    def symbols(self, prompt: Prompt) -> tuple[int, ...]:
        """The prompt's tokens with one negative number in the place of each picture, made of its content; none where they do not tell
        the prompt. No picture is brought to size for it."""
        try:
            text = self._template(prompt)
        except (ValueError, TemplateError):
            return ()  # whoever prepares it says why
        with self._lock:
            tokens = self.tokenizer(text)["input_ids"]
        pictures = [part for message in prompt for part in message.parts if not isinstance(part, str)]
        places = [n for n, token in enumerate(tokens) if token == self._image_token]
        if len(places) != len(pictures):
            return ()
        for place, picture in zip(places, pictures, strict=True):
            tokens[place] = _symbol_of(picture)
        return tuple(tokens)

    def extent(self, prompt: Prompt) -> int:
        """How long a prompt is as tokens: pictures as the processor counts them, letters by four."""
        return sum(self._extent_of(part) for message in prompt for part in message.parts)

    def _extent_of(self, part: Part) -> int:
        if isinstance(part, str):
            return len(part) // 4
        return UNOPENED_TOKENS if isinstance(part, LazyPicture) else self._picture_tokens(part.height, part.width)

    def _picture_tokens_of(self, height: int, width: int) -> int:
        count = getattr(self._processor, "_get_num_multimodal_tokens", None)  # not public: where it is gone, pixels must do
        try:
            return int(count(image_sizes=[(height, width)]).num_image_tokens[0]) if count else height * width // PIXELS_A_TOKEN
        except (AttributeError, KeyError, TypeError, ValueError, IndexError, NotImplementedError):
            return height * width // PIXELS_A_TOKEN

    def _sized(self, picture: Image) -> Image:
        """The picture as the family's released examples hand it to the processor."""
        if not self._resizes:
            return picture
        from qwen_vl_utils.vision_process import fetch_image

        images = self._processor.image_processor
        limits = {"min_pixels": images.size["shortest_edge"], "max_pixels": images.size["longest_edge"]}
        try:
            return cast("Image", fetch_image({"image": picture, **limits}, image_patch_size=images.patch_size))
        except ValueError:  # a picture too narrow for it; the processor takes some more
            return picture

    def _template(self, prompt: Prompt) -> str:
        if not prompt:
            raise ValueError("it has no message")
        conversation = [{"role": message.role, "content": self._content(message)} for message in prompt]
        return str(self._processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True))

    def _content(self, message: Message) -> list[dict[str, Any]]:
        return [{"type": "text", "text": self._plain(part)} if isinstance(part, str) else {"type": "image"} for part in message.parts]

    def _plain(self, text: str) -> str:
        """The text with a space in each special token, which only the chat template may write."""
        return self._special.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)

    def _ids_of(self, choice: str) -> tuple[int, ...]:
        """The tokens of a choice as the model would begin its answer with them.

        A tokenizer that marks the beginning of words (SentencePiece) writes that mark before a text that stands alone. It
        belongs there where the template ends in a letter ("ASSISTANT:", as LLaVA was trained), not behind a line break.
        """
        alone = self._tokens(choice)
        opening = self._opening
        if not opening[-1:].isspace():
            return alone
        head, whole = self._tokens(opening), self._tokens(opening + choice)
        return whole[len(head) :] if whole[: len(head)] == head else alone

    def _tokens(self, text: str) -> tuple[int, ...]:
        with self._lock:
            return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    @cached_property
    def _opening(self) -> str:
        """A prompt as the template writes it, up to where the answer begins."""
        try:
            return self._template((Message(role="user", parts=("a",)),))
        except (ValueError, TemplateError):
            return ""

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


def _pictures(prompt: Prompt) -> list[Image]:
    return [part for message in opened(prompt) for part in message.parts if not isinstance(part, str | LazyPicture)]


def _symbol_of(picture: Image | LazyPicture) -> int:
    if isinstance(picture, LazyPicture):
        content = hashlib.sha256(picture.key.encode())
    else:
        content = hashlib.sha256(f"{picture.mode} {picture.size}".encode())
        content.update(picture.tobytes())
    return -1 - int.from_bytes(content.digest()[:16], "big")


def _special(processor: Any) -> re.Pattern[str]:
    """Finds every special token of two letters or more, the placeholders of pictures among them."""
    contents = [token.content for token in processor.tokenizer.added_tokens_decoder.values() if token.special]
    placeholders = [getattr(processor, f"{kind}_token", None) for kind in ("image", "video", "audio")]
    words = {*contents, *processor.tokenizer.all_special_tokens, *(word for word in placeholders if isinstance(word, str))}
    longest_first = sorted((word for word in words if len(word) > 1), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def extended(inputs: dict[str, Any], tokens: Sequence[int]) -> dict[str, Any]:
    """The batch with the same further text tokens behind each prompt."""
    shape = inputs["input_ids"].shape
    more = torch.tensor(list(tokens), device=inputs["input_ids"].device).expand(shape[0], -1)
    longer = dict(inputs)
    for name in PER_TOKEN:
        if (value := inputs.get(name)) is not None:
            fill = more if name == "input_ids" else torch.full_like(more, 1 if name == "attention_mask" else 0, dtype=value.dtype)
            longer[name] = torch.cat([value, fill.to(value.dtype)], dim=1)
    return longer
