"""Prompts -> tensors, by the checkpoint's own chat template and processor."""

from __future__ import annotations

import hashlib
import threading
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import torch

from mmrerank.backends._rendering import Renderer
from mmrerank.errors import InputError
from mmrerank.types import Cost, LazyPicture, Part, Prompt, opened

if TYPE_CHECKING:
    from PIL.Image import Image

QWEN = "qwen"  # in the names of the families whose released examples bring pictures to size by qwen_vl_utils
PIXELS_A_TOKEN = 28 * 28  # of a picture, where the processor does not tell
UNOPENED_TOKENS = 256  # of a picture whose size is not known yet: an estimate that moves no score
BROKEN = "\ufffd"  # how a letter is decoded some of whose tokens have not come yet
PER_TOKEN = ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids")  # inputs that grow with the prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A batch of prompts as a model takes it, padded on the left."""

    inputs: dict[str, Any]
    lengths: list[int]  # tokens of each prompt, without padding
    image_lengths: list[int]  # of these, tokens of pictures

    def on(self, device: torch.device) -> dict[str, Any]:
        return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in self.inputs.items()}

    def costs(self, seconds: float) -> list[Cost]:
        """What each prompt costs, of which each took so long."""
        pairs = zip(self.lengths, self.image_lengths, strict=True)
        return [Cost(calls=1, prompt_tokens=length, image_tokens=images, seconds=seconds) for length, images in pairs]


