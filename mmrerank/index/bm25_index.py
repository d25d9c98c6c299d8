"""Index "bm25_index": ids of texts by BM25. It searches text, so it is no `Index` of rows; `SEARCHES` says which a part is.

Cost per query: one pass over the postings of its words, a fraction of a millisecond for 20,000 pages. Fitting costs about what
splitting the texts costs; a file that is opened where it lies is read where a query looks. Scores are sums of idf * term weight, above
0 and without an upper bound; they compare within one query only.

A score has three parts: BM25 over the whole text; BM25 over its first 30 words, as a text of its own, times `opening`; and
`captions` for each figure, table or section that the query names and whose name begins a line of the text. With `opening=0,
captions=0` it is BM25 and nothing else. What the two parts bring is measured by tests/bench/bench_documents.py.

Source: Robertson & Zaragoza 2009 (BM25, and fields with weights); Kamphuis et al. 2020 (the variants). What words weigh in given texts is
what bm25s (Lù 2024) says; it weighs no texts that came later, which is why it is not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mmrerank.errors import InputError, ShapeError
from mmrerank.index._checks import integer_ids, positive
from mmrerank.index._exact import empty
from mmrerank.index._files import Sealed, Sink, load_sealed, map_sealed, save_sealed
from mmrerank.index._idf import idf_of
from mmrerank.index._postings import Counts, Formula, Postings, TermCounter, Vocabulary, joined
from mmrerank.index._words import ENGLISH, WORDS_VERSION, Words, captions, mentions, opening
from mmrerank.parts import printed
from mmrerank.types import Array, Keys, Neighbours

SEARCHES = "text"
_ARRAYS = ("weights", "positions", "starts")
_AT_ONCE = 65_536  # texts that are counted together
_OPENING, _CAPTION = "opening:", "caption:"  # mark the terms of these parts; no word has such a beginning


@dataclass(frozen=True, kw_only=True)
class Options:
    """In a collection they have their defaults, which leave most words of other languages than English as they are."""

    k1: Annotated[float, Field(ge=0)] = 1.5  # how soon repeats of a word stop counting
    b: Annotated[float, Field(ge=0, le=1)] = 0.75  # how much long texts are held back
    method: Literal["lucene", "robertson", "atire"] = "lucene"  # the idf; lucene's alone gives a word that most texts have a score above 0
    opening: Annotated[float, Field(ge=0)] = 0.4  # what the first 30 words weigh, as a text of their own
    captions: Annotated[float, Field(ge=0)] = 6.0  # what a caption weighs that the query names
    stemmer: Literal["english", "none"] = "english"  # none: for texts in another language
    stopwords: Literal["english", "none"] = "english"  # likewise; those of queries only are dropped


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What one part of a score is made of."""

    mark: str  # before its terms
    weight: float
    split: Callable[[str], Sequence[str]]  # a text -> its compounds
    terms_of: Callable[[str], Collection[str]]  # a compound -> its terms
    formula: Formula | None  # None: its terms weigh the same wherever they stand


