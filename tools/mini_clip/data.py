"""Pictures, captions and batches for the mini CLIP; every random choice comes from the seed and the step, so a run can resume."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from tools.emoji.attributes import Emoji
from tools.emoji.queries import HAIR, TONES, askable, differences, noun, with_article, wording

if TYPE_CHECKING:
    import torch

Pixels = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]
MEAN = STD = 0.5  # of each colour: pixels come to lie in -1..1
FRAMES = ("{}", "a picture of {}", "an emoji of {}", "{} emoji")


@dataclass(frozen=True, kw_only=True)
class Table:
    """The rows of pictures.parquet, in order, with the pictures decoded on white."""

    emojis: tuple[Emoji, ...]
    splits: tuple[str, ...]
    pixels: Pixels  # (n, side, side, 3)
    twins: Rows  # (n,) pictures with equal pixels have equal numbers

    def rows(self, split: str) -> Rows:
        return np.array([row for row, name in enumerate(self.splits) if name == split], dtype=np.int64)

    def part(self, rows: Rows) -> Table:
        """The same table with these rows only."""
        return Table(
            emojis=tuple(self.emojis[row] for row in rows),
            splits=tuple(self.splits[row] for row in rows),
            pixels=self.pixels[rows],
            twins=self.twins[rows],
        )


def on_white(png: bytes) -> Image.Image:
    """The picture as RGB, its transparent parts white."""
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    ground = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(ground, picture).convert("RGB")


def read_pictures(data: Path) -> list[Image.Image]:
    """All pictures of `datasets/emoji` on white, in order."""
    import pyarrow.parquet as pq

    return [on_white(png) for png in pq.read_table(data / "pictures.parquet", columns=["image"])["image"].to_pylist()]


def read_table(data: Path, side_px: int) -> Table:
    """All pictures of `datasets/emoji`, resized as open_clip's preprocessing does it."""
    import pyarrow.parquet as pq

    records = pq.read_table(data / "pictures.parquet").to_pylist()
    plain = {(r["role"], r["gender"], r["hair"]): r["text"] for r in records if not r["skin_tones"] and r["role"]}
    emojis = tuple(
        Emoji(
            key=record["key"],
            name=record["text"],
            plain_name=plain.get((record["role"], record["gender"], record["hair"]), record["text"].split(":")[0]),
            codepoints=tuple(int(code, 16) for code in record["codepoints"].split()),
            group=record["group"],
            subgroup=record["subgroup"],
            role=record["role"],
            gender=record["gender"],
            skin_tone=record["skin_tone"],
            skin_tones=tuple(record["skin_tones"]),
            hair=record["hair"],
        )
        for record in records
    )
    first: dict[bytes, int] = {}
    twins = [first.setdefault(record["image"], row) for row, record in enumerate(records)]
    pixels = np.stack([np.asarray(picture.resize((side_px, side_px), Image.Resampling.BICUBIC)) for picture in read_pictures(data)])
    return Table(emojis=emojis, splits=tuple(r["split"] for r in records), pixels=pixels, twins=np.array(twins, dtype=np.int64))


def caption(emoji: Emoji, chance: random.Random, name_share: float) -> str:
    """The name, or the same attributes in other words: 'a pilot with dark skin', 'dark skin woman firefighter'."""
    if chance.random() < name_share:
        return emoji.name
    if emoji.role is None or (emoji.skin_tone is None and emoji.hair is None):
        return chance.choice(FRAMES).format(emoji.name)
    whom = noun(emoji)
    extras = [chance.choice(HAIR[emoji.hair])] if emoji.hair else []
    if emoji.skin_tone:
        extras.append(chance.choice(TONES).format(emoji.skin_tone))
    chance.shuffle(extras)
    form = chance.randrange(4)
    if form == 0:
        hair = f" {emoji.hair} hair" if emoji.hair else ""
        return f"{emoji.skin_tone} skin {whom}{hair}" if emoji.skin_tone else f"{whom}, {extras[0]}"
    if form == 1:
        return ", ".join([whom, *extras])
    subject = with_article(whom) if emoji.gender else whom
    return chance.choice(FRAMES).format(f"{subject} with {' and '.join(extras)}")


