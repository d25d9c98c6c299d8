"""Index files that show a torn or rotten write, and that can be opened where they lie.

One file: the parts, each at a multiple of 64 bytes; a JSON text that says what the index is and where its parts stand; the length of that
text; a CRC-32 over all before it; and a mark. What FAISS wrote comes first, since FAISS maps a file from its beginning. A file is written
beside its place, flushed to the disk and then renamed, so a kill leaves the old file or the new one.

`load_sealed` reads the sum before anything is parsed: FAISS believes the sizes it reads, and a flipped bit there asks for terabytes.
`map_sealed` reads the JSON alone: for a file that was checked when it was written, and whose size and time have not changed since.
"""

from __future__ import annotations

import io
import json
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from mmrerank.errors import DamagedData, ManifestError

_MARK = b"mmrerank index 2"
_ALIGNED = 64
_PIECE = 1 << 20
_TAIL = 8 + 4 + len(_MARK)  # length of the JSON, sum, mark
REBUILD = "Rebuild the index from its descriptors."


class Sink:
    """A file that sums up what goes into it, part by part."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._at = file, 0
        self.crc = 0
        self.parts: dict[str, dict[str, Any]] = {}

    def write(self, data: bytes) -> int:
        self.crc = zlib.crc32(data, self.crc)
        self._at += len(data)
        return self._file.write(data)

    def begin(self, name: str, **what: Any) -> None:
        """A part of that name begins; what is written from here on is its content."""
        self.write(bytes(-self._at % _ALIGNED))
        self.parts[name] = {"at": self._at, **what}

    def put(self, name: str, array: npt.NDArray[Any]) -> None:
        """An array of any shape as a part."""
        self.begin(name, shape=list(array.shape), dtype=array.dtype.str)
        for start in range(0, len(array), 1 << 16):  # an array that is mapped itself is copied piece by piece
            self.write(np.ascontiguousarray(array[start : start + (1 << 16)]).tobytes())


class Sealed:
    """What an index file holds."""

    def __init__(self, path: Path, parts: Mapping[str, Mapping[str, Any]], *, mapped: bool) -> None:
        self.path, self.mapped = path, mapped
        self._parts = parts

    def array(self, name: str) -> Any:
        """The array of that part: read-only where the file is mapped, else a copy in memory."""
        part = self._parts[name]
        kind, shape = np.dtype(part["dtype"]), tuple(part["shape"])
        if not all(shape):
            return np.empty(shape, kind)
        array = np.memmap(self.path, kind, "r", part["at"], shape).view(np.ndarray)
        return array if self.mapped else array.copy()


def save_sealed(path: Path, header: Mapping[str, Any], fill: Callable[[Sink], None]) -> None:
    """Writes what `fill` puts into parts, and `header`, to `path`, all or nothing."""
    path = Path(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            sink = Sink(file)
            fill(sink)
            text = json.dumps({"header": header, "parts": sink.parts}).encode()
            sink.write(text)
            sink.write(len(text).to_bytes(8, "little"))
            file.write(sink.crc.to_bytes(4, "little") + _MARK)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # a folder cannot be opened there, and the rename is in the journal already
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def load_sealed(path: Path, expected: Mapping[str, Any]) -> Sealed:
    """The file, once its sum is right.

    Raises:
        DamagedData: it is missing, torn, changed, or no index file.
        ManifestError: its header says other than `expected`.
    """
    path = Path(path)
    if not path.is_file():
        raise DamagedData(f"the index file {path} is missing", hint=REBUILD)
    with path.open("rb") as file:
        if not _is_whole(file):
            raise DamagedData(f"the index file {path} is torn or changed", hint=REBUILD)
    return _sealed(path, expected, mapped=False)


def map_sealed(path: Path, expected: Mapping[str, Any]) -> Sealed:
    """The file as it stands, unchecked.

    Raises:
        DamagedData: it is missing, or no index file by its end.
        ManifestError: its header says other than `expected`.
    """
    return _sealed(Path(path), expected, mapped=True)


def _sealed(path: Path, expected: Mapping[str, Any], *, mapped: bool) -> Sealed:
    try:
        with path.open("rb") as file:
            end = file.seek(0, io.SEEK_END)
            file.seek(max(0, end - _TAIL))
            tail = file.read()
            length = int.from_bytes(tail[:8], "little")
            if not tail.endswith(_MARK) or not 0 < length <= end - _TAIL:
                raise ValueError("its end is missing")
            file.seek(end - _TAIL - length)
            content = json.loads(file.read(length))
        header, parts = content["header"], content["parts"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedData(f"the index file {path} cannot be opened: {error}", hint=REBUILD) from error
    if header != expected:
        raise ManifestError(f"the index file {path} holds {header}, not {dict(expected)}", hint="Open it as what it is, or rebuild.")
    return Sealed(path, parts, mapped=mapped)


def _is_whole(file: IO[bytes]) -> bool:
    remaining = file.seek(0, io.SEEK_END) - len(_MARK) - 4
    if remaining < 8:
        return False
    file.seek(remaining + 4)
    if file.read() != _MARK:
        return False
    file.seek(0)
    crc = 0
    while remaining > 0:
        piece = file.read(min(_PIECE, remaining))
        crc, remaining = zlib.crc32(piece, crc), remaining - len(piece)
    return crc.to_bytes(4, "little") == file.read(4)
