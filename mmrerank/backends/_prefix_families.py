"""Which prompts of a call begin alike, so that one of each family may go first, and how far all of them end alike.

Families are read from the prompts in the order of their symbols, where those that begin alike stand side by side: neighbours share so
many symbols, and every run of neighbours shares the least of theirs. Of nested runs the one is taken that saves more tokens, or its
parts where they save more together.

Source: ours; the runs are the intervals of a table of longest common prefixes (Kasai and others 2001), found with a stack.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mmrerank.backends._prefix_store import Reuse, Symbols, shared

LEAST_SAVED = 128  # tokens that a family saves: a pass of its own for one prompt costs about that
LEAST_SHARED = 0.05  # of the prompts' tokens
LEAST_REUSED = 0.125  # of a prompt's tokens; below that a pass over all of it is as quick


class Member(Protocol):
    """As much of a prompt as tells its family."""

    place: int
    symbols: Symbols
    head: int
    floor: int
    extent: int
    reuse: Reuse | None


@dataclass(slots=True, kw_only=True)
class _Run:
    """Neighbours from `start` on that share so many symbols, with the best that was made of the runs within."""

    alike: int
    start: int
    saved: int = 0
    families: list[tuple[int, int, int]] = field(default_factory=list)  # start, stop, symbols alike


class Leaders:
    """Who goes first, and for whom."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.lengths: dict[int, int] = {}  # place of a leader -> symbols that its family shares
        self.followers: set[int] = set()  # places
        order = sorted(members, key=lambda member: member.symbols)
        for start, stop, alike in _families(order):
            family = [member for member in order[start:stop] if _saved(member, alike)]
            leader = max(family, key=lambda member: (member.reuse is not None, -member.place))
            self.lengths[leader.place] = alike
            self.followers |= {member.place for member in family if member is not leader}


def shared_ending(rows: Sequence[Symbols]) -> int:
    """How many symbols all rows end with alike; 0 where all are the same or there is one only, since that tells nothing.

    >>> shared_ending([(1, 2, 9, 9), (3, 9, 9)])
    2
    """
    if len(set(rows)) < 2:
        return 0
    first = rows[0][::-1]
    return min(shared(first, row[::-1]) for row in rows[1:])


def _families(order: Sequence[Member]) -> Iterator[tuple[int, int, int]]:
    """(start, stop, symbols alike) of each family of neighbours."""
    stack = [_Run(alike=0, start=0)]
    for stop in range(1, len(order) + 1):
        alike = shared(order[stop - 1].symbols, order[stop].symbols) if stop < len(order) else 0
        start = stop - 1
        while stack[-1].alike > alike:
            run = _better(stack.pop(), order, stop)
            start = run.start
            if stack[-1].alike >= alike:
                _join(stack[-1], run)
            else:
                stack.append(_Run(alike=alike, start=start, saved=run.saved, families=run.families))
        if stack[-1].alike < alike:
            stack.append(_Run(alike=alike, start=start))
    yield from stack[0].families


def _join(outer: _Run, inner: _Run) -> None:
    outer.saved += inner.saved
    outer.families += inner.families


def _better(run: _Run, order: Sequence[Member], stop: int) -> _Run:
    """The run as one family, where that saves more than the runs within."""
    family = order[run.start : stop]
    savings = sorted(_saved(member, run.alike) for member in family)
    saved = sum(savings[:-1])  # somebody runs over it
    most = max(member.extent for member in family)
    if saved >= LEAST_SAVED and savings[-1] >= LEAST_SHARED * most and saved > run.saved:
        return _Run(alike=run.alike, start=run.start, saved=saved, families=[(run.start, stop, run.alike)])
    return run


def _saved(member: Member, alike: int) -> int:
    """Tokens that a prompt need not be run over where its first symbols so many are at hand: those before its first picture, or with all of
    its pictures; 0 where they are few beside what is left."""
    if alike < member.floor:
        alike, pictures = min(alike, member.head), 0
        if alike < LEAST_REUSED * member.extent:
            return 0
    else:
        alike = min(alike, len(member.symbols) - 1)
        pictures = member.extent - len(member.symbols) if member.floor else 0
    return max(0, alike + pictures - (member.reuse.length if member.reuse is not None else 0))
