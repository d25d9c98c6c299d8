"""Variants of a benchmark: the same questions put differently, to see whether the answer holds.

    shuffled        each reranker gets its candidates in a random order: whether the order of the input changes the output
    paraphrased     other words for the same: by rule, or from a file of {"query_id", "text"} lines
    hard_negatives  the neighbours of each right answer that are wrong take the last wrong places that the rerankers look at
    two_pictures    a second picture beside the query's own: its nearest neighbour, or the same once more
    exclusions      the best-placed wrong item is excluded by its picture or its text

A name carries its options: `shuffled(seed=3)`, `paraphrased(file='other-words.jsonl')`, `hard_negatives(count=5)`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from mmrerank.collection import Collection
from mmrerank.errors import FormatError, InputError, UnknownName
from mmrerank.evaluation.benchmark import Benchmark
from mmrerank.evaluation.running import Outcome, Restricted, RestrictedRows, in_gallery
from mmrerank.parts import options_of, parse, printed
from mmrerank.types import Candidate, Item, Query, Ranking, Reranker, Retriever, RowRetriever


@dataclass(frozen=True, kw_only=True)
class Shuffled:
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Paraphrased:
    file: str | None = None  # None: by rule


@dataclass(frozen=True, kw_only=True)
class HardNegatives:
    count: int = 5  # for each right answer


@dataclass(frozen=True, kw_only=True)
class TwoPictures:
    second: Literal["nearest", "same"] = "nearest"


@dataclass(frozen=True, kw_only=True)
class Exclusions:
    by: Literal["picture", "text"] = "picture"


Options: TypeAlias = "Shuffled | Paraphrased | HardNegatives | TwoPictures | Exclusions"
VARIANTS: Mapping[str, type[Any]] = {
    "shuffled": Shuffled,
    "paraphrased": Paraphrased,
    "hard_negatives": HardNegatives,
    "two_pictures": TwoPictures,
    "exclusions": Exclusions,
}


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A change with its options."""

    name: str
    options: Options


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is run: queries and judgements, first stage, rerankers."""

    benchmark: Benchmark
    first: Retriever
    rerank: tuple[Reranker, ...]


def make_variant(name: str) -> Variant:
    """The variant of this name.

    Raises:
        UnknownName: there is none such.

    >>> make_variant("shuffled").name
    'shuffled(seed=0)'
    """
    part = parse(name).part
    if part not in VARIANTS:
        raise UnknownName.among("variant", part, VARIANTS)
    options = options_of(name, VARIANTS[part])
    return Variant(name=printed(part, options), options=options)


def altered(
    variant: Variant,
    benchmark: Benchmark,
    collection: Collection,
    first: Retriever,
    rerank: Sequence[Reranker],
    plain: Outcome,
) -> Setting:
    """The setting with the change made; `plain` is the outcome without it.

    Raises:
        InputError: the change does not suit the queries, such as a second picture where there is no first.
    """
    options = variant.options
    setting = Setting(benchmark=benchmark, first=first, rerank=tuple(rerank))
    if isinstance(options, Shuffled):
        return replace(setting, rerank=tuple(ShuffledReranker(part, options.seed) for part in rerank))
    if isinstance(options, HardNegatives):
        kind = WithNegativesRows if isinstance(first, RowRetriever) else WithNegatives
        return replace(setting, first=kind(first, benchmark, collection, count=options.count, depth=plain.depth))
    if isinstance(options, Paraphrased):
        wordings = _wordings(options.file)
        queries = tuple(_reworded(query, wordings) for query in benchmark.queries)
    elif isinstance(options, TwoPictures):
        queries = tuple(_two_pictures(query, collection, options.second, benchmark) for query in benchmark.queries)
    else:
        queries = tuple(_excluding(query, collection, plain, options.by) for query in benchmark.queries)
    return replace(setting, benchmark=replace(benchmark, queries=queries))


# ---------------------------------------------------------------------- candidates


class ShuffledReranker:
    """A reranker that is given its candidates in a random order, drawn from the seed and the query's id."""

    def __init__(self, inner: Reranker, seed: int) -> None:
        self.name = inner.name
        self._inner, self._seed = inner, seed

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        own = int.from_bytes(hashlib.blake2b(query.query_id.encode(), digest_size=8).digest(), "big")
        order = np.random.default_rng([self._seed, own]).permutation(len(candidates))
        return self._inner.rerank(query, [candidates[n] for n in order])


