"""Beginnings of prompts that a model has run over, with their keys and values, within a number of bytes.

A prompt is a row of symbols: its tokens, and for each picture one number made of its content. Of a prompt that begins as another one
did, the longest beginning that both share is at hand, symbol by symbol; it ends before the first picture or behind the last one.

What was used last stays longest. What a call uses or adds is pinned until the call ends, so that it is neither taken away under it nor
pushed out by what the same call adds later: of a call larger than the room, the part that fits is at hand for the next one.

Source: ours.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

Symbols: TypeAlias = tuple[int, ...]  # token ids, and a negative number for each picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What a model has made of the beginning of a prompt."""

    symbols: Symbols
    head: int  # symbols before the first picture; all of them where there is none
    floor: int  # symbols up to and with the last picture; 0 where there is none
    length: int  # tokens, those of pictures included
    image_tokens: int  # of these, those of pictures
    position: int  # of the token that would come next, as the model counts
    states: Any  # (2, layers, heads, length, width) tensor: keys, then values

    @property
    def n_bytes(self) -> int:
        return int(self.states.nbytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """How much of a prompt is at hand."""

    beginning: Beginning
    symbols: int  # how many of the prompt's are the same

    @property
    def length(self) -> int:
        """In tokens."""
        return self.symbols if self.symbols <= self.beginning.head else self.beginning.length - self._cut

    @property
    def position(self) -> int:
        """Of the token that comes next."""
        return self.symbols if self.symbols <= self.beginning.head else self.beginning.position - self._cut

    @property
    def image_tokens(self) -> int:
        return 0 if self.symbols <= self.beginning.head else self.beginning.image_tokens

    @property
    def states(self) -> Any:
        """(2, layers, heads, length, width), a view."""
        return self.beginning.states[..., : self.length, :]

    @property
    def _cut(self) -> int:
        return len(self.beginning.symbols) - self.symbols


def shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many symbols two rows begin with alike.

    >>> shared((1, 2, 3), (1, 2, 4, 5))
    2
    """
    most = min(len(one), len(other))
    if one[:most] == other[:most]:
        return most
    low = 0
    while most - low > 1:  # alike up to `low`, not up to `most`
        middle = (low + most) // 2
        low, most = (middle, most) if one[low:middle] == other[low:middle] else (low, middle)
    return low


class Alphabet:
    """Rows of symbols in order, so that the one that begins most like another is a neighbour of where that one would stand."""

    def __init__(self) -> None:
        self._rows: list[Symbols] = []

    def add(self, symbols: Symbols) -> None:
        insort(self._rows, symbols)

    def remove(self, symbols: Symbols) -> None:
        del self._rows[bisect_left(self._rows, symbols)]

    def nearest(self, symbols: Symbols) -> tuple[Symbols, int]:
        """The row that begins most like these symbols, and how many are alike; ((), 0) where there is no row."""
        place = bisect_left(self._rows, symbols)
        neighbours = self._rows[max(0, place - 1) : place + 1]
        return max(((row, shared(row, symbols)) for row in neighbours), key=lambda pair: pair[1], default=((), 0))


class Source(Protocol):
    """Where beginnings are kept that memory does not have."""

    def refresh(self) -> None:
        """Looks again at what there is."""
        ...

    def nearest(self, symbols: Symbols) -> tuple[Symbols, int]:
        """As in `Alphabet`."""
        ...

    def n_bytes(self, symbols: Symbols) -> int:
        """What the keys and values of exactly these symbols take in memory."""
        ...

    def read(self, symbols: Symbols) -> Beginning | None:
        """The beginning of exactly these symbols; None where it cannot be had after all."""
        ...

    def write(self, beginning: Beginning) -> None:
        """Keeps a beginning, where that can be done."""
        ...


class PrefixStore:
    """Beginnings in memory, and behind them a folder where there is one. Safe in threads."""

    def __init__(self, most_bytes: int, source: Source | None = None) -> None:
        self.most_bytes = most_bytes
        self.n_bytes = 0
        self._beginnings: OrderedDict[Symbols, Beginning] = OrderedDict()  # used last stands last
        self._alphabet = Alphabet()
        self._pins: Counter[Symbols] = Counter()
        self._source = source
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._beginnings)

    @contextmanager
    def call(self) -> Iterator[Call]:
        """A call's view: what it uses stays until it ends."""
        view = Call(self)
        if self._source is not None:
            with self._lock:
                self._source.refresh()
        try:
            yield view
        finally:
            with self._lock:
                self._pins.subtract(view.pins)
                self._pins += Counter()  # drops what nobody pins

    def _find(self, symbols: Symbols, head: int, floor: int, pins: Counter[Symbols]) -> Reuse | None:
        with self._lock:
            row, alike = self._alphabet.nearest(symbols)
            if self._source is not None:
                row, alike = self._from_source(symbols, row, alike, pins)
            alike = min(alike, len(symbols) - 1)  # one token is left to run, whose answer is wanted
            if alike < floor:
                alike = min(alike, head)
            if not alike:
                return None
            beginning = self._beginnings[row]
            if beginning.head < alike < beginning.floor:
                return None
            self._beginnings.move_to_end(row)
            self._pin(row, pins)
            return Reuse(beginning=beginning, symbols=alike)

    def _from_source(self, symbols: Symbols, row: Symbols, alike: int, pins: Counter[Symbols]) -> tuple[Symbols, int]:
        assert self._source is not None
        stored, more = self._source.nearest(symbols)
        if more <= alike:
            return row, alike
        source = self._source
        taken = self._take(stored, source.n_bytes(stored), lambda: source.read(stored), pins)
        return (stored, more) if taken else (row, alike)

    def _put(self, symbols: Symbols, n_bytes: int, make: Callable[[], Beginning], pins: Counter[Symbols]) -> bool:
        with self._lock:
            is_new = symbols not in self._beginnings
            taken = self._take(symbols, n_bytes, make, pins)
            if taken and is_new and self._source is not None:
                self._source.write(self._beginnings[symbols])
            return taken

    def _take(self, symbols: Symbols, n_bytes: int, make: Callable[[], Beginning | None], pins: Counter[Symbols]) -> bool:
        """Whether the beginning is in memory now. Room is made before it is."""
        if symbols not in self._beginnings:
            beginning = make() if self._make_room(n_bytes) else None
            if beginning is None:
                return False
            self._beginnings[symbols] = beginning
            self._alphabet.add(symbols)
            self.n_bytes += beginning.n_bytes
        self._pin(symbols, pins)
        return True

    def _make_room(self, n_bytes: int) -> bool:
        """Whether so many bytes have room now; what was used longest ago goes, unless somebody uses it."""
        free = self.most_bytes - self.n_bytes
        out: list[Symbols] = []
        for symbols, beginning in self._beginnings.items():
            if free >= n_bytes:
                break
            if not self._pins[symbols]:
                out.append(symbols)
                free += beginning.n_bytes
        if free < n_bytes:
            return False
        for symbols in out:
            self._alphabet.remove(symbols)
            self.n_bytes -= self._beginnings.pop(symbols).n_bytes
        return True

    def _pin(self, symbols: Symbols, pins: Counter[Symbols]) -> None:
        self._pins[symbols] += 1
        pins[symbols] += 1


class Call:
    """What one call has to do with a store."""

    def __init__(self, store: PrefixStore) -> None:
        self._store = store
        self.pins: Counter[Symbols] = Counter()

    def find(self, symbols: Symbols, head: int, floor: int) -> Reuse | None:
        """The longest beginning at hand that takes in the first `floor` symbols, or of the first `head` at most, and leaves at least one;
        None where there is none."""
        return self._store._find(symbols, head, floor, self.pins)

    def put(self, symbols: Symbols, n_bytes: int, make: Callable[[], Beginning]) -> bool:
        """Keeps the beginning that `make` gives and that takes so many bytes; whether there was room for it."""
        return self._store._put(symbols, n_bytes, make, self.pins)
