"""What the doctor asks with: plain coloured squares, and questions with a passage that answers and one near by that does not.

Source: ours, squares and sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from mmrerank.types import Candidate, Item, Modality, Query

COLOURS = {"red": "#d01818", "green": "#1a9c2f", "blue": "#1746c8", "yellow": "#f2d21b"}


@dataclass(frozen=True, slots=True)
class InMemory:
    """The handle of a picture in memory."""

    picture: Image.Image

    def open(self) -> Image.Image:
        return self.picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A query with an item that answers it and one that does not."""

    query: Query
    right: Item
    wrong: Item


def square(colour: str) -> Image.Image:
    """A square of that colour on white, 224 x 224 px."""
    picture = Image.new("RGB", (224, 224), "white")
    ImageDraw.Draw(picture).rectangle((32, 32, 191, 191), fill=COLOURS[colour])
    return picture


def squares(looks_at: frozenset[Modality] | None) -> list[Candidate]:
    """Three squares as a reranker looks at them: their pictures, or words where it looks at texts alone; both where it does not say."""
    colours = list(COLOURS)[:3]
    pictures = [InMemory(square(colour)) if looks_at is None or "image" in looks_at else None for colour in colours]
    texts = [f"a {colour} square" if looks_at is None or "image" not in looks_at else None for colour in colours]
    return [
        Candidate(item=Item(item_id=colour, image=picture, text=text))
        for colour, picture, text in zip(colours, pictures, texts, strict=True)
    ]


def picture_cases() -> list[Case]:
    """Each colour asked for, with its square and the next one's."""
    colours = list(COLOURS)
    return [
        Case(
            query=Query(query_id=colour, text=f"a {colour} square"),
            right=Item(item_id=colour, image=InMemory(square(colour))),
            wrong=Item(item_id=other, image=InMemory(square(other))),
        )
        for colour, other in zip(colours, [*colours[1:], colours[0]], strict=True)
    ]


def text_cases() -> list[Case]:
    """Each question with the passage that answers it and the one near by."""
    return [
        Case(query=Query(query_id=str(n), text=text), right=Item(item_id="right", text=right), wrong=Item(item_id="wrong", text=wrong))
        for n, (text, right, wrong) in enumerate(TEXTS)
    ]


TEXTS: Sequence[tuple[str, str, str]] = (
    (
        "how do bees make honey",
        "Bees carry nectar to the hive and pass it from one to the next; water dries off in the comb, and what is left is honey.",
        "The ferry to the islands leaves at eight in the morning and at noon, and on Sundays at ten.",
    ),
    (
        "when was the lighthouse built",
        "The lighthouse on the north pier was built in 1871, after two ships had run onto the rocks in one winter.",
        "Bread dough rises faster in a warm kitchen, since yeast works best at about thirty degrees.",
    ),
    (
        "what is the capital of Portugal",
        "Lisbon, the capital of Portugal, lies where the Tagus meets the Atlantic.",
        "A bicycle chain lasts longer when it is cleaned and oiled every few hundred kilometres.",
    ),
    (
        "why does ice float on water",
        "Ice is less dense than water, because its molecules stand further apart in the crystal, and so it floats.",
        "The orchestra tuned its strings to the oboe before the concert began.",
    ),
    (
        "how often should tomatoes be watered",
        "Tomatoes in pots want water every day in summer, those in a bed twice a week, always at the root.",
        "The parliament has two chambers, whose members are elected every four years.",
    ),
    (
        "who wrote the report on the bridge",
        "The report on the bridge was written by the engineer Anna Berg, who had measured the cracks herself.",
        "Sea otters hold hands while they sleep, so that the current does not part them.",
    ),
)
