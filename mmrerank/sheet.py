"""A contact sheet: the query and its hits as one picture to look at, readable on a phone.

1080 px wide, two pictures a row, large letters: rank, what is shown, score, and the reason it stands there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont
from PIL.ImageFont import FreeTypeFont

from mmrerank.collection.items import place_of
from mmrerank.errors import FormatError
from mmrerank.readers import body_of, boxes
from mmrerank.readers.pdf import PagePicture
from mmrerank.results import AskResult, Hit, SearchResult
from mmrerank.types import ImageHandle, Item, Query

WIDTH_PX = 1080
MARGIN_PX = 32
GAP_PX = 24
COLUMNS = 2
BACKGROUND, CARD, INK, SOFT, ACCENT, WARNING = "#f2f4f7", "#ffffff", "#14181f", "#5a6472", "#0b6bcb", "#b42318"
PADDING_PX = 16  # inside a card
THUMB_PX = 200
STEPS_DRAWN = 3  # of an explanation


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    size_px: int
    colour: str


def draw_sheet(result: SearchResult, *, title: str | None = None, answer: str | None = None) -> Image.Image:
    """The sheet of one search, RGB. A picture that cannot be opened leaves its reason in its place."""
    head = _head(result, title, answer)
    columns = min(COLUMNS, max(1, len(result.hits)))  # a single page gets the whole width, to be read
    width = (WIDTH_PX - 2 * MARGIN_PX - (columns - 1) * GAP_PX) // columns
    cards = [_card(hit, width) for hit in result.hits] or [_note("nothing found" if answer is None else "no page is cited", width)]
    rows = [cards[start : start + columns] for start in range(0, len(cards), columns)]
    heights = [max(card.height for card in row) for row in rows]
    sheet = Image.new("RGB", (WIDTH_PX, head.height + sum(heights) + GAP_PX * len(rows) + MARGIN_PX), BACKGROUND)
    sheet.paste(head, (0, 0))
    top = head.height + GAP_PX
    for row, height in zip(rows, heights, strict=True):
        for column, card in enumerate(row):
            left = MARGIN_PX + column * (width + GAP_PX)
            ImageDraw.Draw(sheet).rounded_rectangle((left, top, left + width, top + height), 18, fill=CARD)
            sheet.paste(card, (left, top), _rounded(card.size))
        top += height + GAP_PX
    return sheet


def draw_answer(result: AskResult, *, title: str | None = None) -> Image.Image:
    """The sheet of one answer, RGB: question, answer, and the cited pages with the quoted passage boxed."""
    quotes = {citation.item.item_id: citation.quote for citation in result.answer.citations}
    hits = [hit for item_id in quotes for hit in result.search.hits if hit.item.item_id == item_id]
    boxed_hits = [replace(hit, item=replace(hit.item, image=_boxed(hit.item, quotes[hit.item.item_id]))) for hit in hits]
    return draw_sheet(replace(result.search, hits=tuple(boxed_hits)), title=title, answer=result.answer.text)


@dataclass(frozen=True, slots=True)
class _Boxed:
    """A page with boxes around some of its words."""

    page: PagePicture
    words: str

    def open(self) -> Image.Image:
        picture = self.page.open()
        draw = ImageDraw.Draw(picture)
        for left, top, right, bottom in boxes(self.page.path, self.page.page_number, self.words):
            edge = (left * picture.width - 6, top * picture.height - 4, right * picture.width + 6, bottom * picture.height + 4)
            draw.rectangle(edge, outline=WARNING, width=max(3, picture.width // 300))
        return picture


def _boxed(item: Item, words: str) -> ImageHandle | None:
    return _Boxed(item.image, words) if isinstance(item.image, PagePicture) and words else item.image


def _head(result: SearchResult, title: str | None, answer: str | None) -> Image.Image:
    query = result.query
    lines = [_Line(title, 34, ACCENT)] if title else []
    lines += [_Line(_query_words(query), 44, INK)]
    lines += [_Line(answer, 36, ACCENT)] if answer else []
    lines += [_Line(f"not: {', '.join(query.exclude_text)}", 34, WARNING)] if query.exclude_text else []
    lines += [_Line(f"filter: {query.filter}", 30, SOFT)] if query.filter else []
    stages = [f"{stage.name.split('(')[0]} {stage.seconds * 1000:.0f} ms" for stage in result.stages]
    lines += [_Line("  >  ".join(stages), 28, SOFT)]
    pictures = [(handle, None) for handle in query.images] + [(handle, WARNING) for handle in query.exclude_images]
    text = _text_block(lines, WIDTH_PX - 2 * MARGIN_PX)
    head = Image.new("RGB", (WIDTH_PX, MARGIN_PX + text.height + (THUMB_PX + 2 * GAP_PX if pictures else GAP_PX)), CARD)
    head.paste(text, (MARGIN_PX, MARGIN_PX))
    for n, (handle, frame) in enumerate(pictures[:4]):
        place = (MARGIN_PX + n * (THUMB_PX + GAP_PX), MARGIN_PX + text.height + GAP_PX // 2)
        head.paste(_fitted(handle, THUMB_PX, THUMB_PX), place)
        edge = (place[0] - 3, place[1] - 3, place[0] + THUMB_PX + 2, place[1] + THUMB_PX + 2)
        ImageDraw.Draw(head).rectangle(edge, outline=frame or SOFT, width=3)
    return head


def _query_words(query: Query) -> str:
    if query.text and query.images:
        return f"like this, but: {query.text}"
    return query.text or "like this"


def _card(hit: Hit, width: int) -> Image.Image:
    inner = width - 2 * PADDING_PX
    score = "" if hit.score is None or f"{hit.score:.3f}" in hit.reason else f"{hit.score:.3f}"
    lines = [_Line(f"{hit.rank}   {score}", 40, ACCENT), _Line(_label(hit), 32, INK)]
    lines += [_Line(hit.reason, 28, SOFT)] if hit.reason else []
    lines += [_Line(line, 24, SOFT) for line in explanation_lines(hit)]
    text = _text_block(lines, inner, most_lines=3)
    if hit.item.image is not None:
        picture = _fitted(hit.item.image, inner, round(1.45 * inner), close=True)  # enough for an upright page
    else:
        picture = _text_block([_Line(body_of(hit.item.text or "").strip()[:400], 24, INK)], inner, most_lines=12)
    card = Image.new("RGB", (width, picture.height + text.height + 3 * PADDING_PX), CARD)
    card.paste(picture, (PADDING_PX, PADDING_PX))
    card.paste(text, (PADDING_PX, picture.height + 28))
    return card


def explanation_lines(hit: Hit) -> list[str]:
    """What the explanation of a hit adds to its reason, a line each: the scores behind its score, and the last steps on its way."""
    if hit.explanation is None:
        return []
    scores = ", ".join(f"{name} {score:.2f}".rstrip("0").rstrip(".") for name, score in hit.explanation.scores.items())
    steps = hit.explanation.steps if len(hit.explanation.steps) > 1 else ()  # of a single one the score says enough
    more = f"{len(steps) - STEPS_DRAWN} earlier; " if len(steps) > STEPS_DRAWN else ""
    return [line for line in (scores, more + "; ".join(steps[-STEPS_DRAWN:])) if line and line not in hit.reason]


def _label(hit: Hit) -> str:
    item = hit.item
    if item.page_number is not None:
        return place_of(item)
    if item.text and len(item.text) <= 80:
        return item.text
    return item.item_id


def _note(text: str, width: int) -> Image.Image:
    block = _text_block([_Line(text, 36, SOFT)], width - 2 * PADDING_PX)
    card = Image.new("RGB", (width, block.height + 3 * PADDING_PX), CARD)
    card.paste(block, (PADDING_PX, 24))
    return card


def _fitted(handle: ImageHandle, width: int, height: int, *, close: bool = False) -> Image.Image:
    """The picture inside (height, width), aspect kept, on white; with `close` the frame is no higher than the picture."""
    try:
        picture = handle.open()
    except FormatError as error:
        return _text_block([_Line(f"cannot be shown: {error.reason}", 26, WARNING)], width)
    scale = min(width / picture.width, height / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    content = picture.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)
    frame = Image.new("RGB", (width, size[1] if close else height), CARD)
    frame.paste(content, ((width - size[0]) // 2, (frame.height - size[1]) // 2))
    return frame


def _text_block(lines: Sequence[_Line], width: int, *, most_lines: int = 6) -> Image.Image:
    """Lines of text, wrapped to the width, each at most `most_lines` high."""
    pieces = [(piece, line) for line in lines for piece in _first(_wrap(line.text, font_for(line.text, line.size_px), width), most_lines)]
    height = sum(round(line.size_px * 1.3) for _, line in pieces)
    block = Image.new("RGB", (width, max(height, 1)), CARD)
    draw = ImageDraw.Draw(block)
    top = 0
    for piece, line in pieces:
        draw.text((0, top), piece, fill=line.colour, font=font_for(line.text, line.size_px))
        top += round(line.size_px * 1.3)
    return block


def _first(pieces: Sequence[str], most: int) -> list[str]:
    """The first pieces; the last word of what is cut short gives way to dots.

    >>> _first(["one two", "three four", "five"], 2)
    ['one two', 'three ...']
    """
    if len(pieces) <= most:
        return list(pieces)
    return [*pieces[: most - 1], f"{pieces[most - 1].rpartition(' ')[0] or pieces[most - 1][:-3]} ..."]


def _wrap(text: str, font: FreeTypeFont, width: int) -> list[str]:
    """Pieces of the text that fit the width; words break only when one alone is too wide."""
    pieces = [""]
    for word in text.split():
        candidate = f"{pieces[-1]} {word}".strip()
        if font.getlength(candidate) <= width:
            pieces[-1] = candidate
            continue
        while font.getlength(word) > width:
            end = _cut(word, font, width)
            pieces.append(word[:end])
            word = word[end:]
        pieces.append(word)
    return [piece for piece in pieces if piece] or [""]


def _cut(word: str, font: FreeTypeFont, width: int) -> int:
    """How many letters fit, preferably up to a joint such as the hyphens of a file name."""
    fits = max(n for n in range(1, len(word)) if n == 1 or font.getlength(word[:n]) <= width)
    joint = max(word[:fits].rfind(mark) for mark in "-_./:#") + 1
    return joint if joint > fits // 2 else fits


def _rounded(size: tuple[int, int]) -> Image.Image:
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), 18, fill=255)
    return mask


# By file name, as Pillow looks for them in the font folders of the system: free ones first, then what Windows and macOS bring.
SYSTEM = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "wqy-microhei.ttc"),
    *("arial.ttf", "msyh.ttc", "Arial Unicode.ttf"),
)
_NO_LETTER = "\uffff"  # never one, so every font draws its empty box
_MOST_LETTERS = 200  # looked at, to choose by


def font_for(text: str, size_px: int) -> FreeTypeFont:
    """Pillow's font where it has all letters of the text; else, of it and those of the system, the first that lacks fewest.

    Raises:
        FormatError: Pillow was built without FreeType.
    """
    letters = "".join(sorted({letter for letter in text if not letter.isascii() and not letter.isspace()}))[:_MOST_LETTERS]
    return _font(_name_for(letters) if letters else "", size_px)


@lru_cache(maxsize=512)
def _name_for(letters: str) -> str:
    best, fewest = "", len(letters) + 1
    for name in ("", *SYSTEM):
        if fewest and (lacking := _lacking(name, letters)) < fewest:
            best, fewest = name, lacking
    return best


def _lacking(name: str, letters: str) -> int:
    try:
        font = _font(name, 20)
    except OSError:  # it is not installed
        return len(letters) + 1
    box = bytes(font.getmask(_NO_LETTER))
    return sum(bytes(font.getmask(letter)) == box for letter in letters)


@lru_cache(maxsize=64)
def _font(name: str, size_px: int) -> FreeTypeFont:
    """The font of that file name; "" is Pillow's own. OSError where there is none."""
    font = ImageFont.truetype(name, size_px) if name else ImageFont.load_default(size_px)
    if not isinstance(font, FreeTypeFont):  # Pillow built without FreeType has a bitmap font of one size only
        raise FormatError("Pillow was built without FreeType, which draws the letters of a sheet", path="Pillow")
    return font
