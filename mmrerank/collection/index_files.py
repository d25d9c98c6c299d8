"""What the caches of a collection's indexes share on disk: files with a stamp, named by a state that is replaced last and in one step.

A kill leaves the former state or the new one with its files, never a mixture; what a state does not name is deleted by the next save.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from mmrerank.errors import DamagedData, InputError
from mmrerank.index import Sink, save_sealed
from mmrerank.store.lock import if_free, writing
from mmrerank.store.table import Snapshot

logger = logging.getLogger(__name__)
STATE = "cache.json"
REPAIR = "Index any folder of the collection again: the newest row of each stays."
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """A file as it was saved."""

    name: str
    size: int
    mtime_ns: int
    checksum: str


def saved(place: Path, kind: str, version: int, save: Callable[[Path], None]) -> Stamp:
    """The stamp of a file that `save` writes, under a name that no reader has open."""
    path = place / f"{kind}-{version}-{uuid4().hex}"
    save(path)
    size, mtime_ns = _measures(path)
    return Stamp(name=path.name, size=size, mtime_ns=mtime_ns, checksum=checksum(path))


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes arrays to a file of their own, for `mmrerank.index.map_sealed` to read as its parts."""

    def fill(sink: Sink) -> None:
        for name, array in arrays.items():
            sink.put(name, array)

    save_sealed(path, {"parts": list(arrays)}, fill)


def checked(place: Path, stamp: Stamp) -> Path:
    """Where the file of a stamp lies, once it is seen to be what was saved: by size and time, and where these differ, as in a copy, by
    its content.

    Raises:
        FileNotFoundError: it is not there, or another process deletes it just now.
        DamagedData: it was changed.
    """
    path = place / stamp.name
    if _measures(path) != (stamp.size, stamp.mtime_ns) and checksum(path) != stamp.checksum:
        raise DamagedData(f"{path} was changed since it was saved")
    return path


def _measures(path: Path) -> tuple[int, int]:
    files = [file for file in sorted(path.rglob("*")) if file.is_file()] if path.is_dir() else [path]
    stats = [file.stat() for file in files]
    return sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)


def checksum(path: Path) -> str:
    """blake2b over the file, or over the names and contents of the files of a folder.

    Raises:
        FileNotFoundError: it is not there, or another process deletes it just now.
    """
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        digest.update(file.name.encode())
        if not file.is_dir():
            with file.open("rb") as data:
                while block := data.read(1 << 22):
                    digest.update(block)
    return digest.hexdigest()


def read_state(place: Path) -> dict[str, Any] | None:
    """The state, with stamps where it names files; None where there is none, or an earlier version of this package wrote it.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        raw = json.loads((place / STATE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if not isinstance(raw, dict) or "checksum" in raw:
        return None
    return {name: Stamp(**value) if isinstance(value, dict) and "checksum" in value else value for name, value in raw.items()}


def write_state(place: Path, state: Any) -> None:
    """Replaces the state by this record, and deletes what it does not name."""
    content = asdict(state)
    temporary = place / f"data-{uuid4().hex}.new"
    temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    temporary.replace(place / STATE)
    names = {value["name"] for value in content.values() if isinstance(value, dict) and "checksum" in value}
    for path in place.iterdir():
        if "-" in path.name and path.name not in names:  # those with a dot in front are what a killed save leaves
            _delete(path)


def _delete(path: Path) -> None:
    try:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    except OSError as error:  # what stays, as a file that a reader on Windows has open, is deleted by the next save
        logger.debug("%s stays for now: %s", path, error)


def check_once(snapshot: Snapshot) -> None:
    """Passes where no row stands twice.

    Raises:
        DamagedData: some do.
    """
    if count := snapshot.repeats:
        raise DamagedData(f"{count} rows stand twice in the table of the collection, as two writers at once left it", hint=REPAIR)


def save_there(place: Path, save: Callable[[], T], *, wait: bool = False) -> T | None:
    """What `save` gives, while nobody else saves there; None where somebody does and it is not to `wait`.

    A cache that cannot be saved, in a folder that is read-only for example, costs time and no search.
    """
    try:
        place.mkdir(parents=True, exist_ok=True)
        if wait:
            with writing(place):
                return save()
        with if_free(place) as is_mine:
            return save() if is_mine else None
    except (OSError, InputError) as error:
        logger.warning("the index cache %s cannot be saved, so the next process makes it again: %s", place, error)
        return None
