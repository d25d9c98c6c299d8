"""Unit rows of what a model makes of prompts, remembered by the model and by all that is in a prompt.

    prompts --content_key--> row in memory, or in the folder; else --embed--> hidden states of the last token --> unit rows

In memory up to a number of bytes, the rows used longest ago leave first. In a folder every row is a small .npy file of its own, written
aside and moved into place; several processes may share it, and a file that cannot be read is one that is not there.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmrerank.errors import InputError
from mmrerank.protocols import Backend, CuttingBackend, EmbeddingBackend, front_to_back, weights_of
from mmrerank.types import Array, Cost, LazyPicture, Part, Prompt

MIB = 1 << 20


class Vectors:
    """What a backend makes of prompts, as unit rows. A state without direction (zero, or not finite) is a row of zeros."""

    def __init__(self, backend: Backend, *, memory_mib: int, folder: str | None = None) -> None:
        """
        Raises:
            InputError: the backend does not show what the model makes of a prompt.
        """
        embedders = [one for one in front_to_back(backend) if isinstance(one, EmbeddingBackend)]
        if not embedders:
            hint = "Run the model here: local/PATH. A chat server does not show the states of its model."
            raise InputError(f"the backend {backend.name!r} gives no vector of a prompt (it has no `embed`)", hint=hint)
        self._embedder, self._model = embedders[0], f"{backend.name}\n{weights_of(embedders[0])}"
        self._bytes, self._folder = memory_mib * MIB, None if folder is None else Path(folder)
        self._rows: OrderedDict[str, Array] = OrderedDict()
        self._lock = threading.Lock()  # of the rows in memory: a service reranks in several threads

    def of(self, prompts: Sequence[Prompt]) -> tuple[Array, Cost]:
        """(n, D) unit rows of the prompts, and the cost of those that were not remembered."""
        keys = [self._key(prompt) for prompt in prompts]
        rows = {key: row for key in keys if (row := self._remembered(key)) is not None}
        missing = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in rows}
        cost = Cost(cached=len(set(keys)) - len(missing))
        if missing:
            start = time.perf_counter()
            fresh = unit_rows(self._embedder.embed(list(missing.values())))
            seconds = time.perf_counter() - start
            counts = self._embedder.count_tokens(list(missing.values())) if isinstance(self._embedder, CuttingBackend) else []
            cost += Cost(calls=len(missing), prompt_tokens=sum(counts), seconds=seconds)
            for key, row in zip(missing, fresh, strict=True):
                rows[key] = row
                self._remember(key, row)
        return np.stack([rows[key] for key in keys]), cost

    def _key(self, prompt: Prompt) -> str:
        content = hashlib.sha256(self._model.encode())
        for message in prompt:
            content.update(f"\0{message.role}".encode())
            for part in message.parts:
                content.update(f"\0{type(part).__name__} {_extent(part)}\0".encode())
                content.update(_bytes(part))
        return content.hexdigest()

    def _remembered(self, key: str) -> Array | None:
        with self._lock:
            if key in self._rows:
                self._rows.move_to_end(key)
                return self._rows[key]
        try:
            row = np.load(self._file(key), allow_pickle=False) if self._folder is not None else None
        except (OSError, ValueError, EOFError):
            return None
        if row is None or row.ndim != 1 or row.dtype != np.float32:
            return None
        self._keep(key, row)
        return np.asarray(row)

    def _remember(self, key: str, row: Array) -> None:
        self._keep(key, row)
        if self._folder is None:
            return
        file = self._file(key)
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=file.parent, suffix=".part")
        with os.fdopen(handle, "wb") as writer:
            np.save(writer, row, allow_pickle=False)
        os.replace(aside, file)

    def _keep(self, key: str, row: Array) -> None:
        with self._lock:
            self._rows[key] = row
            while len(self._rows) * row.nbytes > self._bytes:
                self._rows.popitem(last=False)

    def _file(self, key: str) -> Path:
        assert self._folder is not None
        return self._folder / key[:2] / f"{key}.npy"


def _extent(part: Part) -> Any:
    """How large a part is, so that neighbours do not run into each other; of an unopened picture its content's key says it."""
    return len(part) if isinstance(part, str) else len(part.key) if isinstance(part, LazyPicture) else part.size


def _bytes(part: Part) -> bytes:
    return part.encode() if isinstance(part, str) else part.key.encode() if isinstance(part, LazyPicture) else part.tobytes()


def unit_rows(rows: Array) -> Array:
    """(n, D) the rows scaled to length 1; what has no direction becomes zeros."""
    finite = np.where(np.isfinite(rows).all(axis=1, keepdims=True), rows, 0).astype(np.float64)
    lengths = np.linalg.norm(finite, axis=1, keepdims=True)
    return np.asarray(finite / np.where(lengths == 0, 1, lengths), dtype=np.float32)