class Bm25Index:
    """Texts under integer ids, found by their words. What was fitted stays as it is: `further` texts make an index of their own, whose
    scores compare with these, and `TailedTexts` searches both."""

    def __init__(self, options: Options) -> None:
        self.name = printed("bm25_index", options)
        self._options = options
        self._words = Words(_stemmer(options.stemmer), ENGLISH if options.stopwords == "english" else frozenset())
        self._postings: Postings
        self._ids: Keys  # ascending, so that a tie by position is a tie by id
        self._dead: Keys  # positions of texts that no search shows
        self._means: npt.NDArray[np.float64]  # (n_parts,) how long the texts are in each
        self._take(np.empty(0, np.int64), joined([]), np.zeros(len(list(self._parts()))))

    def __len__(self) -> int:
        return len(self._ids) - len(self._dead)

    @property
    def ids(self) -> Keys:
        """(n,) ascending; texts without a word are among them."""
        return np.delete(self._ids, self._dead)

    @property
    def gone(self) -> Keys:
        """(n,) ascending, what was removed."""
        return self._ids[self._dead]

    def fit(self, ids: Keys, texts: Sequence[str]) -> None:
        """Indexes `texts` under (n,) `ids`, in place of what was there.

        Raises:
            ShapeError: not as many ids as texts.
            InputError: an id twice.
        """
        self.fill(_unique(ids, len(texts)), [(integer_ids(ids), texts)])

    def fill(self, ids: Keys, batches: Iterable[tuple[Keys, Sequence[str]]]) -> None:
        """As `fit`, of texts that come in any order, so that they are never held all at once.

        Args:
            ids: (n,) ascending, of all of them.
            batches: some of these ids with their texts.
        """
        postings, means = [], []
        for part, counts in self._counted(ids, batches):
            means.append(float(counts.lengths.mean()) if len(ids) else 0.0)
            postings.append(_weighed(part, counts, np.diff(counts.starts), len(ids), means[-1]))
        self._take(ids, joined(postings), np.array(means))

    def further(self, ids: Keys, texts: Sequence[str]) -> Bm25Index:
        """An index over other texts, in which words weigh what they weigh here; one that no text here has weighs as if one had it.

        Raises:
            ShapeError, InputError: as of `fit`.
        """
        postings, ascending = [], _unique(ids, len(texts))
        for mean, (part, counts) in zip(self._means, self._counted(ascending, [(integer_ids(ids), texts)]), strict=True):
            having = np.array([self._postings.count(part.mark + term) for term in counts.vocabulary], np.int64)
            postings.append(_weighed(part, counts, having, len(self._ids), float(mean)))
        return self._like(ascending, joined(postings))

    def _counted(self, ids: Keys, batches: Iterable[tuple[Keys, Sequence[str]]]) -> Iterator[tuple[_Part, Counts]]:
        parts = list(self._parts())
        counters = [TermCounter(part.terms_of, len(ids)) for part in parts]
        for some, texts in _blocks(batches):
            positions = np.searchsorted(ids, some)
            for part, counter in zip(parts, counters, strict=True):
                counter.add(positions, map(part.split, texts))
        for part in parts:
            yield part, counters.pop(0).counts()

    def joined(self, other: Bm25Index) -> Bm25Index:
        """The texts of two, in which words weigh the same and which share no id, as one."""
        ids = np.concatenate([self._ids, other._ids])
        order = np.argsort(ids)
        places = np.empty(len(ids), np.int32)
        places[order] = np.arange(len(ids))
        mine, others = self._postings, other._postings
        moved = [
            replace(mine, positions=places[mine.positions]),
            replace(others, positions=places[others.positions + np.int32(len(self._ids))]),
        ]
        return self._like(ids[order], joined(moved))

    def without(self, ids: Keys) -> Bm25Index:
        """The same without these ascending ids."""
        rest = np.isin(self._ids, ids, invert=True)
        return self._like(self._ids[rest], self._postings.among(rest))

    def remove(self, ids: Keys) -> None:
        """Makes these ids unfindable; what words weigh stays."""
        dead = np.flatnonzero(np.isin(self._ids, integer_ids(ids)))
        self._dead = np.union1d(self._dead, dead)

    def _like(self, ids: Keys, postings: Postings) -> Bm25Index:
        index = Bm25Index(self._options)
        index._take(ids, postings, self._means)
        return index

    def _parts(self) -> Iterator[_Part]:
        options, words = self._options, self._words
        formula = Formula(k1=options.k1, b=options.b, method=options.method)
        yield _Part(mark="", weight=1.0, split=words.compounds, terms_of=words.terms, formula=formula)
        if options.opening:
            split = lambda text: words.compounds(opening(text))  # noqa: E731
            yield _Part(mark=_OPENING, weight=options.opening, split=split, terms_of=words.terms, formula=formula)
        if options.captions:
            names = lambda text: sorted(captions(text))  # noqa: E731
            yield _Part(mark=_CAPTION, weight=options.captions, split=names, terms_of=lambda name: (name,), formula=None)

    def _query_terms(self, text: str) -> Iterator[str]:
        """The terms of a query in every part; a part that is not indexed knows none of them."""
        words = self._words.of_query(text)
        yield from words
        yield from (_OPENING + word for word in words)
        yield from (_CAPTION + name for name in sorted(mentions(text)))

    def _take(self, ids: Keys, postings: Postings, means: npt.NDArray[np.float64]) -> None:
        self._ids, self._postings, self._means, self._dead = ids, postings, means, np.empty(0, np.int64)

    def search(self, text: str, k: int, *, allowed: Keys | None = None) -> Neighbours:
        """The k texts that match `text` best, among `allowed` only when it is given. Ties go by id.

        A text that shares no word with the query is no neighbour, so fewer than k may come, or none.

        Raises:
            InputError: k below 1.
        """
        k = positive(k)
        scores = self._postings.summed(self._query_terms(text), len(self._ids))  # (n_texts,)
        if scores is None:
            return empty()
        scores[self._dead] = 0
        positions = np.flatnonzero(scores > 0) if allowed is None else self._matching(scores, integer_ids(allowed))
        if k < len(positions):
            worst = np.partition(scores[positions], len(positions) - k)[len(positions) - k]
            positions = positions[scores[positions] >= worst]
        positions = positions[np.argsort(-scores[positions], kind="stable")][:k]
        return Neighbours(ids=self._ids[positions], scores=scores[positions])

    def holders(self, text: str) -> dict[str, int]:
        """The terms of a question, each with how many whole texts have it."""
        return {term: self._postings.count(term) for term in self._words.of_query(text)}

    def idf(self, text: str) -> dict[str, float]:
        """The terms of a question with their idf over the whole texts, above 0; a term that no text has is the rarest.

        Source: that of `idf_of`, whatever `method` the scores are made with.
        """
        return {term: idf_of(texts, len(self._ids)) for term, texts in self.holders(text).items()}

    def save(self, path: Path) -> None:
        """Writes the index to one file, without what was removed."""
        index = self.without(self.gone) if len(self._dead) else self
        postings, words = index._postings, index._postings.vocabulary
        parts: dict[str, npt.NDArray[Any]] = {"ids": index._ids, "means": index._means, "letters": words.letters, "ends": words.ends}

        def fill(sink: Sink) -> None:
            for name, array in parts.items():
                sink.put(name, array)
            for name in _ARRAYS:
                sink.put(name, getattr(postings, name))

        save_sealed(path, self._header(), fill)

    def load(self, path: Path) -> None:
        """Takes over what `save` wrote.

        Raises:
            DamagedData: the file is missing, torn or changed.
            ManifestError: it was fitted with other options.
        """
        self._take_from(load_sealed(path, self._header()))

    def open(self, path: Path) -> None:
        """See `mmrerank.protocols.MappedIndex`.

        Raises:
            DamagedData, ManifestError: as of `load`.
        """
        self._take_from(map_sealed(path, self._header()))

    def _take_from(self, file: Sealed) -> None:
        vocabulary = Vocabulary(file.array("letters"), file.array("ends"))
        self._take(file.array("ids"), Postings(vocabulary=vocabulary, **{name: file.array(name) for name in _ARRAYS}), file.array("means"))

    def _matching(self, scores: Array, allowed: Keys) -> Keys:
        slots = np.unique(np.searchsorted(self._ids, allowed))
        slots = slots[slots < len(self._ids)]
        slots = slots[np.isin(self._ids[slots], allowed)]
        matching: Keys = slots[scores[slots] > 0]
        return matching

    def _header(self) -> dict[str, Any]:
        return {"index": self.name, "words": WORDS_VERSION}


