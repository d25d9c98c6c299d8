"""The mini MLLM's own answers, many at once: greedy, with the keys and values of what stands already kept.

transformers' `generate` spends most of its time between the sums of a model this small. A test holds both ways against each other.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tools.mini_mllm.batches import Encoder
from tools.mini_mllm.forward import Batch, KeysAndValues, embedded, read
from tools.mini_mllm.vocabulary import STOP

if TYPE_CHECKING:
    import torch

    from tools.mini_mllm.samples import Sample


def answers(model: Any, encoder: Encoder, samples: Sequence[Sample], device: str, *, most: int, bfloat16: bool = False) -> list[str]:
    """What the model answers to each sample's prompt, in at most so many tokens."""
    import torch

    prompts = [replace(sample, answer="", wrong=(), echo="") for sample in samples]
    halved = copy.deepcopy(model).bfloat16() if bfloat16 else model
    with torch.inference_mode():
        tokens = greedy(halved.eval(), encoder.batch(prompts, device), most, encoder.first_token(STOP))
    return [encoder.text(row) for row in tokens.tolist()]


def greedy(model: Any, batch: Batch, most: int, stop: int) -> torch.Tensor:
    """(b, up to `most`) tokens that follow each prompt; `stop` from its end on."""
    import torch

    language = model.model.language_model
    b, length = batch.ids.shape
    rows = torch.arange(b, device=batch.ids.device)
    last = batch.places - rows * length  # (b,) each prompt's last token
    cache = KeysAndValues(open=torch.arange(length, device=batch.ids.device) <= last[:, None])
    hidden = read(language, embedded(model, batch), batch.positions, cache)[rows, last]
    place = batch.positions[:, rows, last]  # (3, b)
    tokens = [model.lm_head(hidden).argmax(dim=-1)]
    ended = tokens[0] == stop
    while len(tokens) < most and not bool(ended.all()):
        place = place + 1
        hidden = read(language, language.embed_tokens(tokens[-1])[:, None], place[..., None], cache)[:, 0]
        tokens.append(torch.where(ended, stop, model.lm_head(hidden).argmax(dim=-1)))
        ended = ended | (tokens[-1] == stop)
    return torch.stack(tokens, dim=1)
