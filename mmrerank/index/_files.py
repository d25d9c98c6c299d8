"""Index files that show a torn or rotten write.

One file: a magic line, a line of JSON, the parts, and 4 bytes of CRC-32 over all before them. It is written beside its place,
flushed to the disk and then renamed, so a kill leaves the old file or the new one. The check runs before anything is parsed:
FAISS believes the sizes it reads, and a flipped bit there asks for terabytes.
"""

from __future__ import annotations

import io
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from mmrerank.errors import DamagedData, ManifestError

_MAGIC = b"mmrerank index 1\n"
_PIECE = 1 << 20


class Sink:
    """A file that sums up what goes into it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.crc = 0

    def write(self, data: bytes) -> int:
        self.crc = zlib.crc32(data, self.crc)
        return self._file.write(data)


def put_array(sink: Sink, array: npt.NDArray[Any]) -> None:
    np.lib.format.write_array(sink, np.ascontiguousarray(array), allow_pickle=False)


def get_array(source: IO[bytes]) -> Any:
    return np.lib.format.read_array(source, allow_pickle=False)


def save_sealed(path: Path, header: Mapping[str, Any], fill: Callable[[Sink], None]) -> None:
    """Writes `header` and what `fill` puts after it to `path`, all or nothing."""
    path = Path(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            sink = Sink(file)
            sink.write(_MAGIC + json.dumps(header).encode() + b"\n")
            fill(sink)
            file.write(sink.crc.to_bytes(4, "little"))
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


@contextmanager
def open_sealed(path: Path, expected: Mapping[str, Any]) -> Iterator[IO[bytes]]:
    """The file after its header, once its sum is right.

    Raises:
        DamagedData: it is missing, torn, changed, or no index file.
        ManifestError: its header says other than `expected`.
    """
    path = Path(path)
    if not path.is_file():
        raise DamagedData(f"the index file {path} is missing", hint="Rebuild the index from its descriptors.")
    with path.open("rb") as file:
        if not _is_whole(file):
            raise DamagedData(f"the index file {path} is torn or changed", hint="Rebuild the index from its descriptors.")
        file.seek(len(_MAGIC))
        header = json.loads(file.readline())
        if header != expected:
            raise ManifestError(f"the index file {path} holds {header}, not {dict(expected)}", hint="Open it as what it is, or rebuild.")
        yield file


def _is_whole(file: IO[bytes]) -> bool:
    remaining = file.seek(0, io.SEEK_END) - 4
    file.seek(0)
    if remaining < len(_MAGIC) or file.read(len(_MAGIC)) != _MAGIC:
        return False
    crc, remaining = zlib.crc32(_MAGIC), remaining - len(_MAGIC)
    while remaining > 0:
        piece = file.read(min(_PIECE, remaining))
        crc, remaining = zlib.crc32(piece, crc), remaining - len(piece)
    return crc.to_bytes(4, "little") == file.read(4)
