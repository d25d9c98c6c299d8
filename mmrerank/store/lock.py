"""One writer at a time: a lock of the operating system on the file `.lock` of a folder.

It goes when its process ends, however that ends, so a kill leaves nothing to clean up; the file itself stays. Readers never ask
for it: they read versions of the table, which no writer changes. Where the file system knows no locks, that is said in the log and the
work goes on without.
"""

from __future__ import annotations

import errno
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mmrerank.errors import InputError

logger = logging.getLogger(__name__)
FILE = ".lock"
LOOK_AGAIN_S = 0.05
_HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Holds the lock of a collection; waits, and says so, while another process or another thread has it.

    Raises:
        InputError: nothing can be written in the folder.
    """
    try:
        file = (folder / FILE).open("ab")
    except OSError as error:
        raise InputError(f"the collection {folder} cannot be written: {error.strerror}") from error
    with file:
        if not _take(file):
            logger.warning("another process or thread writes to the collection %s; waiting until it is done", folder)
            while not _take(file):
                time.sleep(LOOK_AGAIN_S)
        try:
            yield
        finally:
            _release(file)


@contextmanager
def unless_held(folder: Path) -> Iterator[bool]:
    """Holds the lock of a folder where nobody else does, which it tells; never waits.

    Raises:
        OSError: nothing can be written in the folder.
    """
    with (folder / FILE).open("ab") as file:
        taken = _take(file)
        try:
            yield taken
        finally:
            if taken:
                _release(file)


def _take(file: IO[bytes]) -> bool:
    try:
        _lock(file)
    except OSError as error:
        if error.errno in _HELD:
            return False
        logger.warning("%s cannot be locked, so two writers at once could damage the collection: %s", file.name, error.strerror)
    return True


def _release(file: IO[bytes]) -> None:
    with suppress(OSError):  # where locking failed too
        _unlock(file)  # closing would do, but for a forked child that still has the file


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

    def _unlock(file: IO[bytes]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)
