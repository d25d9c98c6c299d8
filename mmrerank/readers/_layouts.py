"""Which paths are ready vectors, by what lies there and never by a flag: the parts of a folder, of a file, or of a Lance table."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mmrerank.readers._files import is_lance
from mmrerank.readers._vectors import DESCRIBED, NPY, PARQUETS, PICTURES, TEXTS, number, vector_columns

_BESIDE = (".json", ".yaml", ".yml", ".toml")  # what says something of the whole, and is no item
_NOTES = ("README", "LICENSE", "LICENCE")


def vector_files(path: Path) -> tuple[Path, ...]:
    """The parts at a path, in the order of their numbers; none where it is something else, or a folder that holds other things too."""
    if is_lance(path):
        return (path,)
    if path.is_file():
        return (path,) if path.suffix.lower() == NPY or has_vectors(path) else ()
    for folder in (path / PICTURES, path / TEXTS):  # rows of pictures where there are both: an item is the picture
        if parts := _sorted(folder.glob(f"*{NPY}")):
            return parts
    return _of_folder(path) or _of_folder(path / "data")  # as Hugging Face lays its data sets out


def texts_left_aside(path: Path) -> Path | None:
    """The folder of the texts' vectors, where those of the pictures are taken."""
    folder = path / TEXTS
    return folder if any((path / PICTURES).glob(f"*{NPY}")) and any(folder.glob(f"*{NPY}")) else None


def has_vectors(path: Path) -> bool:
    """Whether a Parquet file has a column of vectors."""
    if path.suffix.lower() not in PARQUETS:
        return False
    try:
        return bool(vector_columns(pq.read_schema(path)))
    except (pa.ArrowException, OSError, ValueError):
        return False  # whoever reads it says what is wrong with it


def _of_folder(folder: Path) -> tuple[Path, ...]:
    """The parts right in a folder; it is left at the first thing that is none, so that a large folder of pictures is not listed for it."""
    if not folder.is_dir():
        return ()
    files = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if not _belongs(Path(entry.path)):
                return ()
            files.append(Path(entry.path))
    if matrices := [file for file in files if file.suffix.lower() == NPY]:
        return _sorted(matrices)
    tables = [file for file in files if file.suffix.lower() in PARQUETS] or [file for file in files if is_lance(file)]
    return _sorted(tables) if tables and all(is_lance(table) or has_vectors(table) for table in tables) else ()


def _belongs(path: Path) -> bool:
    """Whether it can lie in a folder of ready vectors."""
    if path.is_dir():
        return path.name == DESCRIBED or is_lance(path)
    return path.suffix.lower() in (NPY, *PARQUETS, *_BESIDE) or path.stem.upper() in _NOTES


def _sorted(files: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(sorted(files, key=lambda file: (number(file) if number(file) is not None else -1, file.name)))
