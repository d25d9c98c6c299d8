"""Which id stands at which position of an append-only row store, and which positions are dead.

FAISS numbers rows by the order they came in. HNSW cannot remove a row, and an inverted file that does can no longer hand
rows back, so all kinds share one way: rows are only appended, and a removed one stays as a tombstone that no search shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmrerank.errors import InputError
from mmrerank.types import Keys

DENSE = 4  # ids whose span is up to this many times their number are looked up in a table


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The positions one search may show."""

    mask: npt.NDArray[np.bool_] | None  # (n_positions,); None: all of them
    count: int
    positions: int  # how many there are, dead ones included

    @property
    def share(self) -> float:
        return self.count / self.positions

    def as_positions(self) -> Keys:
        """(count,) the positions, ascending."""
        return np.arange(self.positions, dtype=np.int64) if self.mask is None else np.flatnonzero(self.mask).astype(np.int64, copy=False)


class Positions:
    """Ids by position, with tombstones. No two living positions have one id."""

    def __init__(self, keys: Keys | None = None, alive: npt.NDArray[np.bool_] | None = None) -> None:
        self.keys: Keys = np.empty(0, np.int64) if keys is None else keys
        self.alive: npt.NDArray[np.bool_] = np.ones(len(self.keys), np.bool_) if alive is None else alive
        self._sort()

    def __len__(self) -> int:
        """How many ids are alive."""
        return len(self.ids)

    @property
    def dead(self) -> int:
        return len(self.keys) - len(self.ids)

    def check(self, ids: Keys) -> None:
        """Whether `ids` can be appended.

        Raises:
            InputError: an id is alive already, or comes twice.
        """
        repeats = len(ids) - len(np.unique(ids))
        if repeats:
            raise InputError(f"an id comes twice in one add ({repeats} repeats)")
        living = self.of(ids)
        if living.size:
            message = f"the index holds id {self.keys[living[0]]} already ({living.size} of {len(ids)} ids)"
            raise InputError(message, hint="Remove an id before it is added anew.")

    def append(self, ids: Keys) -> None:
        """Gives the next positions to `ids`, which passed `check`."""
        self.keys = np.concatenate([self.keys, ids])
        self.alive = np.concatenate([self.alive, np.ones(len(ids), np.bool_)])
        self._sort()

    def forget(self, ids: Keys) -> None:
        """Puts a tombstone on these ids; one that is not alive is left aside."""
        alive = self.alive.copy()
        alive[self.of(ids)] = False
        self.alive = alive
        self._sort()

    def of(self, ids: Keys) -> Keys:
        """The positions of those of `ids` that are alive, in no order that matters."""
        if not len(self.ids):
            return np.empty(0, np.int64)
        positions: Keys
        if self._table is not None:
            places = ids - self.ids[0]
            positions = self._table[places[(places >= 0) & (places < len(self._table))]]
            return positions[positions >= 0]
        slots = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        positions = self._order[slots[self.ids[slots] == ids]]
        return positions

    def choose(self, allowed: Keys | None) -> Choice:
        """What a search may show: everything alive, or those of `allowed` that are."""
        if allowed is None:
            return Choice(mask=self.alive if self.dead else None, count=len(self), positions=len(self.keys))
        mask = np.zeros(len(self.keys), np.bool_)
        mask[self.of(allowed)] = True
        return Choice(mask=mask, count=int(np.count_nonzero(mask)), positions=len(mask))

    def _sort(self) -> None:
        living = np.flatnonzero(self.alive)
        keys = self.keys[living]
        rising = len(keys) < 2 or bool((keys[1:] > keys[:-1]).all())  # the usual case, and a sort of millions is not free
        order = np.arange(len(keys)) if rising else np.argsort(keys)
        self.ids: Keys = keys[order]
        self._order: Keys = living[order].astype(np.int64, copy=False)
        self._table = self._dense_table() if len(keys) else None

    def _dense_table(self) -> Keys | None:
        """Position by id from the lowest on, -1 where there is none; None for ids too far apart. Ten times a binary search's speed."""
        span = int(self.ids[-1]) - int(self.ids[0]) + 1
        if span > DENSE * len(self.ids):
            return None
        table: Keys = np.full(span, -1, np.int64)
        table[self.ids - self.ids[0]] = self._order
        return table
