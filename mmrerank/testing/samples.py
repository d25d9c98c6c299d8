"""What the contracts show to parts: pictures in memory, candidates, queries, prompts, and rows with structure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmrerank.errors import FormatError
from mmrerank.ordering import ROUNDING
from mmrerank.types import Array, Candidate, Item, Keys, Message, Prompt, Query

if TYPE_CHECKING:
    from PIL.Image import Image

COLOURS, THINGS = ("white", "blue", "green", "red"), ("chair", "lamp", "bird", "boat", "door")
SENTENCES = ("The old mill was built by Anna Berg in 1870.", "The new mill burned down.", "", "Bread prices rose.")


@dataclass(frozen=True)
class InMemory:
    """The handle of a picture in memory: whoever changes what it opens has changed the caller's picture."""

    picture: Image

    def open(self) -> Image:
        return self.picture


@dataclass(frozen=True)
class Broken:
    """The handle of a picture that does not open."""

    path: str = "broken.png"

    def open(self) -> Image:
        raise FormatError("no picture", path=self.path)


def coloured(number: int, size: tuple[int, int] = (24, 16)) -> Image:
    """A picture of one colour, another for each number up to 1000, so that a fake model can tell which it is shown; sizes are
    (width, height) as Pillow has them."""
    import PIL.Image

    return PIL.Image.new("RGB", size, (number % 10 * 25, number // 10 % 10 * 25, 200 - number // 100 * 20))


def noisy(seed: int, height: int, width: int) -> Image:
    """A picture of random pixels, another for each seed."""
    import PIL.Image

    return PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def candidates(count: int, *, start: int = 0) -> list[Candidate]:
    """Candidates with text, picture and nested metadata, scores falling; every seventh looks as the one before it.

    Args:
        start: number of the first one; what is within it depends on its number only.
    """
    return [_candidate(number) for number in range(start, start + count)]


def _candidate(number: int) -> Candidate:
    look = number - 1 if number % 7 == 6 else number  # twins: another id, nothing else
    colour, thing = COLOURS[look // 5 % 4], THINGS[look % 5]
    text = " ".join([colour, thing, *["beside", "the", "house"][: look % 4]])
    metadata = {"tags": [colour, thing], "size": {"height": 16, "width": 24}, "row": np.arange(4, dtype=np.float32) + look}
    item = Item(item_id=f"item-{number}", text=text, image=InMemory(coloured(look)), metadata=metadata)
    return Candidate(item=item, score=1.0 - number / 100, raw_score=-float(number))


def bare(number: int) -> Candidate:
    """A candidate with neither text nor picture."""
    return Candidate(item=Item(item_id=f"bare-{number}"), score=0.5)


def broken(number: int) -> Candidate:
    """A candidate whose only content is a picture that does not open."""
    return Candidate(item=Item(item_id=f"broken-{number}", image=Broken()), score=0.5)


def pages(count: int) -> list[Candidate]:
    """Pages of one document, with text and picture; each fourth has an empty text."""
    items = [
        Item(
            item_id=f"d.pdf#page={number}",
            document_id="d.pdf",
            page_number=number,
            text=SENTENCES[(number - 1) % len(SENTENCES)],
            image=InMemory(coloured(number)),
        )
        for number in range(1, count + 1)
    ]
    return [Candidate(item=item, score=1 / number) for number, item in enumerate(items, 1)]


def queries() -> dict[str, Query]:
    """One query of each kind: text, picture, both, with exclusions."""
    pictures = (InMemory(coloured(3)),)
    return {
        "text": Query(query_id="text", text="a red door"),
        "picture": Query(query_id="picture", images=pictures),
        "text and picture": Query(query_id="both", text="in green", images=pictures),
        "exclusions": Query(
            query_id="exclusions", text="a lamp", exclude_text=("blue", "by a house"), exclude_images=(InMemory(coloured(5)),)
        ),
    }


def prompt(number: int) -> Prompt:
    """A prompt for each number, some long, three in four with a picture."""
    words = " ".join(["is this what was asked for?"] * (number % 3 + 1))
    parts = (words, noisy(number, 30, 40 + number)) if number % 4 else (words,)
    return (Message(role="system", parts=("answer",)), Message(role="user", parts=parts))


def structured(n: int, dimension: int, *, seed: int, inner: int = 6) -> Array:
    """(n, dimension) unit rows near an `inner`-dimensional surface; pure noise would hide mistakes of approximate search."""
    lift = np.random.default_rng(99).standard_normal((inner, dimension))
    rows = np.sin(np.random.default_rng(seed).standard_normal((n, inner)) @ lift)
    unit: Array = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def shuffled_ids(n: int, *, seed: int) -> Keys:
    """(n,) unlike ids in no order, with gaps."""
    return np.random.default_rng(seed).permutation(7 * n + 3)[:n].astype(np.int64)


def corners(dimension: int) -> Array:
    """(2 * dimension, dimension) rows along the axes, whose products are exact in any order of summation."""
    return np.concatenate([np.eye(dimension), -np.eye(dimension)]).astype(np.float32)


def plainly(ids: Keys, rows: Array, query: Array, k: int, allowed: Keys | None = None) -> list[int]:
    """The answer by a sort of everything, in float64; of those that lie within rounding of the next, the first by id."""
    among = set(ids.tolist()) if allowed is None else set(ids.tolist()) & set(allowed.tolist())
    scores = {int(i): float(np.dot(row.astype(float), query.astype(float))) for i, row in zip(ids, rows, strict=True) if i in among}
    groups: list[list[int]] = []
    for i in sorted(scores, key=lambda i: -scores[i]):
        if groups and scores[groups[-1][-1]] - scores[i] <= ROUNDING:
            groups[-1].append(i)
        else:
            groups.append([i])
    return [i for group in groups for i in sorted(group)][:k]


def ids_of(ranked: Sequence[Candidate]) -> list[str]:
    """The item ids of candidates, in their order."""
    return [candidate.item.item_id for candidate in ranked]
