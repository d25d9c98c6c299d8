"""Whatever is added, removed, saved and searched in whatever order, the indexes agree with a dict of rows."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from index_rows import corners, plainly

from mmrerank.errors import InputError
from mmrerank.parts import make

pytest.importorskip("faiss", reason="neither the extra `cpu` nor `gpu` is installed")

ROWS = np.concatenate([corners(4), np.full((1, 4), 0.5, np.float32)])  # products are exact, so ties are ties
ids_of = st.lists(st.integers(0, 40), max_size=12, unique=True)
NAMES = ("flat", "faiss_index", 'faiss_index(kind="ivf", probes=1000)')


class AgainstADict(RuleBasedStateMachine):
    """The dict is the model: id -> number of its row."""

    @initialize()
    def begin(self) -> None:
        self.model: dict[int, int] = {}
        self.indexes: dict[str, Any] = {name: make(name, station="index", dimension=4) for name in NAMES}

    @rule(ids=ids_of, first=st.integers(0, 8))
    def add(self, ids: list[int], first: int) -> None:
        numbers = [(first + n) % len(ROWS) for n in range(len(ids))]
        known = not self.model.keys().isdisjoint(ids)
        for index in self.indexes.values():
            if known:
                with pytest.raises(InputError, match="already"):
                    index.add(np.array(ids, np.int64), ROWS[numbers])
            else:
                index.add(np.array(ids, np.int64), ROWS[numbers])
        if not known:
            self.model |= dict(zip(ids, numbers, strict=True))

    @rule(ids=ids_of)
    def remove(self, ids: list[int]) -> None:
        for index in self.indexes.values():
            index.remove(np.array(ids, np.int64))
        self.model = {i: number for i, number in self.model.items() if i not in ids}

    @rule()
    def save_and_load(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for name, index in self.indexes.items():
                index.save(Path(folder) / "index")
                self.indexes[name] = make(name, station="index", dimension=4)
                self.indexes[name].load(Path(folder) / "index")

    @rule(number=st.integers(0, 8), k=st.integers(1, 60), allowed=st.none() | ids_of)
    def search(self, number: int, k: int, allowed: list[int] | None) -> None:
        ids = np.array(list(self.model), np.int64)
        rows = ROWS[list(self.model.values())].reshape(-1, 4)
        among = None if allowed is None else np.array(allowed, np.int64)
        expected = plainly(ids, rows, ROWS[number], k, among)
        for name, index in self.indexes.items():
            assert index.search(ROWS[[number]], k, allowed=among)[0].ids.tolist() == expected, name

    @rule(numbers=st.lists(st.integers(0, 8), min_size=1, max_size=40), k=st.integers(1, 10))
    def shard(self, numbers: list[int], k: int) -> None:
        for index in self.indexes.values():
            together = index.search(ROWS[numbers], k)
            alone = [index.search(ROWS[[number]], k)[0] for number in numbers]
            assert [one.ids.tolist() for one in together] == [one.ids.tolist() for one in alone]

    @invariant()
    def holds_the_same_ids(self) -> None:
        for index in getattr(self, "indexes", {}).values():
            assert index.ids.tolist() == sorted(self.model)
            assert len(index) == len(self.model)


AgainstADict.TestCase.settings = settings(max_examples=60, stateful_step_count=25)
TestAgainstADict = AgainstADict.TestCase
