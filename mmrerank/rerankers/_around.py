"""What rerankers share that work through another one: its name is an option of theirs, and what it needs they need."""

from __future__ import annotations

from typing import Any

from mmrerank.errors import InputError
from mmrerank.parts import make, parse, stage_of
from mmrerank.protocols import Backend, DescriptorSource, Reranker


def name_within(part: str, rerank: str) -> str:
    """The name of the reranker within `part`, as it was given.

    Raises:
        InputError: it is one of the same kind again, or has a depth of its own: the one around it says how many candidates there are.
    """
    if parse(rerank).part == part:
        raise InputError(f"{part} stands around another reranker, and not around {part}")
    within = stage_of(rerank)
    if within.depth is not None and not within.own_depth:
        raise InputError(f"the reranker within has no depth of its own; got {rerank!r}", hint=f"Write {part}(..., depth=N).")
    return rerank


def made_within(rerank: str, backend: Backend | None, descriptors: DescriptorSource | None, api_key: str | None) -> Reranker:
    """The reranker within, with those of the resources that are there."""
    resources: dict[str, Any] = {"backend": backend, "descriptors": descriptors, "api_key": api_key}
    present = {name: value for name, value in resources.items() if value is not None}
    reranker: Reranker = make(rerank, station="rerankers", **present)
    return reranker
