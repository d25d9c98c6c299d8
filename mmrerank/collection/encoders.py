"""The encoders of one collection, each loaded once in a process and checked against what its descriptors were made with."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache

from mmrerank.errors import InputError, ManifestError, MMRerankError
from mmrerank.parts import make, module, names, options_of, parse, printed
from mmrerank.protocols import DownloadingFactory, Encoder, Encodes, weights_of
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

    def is_at_hand(self, entry: EncoderEntry) -> bool:
        """Whether `of` fetches nothing."""
        return entry.slug in self._parts or is_at_hand(entry.name)

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


class Loader:
    """The encoder of ready embeddings, which is loaded where there is something to compare."""

    def __init__(self, entry: EncoderEntry, encoder: str | Encoder, encoders: Encoders) -> None:
        self._entry, self._encoder, self._encoders = entry, encoder, encoders
        self.weights = ""  # of what was loaded

    @property
    def is_at_hand(self) -> bool:
        """Whether loading it fetches nothing."""
        return not isinstance(self._encoder, str) or is_at_hand(self._encoder)

    def load(self) -> Encoder:
        """The encoder.

        Raises:
            ManifestError: it is another than the collection has under its name, or than the rows can be of.
        """
        part = encoder_of(self._encoder)
        if part.dimension == self._entry.dimension:  # of another the rows cannot be, which whoever compares them says
            self._encoders.use(self._entry, part)
        self.weights = weights_of(part)
        return part


def entry_of_ready(collection: str, entries: Sequence[EncoderEntry], named: Sequence[str], dimensions: Sequence[int]) -> EncoderEntry:
    """The encoder that ready embeddings are of: the first that is named, else the one of the collection with rows of their length.

    Args:
        entries: what the collection has.
        dimensions: of the parts.

    Raises:
        InputError: nobody says which.
    """
    width = dimensions[0] if dimensions else 0
    if named:
        present = next((entry for entry in entries if entry.name == named[0]), None)
        return present or EncoderEntry(name=named[0], dimension=width)
    fitting = [entry for entry in entries if entry.dimension == width or not dimensions]
    if len(fitting) == 1:
        return fitting[0]
    have = ", ".join(f"{entry.name!r} ({entry.dimension})" for entry in entries) or "none"
    raise InputError(
        f"these are ready embeddings of {width} numbers, and nobody says which encoder made them; collection {collection!r} has {have}.",
        hint="Name it, such as --encoder openclip/ViT-B-32.laion2b_s34b_b79k@224; in Python encoders=[...].",
    )


def encoder_of(encoder: str | Encoder) -> Encoder:
    """The encoder of a name, loaded once in a process; a part as it is.

    Raises:
        UnknownName: no encoder has that name.
        InputError: it is neither.
    """
    if not isinstance(encoder, str | Encodes):
        raise InputError(f"an encoder is a name, or a part with `encode`; got {type(encoder).__name__}")
    return _loaded(encoder) if isinstance(encoder, str) else encoder


def name_of(encoder: str | Encoder) -> str:
    """The printed name of an encoder, which is not made for it where it ships.

    Raises:
        UnknownName, InputError: no encoder is called so.
    """
    if not isinstance(encoder, str):
        return encoder_of(encoder).name
    name = parse(encoder)
    if name.part not in names("encoders"):
        return encoder_of(encoder).name  # one from outside prints its name itself
    return printed(name.part, options_of(name, module(encoder, station="encoders").Options), argument=True)


def is_at_hand(name: str) -> bool:
    """Whether making the encoder of that name fetches nothing."""
    try:
        factory = module(name, station="encoders")
        return not isinstance(factory, DownloadingFactory) or factory.download(options_of(name, factory.Options)) is None
    except MMRerankError:
        return False


@lru_cache(maxsize=8)
def _loaded(name: str) -> Encoder:
    encoder: Encoder = make(name, station="encoders")
    return encoder