def epoch_order(emojis: Sequence[Emoji], epoch: int, *, neighbours: int, seed: int) -> list[int]:
    """Every row once, so that runs of `neighbours` rows share a role or, in odd epochs, gender and skin tone.

    Alike pictures beside each other make the hard negatives of a batch.
    """
    chance = random.Random(f"{seed} order {epoch}")
    families: dict[tuple[str | None, ...], list[int]] = {}
    for row, emoji in enumerate(emojis):
        by_role = (emoji.role or emoji.subgroup,)
        by_look = (emoji.gender, emoji.skin_tone) if emoji.gender else (emoji.subgroup, emoji.skin_tone)
        families.setdefault(by_look if epoch % 2 else by_role, []).append(row)
    groups = list(families.values())
    chance.shuffle(groups)
    for group in groups:
        chance.shuffle(group)
    order = [row for group in groups for row in group]
    runs = [order[start : start + neighbours] for start in range(0, len(order), neighbours)]
    chance.shuffle(runs)
    return [row for run in runs for row in run]


def batch_rows(emojis: Sequence[Emoji], step: int, *, batch: int, neighbours: int, seed: int) -> Rows:
    """The rows of one step; what is left of an epoch after its last full batch is dropped."""
    steps_per_epoch = max(1, len(emojis) // batch)
    epoch, position = divmod(step, steps_per_epoch)
    order = epoch_order(emojis, epoch, neighbours=neighbours, seed=seed)
    return np.array(order[position * batch : (position + 1) * batch], dtype=np.int64)


def composed_pairs(emojis: Sequence[Emoji], count: int, chance: random.Random) -> tuple[list[tuple[int, int]], list[str]]:
    """Up to `count` (reference, target) positions within one batch with the words that lead from one to the other."""
    codes: dict[str | None, int] = {}
    looks = np.array(
        [[codes.setdefault(value, len(codes)) for value in (e.role, e.gender, e.skin_tone, e.hair)] for e in emojis], dtype=np.int64
    )
    people = np.array([emoji.gender is not None for emoji in emojis])
    different = (looks[:, None] != looks[None]).sum(axis=-1)  # (n, n)
    close = (different >= 1) & (different <= 2) & people[:, None] & people[None]
    candidates = [(int(a), int(b)) for a, b in np.argwhere(close)]
    chance.shuffle(candidates)
    pairs: list[tuple[int, int]] = []
    texts: list[str] = []
    for reference, target in candidates:
        if len(pairs) == count:
            break
        if askable(emojis[reference], emojis[target]):
            pairs.append((reference, target))
            texts.append(wording(differences(emojis[reference], emojis[target]), emojis[target], chance))
    return pairs, texts


def normalised(pixels: Pixels) -> torch.Tensor:
    """(n, 3, side, side) float32 in -1..1."""
    import torch

    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255.0).sub_(MEAN).div_(STD)


def augmented(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The pictures slightly moved, scaled, turned and lit otherwise; never mirrored, for left and right are in the names."""
    import torch
    from torch.nn import functional

    n = len(pictures)
    draws = torch.rand(6, n, generator=generator, device="cpu").to(pictures.device) * 2 - 1  # (6, n) in -1..1
    scale, angle = 1.02 + 0.1 * draws[0], 0.08 * draws[1]
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = [torch.stack([cosine, -sine, 0.1 * draws[2]], 1), torch.stack([sine, cosine, 0.1 * draws[3]], 1)]
    grid = functional.affine_grid(torch.stack(rows, 1), list(pictures.shape), align_corners=False)
    # shifted by one so that the zeros which fill the border mean white
    shifted = functional.grid_sample(pictures - 1, grid, align_corners=False) * (1 + 0.08 * draws[4])[:, None, None, None] + 1
    return shifted * (1 + 0.04 * draws[5])[:, None, None, None]
