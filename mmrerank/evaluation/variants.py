"""Variants of a benchmark: the same questions put differently, to see whether the answer holds.

    shuffled        each reranker gets its candidates in a random order: whether the order of the input changes the output
    paraphrased     other words for the same: by rule, or from a file of {"query_id", "text"} lines, of which a query may have several
    hard_negatives  the neighbours of each right answer that are wrong take the last wrong places that the rerankers look at
    two_pictures    a second picture beside the query's own: its nearest neighbour that is another picture, or the same once more
    exclusions      the best-placed wrong item is excluded by its picture, or by a few words of its text that tell it from others

A name carries its options: `shuffled(seed=3)`, `paraphrased(file='other-words.jsonl')`, `hard_negatives(count=5)`. Whether a variant
suits the queries is told before anything runs (`suitable`, `heeded`); what it changed, by `mmrerank.evaluation.stability`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from mmrerank.collection.version import CollectionVersion
from mmrerank.errors import FormatError, InputError, UnknownName
from mmrerank.evaluation.benchmark import Benchmark
from mmrerank.evaluation.running import Outcome, Restricted, RestrictedRows, in_gallery
from mmrerank.parts import BY_DESCRIPTORS, StagedReranker, options_of, parse, printed
from mmrerank.protocols import Reranker, Retriever, RowRetriever
from mmrerank.readers import body_of
from mmrerank.text_files import json_lines
from mmrerank.types import Candidate, ImageHandle, Query, Ranking

SAME = 1 - 1e-4  # cosine above which two pictures are one: encoded alone and in a batch, they differ by about 1e-6
SPARE = 10  # neighbours asked for beyond those that are no second picture
PROBED, LOOKED_AT = 5, 10  # queries, and candidates of each, that show whether a first stage heeds exclusions
OPENING, PHRASE = 30, 5  # words of a text that an excluded phrase is looked for in, and words of the phrase


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


def suitable(name: str, benchmark: Benchmark, rerank: Sequence[Any]) -> Variant:
    """The variant of this name, if the queries have what it changes; needs no collection.

    Raises:
        UnknownName: there is none such.
        InputError: there is nothing to change: no reranker to be given another order, a query without a picture, no file or none of
            the queries in it.
        FormatError: the file of paraphrases is broken.
    """
    variant = make_variant(name)
    options = variant.options
    if isinstance(options, Shuffled) and not rerank:
        raise InputError(f"{variant.name} shuffles what rerankers are given, and there is none", hint="Name one with --rerank.")
    if isinstance(options, TwoPictures):
        for query in benchmark.queries:
            _own_picture(query)
    if isinstance(options, Paraphrased):
        wordings = _wordings(options.file)
        if wordings is not None and wordings.keys().isdisjoint(query.query_id for query in benchmark.queries):
            raise InputError(f"{options.file} words no query of {benchmark.name} otherwise")
    return variant


def heeded(variant: Variant, setting: Setting, version: CollectionVersion) -> None:
    """Nothing where exclusions, if that is the variant, can change something; a few queries are searched with and without.

    Raises:
        InputError: what is found has no picture or text to be excluded by, or the first stage takes no heed of it and nothing follows.
    """
    options, benchmark, first = variant.options, setting.benchmark, setting.first
    if not isinstance(options, Exclusions):
        return
    probes = [(query, first.retrieve(query, LOOKED_AT)) for query in benchmark.queries[:PROBED]]
    exclusions = [(_excluding(query, version, plain.item_ids, benchmark, options.by), plain) for query, plain in probes]
    if all(changed is query for (changed, _), (query, _) in zip(exclusions, probes, strict=True)):
        raise InputError(f"{variant.name}: nothing wrong that {first.name} finds has a {options.by} to be excluded by")
    if not setting.rerank and all(_same(first.retrieve(query, LOOKED_AT), plain) for query, plain in exclusions):
        hint = f"Take a first stage that does, such as {BY_DESCRIPTORS!r}, exclude by the other of picture and text, or name a reranker."
        raise InputError(f"{variant.name}: {first.name} takes no heed of what is excluded by its {options.by}", hint=hint)


def _same(one: Ranking, other: Ranking) -> bool:
    return [(c.item.item_id, c.score) for c in one.candidates] == [(c.item.item_id, c.score) for c in other.candidates]


def altered(variant: Variant, setting: Setting, version: CollectionVersion, plain: Outcome) -> Setting:
    """The setting with the change made; `plain` is the outcome without it.

    Raises:
        InputError: the change does not suit the queries, such as a second picture where there is no first or no other.
    """
    return alterations(variant, setting, version, plain)[0]


def alterations(variant: Variant, setting: Setting, version: CollectionVersion, plain: Outcome) -> list[Setting]:
    """The setting with the change made, once for each wording of the queries where these have several; see `altered`."""
    options = variant.options
    if not isinstance(options, Paraphrased):
        return [_altered(variant, setting, version, plain)]
    wordings = _wordings(options.file)
    count = 1 if wordings is None else max(map(len, wordings.values()), default=1)
    reworded = (tuple(_reworded(query, wordings, n) for query in setting.benchmark.queries) for n in range(count))
    return [replace(setting, benchmark=replace(setting.benchmark, queries=queries)) for queries in reworded]


def _altered(variant: Variant, setting: Setting, version: CollectionVersion, plain: Outcome) -> Setting:
    options, benchmark, first = variant.options, setting.benchmark, setting.first
    if isinstance(options, Shuffled):
        return replace(setting, rerank=tuple(_shuffled(part, options.seed) for part in setting.rerank))
    if isinstance(options, HardNegatives):
        kind = WithNegativesRows if isinstance(first, RowRetriever) else WithNegatives
        return replace(setting, first=kind(first, benchmark, version, count=options.count, depth=plain.depth))
    if isinstance(options, TwoPictures):
        queries = tuple(_two_pictures(query, version, options.second, benchmark) for query in benchmark.queries)
    else:
        assert isinstance(options, Exclusions)  # paraphrases are made before, once for each wording
        queries = tuple(_excluding(q, version, plain.systems[0].rankings[q.query_id], benchmark, options.by) for q in benchmark.queries)
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


def _shuffled(reranker: Reranker, seed: int) -> Reranker:
    """The reranker with its candidates shuffled: those within the depth of its stage, all where its own option says how far it looks."""
    if isinstance(reranker, StagedReranker) and not reranker.stage.own_depth:
        return reranker.around(ShuffledReranker(reranker.within, seed))
    return ShuffledReranker(reranker, seed)


class WithNegatives(Restricted):
    """A first stage in whose head, as deep as rerankers look, wrong neighbours of the right answers take the last wrong places."""

    def __init__(self, inner: Retriever, benchmark: Benchmark, version: CollectionVersion, *, count: int, depth: int) -> None:
        super().__init__(inner, benchmark)
        self._version, self._count, self._depth = version, count, depth
        self.placed: dict[str, frozenset[str]] = {}  # query_id -> the negatives that it put in

    def retrieve(self, query: Query, k: int) -> Ranking:
        """The k best of the first stage, with the negatives that its head lacks at the end of the head; no right answer gives way."""
        ranking = self._inner.retrieve(query, k)
        grades = self._benchmark.qrels.get(query.query_id, {})
        head, rest = ranking.candidates[: self._depth], ranking.candidates[self._depth :]
        wrong = [c.item.item_id for c in head if grades.get(c.item.item_id, 0) <= 0]
        added = self._negatives(query, {candidate.item.item_id for candidate in head})[: len(wrong)]
        ousted = set(wrong[len(wrong) - len(added) :])
        remaining, displaced = ([c for c in head if (c.item.item_id in ousted) is out] for out in (False, True))
        placed = frozenset(c.item.item_id for c in added)
        self.placed[query.query_id] = placed
        tail = [c for c in (*displaced, *rest) if c.item.item_id not in placed]
        return replace(ranking, candidates=(*remaining, *added, *tail)[:k])

    def _negatives(self, query: Query, head: set[str]) -> list[Candidate]:
        """The neighbours of the right answers, where the query may find them, that are neither right, junk, removed nor in the head."""
        grades = self._benchmark.qrels.get(query.query_id, {})
        right = [item_id for item_id, grade in grades.items() if grade > 0]
        banned = head | {item_id for item_id, grade in grades.items() if grade != 0}
        banned |= self._benchmark.removed.get(query.query_id, frozenset())
        where = in_gallery(query, self._benchmark).filter
        near = [c for item_id in right for c in self._near(item_id, where) if c.item.item_id not in banned]
        return list({candidate.item.item_id: replace(candidate, score=None) for candidate in near}.values())

    def _near(self, item_id: str, where: str | None) -> list[Candidate]:
        """Neighbours by descriptor, or by text where the collection has none; the item itself is among them."""
        if self._version.manifest.encoders:
            space = self._version.space(takes=frozenset())
            return space.nearest(space.rows([item_id])[0], self._count + 1, filter=where)
        return self._version.matching(self._version.item(item_id).text or "", self._count + 1, filter=where)


class WithNegativesRows(WithNegatives, RestrictedRows):
    """The same for a first stage that shows its descriptors."""


# ---------------------------------------------------------------------- queries


def _wordings(file: str | None) -> Mapping[str, Sequence[str]] | None:
    if file is None:
        return None
    if not Path(file).exists():
        raise InputError(f"there is no file of paraphrases {file}")
    wordings: dict[str, list[str]] = {}
    for line, row in json_lines(file):
        if not isinstance(row, Mapping) or not isinstance(row.get("query_id"), str | int) or not isinstance(row.get("text"), str):
            raise FormatError("a line of paraphrases is an object with query_id and text", path=file, line=line)
        wordings.setdefault(str(row["query_id"]), []).append(row["text"])
    return wordings


def _reworded(query: Query, wordings: Mapping[str, Sequence[str]] | None, place: int) -> Query:
    """The query in the words of the file at this place, the last ones where it has fewer, as it was where the file lacks it; by rule, in
    a polite frame without its end mark."""
    if not query.text:
        return query
    if wordings is not None:
        own = wordings.get(query.query_id, (query.text,))
        return replace(query, text=own[min(place, len(own) - 1)])
    bare = query.text.strip().rstrip(".?!")
    frame = "{}, please" if query.images else "I would like to know: {}" if query.text.strip().endswith("?") else "please show me {}"
    return replace(query, text=frame.format(bare[:1].lower() + bare[1:]))


def _two_pictures(query: Query, version: CollectionVersion, second: str, benchmark: Benchmark) -> Query:
    own = _own_picture(query)
    picture = own if second == "same" else _neighbour(query, own, version, benchmark)
    return replace(query, images=(*query.images, picture))


def _own_picture(query: Query) -> ImageHandle:
    if not query.images:
        raise InputError(f"query {query.query_id!r} has no picture to put a second one beside")
    return query.images[0]


def _neighbour(query: Query, own: ImageHandle, version: CollectionVersion, benchmark: Benchmark) -> ImageHandle:
    """The picture nearest to the query's own that is another one, and neither judged nor removed. Where the protocol leaves the
    reference in the ranking, the first neighbour is the query's own picture."""
    space = version.space(takes=frozenset({"image"}))
    row = space.encoder.encode([own.open()])[0]
    gone = set(benchmark.qrels.get(query.query_id, {})) | benchmark.removed.get(query.query_id, frozenset())
    near = [c for c in space.nearest(row, len(gone) + SPARE) if c.item.item_id not in gone and (c.score or 0.0) < SAME]
    picture = next((candidate.item.image for candidate in near if candidate.item.image is not None), None)
    if picture is None:
        raise InputError(f"the collection has no second picture for query {query.query_id!r}", hint="Try two_pictures(second=same).")
    return picture


def _excluding(query: Query, version: CollectionVersion, ids: Sequence[str], benchmark: Benchmark, by: str) -> Query:
    """The query that says of the best-placed wrong item that has a picture or text: not this. The query itself where none has."""
    grades = benchmark.qrels.get(query.query_id, {})
    for item in (version.item(item_id) for item_id in ids[:LOOKED_AT] if grades.get(item_id, 0) <= 0):
        if by == "picture" and item.image is not None:
            return replace(query, exclude_images=(*query.exclude_images, item.image))
        if by == "text" and item.text and item.text.strip():
            return replace(query, exclude_text=(*query.exclude_text, _phrase(item.text, version)))
    return query


def _phrase(text: str, version: CollectionVersion) -> str:
    """The words in a row, of those that the text opens with, that are rarest together: what a reader would call it by, and no
    running head, which would exclude the whole document."""
    words = body_of(text).split()[:OPENING]
    phrases = [" ".join(words[n : n + PHRASE]) for n in range(max(len(words) - PHRASE + 1, 1))]
    return max(phrases, key=lambda phrase: sum(version.idf(phrase).values()))
