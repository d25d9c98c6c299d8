"""Beginnings of prompts in a folder, one safetensors file each, shared by the processes that run the same model in the same way.

    FOLDER/FINGERPRINT/DIGEST-OF-THE-SYMBOLS.safetensors        keys and values; beside them symbols, lengths and a digest of all that

Another fingerprint (weights, processor, precision, attention, release of transformers, kind of device) is another folder, so that what
was computed otherwise is never read. A file is written beside its place and moved there; its digest is checked each time it is read, and
a damaged one is a miss, with a warning. Where the folder outgrows its bytes, what was used longest ago goes. A folder that cannot be used
is none, with a warning: a slower answer, never another one.

A file holds what the model made of a prompt's beginning, tokens included: it is as confidential as the documents themselves.

Source: ours.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from mmrerank.backends._prefix_store import Alphabet, Beginning, Symbols

logger = logging.getLogger(__name__)
SCHEMA = "1"
SUFFIX = ".safetensors"
LARGEST_HEADER = 16 << 20
FORGOTTEN_S = 3600.0  # a half-written file that is older was left by a process that was killed
DAMAGED = (OSError, ValueError, KeyError, TypeError, SafetensorError)  # what a damaged file makes json and safetensors raise


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    path: Path
    n_bytes: int  # on disk
    mtime_ns: int


class PrefixFolder:
    """A source of beginnings behind the memory of a process. Not safe in threads: the store asks one at a time."""

    def __init__(self, folder: Path, fingerprint: str, most_bytes: int, device: torch.device) -> None:
        self._folder, self._most_bytes, self._device = folder / fingerprint, most_bytes, device
        self._files: dict[str, _File] = {}  # by name, readable or not
        self._names: dict[Symbols, str] = {}
        self._alphabet = Alphabet()
        self._writes = True
        self._make()

    def refresh(self) -> None:
        """Looks what other processes have brought and taken."""
        try:
            entries = [(entry.name, entry.stat()) for entry in os.scandir(self._folder) if entry.name.endswith(SUFFIX)]
        except OSError:
            entries = []  # removed meanwhile, and made again with the next file
        there = {name: _File(path=self._folder / name, n_bytes=stat.st_size, mtime_ns=stat.st_mtime_ns) for name, stat in entries}
        for symbols in [symbols for symbols, name in self._names.items() if name not in there]:
            self._forget(symbols)
        before, self._files = self._files, there
        known = set(self._names.values())
        for name, file in there.items():
            if name not in known and before.get(name) != file:
                self._learn(name, file)

    def nearest(self, symbols: Symbols) -> tuple[Symbols, int]:
        """The stored beginning that begins most like these symbols, and how many are alike; ((), 0) where there is none."""
        return self._alphabet.nearest(symbols)

    def n_bytes(self, symbols: Symbols) -> int:
        """What the keys and values of exactly these symbols take."""
        return self._files[self._names[symbols]].n_bytes

    def read(self, symbols: Symbols) -> Beginning | None:
        """The beginning of exactly these symbols; None, with a warning, where its file is damaged."""
        path = self._files[self._names[symbols]].path
        try:
            data = path.read_bytes()
            beginning = _beginning(data, self._device)
            if beginning.symbols != symbols:
                raise ValueError("it holds another beginning")
            os.utime(path)  # used last, goes last
        except FileNotFoundError:  # another process needed the room
            self._forget(symbols)
            return None
        except DAMAGED as error:
            logger.warning("%s: keys and values that cannot be read are computed again: %s", path, error)
            self._forget(symbols)
            return None
        return beginning

    def write(self, beginning: Beginning) -> None:
        """Keeps a beginning, in the place of one of the same symbols; a disk that takes none is left alone from then on, with a warning."""
        name = f"{_digest(beginning.symbols)}{SUFFIX}"
        if not self._writes or beginning.symbols in self._names:
            return
        data = _file(beginning)
        try:
            self._make_room(len(data))
            _place(self._folder / name, data)
        except OSError as error:
            logger.warning("keys and values are not kept in %s any more: %s", self._folder, error)
            self._writes = False
            return
        self._files[name] = _File(path=self._folder / name, n_bytes=len(data), mtime_ns=time.time_ns())
        self._names[beginning.symbols] = name
        self._alphabet.add(beginning.symbols)

    # ------------------------------------------------------------------

    def _make(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for path in self._folder.glob("*.tmp"):
                if time.time() - path.stat().st_mtime > FORGOTTEN_S:
                    path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("keys and values are not kept on disk, since %s cannot be used: %s", self._folder, error)
            self._writes = False

    def _learn(self, name: str, file: _File) -> None:
        try:
            symbols = _symbols(_header(file.path))
        except FileNotFoundError:
            return
        except DAMAGED as error:
            logger.warning("%s: keys and values that cannot be read are computed again: %s", file.path, error)
            return
        if symbols not in self._names:
            self._names[symbols] = name
            self._alphabet.add(symbols)

    def _forget(self, symbols: Symbols) -> None:
        del self._names[symbols]
        self._alphabet.remove(symbols)

    def _make_room(self, n_bytes: int) -> None:
        """Removes what was used longest ago until so many bytes have room."""
        over = sum(file.n_bytes for file in self._files.values()) + n_bytes - self._most_bytes
        if over > 0:
            self.refresh()  # what others used meanwhile is not old
            over = sum(file.n_bytes for file in self._files.values()) + n_bytes - self._most_bytes
        symbols_of = {name: symbols for symbols, name in self._names.items()}
        for name, file in sorted(self._files.items(), key=lambda pair: pair[1].mtime_ns):
            if over <= 0:
                return
            file.path.unlink(missing_ok=True)
            over -= file.n_bytes
            del self._files[name]
            if name in symbols_of:
                self._forget(symbols_of[name])


def fingerprint(**settings: Any) -> str:
    """32 hex digits that tell one way of computing keys and values from another."""
    return hashlib.sha256(json.dumps({"schema": SCHEMA, **settings}, sort_keys=True).encode()).hexdigest()[:32]


def _digest(symbols: Symbols) -> str:
    return hashlib.sha256(json.dumps(symbols).encode()).hexdigest()[:32]


def _file(beginning: Beginning) -> bytes:
    """The bytes of a beginning's file."""
    states = beginning.states.detach().to("cpu").contiguous()
    facts = {
        "symbols": json.dumps(beginning.symbols),
        "numbers": json.dumps([beginning.head, beginning.floor, beginning.length, beginning.image_tokens, beginning.position]),
    }
    payload = states.view(torch.uint8).numpy().tobytes()
    data: bytes = save({"states": states}, metadata={**facts, "schema": SCHEMA, "digest": _digest_of(facts, payload)})
    return data


