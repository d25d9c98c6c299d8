"""Prompts and answers in the words of the chat completions protocol.

Field names as in OpenAI's API, which vLLM, llama.cpp, Ollama and `transformers serve` follow. Only its own fields are sent, since some
servers refuse a request with any other: with the exception of an answer begun, for which there are only vLLM's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mmrerank.errors import InputError
from mmrerank.types import Cost, Decoding, Generated, Message, Prompt
from mmrerank.wire.data_uris import data_uri

MARKERS = " ▁Ġ"  # how a token of a text writes the space before it
FILTERED = "content_filter"
SPLIT = "\ufffd"  # what a letter is decoded to of which a token has only a part


def question(prompt: Prompt) -> dict[str, Any]:
    """The fields that hold the prompt, of a chat or, where it is raw, of a plain completion.

    An answer begun is a last message of the assistant; with vLLM's two fields the template leaves it open.

    Raises:
        InputError: a raw prompt has a picture, or other messages beside it.
    """
    if is_raw(prompt):
        return {"prompt": _raw(prompt)}
    fields: dict[str, Any] = {"messages": messages(prompt)}
    if prompt and prompt[-1].role == "assistant":
        fields |= {"add_generation_prompt": False, "continue_final_message": True}
    return fields


def is_raw(prompt: Prompt) -> bool:
    """Whether the prompt goes to the model without a chat template."""
    return any(message.role == "raw" for message in prompt)


def _raw(prompt: Prompt) -> str:
    parts = [part for message in prompt for part in message.parts]
    if len(prompt) > 1:
        raise InputError(f"a raw message is the whole prompt; got {len(prompt)} messages", hint="Join their parts into one.")
    if not all(isinstance(part, str) for part in parts):
        hint = "Ask by chat messages, or run the model here with local/PATH."
        raise InputError("a raw prompt with pictures cannot be sent: plain completions of a server take text", hint=hint)
    return "".join(str(part) for part in parts)


def messages(prompt: Prompt) -> list[dict[str, Any]]:
    """The prompt's messages. Neighbouring texts are one part, since servers differ in what they put between parts; a message
    without a picture is a plain string, which every template takes."""
    return [{"role": message.role, "content": _content(message)} for message in prompt]


def _content(message: Message) -> str | list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for part in message.parts:
        if not isinstance(part, str):
            parts.append({"type": "image_url", "image_url": {"url": data_uri(part)}})
        elif parts and parts[-1]["type"] == "text":
            parts[-1]["text"] += part
        else:
            parts.append({"type": "text", "text": part})
    if all(part["type"] == "text" for part in parts):
        return str(parts[0]["text"]) if parts else ""
    return parts


def generation(decoding: Decoding, *, server_stops: bool) -> dict[str, Any]:
    """The fields that say how to generate. A seed says nothing where nothing is sampled, and not every server takes one."""
    fields: dict[str, Any] = {"max_tokens": decoding.max_tokens, "temperature": decoding.temperature}
    if decoding.temperature > 0:
        fields |= {"top_p": 1.0, "seed": decoding.seed}
    if decoding.stop and server_stops:
        fields["stop"] = list(decoding.stop)
    if decoding.logprobs:
        fields["logprobs"] = True
    return fields


def choosing(top_logprobs: int) -> dict[str, Any]:
    """The fields that ask for the likeliest first tokens. Greedy, so that no sampled token joins them by chance."""
    return {"max_tokens": 1, "temperature": 0.0, "logprobs": True, "top_logprobs": top_logprobs}


def scoring() -> dict[str, Any]:
    """The fields that ask for the log-probability of each token of the prompt: vLLM's, 0 for no others beside them. Of the answer one token
    has to be made."""
    return {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}


def with_text(prompt: Prompt, text: str) -> Prompt:
    """The prompt with a text behind it, as the answer that was begun or as more of what is raw."""
    last = prompt[-1]
    if last.role in ("assistant", "raw"):
        return (*prompt[:-1], replace(last, parts=(*last.parts, text)))
    return (*prompt, Message(role="assistant", parts=(text,)))


def text_tokens(reply: Mapping[str, Any], start: int, text: str) -> list[float]:
    """The log-probabilities of the tokens of a text that ends a prompt.

    Args:
        start: how many tokens stand before it.

    Raises:
        LookupError, TypeError, AttributeError: it is no completion.
        ValueError: it has no log-probabilities of its prompt, or other tokens than those of the text stand there.
    """
    entries = reply.get("prompt_logprobs") or reply["choices"][0].get("prompt_logprobs")
    if not entries:
        raise ValueError("no log-probabilities of the prompt")
    tokens = [next(iter(entry.values())) for entry in entries[start:]]
    written = "".join(str(token.get("decoded_token") or "") for token in tokens)
    if not tokens or (written and SPLIT not in written and written.split() != text.split()):
        raise ValueError(f"other tokens than those of the text: {written[:40]!r}")
    return [float(token["logprob"]) for token in tokens]


def as_completion(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same wishes in the words of a plain completion, where `logprobs` is how many of the likeliest tokens are told."""
    count = int(fields.get("top_logprobs", 0)) if fields.get("logprobs") else None
    rest = {name: value for name, value in fields.items() if name not in ("logprobs", "top_logprobs")}
    return rest if count is None else {**rest, "logprobs": count}


