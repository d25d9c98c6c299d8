"""The encoders of one collection, each loaded once in a process and checked against what its descriptors were made with."""

from __future__ import annotations

import threading
from functools import lru_cache

from mmrerank.errors import InputError, ManifestError
from mmrerank.parts import make
from mmrerank.protocols import Encoder, Encodes, weights_of
from mmrerank.store.manifest import EncoderEntry


class Encoders:
    """Encoders by their entry in `collection.toml`; all versions of a collection share them, and so do threads."""

    def __init__(self, collection_name: str) -> None:
        self._collection_name = collection_name
        self._parts: dict[str, Encoder] = {}  # by slug
        self._lock = threading.RLock()

    def of(self, entry: EncoderEntry) -> Encoder:
        """The encoder of an entry, loaded on first use.

        Raises:
            ManifestError: its name, dimension or weights are not those that the descriptors were made with.
        """
        with self._lock:
            if entry.slug not in self._parts:
                self.use(entry, encoder_of(entry.name))
            return self._parts[entry.slug]

    def use(self, entry: EncoderEntry, part: Encoder) -> None:
        """Takes a part that is loaded already as the encoder of an entry.

        Raises:
            ManifestError: as above.
        """
        weights = weights_of(part)
        if (part.name, part.dimension) != (entry.name, entry.dimension) or (entry.weights and weights != entry.weights):
            raise ManifestError(
                f"collection {self._collection_name!r} holds {entry.dimension}-dim descriptors of {entry.name!r} (weights "
                f"{entry.weights or 'unknown'}); the encoder loaded now is {part.name!r} with {part.dimension} dims "
                f"(weights {weights or 'unknown'}).",
                hint="Load what it was made with, or index into a new collection.",
            )
        with self._lock:
            self._parts[entry.slug] = part


def encoder_of(encoder: str | Encoder) -> Encoder:
    """The encoder of a name, loaded once in a process; a part as it is.

    Raises:
        UnknownName: no encoder has that name.
        InputError: it is neither.
    """
    if not isinstance(encoder, str | Encodes):
        raise InputError(f"an encoder is a name, or a part with `encode`; got {type(encoder).__name__}")
    return _loaded(encoder) if isinstance(encoder, str) else encoder


@lru_cache(maxsize=8)
def _loaded(name: str) -> Encoder:
    encoder: Encoder = make(name, station="encoders")
    return encoder
