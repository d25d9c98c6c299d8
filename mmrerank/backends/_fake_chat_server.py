"""A fake server of chats and plain completions, as a function: what it answers follows from a hash of the prompt and means nothing."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import httpx

TOKENS = ("Yes", "No", *(str(n) for n in range(1, 19)))  # the first tokens that it knows, 20 of them


def answer(request: httpx.Request) -> httpx.Response:
    """The reply to one request."""
    body = json.loads(request.content)
    is_raw = request.url.path.endswith("/completions") and "prompt" in body
    digest = hashlib.sha256(json.dumps(body["prompt"] if is_raw else body["messages"]).encode()).digest()
    text = f"answer {digest.hex()[:8]}"
    tokens = [{"token": token, "logprob": -1 - digest[n] / 64} for n, token in enumerate(TOKENS)]
    content: list[dict[str, Any]] = [{"token": word, "logprob": -0.5, "top_logprobs": []} for word in text.split()]
    most = body.get("top_logprobs") or (body.get("logprobs") if is_raw else 0)
    if most:
        likeliest = sorted(tokens, key=lambda entry: -float(entry["logprob"]))  # type: ignore[arg-type]
        content = [{**likeliest[0], "top_logprobs": likeliest[:most]}]
    usage = {"prompt_tokens": _counted(body), "completion_tokens": len(content)}
    logprobs = {"content": content} if body.get("logprobs") is not None else None
    if is_raw:
        choice = {"index": 0, "finish_reason": "stop", "text": text, "logprobs": _of_completion(content) if logprobs else None}
    else:
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "finish_reason": "stop", "message": message, "logprobs": logprobs}
    return httpx.Response(200, json={"choices": [choice], "usage": usage})


def _counted(body: dict[str, Any]) -> int:
    """The words of the prompt, with two for the turns around each message but an answer that is gone on with."""
    if "prompt" in body:
        return len(str(body["prompt"]).split())
    words = sum(len(json.dumps(message["content"]).split()) + 2 for message in body["messages"])
    return words if body.get("continue_final_message") else words + 2


def _of_completion(content: list[dict[str, Any]]) -> dict[str, Any]:
    """Log-probabilities in the form of a plain completion."""
    return {
        "tokens": [entry["token"] for entry in content],
        "token_logprobs": [entry["logprob"] for entry in content],
        "top_logprobs": [{other["token"]: other["logprob"] for other in entry["top_logprobs"]} for entry in content],
    }
