"""One forward pass of a loaded checkpoint: logits behind a batch of prompts, or the states that they come from.

Logits are float32 whatever the weights are: where those are half precision the head alone is computed once more in float32, from the
state it was handed. Rounded to bfloat16, logits of two prompts are often equal, and move with the size of the batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

ROWS_AT_ONCE = 16_384  # of a head that are held in float32 at a time: 235 MB of a model 3,584 wide


class Network:
    """A model in evaluation mode, and how it is run."""

    def __init__(self, model: Any, *, sees: bool) -> None:
        self.model = model
        names = inspect.signature(model.forward).parameters
        self.takes_positions = "position_ids" in names
        self._counts_positions = not sees and self.takes_positions
        self._cache_name = "cache" if "cache" in names else "past_key_values"  # as the release of transformers calls it

    @property
    def device(self) -> torch.device:
        """Where its inputs belong: with the embeddings, or, where accelerate fetches those for each pass, where it runs the model."""
        device = torch.device(self.model.get_input_embeddings().weight.device)
        if device.type != "meta":
            return device
        return torch.device(next((place for place in self.model.hf_device_map.values() if place not in ("cpu", "disk")), "cpu"))

    def logits(self, inputs: Mapping[str, Any], *, last: int = 1) -> torch.Tensor:
        """(batch, last, vocabulary) float32 logits at the last positions."""
        return self.step(inputs, last=last)[0]

    def step(self, inputs: Mapping[str, Any], *, last: int = 1, cache: Any = None, grows: bool = False) -> tuple[torch.Tensor, Any]:
        """(batch, last, vocabulary) float32 logits behind what a cache holds, and the cache with the inputs in it where that is wanted. The
        one that was handed over grows in any case."""
        before = {} if cache is None else {self._cache_name: cache}
        with _float32_head(self.model):
            output = self.model(**inputs, **self._positions(inputs), **before, use_cache=grows, logits_to_keep=last)
        return torch.as_tensor(output.logits[:, -last:].float()), output[self._cache_name] if grows else None

    def states(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        """(batch, D) float32 states of the last layer behind its norm, at the last position."""
        output = self.model.base_model(**inputs, **self._positions(inputs), use_cache=False)
        return torch.as_tensor(output.last_hidden_state[:, -1].float())

    def _positions(self, inputs: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Of text models, positions that count a prompt's own tokens. Left to themselves these count the padding before it too."""
        if not self._counts_positions or "position_ids" in inputs:
            return {}
        return {"position_ids": (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)}


@contextmanager
def _float32_head(model: Any) -> Iterator[None]:
    """While this is open, what the head of a half-precision model returns is computed in float32."""
    head = model.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear) or head.weight.dtype not in (torch.float16, torch.bfloat16):
        yield  # a float32 head needs nothing, and one that is quantised has no weights to compute with
        return

    def exact(module: torch.nn.Linear, args: tuple[torch.Tensor, ...], _: torch.Tensor) -> torch.Tensor:
        states = args[0].float()
        with _in_place(module):
            rows = [torch.nn.functional.linear(states, rows.float()) for rows in torch.split(module.weight, ROWS_AT_ONCE)]
            logits = torch.cat(rows, dim=-1)
            return logits if module.bias is None else logits + module.bias.float()

    handle = head.register_forward_hook(exact)
    try:
        yield
    finally:
        handle.remove()


def _in_place(module: torch.nn.Linear) -> AbstractContextManager[Any]:
    """While this is open, the weights of a layer that accelerate keeps elsewhere are there."""
    if module.weight.device.type != "meta":
        return nullcontext()
    from accelerate.utils import align_module_device

    context: AbstractContextManager[Any] = align_module_device(module)
    return context
