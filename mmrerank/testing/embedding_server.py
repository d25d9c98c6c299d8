"""A server of embeddings that is a function: vLLM's two shapes over conversations, one vector or a vector for each token."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mmrerank.types import Array, EncodedPart

if TYPE_CHECKING:
    import httpx

Embed: TypeAlias = Callable[[Sequence[EncodedPart], str], Array]  # pictures and texts in their order, and the instruction, "" without one
WIDTH = 16


class FakeEmbeddingServer:
    """Answers `/embeddings` by `embed`, and `/pooling` with the task `token_embed` by `embed_tokens`; without them the numbers follow from
    a hash and mean nothing. It goes into `httpx.MockTransport`, and remembers what it was asked.

    Args:
        embed: (dimension,) of a value.
        embed_tokens: (n_tokens, dimension) of a value.
    """

    def __init__(self, embed: Embed | None = None, embed_tokens: Embed | None = None) -> None:
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self._embed = embed or (lambda parts, instruction: _hashed(parts, instruction, rows=1)[0])
        self._embed_tokens = embed_tokens or (lambda parts, instruction: _hashed(parts, instruction, rows=len(parts) + 2))

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """The reply to one request."""
        import httpx

        body = json.loads(request.content)
        self.requests.append(body)
        self.paths.append(request.url.path)
        status, reply = self.reply(request.url.path, body)
        return httpx.Response(status, json=reply)

    def reply(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and body of the reply, for a server of another kind."""
        if "messages" not in body:
            return 400, {"error": {"message": "messages: field required", "type": "BadRequestError"}}
        parts, instruction = conversation(body["messages"])
        if path.endswith("/embeddings"):
            entry: dict[str, Any] = {"index": 0, "object": "embedding", "embedding": self._embed(parts, instruction).tolist()}
        elif path.endswith("/pooling") and body.get("task") == "token_embed":
            entry = {"index": 0, "object": "pooling", "data": self._embed_tokens(parts, instruction).tolist()}
        else:
            return 404, {"detail": "Not Found"}
        usage = {"prompt_tokens": 10, "total_tokens": 10, "completion_tokens": 0}
        return 200, {"id": "double", "object": "list", "model": body.get("model"), "data": [entry], "usage": usage}


def conversation(messages: Sequence[dict[str, Any]]) -> tuple[list[EncodedPart], str]:
    """The pictures and texts of the user's turn, and the text of the system's."""
    parts = [_part(entry) for message in messages if message["role"] == "user" for entry in message["content"]]
    system = [entry["text"] for message in messages if message["role"] == "system" for entry in message["content"]]
    return parts, "".join(system)


def _part(entry: dict[str, Any]) -> EncodedPart:
    from PIL import Image

    if entry["type"] == "text":
        return str(entry["text"])
    _, _, data = entry["image_url"]["url"].partition("base64,")
    return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


def _hashed(parts: Sequence[EncodedPart], instruction: str, *, rows: int) -> Array:
    digest = hashlib.blake2b(instruction.encode(), digest_size=8)
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part.tobytes())
    numbers = np.random.default_rng(int.from_bytes(digest.digest(), "big")).standard_normal((rows, WIDTH))
    unit: Array = (numbers / np.linalg.norm(numbers, axis=1, keepdims=True)).astype(np.float32)
    return unit
