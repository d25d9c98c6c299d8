"""What every index asks of the arrays it is given."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmrerank.errors import InputError, ShapeError
from mmrerank.types import Array, Keys

UNIT_TOLERANCE = 1e-3  # float16 descriptors of 512 numbers keep their length to about 5e-4


def unit_rows(rows: Any, dimension: int) -> Array:
    """(n, dimension) float32 rows, C-contiguous; the input itself where it already is that.

    Raises:
        ShapeError: not two axes, or another dimension.
        InputError: not numbers, or a row whose length is not 1 within 0.001 (a zero row, a NaN).
    """
    array = np.asarray(rows)
    if array.ndim != 2 or array.shape[1] != dimension:
        raise ShapeError(f"expected rows of shape (n, {dimension}), got {array.shape}", hint="Pass one row as row[None].")
    if array.dtype.kind != "f":
        raise InputError(f"expected rows of floats, got {array.dtype}")
    if array.dtype.itemsize > 4:  # a number beyond float32 fails the check below; the cast need not warn of it
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
    unit: Array = np.ascontiguousarray(array, dtype=np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", unit, unit))
    right = np.abs(lengths - 1) <= UNIT_TOLERANCE  # not so for NaN
    if not right.all():
        wrong = np.flatnonzero(~right)
        raise InputError(
            f"expected rows of length 1, row {wrong[0]} has length {lengths[wrong[0]]:.4g} ({wrong.size} of {len(unit)} rows are off)",
            hint="Divide each row by its length first.",
        )
    return unit


def integer_ids(ids: Any) -> Keys:
    """(n,) int64 ids.

    Raises:
        ShapeError: more or fewer axes than one.
        InputError: not integers that fit int64.
    """
    array = np.asarray(ids)
    if array.ndim != 1:
        raise ShapeError(f"expected ids of shape (n,), got {array.shape}")
    if array.size == 0:
        return np.empty(0, np.int64)
    if array.dtype.kind not in "iu":
        raise InputError(f"expected integer ids, got {array.dtype}")
    if array.dtype == np.uint64 and int(array.max()) > np.iinfo(np.int64).max:
        raise InputError(f"the id {array.max()} does not fit int64")
    return array.astype(np.int64, copy=False)


def with_ids(ids: Any, rows: Any, dimension: int) -> tuple[Keys, Array]:
    """(n,) int64 ids with their (n, dimension) float32 rows.

    Raises:
        ShapeError, InputError: as of `unit_rows` and `integer_ids`; or there are not as many ids as rows.
    """
    unit, whole = unit_rows(rows, dimension), integer_ids(ids)
    if len(whole) != len(unit):
        raise ShapeError(f"{len(whole)} ids came with {len(unit)} rows")
    return whole, unit


def positive(k: int) -> int:
    """`k` as an int.

    Raises:
        InputError: it is not a whole number above 0.
    """
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise InputError(f"expected k of at least 1, got {k!r}")
    return int(k)
