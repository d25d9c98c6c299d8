"""What adapters refuse as they are made or asked: options that do not exist, names and counts of no use, strangers in lists."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from mmrerank.errors import InputError, UnknownName
from mmrerank.parts import as_tuple, check_name, requires
from mmrerank.pipeline import AnyReranker, NamedReranker, check_count, check_reranker
from mmrerank.protocols import Encodes, Generates, Retriever

Owner = TypeVar("Owner")
P = ParamSpec("P")
RESOURCES = {"backend": "backend", "descriptors": "encoder"}  # what a reranker asks for -> the option that gives it


def refusing_unknown(init: Callable[Concatenate[Owner, P], None]) -> Callable[Concatenate[Owner, P], None]:
    """The initialiser, which answers an option that it does not have with its real ones and the nearest."""
    options = [name for name in signature(init).parameters if name != "self"]

    @wraps(init)
    def checked(self: Owner, /, *args: P.args, **kwargs: P.kwargs) -> None:
        refuse_unknown(type(self).__name__, kwargs, options)
        init(self, *args, **kwargs)

    return checked


def refuse_unknown(owner: str, options: Iterable[str], known: Sequence[str]) -> None:
    """UnknownName for the first option that is not among the known ones."""
    for name in options:
        if name not in known:
            raise UnknownName.among(f"option of {owner}", name, known)


def at_most(name: str, value: Any) -> int | None:
    """How many may come back; None for all.

    Raises:
        InputError: it is no whole number from 1.
    """
    return None if value is None else check_count(name, value)


def folder_at(value: Any) -> Path | None:
    """The folder that this is, or None.

    Raises:
        InputError: it is no path.
    """
    if not isinstance(value, str | os.PathLike | None):
        raise InputError(f"a folder is a path or None; got {type(value).__name__}")
    return None if value is None else Path(os.fsdecode(value))


def check_stages(rerank: AnyReranker | Sequence[AnyReranker] | None, options: Mapping[str, Any]) -> tuple[AnyReranker, ...]:
    """The rerankers in a row: one alone is a row of one, and None is none.

    Args:
        options: `backend`, and `encoder` where descriptors come from one; parts, names or None.

    Raises:
        UnknownName: no part of that name, or no such option of it.
        InputError: it is no reranker, or asks for a backend or an encoder, and none is there.
    """
    check_resources(options)
    stages = stages_of(rerank)
    for stage in stages:
        check_reranker(stage)
        if isinstance(stage, str):
            check_name(stage, station="rerankers")
            _check_needs(stage, requires(stage, station="rerankers").needed, options)
        elif isinstance(stage, NamedReranker):
            _check_needs(str(stage.stage), stage.needs, options)
    return stages


def stages_of(rerank: AnyReranker | Sequence[AnyReranker] | None) -> tuple[AnyReranker, ...]:
    """The rerankers in a row: one alone is a row of one, and None is none."""
    return () if rerank is None else as_tuple(rerank)


def check_retriever(retriever: str | Retriever | None, options: Mapping[str, Any]) -> None:
    """InputError or UnknownName unless it is None, a part, or the name of a first stage with all that it asks for."""
    if isinstance(retriever, str):
        check_name(retriever, station="retrievers")
        _check_needs(retriever, requires(retriever, station="retrievers").needed, options)
    elif not isinstance(retriever, Retriever | None):
        raise InputError(f"a retriever is a name, or a part with `name` and `retrieve`; got {type(retriever).__name__}")


def check_resources(options: Mapping[str, Any]) -> None:
    """InputError or UnknownName where the backend or the encoder is neither a part nor the name of one."""
    backend, encoder = options.get("backend"), options.get("encoder")
    if isinstance(backend, str):
        check_name(backend, station="backends")
    elif not isinstance(backend, Generates | None):
        raise InputError(f"a backend is a name, or a part with `generate`; got {type(backend).__name__}")
    for one in () if encoder is None else as_tuple(encoder):
        if isinstance(one, str):
            check_name(one, station="encoders")
        elif not isinstance(one, Encodes):
            raise InputError(f"an encoder is a name, or a part with `encode`; got {type(one).__name__}")


def _check_needs(name: str, needed: frozenset[str], options: Mapping[str, Any]) -> None:
    """InputError where an option that the part asks for is there and empty."""
    missing = [option for resource, option in RESOURCES.items() if resource in needed and option in options and options[option] is None]
    if missing:
        raise InputError(f"{name!r} needs {', '.join(missing)}", hint=f"Give {missing[0]} as a part or by its name.")


def check_documents(documents: Any, kind: type[Any]) -> None:
    """InputError unless these are documents of that kind in a list."""
    if not isinstance(documents, Sequence) or isinstance(documents, str | bytes):
        raise InputError(f"documents come in a list of {kind.__name__}; got {type(documents).__name__}")
    for place, document in enumerate(documents):
        if not isinstance(document, kind):
            raise InputError(f"document {place} is a {type(document).__name__}; expected {kind.__name__}")


def with_parts_shared(parts: Iterable[Any], memo: dict[int, Any] | None) -> dict[int, Any]:
    """The memo of a deep copy in which these parts are themselves: a copy works with the same models and does not load them again."""
    memo = {} if memo is None else memo
    for part in parts:
        memo[id(part)] = part
    return memo


def deep_copied(instance: Owner, memo: dict[int, Any]) -> Owner:
    """A deep copy of an object by its attributes."""
    other = copy.copy(instance)
    memo[id(instance)] = other
    vars(other).update(copy.deepcopy(vars(other), memo))
    return other
