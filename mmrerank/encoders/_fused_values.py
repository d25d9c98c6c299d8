"""Values that are pictures and texts together: what counts as one, and how its pictures and texts are brought into shape."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from PIL import Image

from mmrerank.errors import InputError
from mmrerank.types import EncodedPart

Kind: TypeAlias = Literal["image", "text", "both"]
LONGEST = 100  # times the short side; processors refuse pictures of 200
MARKUP = re.compile(r"<\|(?=[^|<>\s]+\|>)")  # what control tokens begin with in the families that fuse


def parts_of(value: Any, name: str) -> tuple[EncodedPart, ...]:
    """The pictures and texts of one value: itself where it is one of either.

    Raises:
        InputError: it is none, or nothing.
    """
    parts = (value,) if isinstance(value, str | Image.Image) else value
    if not isinstance(parts, tuple | list) or not all(isinstance(part, str | Image.Image) for part in parts):
        what = type(value).__name__ if not isinstance(parts, tuple | list) else f"a {type(value).__name__} of other things"
        raise InputError(f"{name!r} takes PIL pictures, strings, tuples of these, or what it prepared; got {what}")
    if not parts:
        raise InputError(f"{name!r} got a value without a picture and without a text")
    return tuple(parts)


def kind_of(parts: Sequence[EncodedPart]) -> Kind:
    """What a value is made of.

    >>> kind_of(("a", "b"))
    'text'
    """
    texts = [isinstance(part, str) for part in parts]
    return "text" if all(texts) else "both" if any(texts) else "image"


def sized(picture: Image.Image, max_pixels: int | None) -> Image.Image:
    """The picture as RGB; of one longer than 100 times its short side the middle; at most `max_pixels` large."""
    image = picture if picture.mode == "RGB" else picture.convert("RGB")
    width, height = image.size
    box_width, box_height = min(width, LONGEST * height), min(height, LONGEST * width)
    if (box_width, box_height) != (width, height):
        left, top = (width - box_width) // 2, (height - box_height) // 2
        image = image.crop((left, top, left + box_width, top + box_height))
    if max_pixels is None or box_width * box_height <= max_pixels:
        return image
    scale = math.sqrt(max_pixels / (box_width * box_height))
    return image.resize((max(1, int(box_width * scale)), max(1, int(box_height * scale))), Image.Resampling.BICUBIC)


def plain(text: str, control: re.Pattern[str] = MARKUP) -> str:
    """The text with a space inside each control token, which only the checkpoint's own template may write.

    >>> plain("see <|image_pad|> there")
    'see < |image_pad|> there'
    """
    return control.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)


def as_sentence(instruction: str) -> str:
    """An instruction of the user's, with a full stop where it ends without a mark, as Qwen3-VL-Embedding was trained.

    >>> as_sentence("Find the poster"), as_sentence("Which one?"), as_sentence(" ")
    ('Find the poster.', 'Which one?', '')
    """
    text = instruction.strip()
    return text if not text or text.endswith((".", "!", "?", ":", ";", "…", "。", "！", "？")) else f"{text}."


def control_tokens(tokenizer: Any) -> re.Pattern[str]:
    """Finds every control token of two letters or more."""
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    words = {word for word in (*added, *tokenizer.all_special_tokens) if len(word) > 1}
    return re.compile("|".join(map(re.escape, sorted(words, key=len, reverse=True))) or r"(?!)")
