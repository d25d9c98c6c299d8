"""What a sample of the mini MLLM's training is, and the pictures it is drawn from: the train split, or dev to measure with."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mmrerank.types import Message, Part, Prompt
from tools.emoji.attributes import Emoji
from tools.emoji.queries import askable, differences, wording
from tools.mini_clip.data import Pixels, Rows, Table

STAND_IN = Image.new("RGB", (1, 1))  # where a prompt is built; the pixels go beside it


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A prompt whose pictures stand in `pictures`, in their order, and what is to be answered."""

    prompt: Prompt
    pictures: tuple[Pixels, ...]  # (height, width, 3), sides multiples of a token's
    answer: str
    wrong: tuple[tuple[int, int], ...] = ()  # (start, stop) letters of the answer that are to be read and not to be foretold
    echo: str = ""  # words of the prompt that the pictures foretell: what they caption


class StandIn:
    """An image handle for prompt builders; opens to the stand-in."""

    def open(self) -> Image.Image:
        return STAND_IN


class Material:
    """The pictures that samples may show and name.

    Args:
        table: all pictures.
        splits: those that may be shown or named as anything but the target.
        targets: the split of what is asked for.
    """

    def __init__(self, table: Table, splits: Sequence[str], targets: str) -> None:
        rows = np.array([row for row, split in enumerate(table.splits) if split in splits], dtype=np.int64)
        self.table = table.part(rows)
        self.emojis: tuple[Emoji, ...] = self.table.emojis
        self.pixels: Pixels = self.table.pixels
        self.targets: Rows = self.table.rows(targets)
        self.people = [int(row) for row in self.targets if self.emojis[row].combination is not None]
        self.combined = [row for row, emoji in enumerate(self.emojis) if emoji.combination is not None]
        self.roles = [row for row, emoji in enumerate(self.emojis) if emoji.role is not None and emoji.gender is not None]
        self._known_ways: dict[int, dict[tuple[str, ...], list[int]]] = {}
        self.families = _families(self.emojis)

    def draw(self, chance: random.Random, *, people: float = 0.5) -> int:
        """A target, with this probability one person with a skin tone."""
        if self.people and chance.random() < people:
            return chance.choice(self.people)
        return int(self.targets[chance.randrange(len(self.targets))])

    def any(self, chance: random.Random, count: int) -> list[int]:
        """Up to `count` different pictures, half of them persons with a skin tone where there are enough."""
        people = chance.sample(self.combined, min(count // 2, len(self.combined)))
        rows = [*people, *chance.sample(range(len(self.emojis)), min(count - len(people), len(self.emojis)))]
        chance.shuffle(rows)
        return list(dict.fromkeys(rows))

    def alike(self, row: int, count: int, chance: random.Random) -> list[int]:
        """Up to `count` other pictures, those first that differ in one attribute, then in two; never pixel-identical."""
        kin = [other for other in self._kin(row) if self.table.twins[other] != self.table.twins[row]]
        distances = {other: distance(self.emojis[row], self.emojis[other]) for other in kin}
        chance.shuffle(kin)
        return sorted(kin, key=lambda other: distances[other] + chance.random())[:count]

    def compose(self, chance: random.Random) -> tuple[int, int, str]:
        """Reference and target of a composed query, and the words for what changes."""
        while True:
            target = chance.choice(self.people)
            ways = self._ways(target)
            if ways:
                change = chance.choice(sorted(ways))
                return chance.choice(ways[change]), target, wording(change, self.emojis[target], chance)

    def _ways(self, target: int) -> dict[tuple[str, ...], list[int]]:
        """The references from which a target can be asked for, by what changes."""
        if target not in self._known_ways:
            references: dict[tuple[str, ...], list[int]] = {}
            for row in self.roles:
                reference = self.emojis[row]
                if self.table.twins[row] != self.table.twins[target] and askable(reference, self.emojis[target]):
                    references.setdefault(differences(reference, self.emojis[target]), []).append(row)
            self._known_ways[target] = references
        return self._known_ways[target]

    def _kin(self, row: int) -> list[int]:
        emoji = self.emojis[row]
        rows: list[int] = []
        for key in _keys(emoji):
            rows += self.families[key]
        return [other for other in dict.fromkeys(rows) if other != row]


def _keys(emoji: Emoji) -> list[tuple[str | None, ...]]:
    role = emoji.role or emoji.subgroup
    return [("role", role)] + ([("look", emoji.gender, emoji.skin_tone, emoji.hair)] if emoji.gender else [])


def _families(emojis: Sequence[Emoji]) -> dict[tuple[str | None, ...], list[int]]:
    families: dict[tuple[str | None, ...], list[int]] = {}
    for row, emoji in enumerate(emojis):
        for key in _keys(emoji):
            families.setdefault(key, []).append(row)
    return families


def distance(one: Emoji, other: Emoji) -> int:
    """In how many of role, gender, skin tone and hair two pictures differ; pictures without a role differ in at least one."""
    looks = [(e.role or e.subgroup, e.gender, e.skin_tones, e.hair) for e in (one, other)]
    different: int = sum(a != b for a, b in zip(*looks, strict=True))
    return different + (one.role is None or other.role is None)


def user_prompt(*parts: Part) -> Prompt:
    """A prompt of one message of the user."""
    return (Message(role="user", parts=parts),)


def shifted(pixels: Pixels, chance: random.Random, reach: int = 3) -> Pixels:
    """The picture shifted by up to `reach` pixels, white where nothing was."""
    down, right = chance.randint(-reach, reach), chance.randint(-reach, reach)
    height, width = pixels.shape[:2]
    out = np.full_like(pixels, 255)
    out[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = pixels[
        max(-down, 0) : height - max(down, 0), max(-right, 0) : width - max(right, 0)
    ]
    return out
