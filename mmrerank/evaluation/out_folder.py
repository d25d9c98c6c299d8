"""The folder of an evaluation: the files of one evaluation stand there, and never those of two.

`result.json` names the files that belong to it. It goes first and comes back last, so that a folder in which a kill fell between has none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from mmrerank.errors import FormatError, InputError
from mmrerank.text_files import read_json, write_text

RESULT = "result.json"
ALWAYS_OURS = re.compile(r"(run|first_stage|stage-\d+)\.trec(\.json)?|report\.html")  # also of evaluations that named no files


def check_folder(folder: Path) -> None:
    """Nothing where the files of an evaluation can stand in the folder; looked at before anything is searched, and not made yet.

    Raises:
        InputError: it is no folder, cannot be written, or its `result.json` is of something else.
    """
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise InputError(f"the results cannot be written: {nearest} is no folder that can be written", hint="Name another folder.")
    if folder.is_dir():
        list(_earlier(folder))


def replace_files(folder: Path, texts: Mapping[str, str]) -> None:
    """Writes the files, name -> text, `result.json` last, in place of those of an earlier evaluation; all else in the folder stays.

    Raises:
        InputError: the folder cannot be written, or its `result.json` is of something else.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stale = sorted(set(_earlier(folder)) - texts.keys())
        (folder / RESULT).unlink(missing_ok=True)
        for name in stale:
            (folder / name).unlink(missing_ok=True)
        for name in sorted(texts, key=lambda name: name == RESULT):
            write_text(folder / name, texts[name])
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> InputError:
    return InputError(f"the results cannot be written: {error.filename or folder}: {error.strerror}", hint="Name another folder.")


def _earlier(folder: Path) -> Iterator[str]:
    """Names of the files that an earlier evaluation left."""
    yield from (path.name for path in folder.iterdir() if path.is_file() and ALWAYS_OURS.fullmatch(path.name))
    if not (folder / RESULT).is_file():
        return
    try:
        result = read_json(folder / RESULT)
    except FormatError:  # cut short by a kill, or edited: it is written anew
        return
    if not isinstance(result, dict) or "card" not in result:
        raise InputError(f"{folder / RESULT} is no result of an evaluation, and would be written over", hint="Name another folder.")
    names = result.get("files")
    for name in names if isinstance(names, list) else ():
        if isinstance(name, str) and name == Path(name).name and name not in ("", ".", ".."):  # nothing outside of the folder
            yield name
