"""The collections of a service, opened with all that searches need, and opened again once somebody wrote to them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import chain, count
from pathlib import Path

from mmrerank.collection import Collection, capabilities
from mmrerank.errors import MMRerankError

logger = logging.getLogger(__name__)
LOOK_AGAIN_S = 2.0  # an ingest commits often, and opening costs more than a search


class OpenCollections:
    """Collections by the names of their folders."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._held: dict[str, Collection] = {}
        for folder in folders:
            self._held[self._free(folder.resolve().name)] = _opened(folder)
        self._lock = threading.Lock()
        self._looked: dict[str, float] = {}

    def _free(self, name: str) -> str:
        """The name itself, or the first with a number that no other collection has."""
        return next(one for one in chain([name], (f"{name}-{n}" for n in count(2))) if one not in self._held)

    @property
    def names(self) -> list[str]:
        return list(self._held)

    def all(self) -> Iterator[Collection]:
        yield from self._held.values()

    def get(self, name: str) -> Collection:
        """The collection at its newest version, or at the last one that could be opened.

        One thread opens it again; the others go on with what there is, and a search that runs keeps what it began with.
        """
        held = self._held[name]
        if time.monotonic() - self._looked.get(name, 0) < LOOK_AGAIN_S or not self._lock.acquire(blocking=False):
            return held
        try:
            if not held.table.is_newest:
                self._held[name] = _opened(held.path)
        except (MMRerankError, OSError) as error:
            logger.warning("the collection %r cannot be opened again and is served as it was: %s", name, error)
        finally:
            self._looked[name] = time.monotonic()
            self._lock.release()
        return self._held[name]


def _opened(folder: Path) -> Collection:
    collection = Collection.open(folder)
    capabilities.warm_up(collection.version)
    return collection
