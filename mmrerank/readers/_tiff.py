"""The directories of a TIFF (or the one of an EXIF block): which of them are pages, and one of them checked and reduced to what its
pixels need.

Source: Adobe TIFF 6.0, section 2; BigTIFF as libtiff documents it. Cameras and scanners write many private, broken or
enormous tags beside the dozen that describe the pixels. A copy of the directory with only those is appended and the header
pointed at it, so that nothing downstream parses (or warns about) the rest. What the libraries lack: Pillow reads every tag of any claimed
size before it knows the picture's, warns of those that it doubts, and libtiff writes to stderr; neither can be told which tags to read.
Cost: microseconds, no decoding.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_TILE_PIXELS = 2**26
_MAX_ENTRIES = 4096
_MAX_XMP = 2**20
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:\s*=\s*[\"']|>)\s*([1-8])\b")
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS = {1: "B", 3: "H", 4: "L", 16: "Q"}
WIDTH, HEIGHT, STRIPS, ORIENTATION, SAMPLES, TILE_WIDTH, TILE_HEIGHT, TILES = 256, 257, 273, 274, 277, 322, 323, 324
_MAX_SAMPLES = 6  # a pixel; Pillow decodes no more
_SINGLE = {WIDTH, HEIGHT, 259, 262, 266, SAMPLES, 278, 284, 317, TILE_WIDTH, TILE_HEIGHT, 332}
SUBFILE, BITS, COMPRESSION, PHOTOMETRIC, MAXIMUM, SAMPLE_FORMAT, XMP = 254, 258, 259, 262, 281, 339, 700
_CHECKED = (WIDTH, HEIGHT, SAMPLES, TILE_WIDTH, TILE_HEIGHT, COMPRESSION, PHOTOMETRIC)
_NO_PAGE = 0b101  # bits of SUBFILE: a smaller version of another picture, a mask
_PIXEL_TAGS = _SINGLE | {254, 258, STRIPS, 279, 292, 293, 320, TILES, 325, 338, 339, 347, *range(512, 522), *range(529, 533)}


class Damaged(ValueError):
    """The bytes of a picture do not hang together; the text is the reason a user reads."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things stand in a TIFF of one byte order and pointer width."""

    order: str
    big: bool

    @property
    def entry(self) -> struct.Struct:  # tag, type, count, value or offset
        return struct.Struct(f"{self.order}HHQ8s" if self.big else f"{self.order}HHL4s")

    @property
    def count(self) -> struct.Struct:
        return struct.Struct(f"{self.order}{'Q' if self.big else 'H'}")

    @property
    def pointer(self) -> struct.Struct:
        return struct.Struct(f"{self.order}{'Q' if self.big else 'L'}")

    @property
    def pointer_at(self) -> int:
        return 8 if self.big else 4


@dataclass(frozen=True, slots=True)
class _Entry:
    tag: int
    kind: int
    count: int
    value: bytes  # as it stands in the entry: the value itself where it fits, otherwise its offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One picture of a TIFF."""

    width: int
    height: int
    orientation: int
    bits: int  # of the first value of a pixel
    unsigned: bool  # whether it is a whole number without sign
    white: int | None  # the largest value where the file says so
    compression: int
    photometric: int
    pieces: Sequence[bytes | memoryview]  # joined, they are this picture alone, with its pixel tags only


def directory(data: memoryview, start: int | None = None) -> tuple[_Layout, list[_Entry]]:
    """The layout and the entries of the directory at `start`, the first one by default.

    Raises:
        Damaged: it is cut short, lies outside the data or is no directory.
    """
    layout = _layout(data)
    start = _number(layout.pointer, data, layout.pointer_at) if start is None else start
    count = _number(layout.count, data, start)
    if not 0 < count <= _MAX_ENTRIES:
        raise Damaged(f"damaged: a directory of {count} tags")
    start += layout.count.size
    stop = start + count * layout.entry.size
    if stop > len(data):
        raise Damaged("truncated: ends within its directory")
    return layout, [_Entry(*fields) for fields in layout.entry.iter_unpack(data[start:stop])]


