"""Prompts that begin alike with different queries behind them, and backends that run over them with and without what is at hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from makers import picture
from PIL import Image

from mmrerank.backends._prefix_store import PrefixStore
from mmrerank.backends.local import Local, Options, build
from mmrerank.handles import LazyPicture
from mmrerank.types import Array, Message, Prompt

CHOICES = ("Yes", "No", "Yes, surely not", "No 12")
QUERIES = ("is it relevant?", "what is the first one asked for, and the second?", "which image?")
TEXTS = (
    "the question is what was asked for, and this is what the passage says of it at some length",
    "a shorter one that says nothing of what was asked, user or assistant",
    "think of a ranking of images where the first is relevant and the second is not, or so they say",
)
PASSAGES = tuple(f"{number}. {text}" for number in (1, 2, 3) for text in TEXTS)
PICTURES = (picture(1, size=(60, 40)), picture(2, size=(50, 90)), picture(3, size=(100, 30)))
EQUAL = 1e-4


def user(*parts: str | Image.Image | LazyPicture) -> Prompt:
    return (Message(role="user", parts=parts),)


def about(query: str, *, pictures: bool) -> list[Prompt]:
    """What candidates show, then the query: pictures with captions, a text alone, two pictures."""
    texts = [user(passage, f"\nQuestion: {query}") for passage in PASSAGES]
    if not pictures:
        return texts
    shown = [user(one, f"\nThe question is Image {n}: {query}") for n, one in enumerate(PICTURES)]
    return [*shown, *texts, user(PICTURES[0], "and", PICTURES[2], f"\nQuestion: {query}")]


def opened_backend(folder: Path, **options: object) -> Local:
    return build(Options(model=str(folder), device="cpu", precision="fp32", batch_size=3, **options))  # type: ignore[arg-type]


def store_of(backend: Local) -> PrefixStore:
    store = backend._choose.store
    assert store is not None
    return store


def gap(one: Array, other: Array) -> float:
    return float(np.abs(one - other).max())


def single(backend: Local, prompts: Sequence[Prompt]) -> Array:
    return np.concatenate([backend.choice_logprobs([prompt], CHOICES).logprobs for prompt in prompts])


def prompts_for(backend: Local, query: str) -> list[Prompt]:
    return about(query, pictures=backend._prepare.sees)
