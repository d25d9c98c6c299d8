"""The short fields of a large table, kept beside it; `mmrerank.store.short_fields` says what is in them.

COLLECTION/indexes/fields/cache.json   of which version they were written, with size, time and checksum
COLLECTION/indexes/fields/data-*       the folder of that
COLLECTION/indexes/fields/.lock        who saves now
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmrerank.collection.index_files import STATE, Stamp, checked, checksum, read_state, save_there, saved, write_state
from mmrerank.errors import DamagedData

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldState:
    """The contents of `cache.json`."""

    version: int  # of the table
    data: Stamp


class FolderFieldCache:
    """See `mmrerank.store.short_fields.FieldCache`, which this is, below the folder of the indexes."""

    def __init__(self, folder: Path) -> None:
        self._place = folder / "fields"

    def newest(self) -> Path | None:
        """The folder that was written last; None where there is none, or it was changed since."""
        try:
            state = self._state()
            return None if state is None else checked(self._place, state.data)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, DamagedData) as error:
            logger.warning("the fields in %s are read again: %s", self._place, error)
            return None

    def renew(self, write: Callable[[Path], None], version: int) -> Path | None:
        """A new folder that `write` has filled; None where another process fills one just now, or nothing can be written."""

        def save() -> Path:
            state = FieldState(version=version, data=saved(self._place, "data", version, write))
            write_state(self._place, state)
            return self._place / state.data.name

        return save_there(self._place, save)

    def drop_damaged(self) -> bool:
        """Forgets what is not what was written, byte by byte; returns whether it was so."""
        try:
            state = self._state()
            if state is None or checksum(self._place / state.data.name) == state.data.checksum:
                return False
        except (OSError, ValueError, TypeError) as error:
            logger.debug("the fields in %s cannot be read: %s", self._place, error)
        (self._place / STATE).unlink(missing_ok=True)
        return True

    def _state(self) -> FieldState | None:
        raw = read_state(self._place)
        return None if raw is None else FieldState(**raw)