def _layout(data: memoryview) -> _Layout:
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None or len(data) < 8:
        raise Damaged("damaged: no TIFF header")
    magic = struct.unpack_from(f"{order}H", data, 2)[0]
    if magic not in (42, 43):
        raise Damaged("damaged: no TIFF header")
    return _Layout(order, magic == 43)


def _number(form: struct.Struct, data: memoryview, start: int) -> int:
    if start + form.size > len(data):
        raise Damaged("truncated: its directory lies beyond the end")
    return int(form.unpack_from(data, start)[0])


def pages_at(data: memoryview, most: int) -> list[int]:
    """Where the directories of its pages stand, at most `most`; smaller versions of a page, such as thumbnails, and masks are none.

    A chain that breaks, or comes back to where it was, ends there: what came before is whole.

    Raises:
        Damaged: the first directory cannot be read.
    """
    layout, entries = directory(data)
    start = first = _number(layout.pointer, data, layout.pointer_at)
    places: list[int] = []
    visited = {0}
    while start not in visited and len(places) < most:
        visited.add(start)
        try:
            _, entries = directory(data, start)
            following = _number(layout.pointer, data, start + layout.count.size + len(entries) * layout.entry.size)
        except Damaged:
            break
        if not _value(layout, entries, SUBFILE, 0) & _NO_PAGE and _value(layout, entries, WIDTH, 0):
            places.append(start)
        start = following
    return places or [first]


def _value(layout: _Layout, entries: Iterable[_Entry], tag: int, default: int) -> int:
    """The value of a tag that stands in its entry; the default where it does not."""
    entry = next((entry for entry in entries if entry.tag == tag), None)
    if entry is None or entry.count != 1 or entry.kind not in _INTEGERS or _offset(layout, entry) is not None:
        return default
    return int(_all(layout, entry, memoryview(b""))[0])


def _all(layout: _Layout, entry: _Entry, data: memoryview) -> tuple[int, ...]:
    """All values of an integer entry whose bytes are known to lie within the data."""
    letter = _INTEGERS.get(entry.kind)
    if letter is None:
        raise Damaged(f"damaged: tag {entry.tag} is not an integer")
    form = struct.Struct(f"{layout.order}{entry.count}{letter}")
    place = _offset(layout, entry)
    return form.unpack_from(entry.value) if place is None else form.unpack_from(data, place)


def _offset(layout: _Layout, entry: _Entry) -> int | None:
    """Where the entry's values stand; None when they stand in the entry itself."""
    fits = entry.count * _SIZES.get(entry.kind, 0) <= layout.pointer.size
    return None if fits else int(layout.pointer.unpack(entry.value)[0])


def _check(layout: _Layout, entry: _Entry, data: memoryview) -> None:
    if entry.kind not in _SIZES or entry.count == 0:
        raise Damaged(f"damaged: tag {entry.tag} has no readable value")
    if entry.tag in _SINGLE and entry.count != 1:
        raise Damaged(f"damaged: tag {entry.tag} has {entry.count} values instead of one")
    place = _offset(layout, entry)
    if place is not None and place + entry.count * _SIZES[entry.kind] > len(data):
        raise Damaged(f"truncated: tag {entry.tag} points beyond the end")


def orientation_of(exif: bytes | memoryview) -> int | None:
    """The orientation, 1 to 8, that an EXIF block asks for; None when it says nothing readable.

    A broken EXIF block says nothing about the pixels, so it never makes a picture unreadable.
    """
    data = memoryview(exif)
    data = data[6:] if bytes(data[:6]) == b"Exif\0\0" else data
    try:
        layout, entries = directory(data)
    except Damaged:
        return None
    value = _value(layout, entries, ORIENTATION, 0)
    return value if 1 <= value <= 8 else None


