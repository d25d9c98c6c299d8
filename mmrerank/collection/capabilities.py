"""What can be asked of a collection: query modalities, first stages and rerankers whose needs it meets.

Each retriever says in its module on which collections it works; none is known here by its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

from mmrerank.collection.version import CollectionVersion
from mmrerank.errors import InputError
from mmrerank.parts import make, module, names, requires
from mmrerank.protocols import CorpusCapabilities, SelectiveRetriever
from mmrerank.store.records import OFFERED
from mmrerank.store.short_fields import WITH_TEXT

Takes: TypeAlias = Literal["text", "image", "image+text"]


def takes(version: CollectionVersion) -> list[Takes]:
    """What a query may be made of."""
    corpus = of_corpus(version)
    modalities: list[Takes] = ["text"] if corpus.has_text or corpus.takes("text") else []
    modalities += ["image"] if corpus.takes("image") else []
    return [*modalities, "image+text"] if corpus.takes("image", "text") else modalities


def of_corpus(version: CollectionVersion) -> CorpusCapabilities:
    """What the collection has to search by; its encoders are loaded."""
    encoders = tuple(version.encoders())
    return CorpusCapabilities(has_text=_has_text(version), encoders=encoders)


def retrievers(version: CollectionVersion, *, backend: bool, among: Iterable[str] | None = None) -> list[str]:
    """The first stages that work on it, with or without an MLLM.

    Args:
        among: names to choose from; None: all that ship.
    """
    corpus = of_corpus(version)
    resources = {"corpus", *(["backend"] if backend else [])}
    known = names("retrievers") if among is None else among
    return [name for name in known if _works(name, corpus) and requires(name, station="retrievers").needed <= resources]


def _works(name: str, corpus: CorpusCapabilities) -> bool:
    factory = module(name, station="retrievers")
    return not isinstance(factory, SelectiveRetriever) or factory.works_on(corpus)


def fields(version: CollectionVersion) -> list[str]:
    """What a filter may speak of."""
    return [*OFFERED, *version.snapshot.metadata_fields]


def rerankers(resources: Iterable[str]) -> list[str]:
    """The rerankers that ship and can be built from these resources by their name alone."""
    met = set(resources)
    return [name for name in names("rerankers") if _is_whole(name) and requires(name, station="rerankers").needed <= met]


def _is_whole(name: str) -> bool:
    """Whether the name says enough: a part that reaches a server needs its address too, one with a calibration its file."""
    try:
        return bool(requires(name, station="rerankers").needed) or make(name, station="rerankers") is not None
    except InputError:
        return False


def _has_text(version: CollectionVersion) -> bool:
    return version.snapshot.any(WITH_TEXT)


def warm_up(version: CollectionVersion) -> None:
    """Opens what searches need: encoders, indexes, the index over text. What is wrong with one is said now."""
    for entry in version.manifest.encoders:
        version.space_of(entry)
    if version.has_pages or _has_text(version):
        _ = version.text
