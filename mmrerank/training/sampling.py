"""Answers drawn from a network, several to each prompt: a prompt goes through once, and its answers share its keys and values.

    inputs --one pass--> logits, cache --repeated, once an answer--> token after token --> tokens and their log-probabilities

Source: ours; sharing is what serving systems call parallel sampling (vLLM, arXiv 2309.06180, section 4.4). Memory: keys and values of
prompts x answers.
Cost: one pass over the prompts, then one over a token of every answer for each token of the longest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class CountsPictures(Protocol):
    """A network that counts positions over pictures itself, and says after a pass by how much they lag behind tokens."""

    rope_deltas: Any  # (n_prompts, 1)


@dataclass(frozen=True, kw_only=True)
class Draws:
    """The answers to some prompts, as many to each one after the other."""

    tokens: tuple[tuple[int, ...], ...]  # up to and with the end, where it came
    logprobs: tuple[Tensor, ...]  # of each answer (n_tokens,), at the temperature that they were drawn at


@torch.no_grad()
def draw_answers(network: Any, inputs: Mapping[str, Any], *, count: int, temperature: float, max_tokens: int, end: int) -> Draws:
    """Answers to a batch of prompts, drawn from torch's own chance.

    Args:
        network: of transformers, with or without pictures, in evaluation mode.
        inputs: ids and mask (n_prompts, width), padded on the left, and pictures.
        count: answers to each prompt.
        temperature: 0 takes the likeliest token, whose log-probability is then that at 1.
        end: the token that ends an answer.
    """
    mask = inputs["attention_mask"]
    places = {} if inputs.get("pixel_values") is not None else {"position_ids": _counted(mask)}
    output = network(**{**inputs, **places}, use_cache=True, logits_to_keep=1)
    name = "cache" if "cache" in output else "past_key_values"  # as the release of transformers calls it
    cache, logits = output[name], output.logits[:, -1].repeat_interleave(count, 0)  # (n_answers, vocabulary)
    cache.batch_repeat_interleave(count)
    mask = mask.repeat_interleave(count, 0)
    following = (_counted(inputs["attention_mask"])[:, -1:] + 1 + _lag(network, inputs)).repeat_interleave(count, 0)  # (n_answers, 1)
    tokens: list[Tensor] = []
    logprobs: list[Tensor] = []
    done = torch.zeros(len(mask), dtype=torch.bool, device=mask.device)
    while True:
        values = (logits.float() / (temperature or 1.0)).log_softmax(-1)
        chosen = torch.multinomial(values.exp(), 1) if temperature else values.argmax(-1, keepdim=True)
        tokens.append(chosen)
        logprobs.append(values.gather(-1, chosen))
        done |= chosen[:, 0] == end
        if done.all() or len(tokens) == max_tokens:
            break
        mask = torch.cat([mask, torch.ones_like(chosen)], dim=1)
        step = {"input_ids": chosen, "attention_mask": mask, "position_ids": following, name: cache}
        logits, following = network(**step, use_cache=True, logits_to_keep=1).logits[:, -1], following + 1
    return _cut(torch.cat(tokens, 1), torch.cat(logprobs, 1), end)


def _counted(mask: Tensor) -> Tensor:
    """(n_prompts, width) positions that count tokens and no padding."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


def _lag(network: Any, inputs: Mapping[str, Any]) -> Any:
    """(n_prompts, 1) by how much positions lag behind tokens where they run slower over pictures, as in Qwen2-VL; else 0."""
    inner = network.base_model
    return inner.rope_deltas.view(-1, 1) if inputs.get("pixel_values") is not None and isinstance(inner, CountsPictures) else 0


def _cut(tokens: Tensor, logprobs: Tensor, end: int) -> Draws:
    rows = [row[: row.index(end) + 1] if end in row else row for row in tokens.tolist()]
    return Draws(tokens=tuple(map(tuple, rows)), logprobs=tuple(values[: len(row)] for row, values in zip(rows, logprobs, strict=True)))