def _orientation(layout: _Layout, entries: Sequence[_Entry], data: memoryview) -> int:
    """What the tag of the directory says; where there is none what its XMP says."""
    value = _value(layout, entries, ORIENTATION, 0)
    xmp = next((entry for entry in entries if entry.tag == XMP and entry.kind in _SIZES), None)
    if value or xmp is None:
        return value if 1 <= value <= 8 else 1
    place = _offset(layout, xmp) or 0
    return orientation_in_xmp(data[place : place + xmp.count]) or 1


def orientation_in_xmp(xmp: bytes | memoryview) -> int | None:
    """The orientation, 1 to 8, that an XMP block writes as `tiff:Orientation`, as an attribute or an element.

    >>> orientation_in_xmp(b'<rdf:Description tiff:Orientation="6"/>'), orientation_in_xmp(b"<x/>")
    (6, None)
    """
    match = _XMP_ORIENTATION.search(xmp[:_MAX_XMP])
    return int(match[1]) if match else None


def reduced(data: memoryview, start: int | None = None) -> Page:
    """The picture of the directory at `start`, the first one by default.

    Raises:
        Damaged: a tag that the pixels need is broken or missing, or a tile is absurdly large.
    """
    layout, entries = directory(data, start)
    pixel_entries = sorted({entry.tag: entry for entry in entries if entry.tag in _PIXEL_TAGS}.values(), key=lambda entry: entry.tag)
    numbers = _numbers(layout, pixel_entries, data)
    bits = next((_all(layout, entry, data)[0] for entry in pixel_entries if entry.tag == BITS), 1)
    return Page(
        width=numbers[WIDTH],
        height=numbers[HEIGHT],
        orientation=_orientation(layout, entries, data),
        bits=bits,
        unsigned=next((_all(layout, entry, data)[0] == 1 for entry in pixel_entries if entry.tag == SAMPLE_FORMAT), True),
        white=_white(layout, entries, bits),
        compression=numbers.get(COMPRESSION, 1),
        photometric=numbers.get(PHOTOMETRIC, 1),
        pieces=_with_directory(layout, pixel_entries, data),
    )


def _numbers(layout: _Layout, entries: Sequence[_Entry], data: memoryview) -> dict[int, int]:
    """Tag -> the first number of what the pixels are read by; errors as of `reduced`."""
    for entry in entries:
        _check(layout, entry, data)
    numbers = {entry.tag: _all(layout, entry, data)[0] for entry in entries if entry.tag in _CHECKED}
    if WIDTH not in numbers or HEIGHT not in numbers:
        raise Damaged("damaged: gives no width and height")
    if numbers.get(TILE_WIDTH, 0) * numbers.get(TILE_HEIGHT, 0) > MAX_TILE_PIXELS:
        raise Damaged(f"tiles of {numbers[TILE_WIDTH]}x{numbers[TILE_HEIGHT]} pixels are not read")
    if numbers.get(SAMPLES, 1) > _MAX_SAMPLES:
        raise Damaged(f"{numbers[SAMPLES]} values a pixel are not read")
    if any(max(_all(layout, entry, data)) >= len(data) for entry in entries if entry.tag in (STRIPS, TILES)):
        raise Damaged("truncated: its pixels lie beyond the end")
    return numbers


def _white(layout: _Layout, entries: Sequence[_Entry], bits: int) -> int | None:
    """The largest value of a pixel of more than 8 bits, where it is less than the bits of its container can hold."""
    most = _value(layout, entries, MAXIMUM, 0)
    if 8 < bits < 16:
        return (1 << bits) - 1
    return most if bits == 16 and 255 < most < 65535 else None


def _with_directory(layout: _Layout, entries: Sequence[_Entry], data: memoryview) -> list[bytes | memoryview]:
    padding = b"\0" * (-len(data) % 8)
    head = bytes(data[: layout.pointer_at]) + layout.pointer.pack(len(data) + len(padding))
    packed = b"".join(layout.entry.pack(entry.tag, entry.kind, entry.count, entry.value) for entry in entries)
    appended = layout.count.pack(len(entries)) + packed + layout.pointer.pack(0)  # 0: no further picture
    return [head, data[len(head) :], padding + appended]
