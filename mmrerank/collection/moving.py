"""Indexed folders that lie elsewhere now: their items keep ids and descriptors, and nothing stands twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from mmrerank.errors import InputError
from mmrerank.ingest.files import path_of
from mmrerank.store.manifest import Root

Sizes: TypeAlias = dict[str, int]  # id of a file of the collection -> its bytes when it was indexed

LOOKED_AT = 1000  # files of a root, when it is asked whether a folder holds them
LEVELS = 3  # of folders above a root that may have moved with it


def placed(roots: Sequence[Root], old: Path, new: Path, files: Sizes) -> tuple[Root, ...]:
    """The roots after a folder has moved.

    Args:
        old: where it was: a root, a folder above roots or one within a root.
        new: where it is.

    Raises:
        InputError: nothing was indexed there, or none of its files lies in the new place.
    """
    old, new = Path(old).absolute(), new.resolve()
    if not new.is_dir():
        raise InputError(f"there is no folder {new} that {old} could have moved to")
    inside = {root for root in roots if Path(root.path).is_relative_to(old)}
    moved = [replace(root, path=str(new / Path(root.path).relative_to(old))) if root in inside else root for root in roots]
    if not inside:
        around = max((r for r in roots if old.is_relative_to(r.path)), key=lambda root: len(root.path), default=None)
        if around is None:
            raise InputError(f"nothing below {old} is indexed; indexed are {', '.join(root.path for root in roots) or 'no folders'}")
        moved.append(Root(path=str(new), prefix=f"{around.prefix}{old.relative_to(around.path).as_posix()}/"))
    ids = [file_id for file_id in files if path_of(file_id, roots).is_relative_to(old)]
    if not ids:
        raise InputError(f"the collection has no file of {old}")
    if not any(path_of(file_id, moved).exists() for file_id in ids):
        raise InputError(f"{new} holds none of the {len(ids)} files that were indexed from {old}, such as {ids[0]}")
    return tuple(moved)


def recognised(roots: tuple[Root, ...], paths: Sequence[Path], files: Sizes) -> tuple[tuple[Root, ...], list[str]]:
    """The roots, those that are not there any more in one of these places where at least half of their files lie there, with
    the same sizes; and a sentence for each that was placed anew."""
    notes = []
    for root in roots:
        if Path(root.path).is_dir():
            continue
        ids = [file_id for file_id in files if Path(root.path) in path_of(file_id, roots).parents]
        for folder in _places(root, paths, roots):
            moved = tuple(replace(r, path=str(folder)) if r == root else r for r in roots)
            some = list(islice(ids, LOOKED_AT))
            if some and 2 * sum(_size(path_of(file_id, moved)) == files[file_id] for file_id in some) >= len(some):
                notes.append(f"{root.path} is not there any more, and its files lie in {folder}: taken for moved")
                roots = moved
                break
    return roots, notes


def _places(root: Root, paths: Iterable[Path], roots: Sequence[Root]) -> Iterator[Path]:
    """Where the folder of a root may lie if one of these paths is it, or is a folder above that moved with it."""
    for path in paths:
        folder = (path if path.is_dir() else path.parent).resolve()
        if any(folder.is_relative_to(r.path) for r in roots):
            continue
        names = Path(root.path).parts[1:]
        yield folder
        yield from (place for n in range(1, LEVELS + 1) if (place := folder.joinpath(*names[-n:])).is_dir())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
