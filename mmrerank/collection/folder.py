"""What the folder of a collection holds when it is made and opened, beside other processes that do the same or write."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from mmrerank.errors import InputError
from mmrerank.store.lock import FILE as LOCK
from mmrerank.store.manifest import FILE, Manifest, read_manifest
from mmrerank.store.reading import FOLDER as READING
from mmrerank.texts import is_clean, printable

TABLE = "items.lance"
INDEXES = "indexes"  # what is made of the table, and made anew where it is missing
STAGING = "staging"  # what workers made and nobody sees yet
State = TypeVar("State")


def path_from(value: Any) -> Path:
    """The path that this is.

    Raises:
        InputError: it is none.
    """
    if not isinstance(value, str | os.PathLike):
        raise InputError(f"expected a path; got {type(value).__name__}")
    return Path(os.fsdecode(value))


def check_vacant(folder: Path) -> None:
    """Passes where a collection can be made.

    Raises:
        InputError: a collection or something else lies there.
    """
    check_name(folder)
    if (folder / FILE).exists():
        raise InputError(f"{folder} holds a collection already", hint="Open it with Collection.open, or name a new folder.")
    if folder.exists() and not (folder.is_dir() and all(map(_is_of_creation, folder.iterdir()))):
        raise InputError(f"{folder} is not empty and holds no collection", hint="Name a new folder for the collection.")


def check_name(folder: Path) -> None:
    """Passes where the storage can name the folder.

    Raises:
        InputError: its name, or that of a folder around it, is not UTF-8.
    """
    if not is_clean(str(folder.absolute())):
        name = printable(str(folder.absolute()))
        raise InputError(
            f"no collection can lie in {name}: the name is not UTF-8, as that of every folder around it must be", hint="Rename it."
        )


def _is_of_creation(path: Path) -> bool:
    """Whether a process that makes a collection, or was killed while it did, can have put it there."""
    return path.name in (LOCK, TABLE, READING) or path.name.startswith(f"{FILE}.")


def read_consistent(folder: Path, look: Callable[[], State]) -> tuple[Manifest, State]:
    """The manifest with what `look` finds while it stays the same: writers note roots before their rows, encoders after their columns."""
    while True:
        manifest = read_manifest(folder)
        state = look()
        if read_manifest(folder) == manifest:
            return manifest, state
