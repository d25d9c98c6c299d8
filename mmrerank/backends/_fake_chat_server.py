"""A fake chat completions server, as a function: what it answers follows from a hash of the messages and means nothing."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import httpx

TOKENS = ("Yes", "No", *(str(n) for n in range(1, 19)))  # the first tokens that it knows, 20 of them


def answer(request: httpx.Request) -> httpx.Response:
    """The reply to one request."""
    body = json.loads(request.content)
    digest = hashlib.sha256(json.dumps(body["messages"]).encode()).digest()
    text = f"answer {digest.hex()[:8]}"
    tokens = [{"token": token, "logprob": -1 - digest[n] / 64} for n, token in enumerate(TOKENS)]
    content: list[dict[str, Any]] = [{"token": word, "logprob": -0.5, "top_logprobs": []} for word in text.split()]
    if "top_logprobs" in body:
        likeliest = sorted(tokens, key=lambda entry: -float(entry["logprob"]))  # type: ignore[arg-type]
        content = [{**likeliest[0], "top_logprobs": likeliest[: body["top_logprobs"]]}]
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": text},
        "logprobs": {"content": content} if body.get("logprobs") else None,
    }
    return httpx.Response(200, json={"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": len(content)}})
