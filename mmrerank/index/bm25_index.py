"""Index "bm25_index": ids of texts by BM25. It searches text, so it is no `Index` of rows; `SEARCHES` says which a part is.

Cost per query: one pass over the postings of its words, a fraction of a millisecond for 20,000 pages. Fitting costs about what
splitting the texts costs. Scores are sums of idf * term weight, above 0 and without an upper bound; they compare within one
query only.

A score has three parts: BM25 over the whole text; BM25 over its first 30 words, as a text of its own, times `opening`; and
`captions` for each figure, table or section that the query names and whose name begins a line of the text. With `opening=0,
captions=0` it is BM25 and nothing else. What the two parts bring is measured by tests/bench/bench_documents.py.

Source: Robertson & Zaragoza 2009 (BM25, and fields with weights); Kamphuis et al. 2020 (the variants); Lù 2024 (bm25s, which
computes it).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from mmrerank.errors import InputError, ShapeError
from mmrerank.index._checks import integer_ids, positive
from mmrerank.index._exact import empty
from mmrerank.index._files import Sink, load_sealed, save_sealed
from mmrerank.index._idf import idf_of
from mmrerank.index._postings import Postings, constant, joined, weighted
from mmrerank.index._words import ENGLISH, WORDS_VERSION, Words, captions, mentions, opening
from mmrerank.parts import printed
from mmrerank.types import Keys, Neighbours

SEARCHES = "text"
_ARRAYS = ("weights", "positions", "starts")
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


class Bm25Index:
    """Texts under integer ids, found by their words."""

    def __init__(self, options: Options) -> None:
        self.name = printed("bm25_index", options)
        self._options = options
        self._words = Words(_stemmer(options.stemmer), ENGLISH if options.stopwords == "english" else frozenset())
        self._postings: Postings
        self._ids: Keys  # ascending, so that a tie by position is a tie by id
        self._vocabulary: dict[str, int]
        self._take(np.empty(0, np.int64), constant([], "", 0.0))

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def ids(self) -> Keys:
        """(n,) ascending; texts without a word are among them."""
        return self._ids.copy()

    def fit(self, ids: Keys, texts: Sequence[str]) -> None:
        """Indexes `texts` under (n,) `ids`, in place of what was there.

        Raises:
            ShapeError: not as many ids as texts.
            InputError: an id twice.
        """
        ids = integer_ids(ids)
        if len(ids) != len(texts):
            raise ShapeError(f"{len(ids)} ids came with {len(texts)} texts")
        order = np.argsort(ids)
        ids = ids[order]
        if (ids[1:] == ids[:-1]).any():
            raise InputError(f"id {ids[1:][ids[1:] == ids[:-1]][0]} comes twice")
        self._take(ids, joined(list(self._parts([texts[i] for i in order]))))

    def _parts(self, texts: Sequence[str]) -> Iterator[Postings]:
        options = self._options
        formula = {"k1": options.k1, "b": options.b, "method": options.method}
        yield weighted([self._words.of(text) for text in texts], "", 1.0, **formula)
        if options.opening:
            yield weighted([self._words.of(opening(text)) for text in texts], _OPENING, options.opening, **formula)
        if options.captions:
            yield constant([captions(text) for text in texts], _CAPTION, options.captions)

    def _query_terms(self, text: str) -> Iterator[str]:
        """The terms of a query in every part; a part that is not indexed knows none of them."""
        words = self._words.of_query(text)
        yield from words
        yield from (_OPENING + word for word in words)
        yield from (_CAPTION + name for name in sorted(mentions(text)))

    def _take(self, ids: Keys, postings: Postings) -> None:
        self._postings, self._ids, self._vocabulary = postings, ids, {term: number for number, term in enumerate(postings.vocabulary)}

    def search(self, text: str, k: int, *, allowed: Keys | None = None) -> Neighbours:
        """The k texts that match `text` best, among `allowed` only when it is given. Ties go by id.

        A text that shares no word with the query is no neighbour, so fewer than k may come, or none.

        Raises:
            InputError: k below 1.
        """
        k = positive(k)
        terms = [self._vocabulary[term] for term in self._query_terms(text) if term in self._vocabulary]
        if not terms:
            return empty()
        scores = self._postings.summed(terms, len(self))  # (n_texts,)
        positions = np.flatnonzero(scores > 0) if allowed is None else self._matching(scores, integer_ids(allowed))
        if k < len(positions):
            worst = np.partition(scores[positions], len(positions) - k)[len(positions) - k]
            positions = positions[scores[positions] >= worst]
        positions = positions[np.argsort(-scores[positions], kind="stable")][:k]
        return Neighbours(ids=self._ids[positions], scores=scores[positions])

    def idf(self, text: str) -> dict[str, float]:
        """The terms of a question with their idf over the whole texts, above 0; a term that no text has is the rarest.

        Source: that of `idf_of`, whatever `method` the scores are made with.
        """
        starts, count = self._postings.starts, len(self)
        numbers = {term: self._vocabulary.get(term) for term in self._words.of_query(text)}
        counts = {term: 0 if n is None else int(starts[n + 1] - starts[n]) for term, n in numbers.items()}
        return {term: idf_of(texts, count) for term, texts in counts.items()}

    def save(self, path: Path) -> None:
        """Writes the index to one file."""

        def fill(sink: Sink) -> None:
            sink.put("ids", self._ids)
            sink.put("vocabulary", np.frombuffer(json.dumps(list(self._vocabulary)).encode(), np.uint8))
            for name in _ARRAYS:
                sink.put(name, getattr(self._postings, name))

        save_sealed(path, self._header(), fill)

    def load(self, path: Path) -> None:
        """Takes over what `save` wrote.

        Raises:
            DamagedData: the file is missing, torn or changed.
            ManifestError: it was fitted with other options.
        """
        file = load_sealed(path, self._header())
        vocabulary = json.loads(file.array("vocabulary").tobytes())
        self._take(file.array("ids"), Postings(vocabulary=vocabulary, **{name: file.array(name) for name in _ARRAYS}))

    def _matching(self, scores: Any, allowed: Keys) -> Keys:
        slots = np.unique(np.searchsorted(self._ids, allowed))
        slots = slots[slots < len(self._ids)]
        slots = slots[np.isin(self._ids[slots], allowed)]
        matching: Keys = slots[scores[slots] > 0]
        return matching

    def _header(self) -> dict[str, Any]:
        return {"index": self.name, "words": WORDS_VERSION}


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
