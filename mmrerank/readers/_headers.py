"""Size and orientation of a picture from its header, and its bytes without what is not pixels.

Source: ITU-T T.81 (JPEG), PNG third edition, WebP container specification, GIF89a, BMP as Microsoft documents it.
Text, profiles, thumbnails and further frames are where bombs and broken writers live, and none of it is wanted here but the orientation,
which cameras and tools put into an EXIF block, text that holds one in hexadecimal, or XMP; EXIF goes before XMP, as in Pillow. So the
size is refused before anything is decoded, and the decoder never sees a metadata block. What the libraries lack: `Image.open` parses
metadata first, has one limit on pixels for the whole process that warns before it refuses, and fills a JPEG that was cut short with grey
where the process is set so. Cost: microseconds, plus the
checksums of a PNG (about 1 ms a megabyte).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mmrerank.readers._further import shape_of
from mmrerank.readers._kinds import picture_format, why_no_picture
from mmrerank.readers._tiff import Damaged, Page, orientation_in_xmp, orientation_of, pages_at, reduced

_MAX_PARTS = 200_000  # chunks or segments walked through before the picture
_MAX_STRAY = 4096  # bytes that some writers leave between the segments of a JPEG
_MAX_TEXT = 2**20  # bytes of a text chunk that is unpacked
_XMP_JPEG, _XMP_PNG = b"http://ns.adobe.com/xap/1.0/\0", b"XML:com.adobe.xmp"
_PNG_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_DROPPED = frozenset(range(0xE1, 0xF0)) - {0xEE} | {0xFE}  # APP14 says how the colours are stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a picture says of itself, and the pieces that join to a picture with the same pixels and nothing else."""

    format: str
    width: int  # pixels as stored, before the orientation is applied
    height: int
    orientation: int  # EXIF, 1 to 8
    pieces: Sequence[bytes | memoryview]
    page: Page | None = None  # of a TIFF: what else the decoder has to know
    animated: bool = False  # whether it goes on after the picture that is taken

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) once upright."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def header(data: bytes, *, suffix: str = "", start: int | None = None) -> Header:
    """The header of one of the picture formats that are read.

    Args:
        suffix: what it is named, for formats that begin alike.
        start: where the directory of the page stands, in a TIFF of several; its first page by default.

    Raises:
        Damaged: not a picture, cut short, contradicting itself, or of a format whose library is not installed.
    """
    name = picture_format(data[:1024], suffix)
    if name is None:
        raise Damaged(why_no_picture(data[:1024]))
    try:
        info = _tiff(memoryview(data), start) if name == "TIFF" else _walked(name, data)
    except struct.error as error:
        raise Damaged("truncated: ends within its header") from error
    if info.width < 1 or info.height < 1:
        raise Damaged(f"damaged: {info.width}x{info.height} pixels")
    return info


def undecoded_kind(format: str, data: bytes) -> str:
    """What a whole picture is that the decoder of its format does not take, in words; "" for those that it does take.

    >>> undecoded_kind("BMP", bytes(28) + b"\\2\\0" + bytes(24))
    'a BMP of 2 bits a pixel'
    """
    if format == "BMP" and len(data) >= 34 and struct.unpack_from("<L", data, 14)[0] != 12:
        bits, packing = struct.unpack_from("<HL", data, 28)
        if packing in (4, 5):
            return f"a BMP that holds a {'JPEG' if packing == 4 else 'PNG'}"
        return "" if bits in (1, 4, 8, 16, 24, 32) else f"a BMP of {bits} bits a pixel"
    if format == "JPEG":
        return _jpeg_kind(memoryview(data))
    return ""


def _jpeg_kind(data: memoryview) -> str:
    for marker, start, _ in _jpeg_segments(data):
        if marker not in _JPEG_SIZES:
            continue
        if marker in (0xC3, 0xC7, 0xCB, 0xCF):
            return "a lossless JPEG"
        if marker in (0xC5, 0xC6, 0xCD, 0xCE):
            return "a hierarchical JPEG"
        bits = data[start + 4]
        return "" if bits == 8 else f"a JPEG of {bits} bits a value"
    return ""


def _walked(name: str, data: bytes) -> Header:
    if name in _WALKS:
        return _WALKS[name](memoryview(data))
    shape = shape_of(name, data)
    return Header(
        format=name, width=shape.width, height=shape.height, orientation=shape.orientation, pieces=[data], animated=shape.animated
    )


