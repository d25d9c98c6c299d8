"""A cache of answers on disk, in front of any backend. Safe with several processes (diskcache); a damaged entry is a miss."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mmrerank.backends._keys import choices_key, generation_key
from mmrerank.types import Backend, ChoiceScores, Cost, Decoding, Generated, Prompt

logger = logging.getLogger(__name__)
SCHEMA = 1
HIT = Cost(cached=1)


class CachedBackend:
    """Asks the backend only what it was never asked. The key is the backend's name and weights, the prompt with its pictures'
    pixels, and everything that moves the answer; sampled answers are kept too, since their seed is part of it."""

    def __init__(self, backend: Backend, folder: Path) -> None:
        import diskcache

        self.name = backend.name
        self.inner = backend
        weights = str(getattr(backend, "weights_hash", ""))
        self._of_model = hashlib.sha256(f"{SCHEMA}\n{backend.name}\n{weights}".encode()).hexdigest()
        folder.mkdir(parents=True, exist_ok=True)
        self._cache = diskcache.Cache(str(folder), disk=diskcache.JSONDisk)  # no pickle

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)  # what a backend offers beside the protocol, such as `single_token`

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        """An answer per prompt; those from the cache cost nothing."""
        asked = decoding or Decoding()
        keys = [generation_key(prompt, asked) for prompt in prompts]
        found = self._through(keys, lambda missing: [asdict(a) for a in self.inner.generate([prompts[n] for n in missing], asked)])
        return [_generated(value, fresh) for value, fresh in found]

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        """Log-probabilities per prompt and choice; prompts from the cache cost nothing."""
        spent = Cost()

        def ask(missing: Sequence[int]) -> list[list[float]]:
            nonlocal spent
            scores = self.inner.choice_logprobs([prompts[n] for n in missing], choices)
            spent = scores.cost
            return [[float(value) for value in row] for row in scores.logprobs]

        found = self._through([choices_key(prompt, choices) for prompt in prompts], ask)
        rows = np.array([value for value, _ in found], dtype=np.float32).reshape(len(prompts), len(choices))
        return ChoiceScores(logprobs=rows, cost=spent + Cost(cached=sum(not fresh for _, fresh in found)))

    def _through(self, keys: Sequence[str], ask: Callable[[Sequence[int]], Sequence[Any]]) -> list[tuple[Any, bool]]:
        """The value of each key and whether it was asked for now; equal keys are asked for once."""
        known = {key: self._get(key) for key in set(keys)}
        missing = [n for n, key in enumerate(keys) if known[key] is None and key not in keys[:n]]
        fresh = dict(zip((keys[n] for n in missing), ask(missing) if missing else (), strict=True))
        for key, value in fresh.items():
            self._put(key, value)
        return [(fresh[key], n in missing) if key in fresh else (known[key], False) for n, key in enumerate(keys)]

    def _get(self, key: str) -> Any:
        try:
            return self._cache.get(f"{self._of_model}:{key}")
        except Exception as error:  # whatever a damaged entry makes sqlite or pickle raise: it is a miss
            logger.warning("an answer in the cache cannot be read and is asked for again: %s", error)
            return None

    def _put(self, key: str, value: Any) -> None:
        try:
            self._cache.set(f"{self._of_model}:{key}", value)
        except Exception as error:  # a full or read-only disk costs the cache, not the answer
            logger.warning("an answer could not be kept in the cache: %s", error)


def _generated(value: dict[str, Any], fresh: bool) -> Generated:
    logprobs = value["logprobs"]
    return Generated(
        text=value["text"],
        finished=value["finished"],
        logprobs=None if logprobs is None else tuple(logprobs),
        cost=Cost(**value["cost"]) if fresh else HIT,
    )
