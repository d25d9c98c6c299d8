"""`collection.toml`: what a collection is made of, for people and for the code that opens it.

Roots say where the files of the items lie, encoders which descriptors the table holds, `index` which index is kept over
them. Written whole and atomically; the table is the truth about the items themselves.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import tomli_w

from mmrerank.errors import DamagedData, InputError
from mmrerank.store.records import slug_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FORMAT = 1
FILE = "collection.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """A folder that was indexed: item ids are `prefix` + the path below it."""

    path: str
    prefix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderEntry:
    """An encoder whose descriptors the table holds."""

    name: str
    dimension: int
    weights: str = ""  # hash of its weights, where it tells one

    @property
    def slug(self) -> str:
        """Its name as columns and files have it."""
        return slug_of(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The contents of `collection.toml`."""

    index: str
    roots: tuple[Root, ...] = ()
    encoders: tuple[EncoderEntry, ...] = ()
    exclude: tuple[str, ...] = ()  # patterns of files and folders that are left out, in later runs too
    table: str = ""  # its URI, where the table lies in object storage; "": beside this file
    made_by: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def with_root(self, root: Root) -> Manifest:
        """The same with one root more."""
        return replace(self, roots=(*self.roots, root))


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the collection in `folder`.

    Raises:
        InputError: there is no collection.
        DamagedData: the file cannot be read, or a newer version wrote it.
    """
    file = folder / FILE
    if not file.is_file():
        raise InputError(f"{folder} is not a collection: it has no {FILE}.", hint="Make one: mmrerank index PATH --into COLLECTION")
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
        manifest = Manifest(
            index=raw["index"],
            roots=tuple(Root(**root) for root in raw.get("roots", [])),
            encoders=tuple(EncoderEntry(**entry) for entry in raw.get("encoders", [])),
            exclude=tuple(raw.get("exclude", [])),
            table=raw.get("table", ""),
            made_by=raw.get("made_by", {}),
            format=raw["format"],
        )
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise DamagedData(f"{file} cannot be read: {error!r}", hint="Restore it, or index the sources into a new collection.") from error
    if manifest.format != FORMAT:
        raise DamagedData(f"{file} has format {manifest.format}; this version reads {FORMAT}.", hint="Use the version that wrote it.")
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replaces `collection.toml` in one step."""
    temporary = folder / f"{FILE}.{os.getpid()}.new"
    with temporary.open("wb") as out:
        tomli_w.dump(_without_empty(asdict(manifest)), out)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(folder / FILE)


def _without_empty(raw: dict[str, Any]) -> dict[str, Any]:
    """TOML has no null and no need of empty lists of tables."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in raw.items()
        if value not in ((), None) and (key, value) != ("table", "")
    }
