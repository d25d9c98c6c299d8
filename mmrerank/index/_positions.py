"""Which id stands at which position of an append-only row store, and which positions are dead.

FAISS numbers rows by the order they came in. HNSW cannot remove a row, and an inverted file that does can no longer hand
rows back, so all kinds share one way: rows are only appended, and a removed one stays as a tombstone that no search shows.
The ids by position may lie in a mapped file, with their order beside them: nothing of it is read before an id is looked up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmrerank.errors import InputError
from mmrerank.index._files import Sealed, Sink
from mmrerank.types import Keys

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The positions one search may show."""

    mask: Mask | None  # (n_positions,); None: all of them
    count: int
    positions: int  # how many there are, dead ones included

    @property
    def share(self) -> float:
        return self.count / self.positions

    def as_positions(self) -> Keys:
        """(count,) the positions, ascending."""
        return np.arange(self.positions, dtype=np.int64) if self.mask is None else np.flatnonzero(self.mask).astype(np.int64, copy=False)


def difference(ids: Keys, others: Keys) -> Keys:
    """Those of ascending ids that are not among ascending others."""
    if not len(others):
        return ids
    places = np.minimum(np.searchsorted(others, ids), len(others) - 1)
    rest: Keys = ids[others[places] != ids]
    return rest


class Positions:
    """Ids by position, with tombstones. No two living positions have one id."""

    def __init__(self, keys: Keys | None = None, alive: Mask | None = None) -> None:
        self.keys: Keys = np.empty(0, np.int64) if keys is None else keys
        self._alive = alive  # None: all of them
        self.dead = 0 if alive is None else int(len(alive) - np.count_nonzero(alive))
        self._sorted: tuple[Keys, Keys] | None = None  # ids ascending and where each stands, dead ones too; of equal ids the latest is last

    @classmethod
    def from_file(cls, file: Sealed) -> Positions:
        """What `put` wrote."""
        dead = file.array("dead")
        positions = cls(file.array("keys"))
        positions._sorted = file.array("ids"), file.array("order")
        if len(dead):
            positions._bury(dead)
        return positions

    def put(self, sink: Sink) -> None:
        """Writes them as parts of an index file."""
        ids, order = self._in_order()
        for name, array in {"keys": self.keys, "ids": ids, "order": order, "dead": np.flatnonzero(~self.alive)}.items():
            sink.put(name, array)

    def __len__(self) -> int:
        """How many ids are alive."""
        return len(self.keys) - self.dead

    @property
    def alive(self) -> Mask:
        """(n_positions,)"""
        return np.ones(len(self.keys), np.bool_) if self._alive is None else self._alive

    @property
    def ids(self) -> Keys:
        """(n,) those that are alive, ascending; read-only."""
        ids, order = self._in_order()
        living = ids.view() if self._alive is None else ids[self._alive[order]]
        living.flags.writeable = False
        return living

    def check(self, ids: Keys) -> None:
        """Whether `ids` can be appended.

        Raises:
            InputError: an id is alive already, or comes twice.
        """
        repeats = len(ids) - len(np.unique(ids))
        if repeats:
            raise InputError(f"an id comes twice in one add ({repeats} repeats)")
        living = self.of(ids) if len(self) else ids[:0]
        if living.size:
            message = f"the index holds id {self.keys[living[0]]} already ({living.size} of {len(ids)} ids)"
            raise InputError(message, hint="Remove an id before it is added anew.")

    def append(self, ids: Keys) -> None:
        """Gives the next positions to `ids`, which passed `check`."""
        self.keys = np.concatenate([self.keys, ids])
        self._alive = None if self._alive is None else np.concatenate([self._alive, np.ones(len(ids), np.bool_)])
        self._sorted = None

    def forget(self, ids: Keys) -> None:
        """Puts a tombstone on these ids; one that is not alive is left aside."""
        gone = self.of(ids)
        if len(gone):
            self._bury(gone)

    def _bury(self, positions: Keys) -> None:
        alive = self.alive.copy()
        alive[positions] = False
        self._alive, self.dead = alive, int(len(alive) - np.count_nonzero(alive))

    def of(self, ids: Keys) -> Keys:
        """The positions of those of `ids` that are alive, in no order that matters."""
        present, order = self._in_order()
        if not len(present):
            return np.empty(0, np.int64)
        slots = np.searchsorted(present, ids, side="right") - 1
        slots = slots[(slots >= 0) & (present[slots] == ids)]
        positions: Keys = order[slots].astype(np.int64, copy=False)
        return positions if self._alive is None else positions[self._alive[positions]]

    def choose(self, allowed: Keys | None) -> Choice:
        """What a search may show: everything alive, or those of `allowed` that are."""
        if allowed is None:
            return Choice(mask=self._alive if self.dead else None, count=len(self), positions=len(self.keys))
        mask = np.zeros(len(self.keys), np.bool_)
        mask[self.of(allowed)] = True
        return Choice(mask=mask, count=int(np.count_nonzero(mask)), positions=len(mask))

    def _in_order(self) -> tuple[Keys, Keys]:
        if self._sorted is None:
            keys = self.keys
            rising = len(keys) < 2 or bool((keys[1:] > keys[:-1]).all())  # a usual case, and a sort of millions is not free
            order = np.arange(len(keys)) if rising else np.argsort(keys, kind="stable")
            self._sorted = keys[order], order
        return self._sorted
