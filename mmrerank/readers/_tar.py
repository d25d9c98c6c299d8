"""The members of a tar archive, forwards, from a file or a gzip stream; nothing is extracted.

Source: POSIX.1-2001 ustar and pax, GNU long names. `tarfile` parses the 512-byte headers; walking from one to the next is done
here, because `tarfile` reads extended headers of any claimed size into memory and stops without a word where an archive was cut.
Cost: one header read a member (about 10 us); a gzip stream is unpacked from its start.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from mmrerank.readers._files import MIB, opened
from mmrerank.readers._kinds import looks_like

_BLOCK = 512
_MAX_END = MIB  # of the zeros that end an archive; tar pads to 10 KiB unless told otherwise
_MAX_EXTENDED = MIB  # bytes of one extended header
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_WITHOUT_DATA = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE)
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)


class Broken(Exception):
    """The archive cannot be read on from `position`; `between` when the break falls between two members."""

    def __init__(self, reason: str, position: int, *, between: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.position = position
        self.between = between


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A regular file in an archive."""

    name: str
    offset: int  # of its first byte, in the unpacked archive
    size: int


class Archive:
    """A tar that is read forwards; going back works too, in a gzip stream at the price of a new start."""

    def __init__(self, file: BinaryIO, *, max_bytes: int, max_members: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._max_members = max_members

    def members(self) -> Iterator[Member]:
        """The regular files in order; links, devices, folders and sparse files are passed over.

        Raises:
            Broken: cut short, damaged, or above a limit.
        """
        position, count = 0, 0
        extensions: dict[str, str] = {}
        while (block := self._header(position)) is not None:
            info = _parsed(block, position)
            start = self._after_sparse(info, block, position + _BLOCK)
            size = 0 if info.type in _WITHOUT_DATA else _size(info, extensions, position)
            if info.type in _PAX or info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
                extensions |= self._extended(info, start, size)
            else:
                sparse = any(name.startswith("GNU.sparse") for name in extensions)
                if info.type in _FILES and not sparse:
                    yield Member(name=extensions.get("path", info.name), offset=start, size=size)
                if info.type != tarfile.XGLTYPE:
                    extensions = {}
            position = start + -(-size // _BLOCK) * _BLOCK
            count += 1
            if count > self._max_members:
                raise Broken(f"more than {self._max_members} members", position, between=True)

    def read(self, offset: int, size: int) -> bytes:
        """These bytes of the unpacked archive; Broken when it has fewer."""
        data = self._read(offset, size)
        if len(data) < size:
            raise Broken("truncated: ends within a member", offset)
        return data

    def _read(self, offset: int, size: int) -> bytes:
        if offset + size > self._max_bytes:
            raise Broken(f"unpacks to more than {self._max_bytes / MIB:.0f} MiB", offset)
        try:
            self._file.seek(offset)
            return self._file.read(size)
        except EOFError as error:
            raise Broken("truncated: its gzip stream ends too early", offset) from error
        except (OSError, zlib.error) as error:
            raise Broken(f"damaged: {error}", offset) from error

    def _header(self, position: int) -> bytes | None:
        """The 512 bytes of a header; None for the end mark."""
        block = self._read(position, _BLOCK)
        if len(block) == _BLOCK:
            if any(block):
                return block
            self._check_end(position)
            return None
        at_border = not block and position and self._file.seek(0, io.SEEK_END) == position
        if at_border:
            raise Broken("ends without its end mark, so it may have been cut", position, between=True)
        raise Broken("truncated: ends within a member", position)

    def _check_end(self, position: int) -> None:
        """Broken when what follows is no end: other members, or the zeros of a file that was made at full size and never filled."""
        try:
            rest = self._read(position, _MAX_END + 1)
        except Broken as broken:  # all members are here, only their end is not
            raise Broken(broken.reason, position, between=True) from broken
        if any(rest):
            raise Broken("goes on after its end mark", position, between=True)
        if not 2 * _BLOCK <= len(rest) <= _MAX_END:
            raise Broken(f"{len(rest)} zero bytes where 1024 end an archive, so it may have been cut", position, between=True)

    def _after_sparse(self, info: tarfile.TarInfo, block: bytes, start: int) -> int:
        more = info.type == tarfile.GNUTYPE_SPARSE and block[482]
        while more:  # the map of holes goes on in blocks of its own
            more = self.read(start, _BLOCK)[504]
            start += _BLOCK
        return start

    def _extended(self, info: tarfile.TarInfo, start: int, size: int) -> dict[str, str]:
        if size > _MAX_EXTENDED:
            raise Broken(f"damaged: an extended header of {size} bytes", start)
        data = self.read(start, size)
        if info.type == tarfile.GNUTYPE_LONGNAME:
            return {"path": data.rstrip(b"\0").decode("utf-8", "surrogateescape")}
        return _pax_records(data, start) if info.type in _PAX else {}


def _parsed(block: bytes, position: int) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as error:
        if position == 0:
            raise Broken(f"not a tar archive: looks like {looks_like(block)}", 0) from error
        raise Broken("damaged: no member begins here", position) from error


def _size(info: tarfile.TarInfo, extensions: dict[str, str], position: int) -> int:
    text = extensions.get("size", str(info.size))
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Broken(f"damaged: a member of {text[:40]} bytes", position)
    return int(text)


def _pax_records(data: bytes, start: int) -> dict[str, str]:
    """The records of a pax header, each "LENGTH KEY=VALUE" and a line end."""
    records, position = {}, 0
    while position < len(data) and data[position] != 0:
        digits = data[position : position + 20].split(b" ", 1)[0]
        length = int(digits) if digits.isdigit() else 0
        name, separator, value = data[position + len(digits) + 1 : position + length - 1].partition(b"=")
        if length <= len(digits) + 1 or position + length > len(data) or not separator:
            raise Broken("damaged: an extended header", start)
        records[name.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
        position += length
    return records


@contextmanager
def archive(path: Path, *, max_bytes: int, max_members: int) -> Iterator[tuple[Archive, bool]]:
    """The archive at `path` and whether it is compressed, which its content says, whatever its name.

    Raises:
        FormatError: it cannot be opened.
    """
    with opened(path) as file:
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not compressed:
            yield Archive(file, max_bytes=2**62, max_members=max_members), False
            return
        with gzip.GzipFile(fileobj=file) as stream:
            yield Archive(cast(BinaryIO, stream), max_bytes=max_bytes, max_members=max_members), True