def _beginning(data: bytes, device: torch.device) -> Beginning:
    """What a file holds.

    Raises:
        ValueError, KeyError, TypeError, SafetensorError: it is damaged.
    """
    end = 8 + int.from_bytes(data[:8], "little")
    facts = json.loads(data[8:end])["__metadata__"]
    if _digest_of(facts, data[end:]) != facts["digest"]:
        raise ValueError("its digest is another")
    states = load(data)["states"].to(device)
    head, floor, length, image_tokens, position = json.loads(facts["numbers"])
    symbols = _symbols(facts)
    if states.ndim != 5 or states.shape[3] != length:
        raise ValueError(f"it holds {tuple(states.shape)} keys and values for {length} tokens")
    return Beginning(symbols=symbols, head=head, floor=floor, length=length, image_tokens=image_tokens, position=position, states=states)


def _digest_of(facts: Mapping[str, str], payload: bytes) -> str:
    content = hashlib.sha256(f"{facts['symbols']}\n{facts['numbers']}\n".encode())
    content.update(payload)
    return content.hexdigest()


def _header(path: Path) -> dict[str, str]:
    """The facts at the head of a file; its keys and values are not read."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > LARGEST_HEADER:
            raise ValueError("it is no safetensors file")
        facts = json.loads(file.read(size))["__metadata__"]
    return dict(facts)


def _symbols(facts: Mapping[str, str]) -> Symbols:
    symbols = tuple(json.loads(facts["symbols"]))
    if not symbols or not all(type(symbol) is int for symbol in symbols):
        raise ValueError("it names no tokens")
    return symbols


def _place(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
        try:
            file.write(data)
            file.close()
            os.replace(file.name, path)
        except OSError:
            Path(file.name).unlink(missing_ok=True)
            raise
