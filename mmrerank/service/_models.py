"""Rerankers under the names that clients use, with what each needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mmrerank.collection import capabilities
from mmrerank.errors import InputError
from mmrerank.parts import RERANKS_BY_WORDS
from mmrerank.pipeline import NamedReranker
from mmrerank.protocols import Backend, Reranker

DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A reranker under the name that clients use."""

    name: str
    part: NamedReranker | Reranker
    needs: frozenset[str]


def models_of(
    named: Mapping[str, str | Reranker], *, backend: bool, open_backend: Callable[[str], Backend], key: str | None = None
) -> dict[str, Model]:
    """The rerankers that are named, or every one that ships and can be built, with its default options; `bm25` in any case.

    Args:
        open_backend: opens a model that a reranker's name says.
        key: of the service that `rerank_http` asks.

    Raises:
        UnknownName: there is no such reranker or option.
        InputError: one needs a backend, and there is none.
    """
    resources = {"descriptors", *(["backend"] if backend else [])}
    parts = named or {name: name for name in capabilities.rerankers(resources)}
    parts = parts if RERANKS_BY_WORDS in parts else {**parts, RERANKS_BY_WORDS: RERANKS_BY_WORDS}
    return {name: _model(name, part, resources, open_backend, key) for name, part in parts.items()}


def _model(name: str, part: str | Reranker, resources: set[str], open_backend: Callable[[str], Backend], key: str | None) -> Model:
    if not isinstance(part, str):
        return Model(name=name, part=part, needs=frozenset())
    reranker = NamedReranker.of(part, open_backend=open_backend, api_key=key)
    if missing := reranker.needs - resources:
        raise InputError(f"the reranker {part!r} needs {', '.join(sorted(missing))}", hint="Start the service with --backend NAME.")
    if reranker.needs:
        return Model(name=name, part=reranker, needs=reranker.needs)
    return Model(name=name, part=reranker.made(), needs=frozenset())  # what is wrong with its address is said now
