"""How a local model is made to end an answer, and to have no habits of its own while it gives one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from mmrerank.errors import InputError
from mmrerank.types import Decoding

STRUCTURE = ("bos_token_id", "decoder_start_token_id", "suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "cache_implementation")
_MARGIN = 8  # tokens beyond a stop string that are decoded with it: letters of several tokens, special ones that decode to nothing


def checked(decoding: Decoding) -> Decoding:
    """The decoding, where it can be followed.

    Raises:
        InputError: no token is allowed, or a stop string is empty.
    """
    if decoding.max_tokens < 1:
        raise InputError(f"an answer takes at least one token; got max_tokens={decoding.max_tokens}")
    if not all(decoding.stop):
        raise InputError(f"a stop string needs at least one letter; got {list(decoding.stop)}")
    return decoding


def without_habits(config: Any) -> Any:
    """A generation config that holds of this one only what the architecture needs.

    A model's own config fills whatever a call leaves open. Qwen2.5-VL's asks for sampling and a repetition penalty, so that
    an answer meant to be greedy would be neither.
    """
    from transformers import GenerationConfig

    return GenerationConfig(**{name: value for name in STRUCTURE if (value := getattr(config, name, None)) is not None})


def settings(decoding: Decoding, ends: frozenset[int], pad: int | None) -> Any:
    """What `generate` is to do. Sampling is from the whole distribution; a repetition costs nothing."""
    from transformers import GenerationConfig

    sampling = {"do_sample": True, "temperature": decoding.temperature, "top_p": 1.0, "top_k": 0}
    return GenerationConfig(
        max_new_tokens=decoding.max_tokens,
        eos_token_id=sorted(ends),
        pad_token_id=pad,
        return_dict_in_generate=True,
        output_logits=decoding.logprobs,
        **(sampling if decoding.temperature > 0 else {"do_sample": False}),
    )


class StopStrings:
    """A stopping criterion: an answer ends with the token that completes a stop string.

    It reads what was generated and never the prompt, and keeps how long each answer of the batch was by then: what the batch
    goes on to write behind it is padding.
    """

    def __init__(self, stops: Sequence[str], start: int, text_of: Callable[[Sequence[int]], str]) -> None:
        self.lengths: dict[int, int] = {}  # row -> generated tokens, of the answers that met a stop string
        self._stops, self._start, self._text_of = stops, start, text_of
        self._window = max((len(stop.encode()) for stop in stops), default=0) + _MARGIN

    def __call__(self, input_ids: torch.Tensor, scores: Any = None, **_: Any) -> torch.Tensor:
        """(batch,) whether each answer has ended; asked after every token."""
        tokens = input_ids[:, self._start :]
        for n, latest in enumerate(tokens[:, -self._window :].tolist()):
            if n not in self.lengths and any(stop in self._text_of(latest) for stop in self._stops):
                self.lengths[n] = tokens.shape[1]
        return torch.tensor([n in self.lengths for n in range(len(tokens))], device=input_ids.device)

    def cut(self, n: int, tokens: list[int]) -> list[int]:
        """The tokens of one row up to the one that completed a stop string."""
        return tokens[: self.lengths.get(n, len(tokens))]