def as_chat(reply: Mapping[str, Any]) -> dict[str, Any]:
    """A plain completion as a chat's reply.

    Raises:
        LookupError, TypeError, AttributeError: it is no completion.
    """
    choice = reply["choices"][0]
    message = {"role": "assistant", "content": choice["text"]}
    logprobs = choice.get("logprobs")
    return {**reply, "choices": [{**choice, "message": message, "logprobs": None if logprobs is None else _chat_logprobs(logprobs)}]}


def _chat_logprobs(logprobs: Mapping[str, Any]) -> dict[str, Any]:
    if "content" in logprobs:  # llama.cpp answers both kinds in the form of a chat
        return dict(logprobs)
    tokens, values = logprobs["tokens"], logprobs["token_logprobs"]
    likeliest = logprobs.get("top_logprobs") or [{}] * len(tokens)
    content = [
        {"token": token, "logprob": value, "top_logprobs": [{"token": t, "logprob": p} for t, p in (others or {}).items()]}
        for token, value, others in zip(tokens, values, likeliest, strict=True)
    ]
    return {"content": content}


def generated(reply: Mapping[str, Any], decoding: Decoding, seconds: float) -> Generated:
    """The answer of a reply.

    Raises:
        LookupError, TypeError, AttributeError: it is no chat completion.
    """
    choice = reply["choices"][0]
    reason, message = choice.get("finish_reason"), choice["message"]
    if reason == FILTERED or message.get("refusal"):
        return Generated(text="", finished="refused", cost=cost(reply, seconds))
    text = message.get("content") or ""
    stops = [place for place in (text.find(stop) for stop in decoding.stop) if place >= 0]
    tokens = _tokens(choice) if decoding.logprobs else None
    return Generated(
        text=text[: min(stops)] if stops else text,
        finished="length" if reason == "length" and not stops else "stop",
        logprobs=None if tokens is None else tuple(float(token["logprob"]) for token in tokens),
        tokens=None if tokens is None else tuple(str(token["token"]) for token in tokens),
        cost=cost(reply, seconds),
    )


class Gathering:
    """A streamed reply (server-sent events), put together line by line; or a whole one, from a server that does not stream."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._tokens: list[Any] = []
        self._reason: str | None = None
        self._refusal: str | None = None
        self._usage: Mapping[str, Any] = {}
        self.ended = False

    def take(self, line: str) -> str:
        """The text that one line adds, often none.

        Raises:
            LookupError, TypeError, AttributeError, ValueError: it is no event of a chat completion.
        """
        data = line.removeprefix("data:").strip()
        if not data or line.startswith((":", "event:", "id:", "retry:")):
            return ""
        if data == "[DONE]":
            self.ended = True
            return ""
        event = json.loads(data)
        self._usage = event.get("usage") or self._usage
        choices = event["choices"]
        return self._choice(choices[0]) if choices else ""

    def _choice(self, choice: Mapping[str, Any]) -> str:
        message = choice.get("delta") or choice.get("message") or {}
        text = str(message.get("content") or "")
        self._texts.append(text)
        self._tokens += (choice.get("logprobs") or {}).get("content") or []
        self._refusal = message.get("refusal") or self._refusal
        self._reason = choice.get("finish_reason") or self._reason
        self.ended = self.ended or self._reason is not None
        return text

    def reply(self) -> dict[str, Any]:
        """What the server would have said in one piece."""
        message = {"content": "".join(self._texts), "refusal": self._refusal}
        choice = {"message": message, "finish_reason": self._reason, "logprobs": {"content": self._tokens} if self._tokens else None}
        return {"choices": [choice], "usage": self._usage}


def _tokens(choice: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    tokens = (choice.get("logprobs") or {}).get("content")
    return None if tokens is None else list(tokens)


def first_tokens(reply: Mapping[str, Any]) -> dict[str, float]:
    """The log-probabilities of the likeliest first tokens; empty where the server does not tell.

    Raises:
        LookupError, TypeError, AttributeError: it is no chat completion.
    """
    tokens = (reply["choices"][0].get("logprobs") or {}).get("content") or []
    if not tokens:
        return {}
    entries = [tokens[0], *(tokens[0].get("top_logprobs") or ())]  # the first is the token that was taken; most servers list it again
    return {str(entry["token"]): float(entry["logprob"]) for entry in entries if entry.get("logprob") is not None}


def filtered(reply: Mapping[str, Any]) -> bool:
    """Whether a content filter kept the answer back."""
    return bool(reply["choices"][0].get("finish_reason") == FILTERED)


def choice_row(tokens: Mapping[str, float], choices: Sequence[str]) -> list[float]:
    """Log-probability of each choice: of all tokens that spell it, with or without a space or its marker before it, together.

    >>> choice_row({"Yes": -1.0, "No": -2.0, "yes": -3.0}, ["Yes", "No", "Maybe"])
    [-1.0, -2.0, -inf]
    """
    bare: dict[str, list[float]] = {}
    for token, logprob in tokens.items():
        bare.setdefault(token.lstrip(MARKERS), []).append(logprob)
    return [float(np.logaddexp.reduce(bare.get(choice.lstrip(MARKERS), [-math.inf]))) for choice in choices]


def cost(reply: Mapping[str, Any], seconds: float) -> Cost:
    """What the server says it took; 0 where it does not say."""
    usage = reply.get("usage") or {}
    details = usage.get("prompt_tokens_details") or {}
    return Cost(
        calls=1,
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        image_tokens=int(details.get("image_tokens") or 0),
        generated_tokens=int(usage.get("completion_tokens") or 0),
        seconds=seconds,
    )
