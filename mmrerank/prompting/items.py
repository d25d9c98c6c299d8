"""What of an item a model sees: its picture within a pixel budget, its text up to so many words, or both.

    item --way_of--> "image", "text" or "both" --exhibit--> Exhibit(picture, text)          why not, where it cannot be shown

`auto` chooses by rule, per item and query: no text -> the picture; the query asks after a table, chart, figure, colour or
layout -> both; else the text. For many questions over documents the text layer beats the pixels.

`gather` does this for all candidates of a query: one that cannot be shown costs nobody else anything.

Source: ours.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol, TypeAlias, TypeVar

from PIL import Image

from mmrerank.errors import FormatError, InputError
from mmrerank.handles import ContentHandle, LazyPicture
from mmrerank.types import Candidate, ImageHandle, Item, Part, Query

T = TypeVar("T")
Way: TypeAlias = Literal["image", "text", "both"]
ModalityChoice: TypeAlias = Literal["auto", "image", "text", "both"]
MAX_PIXELS = 1_003_520  # 1,280 tokens of 28 x 28
LOOKS = re.compile(
    r"\b(tables?|charts?|figures?|fig|graphs?|plots?|diagrams?|drawings?|pictures?|photos?|images?|maps?|logos?|icons?|bars?|"
    r"columns?|rows?|axis|legend|colou?rs?|red|green|blue|yellow|orange|purple|shown|look|layout|left|right|top|bottom)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """What a model sees of one item."""

    way: Way
    picture: Image.Image | None = None  # RGB, within the pixel budget
    text: str = ""  # words with one blank between them
    unopened: LazyPicture | None = None  # the picture instead, where the model may know it already

    @property
    def pictures(self) -> list[Part]:
        """The picture as a part of a message; none where there is none."""
        return [one for one in (self.picture, self.unopened) if one is not None]

    @property
    def parts(self) -> list[Part]:
        """The picture, then the text, as parts of a message."""
        return [*self.pictures, *([self.text] if self.text else [])]


def exhibit(
    item: Item, question: str, modality: ModalityChoice, *, words: int, max_pixels: int = MAX_PIXELS, lazy: bool = False
) -> Exhibit:
    """What a model sees of an item that is looked at for this question.

    Args:
        words: how many of the item's text are shown.
        max_pixels: of its picture, which is made smaller where it has more.
        lazy: whether the picture may stay unopened, where its handle tells it by its content.

    Raises:
        InputError: the item has neither a picture nor a text, or not the one that was asked for.
        FormatError: its picture cannot be opened.
    """
    way = way_of(item, question, modality)
    text = " ".join((item.text or "").split()[:words]) if way != "image" else ""
    if way == "text":
        return Exhibit(way=way, text=text)
    if lazy and isinstance(item.image, ContentHandle):
        return Exhibit(way=way, text=text, unopened=_unopened(item.image, max_pixels))
    return Exhibit(way=way, text=text, picture=within(picture_of(item), max_pixels))


def way_of(item: Item, question: str, modality: ModalityChoice) -> Way:
    """How this item is shown for this question; what it lacks is left out of `both`, and what has no picture is shown by its text.

    Raises:
        InputError: it has neither a picture nor a text, or not the one that was asked for.
    """
    has = {"text": bool((item.text or "").strip()), "image": item.image is not None}
    if modality == "auto":
        wanted: Way = "both" if LOOKS.search(question) else "text" if has["text"] else "image"
    else:
        wanted = modality
    if wanted == "both" and all(has.values()):
        return "both"
    if wanted == "both":
        wanted = "text" if has["text"] else "image"
    if wanted == "image" and not has["image"] and has["text"]:
        return "text"  # a picture was never there to be looked at, and its words can be read
    if not has[wanted]:
        neither = not any(has.values())
        raise InputError("it has neither a picture nor a text" if neither else f"it has no {'picture' if wanted == 'image' else 'text'}")
    return wanted


class DisplayOptions(Protocol):
    """Options that say how candidates are shown, under the names that methods have for them."""

    @property
    def modality(self) -> ModalityChoice: ...

    @property
    def page_words(self) -> int: ...  # of each candidate's text

    @property
    def max_pixels(self) -> int: ...  # of each picture


class Display:
    """Shows the items of one query, and remembers how each was shown."""

    def __init__(
        self,
        question: str,
        modality: ModalityChoice,
        *,
        page_words: int,
        caption_words: int | None = None,
        max_pixels: int = MAX_PIXELS,
        lazy: bool = False,
    ) -> None:
        """
        Args:
            lazy: whether pictures may stay unopened until a model has to look at them, as in `exhibit`.
        """
        self._question, self._modality, self._lazy = question, modality, lazy
        self._page_words, self._max_pixels = page_words, max_pixels
        self._caption_words = page_words if caption_words is None else caption_words
        self._ways: list[tuple[str, Way]] = []

    @classmethod
    def of(cls, query: Query, options: DisplayOptions) -> Display:
        """As these options have it."""
        return cls(query.text or "", options.modality, page_words=options.page_words, max_pixels=options.max_pixels)

    def show(self, item: Item) -> Exhibit:
        """As `exhibit` does; what is no page of a document is cut to `caption_words`."""
        words = self._caption_words if item.page_number is None else self._page_words
        view = exhibit(item, self._question, self._modality, words=words, max_pixels=self._max_pixels, lazy=self._lazy)
        self._ways.append((item.item_id, view.way))
        return view

    @property
    def choices(self) -> tuple[str, ...]:
        """How items were shown that were not shown as the modality says, or all where it says `auto`; in lines."""
        lacking = [pair for pair in self._ways if (self._modality, pair[1]) == ("image", "text")]
        others = self._ways if self._modality == "auto" else lacking
        return tuple(choices(others))


def choices(ways: Iterable[tuple[str, Way]]) -> Iterator[str]:
    """What was chosen, one line for each way, from (item_id, how) pairs."""
    pairs = list(ways)
    for way in ("image", "text", "both"):
        ids = [item_id for item_id, how in pairs if how == way]
        if ids:
            more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
            yield f"shown as {way}: {', '.join(ids[:5])}{more}"


def gather(
    candidates: Sequence[Candidate], show: Callable[[Item], T], among: Iterable[int] | None = None
) -> tuple[dict[int, T], dict[int, str]]:
    """What is shown of each candidate, and why the others cannot be shown; both by position.

    Args:
        show: raises InputError or FormatError for an item that cannot be shown.
        among: the positions to show; all when None.
    """
    exhibits: dict[int, T] = {}
    obstacles: dict[int, str] = {}
    for position in range(len(candidates)) if among is None else among:
        try:
            exhibits[position] = show(candidates[position].item)
        except (FormatError, InputError) as error:
            obstacles[position] = error.message
    return exhibits, obstacles


def unopenable(exhibits: Mapping[int, object]) -> dict[int, str]:
    """Why pictures that were left unopened cannot be opened after all, by the position of their exhibits."""
    obstacles: dict[int, str] = {}
    for position, one in exhibits.items():
        if isinstance(one, Exhibit) and one.unopened is not None:
            try:
                one.unopened.open()
            except FormatError as error:
                obstacles[position] = error.message
    return obstacles


def _unopened(handle: ContentHandle, max_pixels: int) -> LazyPicture:
    return LazyPicture(f"{handle.content_key()} {max_pixels}", partial(open_within, handle, max_pixels))


def picture_of(item: Item) -> Image.Image:
    """The item's picture, RGB.

    Raises:
        InputError: it has none.
        FormatError: it cannot be opened.
    """
    if item.image is None:
        raise InputError(
            f"{item.item_id!r} has no picture, and the reranker looks at pictures",
            hint="Use bm25, or ragllava or mm_r5 with modality='text'.",
        )
    return item.image.open()


def within(picture: Image.Image, max_pixels: int) -> Image.Image:
    """The picture with at most `max_pixels` pixels, aspect kept; one that is small enough comes back as it is."""
    if picture.width * picture.height <= max_pixels:
        return picture
    scale = math.sqrt(max_pixels / (picture.width * picture.height))
    size = (max(1, math.floor(picture.width * scale)), max(1, math.floor(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def open_within(handle: ImageHandle, max_pixels: int) -> Image.Image:
    """The picture of a handle, RGB, with at most `max_pixels` pixels."""
    return within(handle.open(), max_pixels)
