"""What a collection holds, and whether it holds together."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mmrerank.collection import Collection
from mmrerank.collection.field_cache import FolderFieldCache
from mmrerank.collection.folder import INDEXES
from mmrerank.collection.index_files import REPAIR
from mmrerank.collection.text_index import mend
from mmrerank.ingest import notes
from mmrerank.ingest.changes import entries_once
from mmrerank.ingest.files import SourceFile, gone_for_good_or_moved, path_of
from mmrerank.parts import make
from mmrerank.store.manifest import EncoderEntry
from mmrerank.store.records import FIXED, key_of
from mmrerank.types import Array, ReadItem

UNIT_TOLERANCE = 1e-2  # fp16 storage and bf16 encoders leave rows this close to length 1


def describe(collection: Collection) -> dict[str, Any]:
    """Counts, encoders, roots, fields, the files that could not be read and the first pages without words, with the reason of each."""
    snapshot = collection.version.snapshot
    failed = snapshot.table(["item_id", "reason"], "state = 'failed'")
    return {
        "collection": str(collection.path),
        "items": len(snapshot),
        "with_text": len(snapshot.with_text()),
        "documents": snapshot.documents(),
        "failed": [{"path": row["item_id"], "reason": row["reason"]} for row in sorted(failed, key=lambda row: str(row["item_id"]))],
        "text_notes": notes.noted(notes.text_notes(snapshot)),
        "encoders": [
            {"name": e.name, "dimension": e.dimension, "items": collection.version.row_index(e).count()}
            for e in collection.manifest.encoders
        ],
        "index": collection.manifest.index,
        "indexes": [_index_of(collection, entry) for entry in collection.manifest.encoders],
        "roots": [{"path": root.path, "prefix": root.prefix} for root in collection.manifest.roots],
        "fields": [name for name in FIXED.names if name in ("item_id", "document_id", "page_number", "text", "file")]
        + list(collection.table.metadata_fields),
        "version": snapshot.version,
        "bytes": _bytes(collection.path),
        "made_by": collection.manifest.made_by,
    }


def _index_of(collection: Collection, entry: EncoderEntry) -> dict[str, Any]:
    """What is kept on disk to search by the descriptors of one encoder; kind None where there is nothing yet."""
    state = collection.version.row_index(entry).state()
    if state is None:
        return {"encoder": entry.name, "kind": None, "bytes": 0, "width": None, "recall@10": {}, "promise": None}
    stamps = (state.data, state.tail, state.since, state.questions)
    size = sum(stamp.size for stamp in stamps if stamp is not None)
    measures = {"width": state.width or None, "recall@10": dict(state.recall), "promise": state.promise}
    return {"encoder": entry.name, "kind": state.index, "bytes": size, **measures}


def _bytes(folder: Path) -> int:
    stamps = (_stamp(Path(place) / name) for place, _, files in os.walk(folder) for name in files)
    return sum(stamp[0] for stamp in stamps if stamp is not None)  # None: another process deleted it meanwhile


def check(collection: Collection, *, content: bool = False) -> dict[str, Any]:
    """Every check that needs no model: ids, keys, descriptors, index caches, and the files behind the items.

    Args:
        content: whether files whose size and time are what they were are read again, to see whether they hold what they held.

    Returns:
        `problems` is what is wrong in the table (`ok` is False then); `rebuilt` names caches that did not match the
        table and were made anew; `recall` measures again what the indexes find that may miss something; `files` tells which sources
        changed or went since they were indexed.
    """
    rebuilt: list[str] = []
    if FolderFieldCache(collection.path / INDEXES).drop_damaged():
        collection.reopen()
        rebuilt.append("the fields beside the table were not what was written there, and are made anew")
    problems = _check_rows(collection)
    for entry in collection.manifest.encoders:
        problems += _check_descriptors(collection, entry.slug, entry.name, entry.dimension)
    if not problems:
        rebuilt += _check_caches(collection)
    return {
        "collection": str(collection.path),
        "items": len(collection),
        "ok": not problems,
        "problems": problems,
        "rebuilt": rebuilt,
        "recall": [] if problems else _measure(collection),
        "files": [*_check_files(collection), *(_check_content(collection) if content else ())],
    }


def _check_rows(collection: Collection) -> list[str]:
    """Ids that stand twice, and rows that contradict themselves; of each row 8 bytes are held."""
    problems: list[str] = []
    hashes = [np.empty(0, np.int64)]
    for rows in collection.version.snapshot.each(["item_id", "file", "fragment", "key", "content_hash"]):
        hashes.append(np.array([key_of(row["item_id"], "") for row in rows], np.int64))
        for row in rows:
            if row["item_id"] != row["file"] + row["fragment"] or row["key"] != key_of(row["item_id"], row["content_hash"]):
                problems.append(f"the row of {row['item_id']!r} contradicts itself")
    values, counts = np.unique(np.concatenate(hashes), return_counts=True)
    return [*_doubled(collection, set(values[counts > 1].tolist())), *problems]


def _doubled(collection: Collection, hashes: set[int]) -> list[str]:
    if not hashes:
        return []
    names = (row["item_id"] for rows in collection.version.snapshot.each(["item_id"]) for row in rows)
    counts = Counter(name for name in names if key_of(name, "") in hashes)
    return [f"{n} rows have the id {item_id!r}. {REPAIR}" for item_id, n in counts.items() if n > 1]


def _check_descriptors(collection: Collection, slug: str, name: str, dimension: int) -> list[str]:
    if collection.table.dimension(slug) != dimension:
        return [f"the table has no {dimension}-dim descriptors of {name!r}"]
    snapshot = collection.version.snapshot
    wrong = sum(_not_unit(rows) for _, rows in snapshot.scan(slug))
    return [f"{wrong} descriptors of {name!r} are not finite or not of unit length"] if wrong else []


def _not_unit(rows: Array) -> int:
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    return int((~(np.abs(lengths - 1) <= UNIT_TOLERANCE)).sum())  # NaN counts as wrong


def _check_caches(collection: Collection) -> list[str]:
    version = collection.version
    lines = [
        f"the index of {entry.name!r} did not match the table and was rebuilt"
        for entry in version.manifest.encoders
        if version.row_index(entry).mend(version.snapshot.described(entry.slug))
    ]
    return (
        [*lines, "the index of words did not match the table and was rebuilt"]
        if mend(collection.path / INDEXES, version.snapshot)
        else lines
    )


def _measure(collection: Collection) -> list[dict[str, Any]]:
    """What each index that may miss rows finds now."""
    version = collection.version
    measures = [(entry, *version.row_index(entry).measure()) for entry in version.manifest.encoders]
    return [{"encoder": entry.name, "recall@10": dict(recall), "promise": promise} for entry, recall, promise in measures if recall]


def _check_files(collection: Collection) -> list[str]:
    roots = collection.manifest.roots
    away: dict[Path, set[str]] = {Path(root.path): set() for root in roots if not Path(root.path).is_dir()}
    changes: set[str] = set()
    for rows in collection.version.snapshot.each(["file", "file_size", "file_mtime_ns"], "state = 'ready'"):
        stamps = {row["file"]: (row["file_size"], row["file_mtime_ns"]) for row in rows}
        for file_id, stamp in stamps.items():
            path = path_of(file_id, roots)
            root = next((place for place in away if path.is_relative_to(place)), None)
            state = _stamp(path)
            if root is not None:
                away[root].add(file_id)
            elif state is None:
                changes.add(f"{file_id} is gone; index {_nearest_folder(path)} again to remove it here")
            elif state != stamp:
                changes.add(f"{file_id} changed since it was indexed; index {path} again")
    lost = (
        f"{root} is not there, and {len(files)} files of it. {gone_for_good_or_moved(root, str(collection.path))}"
        for root, files in away.items()
        if files
    )
    return [*lost, *sorted(changes)]


def _check_content(collection: Collection) -> Iterator[str]:
    """A line for each file that has other items or other content than it had, though its size and time are the same."""
    columns = ["file", "item_id", "content_hash", "reader", "file_size", "file_mtime_ns"]
    files: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in collection.version.snapshot.table(columns, "state = 'ready'"):
        files[row["file"]].append(row)
    for file_id, rows in sorted(files.items()):
        path = path_of(file_id, collection.manifest.roots)
        if _stamp(path) != (rows[0]["file_size"], rows[0]["file_mtime_ns"]):
            continue  # noted already
        hashes = {row["item_id"]: row["content_hash"] for row in rows}
        if _hashes(path, file_id, {row["reader"] for row in rows}) != hashes:
            yield f"{file_id} changed since it was indexed, though its size and time are the same; index {path} again"


def _hashes(path: Path, file_id: str, names: set[str]) -> dict[str, str]:
    """Item id -> content hash of what the file holds now."""
    if len(names) != 1:  # two readers cannot have read one file: it was read in part only
        return {}
    source = SourceFile(path=path, file_id=file_id, reader=make(names.pop(), station="readers"))
    return {entry.item.item_id: entry.content_hash for entry in entries_once(source) if isinstance(entry, ReadItem)}


def _nearest_folder(path: Path) -> Path:
    """The folder around a place that is still there."""
    return next(folder for folder in path.parents if folder.is_dir())


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns
