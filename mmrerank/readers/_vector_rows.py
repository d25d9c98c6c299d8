"""Rows of ready vectors as columns: keys, texts, metadata, and the hash that tells whether a row changed. Nothing is done a row that
can be done a column, for a part may have a million of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmrerank.readers._captions import NAMES, text_of
from mmrerank.readers._columns import KEYS
from mmrerank.readers._metadata import clean, plain
from mmrerank.readers._vectors import VectorPart
from mmrerank.types import Array, VectorRows

_SMALLEST, _LARGEST = 1e-6, 1e6  # lengths of vectors that are no unit rows yet and can become some
_ROUNDING = 1e-6  # of the length of a float32 row that was made to be of length 1
_WHOLE = pa.int64()


def vector_rows(part: VectorPart) -> Iterator[VectorRows]:
    """All rows of a part, some thousand at a time.

    Raises:
        FormatError: something cannot be read.
    """
    roles = roles_of(part)
    first, seen = 0, set[str]()
    for raw, described in part.batches():
        vectors, problems = _unit(raw)
        columns = {name: described.column(name) for name in described.schema.names}
        keys = _keys(columns.get(roles.key) if roles.key else None, first, len(raw), seen, problems)
        texts = _texts(columns, roles.texts, len(raw))
        metadata = _metadata({name: column for name, column in columns.items() if name not in (roles.key, *roles.texts[:1])})
        hashes = _hashes(raw, texts, metadata)
        yield VectorRows(keys=keys, problems=problems, vectors=vectors, texts=texts, metadata=metadata, hashes=hashes)
        first += len(raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """Which columns are what."""

    key: str | None  # None: rows are numbered, from 1
    texts: tuple[str, ...]  # the first that has words counts; the likeliest of them is no metadata


def roles_of(part: VectorPart) -> Roles:
    key = next((name for name in KEYS if name in part.names), None)
    texts = sorted((name for name in part.names if name.lower() in NAMES), key=lambda name: NAMES.index(name.lower()))
    return Roles(key=key, texts=tuple(texts))


def _unit(raw: Any) -> tuple[Array, dict[int, str]]:
    """Unit rows of what came, and why some can be none. Rows of half precision are of unit length only about, and are made so again."""
    rows = raw.astype(np.float32)
    with np.errstate(all="ignore"):
        lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
        usable = (lengths >= _SMALLEST) & (lengths <= _LARGEST)  # false of NaN and infinity
        is_unit = np.abs(lengths - 1) < _ROUNDING  # left as it is: exported and indexed again, a row is the same to the last bit
        rows /= np.where(usable & ~is_unit, lengths, 1).astype(np.float32)[:, None]
    zero, endless = "its vector is zero", "its vector has no finite length"
    reasons = {int(n): zero if lengths[n] < _SMALLEST else endless for n in np.flatnonzero(~usable)}
    rows[~usable] = 0
    return rows, reasons


def _keys(column: pa.Array | None, first: int, count: int, seen: set[str], problems: dict[int, str]) -> list[str]:
    """The key of each row; `row=N` where it has none that can be used, which becomes its problem."""
    if column is None:
        return [str(n) for n in range(first + 1, first + count + 1)]
    keys = []
    for n, value in enumerate(column.to_pylist()):
        key = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
        if not key.strip() or not (key.isprintable() or all(ord(letter) >= 32 for letter in key)):
            problems[n] = "its key is empty, or no readable text"
        elif key in seen:
            problems[n] = f"its key {key!r} came before in this file"
        else:
            seen.add(key)
            keys.append(key)
            continue
        keys.append(f"row={first + n + 1}")
    return keys


def _texts(columns: Mapping[str, pa.Array], names: tuple[str, ...], count: int) -> pa.Array:
    """The text of each row, null where it has none."""
    texts = pa.nulls(count, pa.string())
    for name in names:
        if not texts.null_count:
            break
        texts = pc.coalesce(texts, _captions(columns[name]))
    return texts


def _captions(column: pa.Array) -> pa.Array:
    column = _decoded(column)
    if pa.types.is_string(column.type):
        trimmed = pc.utf8_trim_whitespace(column)
        if not pc.any(pc.starts_with(trimmed, "[")).as_py() and not pc.any(pc.match_substring(trimmed, "\0")).as_py():
            return pc.if_else(pc.equal(pc.utf8_length(trimmed), 0), None, trimmed)
    return pa.array([text_of({"text": value})[0] for value in column.to_pylist()], pa.string())


def _metadata(columns: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    plain_columns = {name: _plain(column) for name, column in columns.items()}
    return {clean(name): column for name, column in plain_columns.items() if column is not None and column.null_count < len(column)}


def _plain(column: pa.Array) -> pa.Array | None:
    """A column as texts, whole numbers, fractions or truth values; None for bytes, and for pictures."""
    column, of = _decoded(column), pa.types
    kind = column.type
    if of.is_null(kind) or of.is_binary(kind) or of.is_large_binary(kind) or of.is_fixed_size_binary(kind) or _is_picture(kind):
        return None
    if of.is_string(kind):
        has_nul = pc.any(pc.match_substring(column, "\0")).as_py()
        return pc.replace_substring(column, "\0", "") if has_nul else column
    if of.is_boolean(kind) or kind == _WHOLE:
        return column
    if of.is_integer(kind) and kind != pa.uint64():
        return column.cast(_WHOLE)
    if of.is_floating(kind):
        column = column.cast(pa.float64())
        return pc.if_else(pc.is_finite(column), column, None)
    values = [plain({"": value}).get("") for value in column.to_pylist()]
    are_alike = len({type(value) for value in values if value is not None}) <= 1
    return pa.array(values) if are_alike else pa.array([None if value is None else str(value) for value in values])


def _decoded(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.string()) if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type) else column


def _is_picture(kind: pa.DataType) -> bool:
    """Whether it is the record that Hugging Face writes of a picture."""
    return bool(pa.types.is_struct(kind) and {kind.field(n).name for n in range(kind.num_fields)} >= {"bytes", "path"})


def _hashes(raw: Any, texts: pa.Array, metadata: Mapping[str, pa.Array]) -> list[str]:
    """blake2b-128 of each row: its vector as it came, its text and its metadata."""
    names = json.dumps(sorted(metadata)).encode()
    columns = [texts, *(metadata[name] for name in sorted(metadata))]
    texts_of = [pc.fill_null(column.cast(pa.string()), "\1") for column in columns]
    words = pc.binary_join_element_wise(*texts_of, "\0").to_pylist()
    data = raw.tobytes()
    width = len(data) // max(len(raw), 1)
    started = hashlib.blake2b(names, digest_size=16)
    digests = []
    for n, text in enumerate(words):
        digest = started.copy()
        digest.update(data[n * width : (n + 1) * width])
        digest.update(text.encode())
        digests.append(digest.hexdigest())
    return digests