def _jpeg(data: memoryview) -> Header:
    size, exif, xmp = None, None, None
    pieces: list[bytes | memoryview] = [data[:2]]
    for marker, start, stop in _jpeg_segments(data):
        if marker == 0xDA:
            if size is None:
                break
            scans = bytes(data[start:])
            if b"\xff\xd9" not in scans:  # zeros in place of the rest would decode as grey
                raise Damaged("truncated: ends before its end mark")
            return Header(format="JPEG", width=size[1], height=size[0], orientation=exif or xmp or 1, pieces=[*pieces, scans])
        if marker in _JPEG_SIZES:
            size = struct.unpack_from(">HH", data, start + 5)
        if marker == 0xE1 and bytes(data[start + 4 : start + 10]) == b"Exif\0\0":
            exif = exif or orientation_of(data[start + 4 : stop])
        if marker == 0xE1 and bytes(data[start + 4 : start + 4 + len(_XMP_JPEG)]) == _XMP_JPEG:
            xmp = xmp or orientation_in_xmp(data[start + 4 : stop])
        if marker not in _JPEG_DROPPED:
            pieces.append(data[start:stop])
    raise Damaged("damaged: holds no picture data")


def _jpeg_segments(data: memoryview) -> Iterator[tuple[int, int, int]]:
    """(marker, start, stop) of each segment, up to the first scan."""
    position = 2
    for _ in range(_MAX_PARTS):
        position += max(0, bytes(data[position : position + _MAX_STRAY]).find(b"\xff"))
        marker = struct.unpack_from(">B", data, position + 1)[0]
        if data[position] != 0xFF:
            raise Damaged("damaged: its header breaks off in other data")
        if marker in (0xFF, 0x00):
            position += 1
        elif marker == 0xD9:
            return
        elif 0xD0 <= marker <= 0xD7 or marker == 0x01:  # they stand alone
            position += 2
        else:
            stop = position + 2 + struct.unpack_from(">H", data, position + 2)[0]
            if stop > len(data):
                raise Damaged("truncated: ends within its header")
            yield marker, position, stop
            position = stop
    raise Damaged("damaged: endless header")


def _png(data: memoryview) -> Header:
    exif, xmp, animated = None, None, False
    pieces: list[bytes | memoryview] = [data[:8]]
    for name, start, stop in _png_chunks(data):
        animated = animated or name == b"acTL"
        if name == b"eXIf":
            exif = exif or orientation_of(data[start + 8 : stop - 4])
        if name in (b"tEXt", b"zTXt", b"iTXt"):
            keyword, text = _png_text(name, bytes(data[start + 8 : stop - 4]))
            if keyword.startswith(b"Raw profile type "):
                exif = exif or orientation_of(_profile(text))
            elif keyword == _XMP_PNG:
                xmp = xmp or orientation_in_xmp(text)
        if name not in _PNG_PIXELS:
            continue
        if zlib.crc32(data[start + 4 : stop - 4]) != struct.unpack_from(">L", data, stop - 4)[0]:
            raise Damaged(f"damaged: the checksum of a {name.decode()} chunk is wrong")
        pieces.append(data[start:stop])
    if not any(piece[4:8] == b"IDAT" for piece in pieces):
        raise Damaged("damaged: holds no picture data")
    width, height = struct.unpack_from(">LL", data, 16)
    return Header(format="PNG", width=width, height=height, orientation=exif or xmp or 1, pieces=pieces, animated=animated)


def _png_text(name: bytes, chunk: bytes) -> tuple[bytes, bytes]:
    """Keyword and text of a text chunk, unpacked up to `_MAX_TEXT`; without a text where it says nothing of the orientation."""
    keyword, _, rest = chunk.partition(b"\0")
    if not keyword.startswith((b"Raw profile type exif", b"Raw profile type APP1", b"Raw profile type xmp", _XMP_PNG)):
        return keyword, b""
    packed = name == b"zTXt" or (name == b"iTXt" and rest[:1] == b"\1")
    if name == b"zTXt":
        rest = rest[1:]
    elif name == b"iTXt":
        rest = rest[2:].split(b"\0", 2)[-1]  # language and translated keyword
    try:
        return keyword, zlib.decompressobj().decompress(rest, _MAX_TEXT) if packed else rest[:_MAX_TEXT]
    except zlib.error:
        return keyword, b""


def _profile(text: bytes) -> bytes:
    """The bytes that ImageMagick writes as text: a name, their number, hexadecimal digits in lines."""
    lines = text.strip().split(b"\n")
    try:
        return bytes.fromhex(b"".join(lines[2:]).decode("ascii"))
    except ValueError:  # a broken profile says nothing of the pixels
        return b""


