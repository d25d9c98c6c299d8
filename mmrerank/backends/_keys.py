"""What identifies a question to a model: the same key, the same answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mmrerank.types import Decoding, Markup, Prompt

if TYPE_CHECKING:
    from PIL.Image import Image


def generation_key(prompt: Prompt, decoding: Decoding) -> str:
    """64 hex digits for a prompt and how its answer is generated."""
    return _digest({"messages": _messages(prompt), "decoding": asdict(decoding)})


def choices_key(prompt: Prompt, choices: Sequence[str]) -> str:
    """64 hex digits for a prompt and the choices, in their order."""
    return _digest({"messages": _messages(prompt), "choices": list(choices)})


def _messages(prompt: Prompt) -> list[Any]:
    return [[message.role, [_part(part) for part in message.parts]] for message in prompt]


def _part(part: str | Image) -> Any:
    if isinstance(part, Markup):
        return {"markup": str(part)}  # control tokens in it are read as tokens, in a plain text of the same letters they are not
    if isinstance(part, str):
        return part
    pixels = hashlib.sha256(part.tobytes()).hexdigest()
    return {"mode": part.mode, "size": part.size, "pixels": pixels}


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
