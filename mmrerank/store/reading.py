"""Who reads which version of a table, so that a writer drops no version from under a reader.

    COLLECTION/reading/ID.read    locked by the operating system while its reader lives; holds the version, or nothing yet
    COLLECTION/reading/.lock      whoever lays a file, or looks at them and drops versions

A reader lays its file before it opens a version, and never while versions are dropped; a writer that meets a file without a version
drops nothing this time. So a version is either seen to be read, or gone before it is opened, and then the reader opens the newest. The lock
of a file goes with its process, however that ends, and the next writer clears the file away.
A reader that may not write into the folder leaves no file; what it reads may go at the next write, and its search then opens the newest.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from filelock import BaseFileLock, FileLock, Timeout

logger = logging.getLogger(__name__)
FOLDER = "reading"
T = TypeVar("T")


def reading(collection: Path, opened: Callable[[], T], version_of: Callable[[T], int]) -> T:
    """What `opened` gives, with its version kept from writers for as long as it lives.

    Args:
        opened: opens a version; the object keeps the file locked.
        version_of: the version that it is of.
    """
    lock = _laid(collection / FOLDER)
    try:
        reader = opened()
    except BaseException:
        _let_go(lock)
        raise
    if lock is not None:
        with suppress(OSError):  # a full disk: without a version the file keeps all of them
            Path(lock.lock_file).write_text(str(version_of(reader)), encoding="ascii")
        weakref.finalize(reader, _let_go, lock)
    return reader


@contextmanager
def dropping(collection: Path) -> Iterator[set[int] | None]:
    """The versions that somebody reads, which stay so until the block ends: nobody begins to read meanwhile. None where somebody is about
    to open one, or it cannot be told."""
    folder = collection / FOLDER
    lock = _lock(folder / ".lock")
    try:
        folder.mkdir(exist_ok=True)
        lock.acquire()
    except OSError as error:
        logger.debug("nobody can tell what of %s is read: %s", collection, error)
        yield None
        return
    try:
        yield versions_in_use(collection)
    finally:
        lock.release()


def versions_in_use(collection: Path) -> set[int] | None:
    """The versions that somebody reads; None where somebody is about to open one, or it cannot be told."""
    versions: set[int] = set()
    for file in (collection / FOLDER).glob("*.read"):
        if not _is_read(file):
            with suppress(OSError):
                file.unlink()
            continue
        try:
            versions.add(int(file.read_text(encoding="ascii")))
        except (OSError, ValueError):
            return None
    return versions


def _laid(folder: Path) -> BaseFileLock | None:
    """A locked file of this reader's own; None where there can be none."""
    lock = _lock(folder / f"{uuid4().hex}.read")
    try:
        folder.mkdir(exist_ok=True)
        with _lock(folder / ".lock"):
            lock.acquire(timeout=0)
    except OSError as error:
        logger.debug("no mark of a reader can be laid in %s: %s", folder, error)
        return None
    return lock


def _lock(file: Path) -> BaseFileLock:
    return FileLock(file, thread_local=False, fallback_to_soft=False, preserve_lock_file=True, poll_interval=0.005)


def _is_read(file: Path) -> bool:
    """Whether the reader of a file lives; where the file system knows no locks, it is taken to."""
    lock = _lock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:
        return file.exists()
    lock.release()
    return False


def _let_go(lock: BaseFileLock | None) -> None:
    if lock is None:
        return
    with suppress(OSError):
        Path(lock.lock_file).unlink()  # before the lock goes, so that no writer meets a file that nobody holds
    with suppress(OSError):
        lock.release()
