"""A cache of answers on disk, in front of any backend. Safe with several processes (diskcache).

A damaged entry is a miss, and a folder that cannot be used is no cache: a warning, and the model is asked.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np

from mmrerank.backends._keys import choices_key, generation_key
from mmrerank.backends._streaming import streamed
from mmrerank.protocols import Backend, front_to_back, weights_of
from mmrerank.types import Array, ChoiceScores, Cost, Decoding, Generated, Prompt

logger = logging.getLogger(__name__)
T = TypeVar("T")
SCHEMA = 2
HIT = Cost(cached=1)
_Row: TypeAlias = "tuple[Array, tuple[int, ...]]"  # log-probabilities of the choices of one prompt, and how many tokens each is


class CachedBackend:
    """Asks the backend only what it was never asked. The key is the backend's name and weights, the prompt with its pictures'
    pixels, and everything that moves the answer; sampled answers are kept too, since their seed is part of it."""

    def __init__(self, backend: Backend, folder: Path) -> None:
        self.name = backend.name
        self.inner = backend
        weights = next(filter(None, map(weights_of, front_to_back(backend))), "")
        self._of_model = hashlib.sha256(f"{SCHEMA}\n{backend.name}\n{weights}".encode()).hexdigest()
        self._cache = _open_cache(folder)

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding | None = None) -> list[Generated]:
        """An answer per prompt; those from the cache cost nothing."""
        decoding = decoding or Decoding()
        keys = [generation_key(prompt, decoding) for prompt in prompts]
        answers = self._through(keys, lambda missing: self.inner.generate([prompts[n] for n in missing], decoding), asdict, _generated)
        return [answer if fresh else replace(answer, cost=HIT) for answer, fresh in answers]

    def stream(self, prompt: Prompt, decoding: Decoding | None, on_text: Callable[[str], None]) -> Generated:
        """The answer to one prompt as it comes; from the cache in one piece."""
        decoding = decoding or Decoding()
        key = generation_key(prompt, decoding)
        answer = self._get(key, _generated)
        if answer is not None:
            on_text(answer.text)
            return answer
        answer = streamed(self.inner, prompt, decoding, on_text)
        self._put(key, asdict(answer))
        return answer

    def choice_logprobs(self, prompts: Sequence[Prompt], choices: Sequence[str]) -> ChoiceScores:
        """Log-probabilities per prompt and choice; prompts from the cache cost nothing."""
        spent = Cost()

        def ask(missing: Sequence[int]) -> Sequence[_Row]:
            nonlocal spent
            scores = self.inner.choice_logprobs([prompts[n] for n in missing], choices)
            spent = scores.cost
            return [(row, scores.lengths) for row in scores.logprobs]

        keys = [choices_key(prompt, choices) for prompt in prompts]
        pairs = self._through(keys, ask, _written, lambda value: _row(value, len(choices)))
        rows = np.array([row for (row, _), _ in pairs], dtype=np.float32).reshape(len(prompts), len(choices))
        lengths = {lengths for (_, lengths), _ in pairs}
        cost = spent + Cost(cached=sum(not fresh for _, fresh in pairs))
        return ChoiceScores(logprobs=rows, cost=cost, lengths=lengths.pop() if len(lengths) == 1 else ())

    def _through(
        self, keys: Sequence[str], ask: Callable[[Sequence[int]], Sequence[T]], write: Callable[[T], Any], read: Callable[[Any], T]
    ) -> list[tuple[T, bool]]:
        """The answer of each key and whether it was asked for now; equal keys are asked for once."""
        answers = {key: answer for key in set(keys) if (answer := self._get(key, read)) is not None}
        missing = [n for n, key in enumerate(keys) if key not in answers and key not in keys[:n]]
        for n, answer in zip(missing, ask(missing) if missing else (), strict=True):
            answers[keys[n]] = answer
            self._put(keys[n], write(answer))
        return [(answers[key], n in missing) for n, key in enumerate(keys)]

    def _get(self, key: str, read: Callable[[Any], T]) -> T | None:
        try:
            value = None if self._cache is None else self._cache.get(f"{self._of_model}:{key}")
            return None if value is None else read(value)
        except Exception as error:  # whatever a damaged entry makes sqlite, JSON or the records raise: it is a miss
            logger.warning("an answer in the cache cannot be read and is asked for again: %s", error)
            return None

    def _put(self, key: str, value: Any) -> None:
        if self._cache is None:
            return
        try:
            self._cache.set(f"{self._of_model}:{key}", value)
        except Exception as error:  # a full or read-only disk costs the cache, not the answer
            logger.warning("an answer could not be kept in the cache: %s", error)


def _open_cache(folder: Path) -> Any:
    """The cache in the folder; None, with a warning, where there can be none."""
    import diskcache

    try:
        folder.mkdir(parents=True, exist_ok=True)
        return diskcache.Cache(str(folder), disk=diskcache.JSONDisk)  # no pickle
    except Exception as error:  # whatever a damaged database, a file of that name or a read-only disk raises
        logger.warning("answers are not cached, since the cache in %s cannot be used (remove it to start afresh): %s", folder, error)
        return None


def _written(row: _Row) -> dict[str, Any]:
    logprobs, lengths = row
    return {"logprobs": logprobs.tolist(), "lengths": list(lengths)}


def _row(value: Any, choices: int) -> _Row:
    return np.array(value["logprobs"], dtype=np.float32).reshape(choices), tuple(map(int, value["lengths"]))


def _generated(value: Any) -> Generated:
    logprobs, tokens = value["logprobs"], value["tokens"]
    return Generated(
        text=str(value["text"]),
        finished=value["finished"],
        logprobs=None if logprobs is None else tuple(map(float, logprobs)),
        tokens=None if tokens is None else tuple(map(str, tokens)),
        cost=HIT,
    )
