"""What an answer says of the pictures before it decides: which one is wanted, what each shows, how far off each is.

A model that only ever read the truth before a decision does not know how to go on from its own mistakes: it skips a picture
after a wrong name, and ranks by what it sees where it has already said something else. So part of the answers have wrong names
in them, which are read and not learnt. What follows is right for them: the next picture gets its own name, and how far off each
is goes by the words. Source: ours. Learning from the states that one's own errors lead to is the point of DAgger (Ross et al.,
AISTATS 2011), which gets them by running the model; here they are drawn, which takes no time.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from tools.mini_mllm.samples import Material, distance
from tools.mini_mllm.vocabulary import OFF_BY

WRONG_TARGET, WRONG_CELL = 0.15, 0.3  # shares of names, in answers with wrong ones
SLIPS = ("next", "next", "before", "alike", "alike", "alike", "wanted")  # whose name is said instead


@dataclass(frozen=True, kw_only=True)
class Described:
    """The picture that an answer says is wanted, and those that it says are in the cells, as rows of the material."""

    target: int
    cells: tuple[int, ...]


def with_slips(material: Material, true: Described, chance: random.Random) -> Described:
    """The same with some names wrong, as a model might get them wrong."""
    target = _alike(material, true.target, chance) if chance.random() < WRONG_TARGET else true.target
    cells = [_slip(material, true, n, target, chance) if chance.random() < WRONG_CELL else cell for n, cell in enumerate(true.cells)]
    return Described(target=target, cells=tuple(cells))


def description(material: Material, true: Described, words: Described, label: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The lines of an answer, and (start, stop) letters of the names in them that are wrong."""
    text, wrong = "", []
    offs = distances(material, words)
    heads = ["wanted: ", *(f"\n{label}{mark}: " for mark in range(1, len(words.cells) + 1))]
    tails = ["", *(f"{OFF_BY} {off}" for off in offs)]
    for head, tail, cell, own in zip(heads, tails, (words.target, *words.cells), (true.target, *true.cells), strict=True):
        text += head
        name = material.emojis[cell].name
        if name != material.emojis[own].name:
            wrong.append((len(text), len(text) + len(name)))
        text += name + tail
    return text, tuple(wrong)


def order_of(material: Material, words: Described) -> str:
    """The marks from 1, the closest first, equal ones as they stand."""
    offs = distances(material, words)
    return ", ".join(str(mark) for mark in sorted(range(1, len(offs) + 1), key=lambda mark: offs[mark - 1]))


def distances(material: Material, words: Described) -> list[int]:
    """In how many attributes what is said of each cell differs from what is said to be wanted."""
    emojis = material.emojis
    target = emojis[words.target]
    return [0 if emojis[cell].name == target.name else max(1, distance(target, emojis[cell])) for cell in words.cells]


def _slip(material: Material, true: Described, n: int, target: int, chance: random.Random) -> int:
    """Whose name is said of the n-th cell in place of its own."""
    slip, cells = chance.choice(SLIPS), true.cells
    if slip == "wanted":
        return target
    if slip != "alike" and 0 <= (other := n + 1 if slip == "next" else n - 1) < len(cells):
        return cells[other]
    return _alike(material, cells[n], chance)


def _alike(material: Material, row: int, chance: random.Random) -> int:
    return chance.choice(material.alike(row, 6, chance) or [row])
