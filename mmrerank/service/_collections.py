"""The collections of a service, opened with all that searches need, and opened again once somebody wrote to them or put others in their
place. One whose folder went away is a state of the service, which requests are told of as such."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path

from mmrerank.collection import Collection, capabilities
from mmrerank.errors import MMRerankError
from mmrerank.store.manifest import FILE

logger = logging.getLogger(__name__)
LOOK_AGAIN_S = 2.0  # an ingest commits often, and opening costs more than a search


class CollectionGone(MMRerankError):
    """The folder of a collection is not there any more."""

    code = "CollectionGone"

    def __init__(self, name: str) -> None:
        message = f"the collection {name!r} is gone: its folder was removed or moved while it was served"
        super().__init__(message, hint="Tell who runs the service.")


class OpenCollections:
    """Collections by the names of their folders."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._open: dict[str, Collection] = {}
        for folder in folders:
            self._open[self._free(folder.resolve().name)] = _opened(folder)
        self._lock = threading.Lock()
        self._looked: dict[str, float] = {}
        self._places = {name: _place(collection.path) for name, collection in self._open.items()}

    def _free(self, name: str) -> str:
        """The name itself, or the first with a number that no other collection has."""
        return next(one for one in chain([name], (f"{name}-{n}" for n in count(2))) if one not in self._open)

    @property
    def names(self) -> list[str]:
        return list(self._open)

    def all(self) -> Iterator[Collection]:
        yield from self._open.values()

    def is_gone(self, name: str) -> bool:
        """Whether its folder is not there, or not a collection any more."""
        return _place(self._open[name].path) is None

    def get(self, name: str) -> Collection:
        """The collection at its newest version, or at the last one that could be opened.

        One thread opens it again; the others go on with what there is, and a search that runs keeps what it began with.

        Raises:
            CollectionGone: its folder is not there.
        """
        collection, place = self._open[name], _place(self._open[name].path)
        if place is None:
            raise CollectionGone(name)
        replaced = place != self._places[name]
        if not replaced and (time.monotonic() - self._looked.get(name, 0) < LOOK_AGAIN_S or not self._lock.acquire(blocking=False)):
            return collection
        if replaced:
            self._lock.acquire()  # what was there cannot be searched any more, so that everybody waits
        try:
            if place != self._places[name] or not collection.table.is_newest:
                self._open[name] = _opened(collection.path)
                self._places[name] = place
        except (MMRerankError, OSError) as error:
            logger.warning("the collection %r cannot be opened again and is served as it was: %s", name, error)
        finally:
            self._looked[name] = time.monotonic()
            self._lock.release()
        return self._open[name]

    @contextmanager
    def watched(self, name: str) -> Iterator[None]:
        """Turns what fails within, because the folder went away meanwhile, into CollectionGone."""
        try:
            yield
        except (MMRerankError, OSError) as error:
            if self.is_gone(name):
                raise CollectionGone(name) from error
            raise


def _place(folder: Path) -> tuple[int, int] | None:
    """Which folder is there, also where another came to have its name; None where no collection is."""
    try:
        state = folder.stat()
        return (state.st_dev, state.st_ino) if (folder / FILE).exists() else None
    except OSError:
        return None


def _opened(folder: Path) -> Collection:
    collection = Collection.open(folder)
    capabilities.warm_up(collection.version)
    return collection
