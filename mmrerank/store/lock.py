"""One writer at a time: a lock of the operating system on the file `.lock` of a folder, taken through `filelock`.

It goes when its process ends, however that ends, so a kill leaves nothing to clean up; the file itself stays, for whoever waits
has it open. It is the lock that versions before `filelock` took (`flock` on the same file), so both keep each other out. Readers
never ask for it: they read versions of the table, which no writer changes. Where the file system knows no locks, that is said in the
log and the work goes on without.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mmrerank.errors import InputError

if TYPE_CHECKING:
    from filelock import BaseFileLock

logger = logging.getLogger(__name__)
FILE = ".lock"
LOOK_AGAIN_S = 0.05
_WITHOUT_LOCKS = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL})  # as some network shares answer


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Holds the lock of a collection; waits, and says so, while another process or another thread has it.

    Raises:
        InputError: nothing can be written in the folder.
    """
    lock = _lock_of(folder)
    try:
        if not _take(lock):
            logger.warning("another process or thread writes to the collection %s; waiting until it is done", folder)
            lock.acquire(poll_interval=LOOK_AGAIN_S)
    except OSError as error:
        raise InputError(f"the collection {folder} cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        _release(lock)


@contextmanager
def if_free(folder: Path) -> Iterator[bool]:
    """Holds the lock of a folder where nobody else does, which it tells; never waits.

    Raises:
        OSError: nothing can be written in the folder.
    """
    lock = _lock_of(folder)
    is_mine = _take(lock)
    try:
        yield is_mine
    finally:
        if is_mine:
            _release(lock)


def _lock_of(folder: Path) -> BaseFileLock:
    """A lock of its own for each use, so that threads keep each other out as processes do; without the files that `filelock` would put
    in place of a lock that the file system does not know: a kill leaves such a file behind."""
    from filelock import FileLock  # here, since who only reads has no use for it

    return FileLock(folder / FILE, thread_local=False, fallback_to_soft=False, preserve_lock_file=True)


def _take(lock: BaseFileLock) -> bool:
    """Whether nobody else has it; true as well, with a warning, where the file system knows no locks."""
    from filelock import Timeout

    Path(lock.lock_file).parent.stat()  # `filelock` would make a folder that is missing
    try:
        lock.acquire(timeout=0)
    except Timeout:  # an OSError too
        return False
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise
        reason = error.strerror
        logger.warning("%s cannot be locked, so two writers at once could damage the collection: %s", lock.lock_file, reason)
    return True


def _release(lock: BaseFileLock) -> None:
    with suppress(OSError):  # a share that went away meanwhile took its lock along
        lock.release()
