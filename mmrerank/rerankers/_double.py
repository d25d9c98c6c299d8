"""A test double of an MLLM: answers by a function of the prompt, and remembers what it was asked. Shipped so that nobody patches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from mmrerank.types import ChoiceScores, Cost, Decoding, Generated, Prompt


class BackendDouble:
    """Answers by `answer(prompt)`, likelihoods by `choose(prompt, choices)`; without them both follow from a hash and mean nothing."""

    def __init__(
        self,
        answer: Callable[[Prompt], str] | None = None,
        choose: Callable[[Prompt, Sequence[str]], Sequence[float]] | None = None,
    ) -> None:
        self.name = "double"
        self.prompts: list[Prompt] = []  # everything it was asked
        self._answer = answer or (lambda prompt: f"answer {_hash(prompt)}")
        self._choose = choose or (lambda prompt, choices: [-1 - (_hash(prompt) >> 8 * n) % 256 / 64 for n in range(len(choices))])

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        """An answer per prompt."""
        return [self._generated(prompt) for prompt in prompts]

    def _generated(self, prompt: Prompt) -> Generated:
        self.prompts.append(prompt)
        text = self._answer(prompt)
        return Generated(text=text, cost=Cost(calls=1, prompt_tokens=_words(prompt), generated_tokens=len(text.split())))

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        """Log-probabilities per prompt and choice."""
        self.prompts += prompts
        rows = np.array([self._choose(prompt, choices) for prompt in prompts], dtype=np.float32).reshape(len(prompts), len(choices))
        return ChoiceScores(logprobs=rows, cost=Cost(calls=len(prompts), prompt_tokens=sum(map(_words, prompts))))


def _words(prompt: Prompt) -> int:
    return sum(len(part.split()) if isinstance(part, str) else 1 for message in prompt for part in message.parts)


def _hash(prompt: Prompt) -> int:
    content = hashlib.blake2b(digest_size=8)
    for message in prompt:
        for part in message.parts:
            content.update(part.encode() if isinstance(part, str) else part.tobytes())
    return int.from_bytes(content.digest(), "big")