def _blocks(batches: Iterable[tuple[Keys, Sequence[str]]]) -> Iterator[tuple[Keys, list[str]]]:
    """The same in blocks of `_AT_ONCE`: each has counts of every word, and to count many texts at once takes no less memory."""
    ids, texts = np.empty(0, np.int64), list[str]()
    for some, more in batches:
        ids, texts = np.concatenate([ids, some]), [*texts, *more]
        while len(texts) >= _AT_ONCE:
            yield ids[:_AT_ONCE], texts[:_AT_ONCE]
            ids, texts = ids[_AT_ONCE:], texts[_AT_ONCE:]
    yield ids, texts


def _unique(ids: Keys, count: int) -> Keys:
    """The ids in ascending order.

    Raises:
        ShapeError: they are not `count`.
        InputError: one comes twice.
    """
    ids = np.sort(integer_ids(ids))
    if len(ids) != count:
        raise ShapeError(f"{len(ids)} ids came with {count} texts")
    if (ids[1:] == ids[:-1]).any():
        raise InputError(f"id {ids[1:][ids[1:] == ids[:-1]][0]} comes twice")
    return ids


def _weighed(part: _Part, counts: Counts, having: npt.NDArray[np.int64], texts: int, mean_length: float) -> Postings:
    if part.formula is None:
        return counts.postings(part.mark, np.full(len(counts.texts), part.weight, np.float32))
    return counts.postings(part.mark, part.formula.weights(counts, having, texts, mean_length) * np.float32(part.weight))


def _stemmer(language: str) -> Any:
    if language == "none":
        return str
    from Stemmer import Stemmer

    return Stemmer(language, 0).stemWord  # without its cache, whose clearing costs more than stemming; `Words` remembers


def build(options: Options) -> Bm25Index:
    """An empty index over texts; `fit` fills it."""
    return Bm25Index(options)


def tiny() -> Bm25Index:
    """An empty index over texts."""
    return Bm25Index(Options())
