"""The bytes of a file and their hash, under a size limit. Shared by the readers."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

from mmrerank.errors import FormatError

T = TypeVar("T")
MIB = 2**20
_CHUNK = MIB
SPARE_BYTES = 256 * MIB  # of this process: whoever reads far ahead of the decoding opens files again beyond it
RACY_NS = 2_000_000_000  # coarser than the clock of any file system: what changed this shortly ago may change again within one tick


class Unopened(FormatError):
    """A file that could not be opened: rights or a disk may be back the next time, and nothing in the file tells."""

    code = "FormatError"


class Mismatched(FormatError):
    """A file that contradicts the one beside it: nothing of either can be trusted."""

    code = "FormatError"


def opened(path: Path, *, max_bytes: int | None = None) -> BinaryIO:
    """The regular file at `path`, open for reading.

    Raises:
        Unopened: missing or not readable.
        FormatError: not a regular file, empty, or above `max_bytes`.
    """
    try:
        file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - the caller closes it
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise Unopened(_refusal(error), path=path) from error
    reason = _unusable(os.fstat(file.fileno()), max_bytes)
    if reason:
        file.close()
        raise FormatError(reason, path=path)
    return file


def status_of(path: Path, *, max_bytes: int | None = None) -> os.stat_result:
    """What the system says of the regular file at `path`, which is not opened for it.

    Raises:
        Unopened: missing.
        FormatError: not a regular file, empty, or above `max_bytes`.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise Unopened(_refusal(error), path=path) from error
    if reason := _unusable(status, max_bytes):
        raise FormatError(reason, path=path)
    return status


def _refusal(error: OSError | ValueError) -> str:
    return f"cannot be opened: {getattr(error, 'strerror', None) or error}"


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # opening a named pipe would wait for a writer


def _unusable(status: os.stat_result, max_bytes: int | None) -> str:
    if stat.S_ISDIR(status.st_mode):
        return "a folder, not a file"
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    if status.st_size == 0:
        return "0 bytes"
    if max_bytes is not None and status.st_size > max_bytes:
        return f"{status.st_size / MIB:.0f} MiB, above the limit of {max_bytes / MIB:.0f}"
    return ""


def read_bytes(path: Path, *, max_bytes: int) -> bytes:
    """All bytes of a regular file.

    Raises:
        FormatError: as `opened`, or an error while reading.
    """
    with opened(path, max_bytes=max_bytes) as file:
        try:
            return file.read(max_bytes)
        except OSError as error:
            raise FormatError(f"cannot be read: {error.strerror or error}", path=path) from error


def is_lance(path: Path) -> bool:
    """Whether a folder is a Lance table, which stands for a file."""
    return path.suffix.lower() == ".lance" and (path / "_versions").is_dir()


@contextmanager
def mapped(path: Path, *, max_bytes: int) -> Iterator[memoryview]:
    """The bytes of a regular file, of which only those that are looked at are read; FormatError as `opened`. Valid within the block."""
    with opened(path, max_bytes=max_bytes) as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content, memoryview(content) as data:
        yield data


def hash_of(*parts: bytes | str) -> str:
    """blake2b-128 hex of one part's bytes, or of several, each with its length so that borders count.

    >>> hash_of(b"ab", b"c") == hash_of(b"a", b"bc")
    False
    """
    blobs = [part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part for part in parts]
    digest = hashlib.blake2b(digest_size=16)
    for blob in blobs:
        if len(blobs) > 1:
            digest.update(len(blob).to_bytes(8, "big"))
        digest.update(blob)
    return digest.hexdigest()


def hashed(path: Path, *, whole_bytes: int) -> tuple[str, bytes | None]:
    """blake2b-128 hex of a file's bytes, which equals `hash_of` of them, and the bytes where they are no more than `whole_bytes`;
    those of a larger file are read in pieces and not kept.

    Raises:
        FormatError: as `opened`, or an error while reading.
    """
    digest = hashlib.blake2b(digest_size=16)
    with opened(path) as file:
        try:
            if os.fstat(file.fileno()).st_size <= whole_bytes:
                content = file.read()
                digest.update(content)
                return digest.hexdigest(), content
            while block := file.read(_CHUNK):
                digest.update(block)
        except OSError as error:
            raise FormatError(f"cannot be read: {error.strerror or error}", path=path) from error
    return digest.hexdigest(), None


class Spare:
    """Bytes that were read for their hash and wait to be decoded, so that no file is read twice. Made by `spared`."""

    waiting = 0  # bytes, of all that there are
    lock = threading.RLock()  # reentrant: the garbage collector may end one while another is made

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self) -> tuple[Callable[[bytes], Spare | None], tuple[bytes]]:
        return spared, (self.data,)  # a copy is counted too

    def __del__(self) -> None:
        kind = type(self)  # the name of the class may be gone when the interpreter ends
        with kind.lock:
            kind.waiting -= len(self.data)


def spared(data: bytes) -> Spare | None:
    """The bytes, kept; None where those that wait already would come to more than `SPARE_BYTES`: then the file is opened again."""
    with Spare.lock:
        if Spare.waiting + len(data) > SPARE_BYTES:
            return None
        Spare.waiting += len(data)
    return Spare(data)


class Recent(Generic[T]):
    """What was made of the files used last; made again when a file's time or size changed. Safe in threads.

    Args:
        make: from a path; a FormatError goes to the caller and is not kept.
        keep: so many files at once.
    """

    def __init__(self, make: Callable[[Path], T], keep: int) -> None:
        self._make = make
        self._keep = keep
        self._lock = threading.Lock()  # held while making too: ten threads that ask at once make it once
        self._entries: OrderedDict[Path, tuple[tuple[int, int], T]] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        """Empty again: a handle that is pickled takes no file along."""
        return Recent, (self._make, self._keep)

    def get(self, path: Path) -> T:
        """What `make` gives for the file as it is now."""
        with self._lock:
            with opened(path) as file:
                status = os.fstat(file.fileno())
            version = (status.st_mtime_ns, status.st_size)
            entry = self._entries.get(path)
            if entry is None or entry[0] != version:
                entry = self._entries[path] = (version, self._make(path))
            self._entries.move_to_end(path)
            while len(self._entries) > self._keep:
                self._entries.popitem(last=False)
            return entry[1]


_HASHES: Recent[str] = Recent(lambda path: hashed(path, whole_bytes=0)[0], keep=4096)


def content_key(path: Path, *how: object) -> str:
    """Hex digits that tell what is made of a file's bytes in this way from anything else; the file is read again where its time or size
    changed.

    Raises:
        FormatError: as `hashed`.
    """
    return hash_of(_HASHES.get(path), *map(str, how))
