"""One answer as it comes, from backends that offer `stream`; from others in one piece."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmrerank.types import Backend, Decoding, Generated, Prompt


def streamed(backend: Backend, prompt: Prompt, decoding: Decoding, on_text: Callable[[str], None] | None) -> Generated:
    """The answer to one prompt; `on_text` gets its text piece by piece, in order. Without it the backend is asked as ever."""
    stream: Any = getattr(backend, "stream", None)
    if on_text is not None and stream is not None:
        answer: Generated = stream(prompt, decoding, on_text)
        return answer
    (answer,) = backend.generate([prompt], decoding)
    if on_text is not None:
        on_text(answer.text)
    return answer
