"""One answer as it comes, from backends that offer `stream`; from others in one piece."""

from __future__ import annotations

from collections.abc import Callable

from mmrerank.protocols import Backend, StreamingBackend, front_to_back
from mmrerank.types import Decoding, Generated, Prompt


def streamed(backend: Backend, prompt: Prompt, decoding: Decoding, on_text: Callable[[str], None] | None) -> Generated:
    """The answer to one prompt; `on_text` gets its text piece by piece, in order. Without it the backend is asked as ever."""
    streaming = next((one for one in front_to_back(backend) if isinstance(one, StreamingBackend)), None)
    if on_text is not None and streaming is not None:
        return streaming.stream(prompt, decoding, on_text)
    (answer,) = backend.generate([prompt], decoding)
    if on_text is not None:
        on_text(answer.text)
    return answer