def _png_chunks(data: memoryview) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, stop) of each chunk, length and checksum included, up to the end mark."""
    if bytes(data[12:16]) == b"CgBI":
        raise Damaged("a PNG that was packed for iPhone programs (CgBI) is not decoded; convert it to a PNG as others write it")
    if bytes(data[12:16]) != b"IHDR":
        raise Damaged("damaged: does not begin with its header")
    position = 8
    for _ in range(_MAX_PARTS):
        if position + 12 > len(data):
            raise Damaged("truncated: ends before its end mark")
        length, name = struct.unpack_from(">L4s", data, position)
        stop = position + 12 + length
        if stop > len(data):
            raise Damaged(f"truncated: ends within a {name.decode('ascii', 'replace')} chunk")
        yield name, position, stop
        if name == b"IEND":
            return
        position = stop
    raise Damaged(f"damaged: more than {_MAX_PARTS} chunks")


def _webp(data: memoryview) -> Header:
    stop = 8 + struct.unpack_from("<L", data, 4)[0]
    if stop > len(data):
        raise Damaged(f"truncated: {len(data)} of {stop} bytes")
    size, exif, xmp, position, animated = None, None, None, 12, False
    for _ in range(_MAX_PARTS):
        if position + 8 > stop:
            break
        name, length = struct.unpack_from("<4sL", data, position)
        if position + 8 + length > stop:
            raise Damaged("truncated: ends within a chunk")
        if size is None:
            size = _webp_size(name, data[position + 8 : position + 8 + length])
        content = data[position + 8 : position + 8 + length]
        animated = animated or name == b"ANMF"
        if name == b"EXIF":
            exif = exif or orientation_of(content)
        if name == b"XMP ":
            xmp = xmp or orientation_in_xmp(content)
        position += 8 + length + length % 2
    if size is None:
        raise Damaged("damaged: holds no picture data")
    return Header(format="WebP", width=size[0], height=size[1], orientation=exif or xmp or 1, pieces=[data[:stop]], animated=animated)


def _webp_size(name: bytes, chunk: memoryview) -> tuple[int, int] | None:
    if name == b"VP8X":
        packed = int.from_bytes(chunk[4:10].tobytes().ljust(6, b"\0"), "little")
        return (packed & 0xFFFFFF) + 1, (packed >> 24) + 1
    if name == b"VP8 ":
        width, height = struct.unpack_from("<HH", chunk, 6)
        return width & 0x3FFF, height & 0x3FFF
    if name == b"VP8L":
        packed = struct.unpack_from("<L", chunk, 1)[0]
        return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    return None


def _gif(data: memoryview) -> Header:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    for _ in range(_MAX_PARTS):
        kind = struct.unpack_from("<B", data, position)[0]
        if kind == 0x2C:
            left, top, frame_width, frame_height = struct.unpack_from("<HHHH", data, position + 1)
            width, height = max(width, left + frame_width), max(height, top + frame_height)
            animated = _goes_on(data, position)
            return Header(format="GIF", width=width, height=height, orientation=1, pieces=[data], animated=animated)
        if kind == 0x3B:
            break
        position = _after_blocks(data, position + 2) if kind == 0x21 else position + 1
    raise Damaged("damaged: holds no picture data")


def _goes_on(data: memoryview, position: int) -> bool:
    """Whether another frame follows the one at `position`."""
    flags = data[position + 9]
    try:
        position = _after_blocks(data, position + 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0))
        while data[position] == 0x21:
            position = _after_blocks(data, position + 2)
        return data[position] == 0x2C
    except (struct.error, IndexError):  # cut short: the decoder says so
        return False


def _after_blocks(data: memoryview, position: int) -> int:
    while length := struct.unpack_from("<B", data, position)[0]:
        position += 1 + length
    return position + 1


def _bmp(data: memoryview) -> Header:
    header_size = struct.unpack_from("<L", data, 14)[0]
    width, height = struct.unpack_from("<HH" if header_size == 12 else "<ll", data, 18)
    return Header(format="BMP", width=width, height=abs(height), orientation=1, pieces=[data])  # negative: stored from the top


def _tiff(data: memoryview, start: int | None) -> Header:
    page = reduced(data, pages_at(data, 1)[0] if start is None else start)
    return Header(format="TIFF", width=page.width, height=page.height, orientation=page.orientation, pieces=page.pieces, page=page)


_WALKS = {"JPEG": _jpeg, "PNG": _png, "WebP": _webp, "GIF": _gif, "BMP": _bmp}
