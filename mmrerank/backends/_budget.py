"""Batches of like length under a budget of tokens, which halves itself when memory runs out and remembers that."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from mmrerank.backends._packing import PASS_TOKENS, packed
from mmrerank.errors import BackendError

TOKENS_AT_ONCE = {"cpu": 4096, "cuda": 32_768}  # of a batch, padding included; what its activations need grows with them
_ALLOCATORS = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")  # of CPUs and other devices


class TokenBudget:
    """How many tokens go through a model at once."""

    def __init__(self, name: str, tokens: int, pass_tokens: int = PASS_TOKENS["cpu"]) -> None:
        self.tokens, self.pass_tokens = tokens, pass_tokens
        self._name = name

    def run(self, extents: Sequence[int], size: int, batch: Callable[[list[int]], None], *, passes: int = 1) -> None:
        """Calls `batch` with positions until each had its turn, shortest prompts first.

        Args:
            extents: how long each prompt is, in tokens.
            size: prompts of one batch at most.
            passes: that a batch takes: as many as tokens are written.
            batch: gets positions in order of length; one that runs out of memory is called again with the halves of them.

        Raises:
            BackendError: there is not even memory for one prompt.
        """
        waiting = self.batches(extents, size, passes)[::-1]
        while waiting:
            positions = waiting.pop()
            if self._has_room(positions, batch):
                continue
            longest = max(extents[n] for n in positions)
            if len(positions) == 1:
                hint = "Show less of each item, take a smaller model, or another device."
                raise BackendError(f"{self._name}: there is not enough memory for one prompt of about {longest} tokens", hint=hint)
            self.tokens = min(self.tokens, max(longest * (len(positions) // 2), 1))
            rest = [n for later in reversed(waiting) for n in later]
            batches = self.batches([extents[n] for n in (*positions, *rest)], size, passes)
            waiting = [[(*positions, *rest)[n] for n in members] for members in reversed(batches)]

    def batches(self, extents: Sequence[int], size: int, passes: int = 1) -> list[list[int]]:
        """Positions in batches of like length, so that little is padding and none is too large."""
        order = sorted(range(len(extents)), key=extents.__getitem__)

        def fits(count: int, width: int, beginning: int) -> bool:
            return count <= size and count * width <= self.tokens

        runs = packed([extents[n] for n in order], fits, pass_tokens=self.pass_tokens * passes)
        return [[order[place] for place in run] for run in runs]

    @staticmethod
    def _has_room(positions: list[int], batch: Callable[[list[int]], None]) -> bool:
        """Whether the batch went through. What it held of the memory is free again only behind the handler."""
        try:
            batch(positions)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
        else:
            return True
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return False


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a device said so; a CPU's allocator has no class of its own for it."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error).lower() for words in _ALLOCATORS)
