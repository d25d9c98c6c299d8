"""A test double of a collection: a few items in memory, an encoder that hashes. Shipped so that nobody patches."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmrerank.ordering import levelled
from mmrerank.types import Array, Candidate, Corpus, Item, Modality, Space


class HashEncoder:
    """Unit rows that depend on the content alone and mean nothing."""

    name = "hash"
    dimension = 8
    takes: frozenset[Modality] = frozenset({"image", "text"})
    reads: Modality = "text"

    def prepare(self, value: Any) -> Any:
        return value

    def encode(self, values: Sequence[Any], *, normalise: bool = True) -> Array:
        rows = np.stack([self._row(value) for value in values]) if values else np.empty((0, self.dimension), np.float32)
        return rows if normalise else rows * 3.0

    def _row(self, value: Any) -> Array:
        content = value.encode() if isinstance(value, str) else value.tobytes()
        seed = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")
        row = np.random.default_rng(seed).standard_normal(self.dimension)
        return (row / np.linalg.norm(row)).astype(np.float32)


class DoubleSpace:
    def __init__(self, items: Sequence[Item]) -> None:
        self.encoder = HashEncoder()
        self._items = list(items)
        self._rows = self.encoder.encode([item.text or "" for item in self._items])

    def nearest(self, row: Array, k: int, *, filter: str | None = None) -> list[Candidate]:
        scores = levelled(self._rows @ row)
        order = sorted(range(len(self._items)), key=lambda n: (-scores[n], self._items[n].item_id))[:k]
        return [Candidate(item=self._items[n], score=float(scores[n])) for n in order]

    def rows(self, item_ids: Sequence[str]) -> Array:
        places = {item.item_id: n for n, item in enumerate(self._items)}
        return self._rows[[places[item_id] for item_id in item_ids]]


class DoubleCorpus:
    """Words in common stand for BM25; filters are not looked at."""

    def __init__(self, texts: dict[str, str]) -> None:
        self._items = [Item(item_id=item_id, text=text) for item_id, text in texts.items()]
        self._space = DoubleSpace(self._items)

    def space(self, *, takes: frozenset[Modality], encoder: str | None = None) -> Space:
        return self._space

    def matching(self, text: str, k: int, *, filter: str | None = None) -> list[Candidate]:
        words = set(text.lower().split())
        scored = [(len(words & set((item.text or "").lower().split())), item) for item in self._items]
        best = sorted((pair for pair in scored if pair[0]), key=lambda pair: (-pair[0], pair[1].item_id))[:k]
        return [Candidate(item=item, score=float(score)) for score, item in best]

    def rarity(self, text: str) -> dict[str, float]:
        held = [set((item.text or "").lower().split()) for item in self._items]
        return {word: 1 / (1 + sum(word in words for words in held)) for word in text.lower().split()}


def double_corpus() -> Corpus:
    """Twenty items of two words each."""
    colours, things = ("red", "green", "blue", "white"), ("door", "boat", "bird", "lamp", "chair")
    return DoubleCorpus({f"{colour}-{thing}": f"{colour} {thing}" for colour in colours for thing in things})