class WithNegatives(Restricted):
    """A first stage in whose head, as deep as rerankers look, wrong neighbours of the right answers take the last wrong places."""

    def __init__(self, inner: Retriever, benchmark: Benchmark, collection: Collection, *, count: int, depth: int) -> None:
        super().__init__(inner, benchmark)
        self._collection, self._count, self._depth = collection, count, depth

    def retrieve(self, query: Query, k: int) -> Ranking:
        """The k best of the first stage, with the negatives that its head lacks at the end of the head; no right answer gives way."""
        found = self._inner.retrieve(query, k)
        grades = self._benchmark.qrels.get(query.query_id, {})
        head, rest = found.candidates[: self._depth], found.candidates[self._depth :]
        wrong = [c.item.item_id for c in head if grades.get(c.item.item_id, 0) <= 0]
        added = self._negatives(query, {candidate.item.item_id for candidate in head})[: len(wrong)]
        ousted = set(wrong[len(wrong) - len(added) :])
        kept, moved = ([c for c in head if (c.item.item_id in ousted) is out] for out in (False, True))
        placed = {c.item.item_id for c in added}
        tail = [c for c in (*moved, *rest) if c.item.item_id not in placed]
        return replace(found, candidates=(*kept, *added, *tail)[:k])

    def _negatives(self, query: Query, held: set[str]) -> list[Candidate]:
        """The neighbours of the right answers, where the query may find them, that are neither right, junk, removed nor held, unscored."""
        grades = self._benchmark.qrels.get(query.query_id, {})
        right = [item_id for item_id, grade in grades.items() if grade > 0]
        banned = held | {item_id for item_id, grade in grades.items() if grade != 0}
        banned |= self._benchmark.removed.get(query.query_id, frozenset())
        where = in_gallery(query, self._benchmark).filter
        near = [c for item_id in right for c in self._near(item_id, where) if c.item.item_id not in banned]
        return list({candidate.item.item_id: replace(candidate, score=None) for candidate in near}.values())

    def _near(self, item_id: str, where: str | None) -> list[Candidate]:
        """Neighbours by descriptor, or by text where the collection has none; the item itself is among them."""
        if self._collection.manifest.encoders:
            space = self._collection.space(takes=frozenset())
            return space.nearest(space.rows([item_id])[0], self._count + 1, filter=where)
        return self._collection.matching(self._collection.item(item_id).text or "", self._count + 1, filter=where)


class WithNegativesRows(WithNegatives, RestrictedRows):
    """The same for a first stage that shows its descriptors."""


# ---------------------------------------------------------------------- queries


def _wordings(file: str | None) -> Mapping[str, str] | None:
    if file is None:
        return None
    try:
        rows = [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines() if line.strip()]
        return {str(row["query_id"]): str(row["text"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"a line of paraphrases is an object with query_id and text: {error!r}", path=file) from error


def _reworded(query: Query, wordings: Mapping[str, str] | None) -> Query:
    """The query in the words of the file, as it was where the file lacks it; by rule, in a polite frame without its end mark."""
    if not query.text:
        return query
    if wordings is not None:
        return replace(query, text=wordings.get(query.query_id, query.text))
    bare = query.text.strip().rstrip(".?!")
    frame = "{}, please" if query.images else "I would like to know: {}" if query.text.strip().endswith("?") else "please show me {}"
    return replace(query, text=frame.format(bare[:1].lower() + bare[1:]))


def _two_pictures(query: Query, collection: Collection, second: str, benchmark: Benchmark) -> Query:
    if not query.images:
        raise InputError(f"query {query.query_id!r} has no picture to put a second one beside")
    if second == "same":
        return replace(query, images=(*query.images, query.images[0]))
    space = collection.space(takes=frozenset({"image"}))
    row = space.encoder.encode([query.images[0].open()])[0]
    gone = set(benchmark.qrels.get(query.query_id, {})) | benchmark.removed.get(query.query_id, frozenset())
    near = [candidate.item for candidate in space.nearest(row, len(gone) + 3) if candidate.item.item_id not in gone]
    picture = next((item.image for item in near if item.image is not None), query.images[0])
    return replace(query, images=(*query.images, picture))


def _excluding(query: Query, collection: Collection, plain: Outcome, by: str) -> Query:
    """The query that says of the best-placed wrong item of the unchanged first stage: not this."""
    grades = plain.benchmark.qrels.get(query.query_id, {})
    ids = plain.systems[0].rankings.get(query.query_id, ())
    wrong = next((item_id for item_id in ids if grades.get(item_id, 0) <= 0), None)
    if wrong is None:
        return query
    item: Item = collection.item(wrong)
    if by == "picture" and item.image is not None:
        return replace(query, exclude_images=(*query.exclude_images, item.image))
    if item.text:
        return replace(query, exclude_text=(*query.exclude_text, item.text))
    raise InputError(f"{wrong!r} has no {by} to be excluded by")


# ---------------------------------------------------------------------- how much it changed


def stability(plain: Outcome, changed: Outcome) -> dict[str, Any]:
    """How alike the last stage's rankings are with and without the change, as means over the queries.

    `same_first`: share of queries with the same first item; `overlap_10`: shared items of the first ten; `kendall_tau`: order
    of the items that both have within the depth, 1 the same and -1 reversed.
    """
    before, after = plain.systems[-1].rankings, changed.systems[-1].rankings
    pairs = [(before[query_id], after[query_id]) for query_id in before if query_id in after]
    count = max(len(pairs), 1)
    return {
        "same_first": round(sum(a[:1] == b[:1] for a, b in pairs) / count, 6),
        "overlap_10": round(sum(len(set(a[:10]) & set(b[:10])) / max(len(a[:10]), len(b[:10]), 1) for a, b in pairs) / count, 6),
        "kendall_tau": round(sum(kendall_tau(a[: plain.depth], b[: plain.depth]) for a, b in pairs) / count, 6),
    }


def kendall_tau(one: Sequence[str], other: Sequence[str]) -> float:
    """Agreement in the order of the items that both rankings have; 1 where that is fewer than two.

    >>> kendall_tau("abc", "cba")
    -1.0
    """
    place = {item: n for n, item in enumerate(other)}
    order = np.array([place[item] for item in one if item in place])
    if len(order) < 2:
        return 1.0
    above = np.triu(order[:, None] < order[None, :], 1).sum()
    pairs = len(order) * (len(order) - 1) / 2
    return float(2 * above / pairs - 1)