class Preparer:
    """Calls a checkpoint's processor, or the tokenizer of a text model, and knows its tokens."""

    def __init__(self, processor: Any, model: Any, name: str) -> None:
        from transformers import PreTrainedTokenizerBase

        config = model.config
        settings = config.to_dict()
        self.sees = not isinstance(processor, PreTrainedTokenizerBase)
        self.tokenizer = processor.tokenizer if self.sees else processor
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token is None:  # what stands there is masked, so any token will do
            self.tokenizer.pad_token = self.tokenizer.eos_token or self.tokenizer.convert_ids_to_tokens(0)
        kind = str(config.model_type)
        self._processor, self._name = processor, name
        self._render = Renderer(processor, self.tokenizer, name, kind=kind, sees=self.sees)
        self._image_token = settings.get("image_token_id") or settings.get("image_token_index")
        self._resizes = self.sees and QWEN in kind
        self._context = _context(config)
        self._lock = threading.Lock()  # a tokenizer that pads changes its own state
        self.ids_of = lru_cache(maxsize=1024)(self._ids_of)
        self._picture_tokens = lru_cache(maxsize=4096)(self._picture_tokens_of)
        ends = model.generation_config.eos_token_id
        end_ids = [*(ends if isinstance(ends, list) else [ends]), self.tokenizer.eos_token_id]
        self.ends = frozenset(int(end) for end in end_ids if end is not None)

    def __call__(self, prompts: Sequence[Prompt], *, longer: int | None = 0) -> Prepared:
        """One batch.

        Args:
            longer: how many tokens will follow each prompt at most, which the model's context has to hold too; None: whatever it holds.

        Raises:
            InputError: the checkpoint does not take a prompt, or it is longer than the model's context.
            FormatError: the checkpoint has no chat template, and a prompt needs it.
        """
        texts = [self._render(prompt).text for prompt in prompts]
        features = self._seen(texts, prompts) if self.sees else self._read(texts)
        lengths = features["attention_mask"].sum(dim=1).tolist()
        if longer is not None:
            self.check_context(max(lengths, default=0), longer)
        image_lengths = (
            (features["input_ids"] == self._image_token).sum(dim=1).tolist() if self._image_token is not None else [0] * len(prompts)
        )
        return Prepared(inputs=dict(features), lengths=lengths, image_lengths=image_lengths)

    def symbols(self, prompts: Sequence[Prompt]) -> list[tuple[int, ...]]:
        """The tokens of each prompt with one negative number in the place of each picture, made of its content; none where they do not
        tell the prompt. No picture is opened or brought to size for it.

        Raises:
            InputError, FormatError: as in `__call__`.
        """
        texts = [self._render(prompt).text for prompt in prompts]
        if not texts:
            return []
        with self._lock:
            rows = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        return [self._with_pictures(row, prompt) for row, prompt in zip(rows, prompts, strict=True)]

    def _with_pictures(self, tokens: list[int], prompt: Prompt) -> tuple[int, ...]:
        pictures = [part for message in prompt for part in message.parts if not isinstance(part, str)]
        places = [n for n, token in enumerate(tokens) if token == self._image_token] if self.sees else []
        if len(places) != len(pictures):
            return ()
        symbols = list(tokens)
        for place, picture in zip(places, pictures, strict=True):
            symbols[place] = _symbol_of(picture)
        return tuple(symbols)

    def _seen(self, texts: list[str], prompts: Sequence[Prompt]) -> Any:
        pictures = [self._sized(picture) for prompt in prompts for picture in _pictures(prompt)]
        try:
            with self._lock:
                return self._processor(text=texts, images=pictures or None, padding=True, return_tensors="pt", add_special_tokens=False)
        except ValueError as error:
            raise InputError(f"the processor of {self._name!r} does not take the prompt: {error}") from error

    def _read(self, texts: list[str]) -> Any:
        with self._lock:
            return self.tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens=False)

    def check_context(self, length: int, longer: int) -> None:
        """Passes where the model's context holds so many tokens and so many behind them.

        Raises:
            InputError: it does not.
        """
        if self._context is not None and length + longer > self._context:
            behind = f" and {longer} behind it" if longer else ""
            message = f"a prompt has {length} tokens{behind}; the context of {self._name!r} holds {self._context}"
            raise InputError(message, hint="Show less of each item, fewer items a prompt, or smaller pictures; nothing is cut unasked.")

    @property
    def chat_template(self) -> str:
        """The chat template; of several named ones the first; "" where there is none."""
        template = self._processor.chat_template or self.tokenizer.chat_template or ""
        return str(next(iter(template.values()), "")) if isinstance(template, dict) else str(template)

    def text(self, prompt: Prompt) -> str:
        """The whole text that the model reads for a prompt, each picture as its placeholder."""
        return self._render(prompt).text

    def begun(self, prompt: Prompt) -> str:
        """The end of the prompt that choices go on from, where it is no template's; "" else. `ids_of` takes it."""
        if prompt and prompt[-1].role not in ("assistant", "raw"):
            return ""  # without writing the whole prompt, a fifth of what stands around the pass of a small model
        return self._render(prompt).begun

    def extents(self, prompts: Sequence[Prompt]) -> list[int]:
        """How long prompts are as tokens: exact where there are no pictures, else pictures as the processor counts them and
        letters by four."""
        if self.sees or not prompts:
            return [self.extent(prompt) for prompt in prompts]
        with self._lock:
            return [len(ids) for ids in self.tokenizer([self.text(one) for one in prompts], add_special_tokens=False)["input_ids"]]

    def extent(self, prompt: Prompt) -> int:
        """About how long one prompt is as tokens."""
        return sum(self._extent_of(part) for message in prompt for part in message.parts)

    def picture_extents(self, prompt: Prompt) -> list[int]:
        """How many tokens each picture of a prompt is, as far as can be told."""
        return [self._extent_of(part) for message in prompt for part in message.parts if not isinstance(part, str)]

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

    def _ids_of(self, choice: str, begun: str = "") -> tuple[int, ...]:
        """The tokens of a choice as the model would write them.

        A tokenizer that marks the beginning of words (SentencePiece) writes that mark before a text that stands alone. It
        belongs there where the template ends in a letter ("ASSISTANT:", as LLaVA was trained), not behind a line break, and not
        behind an answer begun or a raw prompt, which the choice goes on from letter by letter.

        Args:
            begun: the end of what the choice goes on from; "" where the template opens the answer.
        """
        alone = self._tokens(choice)
        opening = self._render.opening
        if not begun and not opening[-1:].isspace():
            return alone
        for start in (begun, "\n") if begun else (opening,):  # a line break, where a token would reach over the boundary
            head, whole = self._tokens(start), self._tokens(start + choice)
            if whole[: len(head)] == head:
                return whole[len(head) :]
        return alone

    def _tokens(self, text: str) -> tuple[int, ...]:
        with self._lock:
            return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def cut(self, text: str, tokens: int) -> str:
        """The beginning of a text that is at most so many tokens, as it is read in a prompt; the text itself where it is short enough."""
        plain = self._render.plain

        def length(end: int) -> int:
            return len(self._tokens(plain(text[:end])))

        if length(len(text)) <= tokens:
            return text
        if tokens < 1:
            return ""
        end = (
            self._reach(text, tokens)
            if self.tokenizer.is_fast and plain(text) == text
            else bisect_right(range(len(text)), tokens, key=length)
        )
        while end and length(end) > tokens:  # a letter of several tokens, or a word that is written otherwise alone
            end -= 1
        return text[:end]

    def _reach(self, text: str, tokens: int) -> int:
        """Where so many tokens of a text end."""
        with self._lock:
            offsets = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        return int(offsets[tokens - 1][1])

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

    def pieces_of(self, tokens: Sequence[int]) -> tuple[str, ...]:
        """The text that each token of an answer adds, so that together they are its text; "" for one that only begins a letter."""
        pieces: list[str] = []
        start, read = 0, 0  # of the tokens that are decoded once more, since what a token says may depend on those before it
        for end in range(1, len(tokens) + 1):
            before, whole = self.text_of(tokens[start:read]), self.text_of(tokens[start:end])
            is_broken = whole.endswith(BROKEN) and end < len(tokens)
            pieces.append("" if is_broken else whole[len(before) :])
            if not is_broken and pieces[-1]:
                start, read = read, end
        return tuple(pieces)


def _pictures(prompt: Prompt) -> list[Image]:
    return [part for message in opened(prompt) for part in message.parts if not isinstance(part, str | LazyPicture)]


def _symbol_of(picture: Image | LazyPicture) -> int:
    if isinstance(picture, LazyPicture):
        content = hashlib.sha256(picture.key.encode())
    else:
        content = hashlib.sha256(f"{picture.mode} {picture.size}".encode())
        content.update(picture.tobytes())
    return -1 - int.from_bytes(content.digest()[:16], "big")


def _context(config: Any) -> int | None:
    """How many positions the model has; None where it does not say."""
    positions = config.get_text_config().to_dict().get("max_position_embeddings")
    return int(positions) if isinstance(positions, int) and positions > 0 else None


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
