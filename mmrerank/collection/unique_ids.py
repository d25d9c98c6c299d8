"""Of which files of the table it is known that no id stands twice in it, so that an addition to a million items need not count their ids.

COLLECTION/indexes/unique.json   number of each file of the table -> what tells its content

Two writers without a lock could leave an id twice; whoever writes under the lock does not. So ids are counted where the table is not as the
last of those left it.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from uuid import uuid4

from mmrerank.store.short_fields import SMALL
from mmrerank.store.table import Table

logger = logging.getLogger(__name__)
FILE = "unique.json"


def is_unique(folder: Path, table: Table) -> bool:
    """Whether the table is as `note_unique` was last called with it."""
    try:
        return bool(json.loads((folder / FILE).read_text(encoding="utf-8")) == dict(table.data_files))
    except (OSError, ValueError):
        return False


def note_unique(folder: Path, table: Table) -> None:
    """Notes of a table that is large that no id stands twice in it; where that cannot be noted, the next addition looks again."""
    if table.row_count <= SMALL:
        return
    draft = folder / f"{FILE}.{uuid4().hex}.new"
    try:
        folder.mkdir(exist_ok=True)
        draft.write_text(json.dumps(dict(table.data_files)), encoding="utf-8")
        draft.replace(folder / FILE)
    except OSError as error:
        logger.debug("%s cannot be written: %s", folder / FILE, error)
        draft.unlink(missing_ok=True)
