"""Plain values out of a pickle file, without running anything that it names.

A pickle is a program. This reader knows containers, numbers, text and arrays of numbers; arrays are rebuilt here from their bytes, and
whatever else a file asks for is an error. Nothing of numpy or of the standard library is called on a file's behalf. What the libraries
lack: `pickle` and `numpy.load` run what a file names, and neither limits how much a few bytes may unfold to.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mmrerank.errors import FormatError, InputError

MAX_BYTES = 16 * 2**20
MAX_VALUES = 2_000_000  # a few bytes can say "the same list ten times", and that again and again
MOST_LETTERS = 300  # of what Python says of a broken pickle
_KINDS = frozenset("biuf")


class _Kind:
    """What an array's numbers are; the code, such as `i8`, and the byte order come from the file."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.kind = np.dtype(code) if isinstance(code, str) and code[:1] in _KINDS and code[1:].isdigit() else None

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if self.kind is not None and order in ("<", ">"):
            self.kind = self.kind.newbyteorder(order)


class _Numbers:
    """An array: made empty, then given its state (version, shape, kind, Fortran order, bytes), which is read when it is asked for."""

    def __init__(self, *_: Any) -> None:
        self._length, self._kind, self._content = 0, None, b""

    def __setstate__(self, state: Any) -> None:
        _, shape, self._kind, _, self._content = state
        if len(shape) != 1:
            raise pickle.UnpicklingError("an array of other than one dimension")
        self._length = int(shape[0])

    def values(self, most: int) -> list[Any]:
        """The numbers, of which there may be `most`."""
        if self._length > most:
            raise pickle.UnpicklingError(f"more than {MAX_VALUES} values")
        return _numbers(self._kind, self._content, self._length) if self._length else []


def _numbers(kind: Any, content: Any, count: int) -> list[Any]:
    if not isinstance(kind, _Kind) or kind.kind is None or not isinstance(content, (bytes, str)):
        raise pickle.UnpicklingError("an array of other things than numbers")
    own = content[: count * kind.kind.itemsize]
    return list(np.frombuffer(own.encode("latin1") if isinstance(own, str) else own, kind.kind).tolist())


def _number(kind: Any, content: Any) -> Any:
    return _numbers(kind, content, 1)[0]


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Numbers for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _number for core in ("core", "_core")},
    ("numpy", "ndarray"): _Numbers,  # named beside `_reconstruct` only
    ("numpy", "dtype"): _Kind,
}
_BYTES = {("_codecs", "encode"), ("__builtin__", "bytes")}  # how older protocols write bytes, and empty ones


class _Reader(pickle.Unpickler):
    """Unpickles with our stand-ins for what a file may name."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="latin1")
        self._budget = len(content)  # no file has more bytes in its texts than it has itself, unless it says one of them again and again

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _BYTES:
            return self._bytes
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ALLOWED[module, name]

    def _bytes(self, text: Any = "", *_: Any) -> bytes:
        self._budget -= len(text)
        if self._budget < 0:
            raise pickle.UnpicklingError("it says the same text again and again")
        return text.encode("latin1") if isinstance(text, str) else b""


def plain_pickle(path: Path) -> Any:
    """The content of a pickle as dicts, lists, text and numbers; arrays become lists.

    Raises:
        InputError: there is no such file.
        FormatError: it is none, is above `MAX_BYTES`, or holds something else than plain values.
    """
    if not path.is_file():
        raise InputError(f"there is no {path.name} in {path.parent}.")
    if path.stat().st_size > MAX_BYTES:
        raise FormatError(f"{path.stat().st_size / 2**20:.0f} MiB, above the limit of {MAX_BYTES / 2**20:.0f}", path=path)
    try:
        return _Plain().of(_Reader(path.read_bytes()).load())
    except Exception as error:  # a broken pickle can raise anything
        why = str(error)[:MOST_LETTERS] or type(error).__name__  # an error over a key can quote all of it
        raise FormatError(f"no pickle of plain values: {why}", path=path) from error


class _Plain:
    """Takes a value apart and checks it, up to `MAX_VALUES`."""

    def __init__(self) -> None:
        self._budget = MAX_VALUES

    def of(self, value: Any) -> Any:
        self._budget -= 1
        if self._budget < 0:
            raise pickle.UnpicklingError(f"more than {MAX_VALUES} values")
        if isinstance(value, _Numbers):
            return self.of(value.values(self._budget))
        if isinstance(value, dict):
            return {str(key): self.of(entry) for key, entry in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.of(entry) for entry in value]
        if value is None or isinstance(value, (str, int, float)):
            return value
        raise pickle.UnpicklingError(f"it holds a {type(value).__name__}")
