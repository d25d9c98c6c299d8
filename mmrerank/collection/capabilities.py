"""What can be asked of a collection: query modalities, first stages and rerankers whose needs it meets."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Literal, TypeAlias

from mmrerank.collection.version import CollectionVersion
from mmrerank.errors import InputError
from mmrerank.parts import make, module, names, options_of
from mmrerank.types import Reranker, WrappingPart

Takes: TypeAlias = Literal["text", "image", "image+text"]
BOTH = frozenset({"text", "image"})


def takes(version: CollectionVersion) -> list[Takes]:
    """What a query may be made of."""
    encoders = version.encoders()
    found: list[Takes] = ["text"] if _has_text(version) or any("text" in e.takes for e in encoders) else []
    found += ["image"] if any("image" in e.takes for e in encoders) else []
    return [*found, "image+text"] if any(e.takes >= BOTH for e in encoders) else found


def retrievers(version: CollectionVersion, *, backend: bool) -> list[str]:
    """The first stages that work on it, with or without an MLLM."""
    encoders = version.encoders()
    by_text = any("text" in encoder.takes for encoder in encoders)
    met = {
        "lexical": _has_text(version),
        "dense": bool(encoders),
        "composed": any(encoder.takes >= BOTH for encoder in encoders),
        "square_fusion": any(encoder.takes >= BOTH for encoder in encoders),
        "hybrid": _has_text(version) and by_text,
        "late_interaction": any(hasattr(encoder, "encode_tokens") for encoder in encoders),
    }
    given = {"corpus", *(["backend"] if backend else [])}
    return [name for name in names("retrievers") if met.get(name, True) and needs(name, "retrievers") <= given]


def fields(version: CollectionVersion) -> list[str]:
    """What a filter may speak of."""
    return ["item_id", "document_id", "page_number", "text", "file", *version.snapshot.metadata_fields]


def needs(name: str, station: str) -> set[str]:
    """What must be given to build a part: "backend", "descriptors", "corpus"."""
    factory = module(name, station=station)
    parameters = list(inspect.signature(factory.build).parameters.values())[1:]
    own = {parameter.name for parameter in parameters if parameter.default is parameter.empty}
    return own | needs(factory.inner(options_of(name, factory.Options)), station) if isinstance(factory, WrappingPart) else own


def rerankers(given: Iterable[str]) -> list[str]:
    """The rerankers that can be built from these resources by their name alone."""
    held = set(given)
    return [name for name in names("rerankers") if _is_whole(name) and needs(name, "rerankers") <= held]


def with_key(parts: Iterable[str | Reranker], api_key: str | None) -> list[str | Reranker]:
    """The rerankers, made with a key those that take one, since they ask a server of their own; the others as they are."""
    return [make(part, station="rerankers", api_key=api_key) if isinstance(part, str) and _takes_key(part) else part for part in parts]


def _takes_key(name: str) -> bool:
    return "api_key" in inspect.signature(module(name, station="rerankers").build).parameters


def _is_whole(name: str) -> bool:
    """Whether the name says enough: a part that reaches a server needs its address too, one with a calibration its file."""
    try:
        return bool(needs(name, "rerankers")) or make(name, station="rerankers") is not None
    except InputError:
        return False


def _has_text(version: CollectionVersion) -> bool:
    return len(version.snapshot.with_text()) > 0


def warm_up(version: CollectionVersion) -> None:
    """Opens what searches need: encoders, indexes, the index over text. What is wrong with one is said now."""
    for entry in version.manifest.encoders:
        version.space_of(entry)
    if version.has_pages or _has_text(version):
        _ = version.text
