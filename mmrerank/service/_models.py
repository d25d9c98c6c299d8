"""Rerankers under the names that clients use, with what each needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mmrerank.collection import capabilities
from mmrerank.errors import InputError
from mmrerank.parts import module, options_of
from mmrerank.types import Reranker

DEFAULT = "default"
FALLBACK = "bm25"  # needs nothing, and is always there


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A reranker under the name that clients use."""

    name: str
    part: str | Reranker
    needs: frozenset[str]


def models_of(named: Mapping[str, str | Reranker], *, backend: bool, key: str | None = None) -> dict[str, Model]:
    """The rerankers that are named, or every one that can be built, with its default options; `bm25` in any case.

    Args:
        key: of the service that `rerank_http` asks.

    Raises:
        UnknownName: there is no such reranker or option.
        InputError: one needs a backend, and there is none.
    """
    given = {"descriptors", *(["backend"] if backend else [])}
    wanted = dict(zip(named, capabilities.with_key(named.values(), key), strict=True))
    wanted = wanted or {name: name for name in capabilities.rerankers(given)}
    models = {name: _model(name, part, given) for name, part in wanted.items()}
    return models if FALLBACK in models else {**models, FALLBACK: _model(FALLBACK, FALLBACK, given)}


def _model(name: str, part: str | Reranker, given: set[str]) -> Model:
    if not isinstance(part, str):
        return Model(name=name, part=part, needs=frozenset())
    needs = capabilities.needs(part, "rerankers")
    options_of(part, module(part, station="rerankers").Options)
    if missing := needs - given:
        raise InputError(f"the reranker {part!r} needs {', '.join(sorted(missing))}", hint="Start the service with --backend NAME.")
    return Model(name=name, part=part, needs=frozenset(needs))
