"""Index "bm25_index": ids of texts by BM25. It searches text, so it is no `Index` of rows; `SEARCHES` says which a part is.

Cost per query: one pass over the postings of its words, a fraction of a millisecond for 20,000 pages. Fitting costs about what
splitting the texts costs. Scores are sums of idf * term weight, above 0 and without an upper bound; they compare within one
query only.

Source: Robertson & Zaragoza 2009 (BM25); Kamphuis et al. 2020 (the variants); Lù 2024 (bm25s, which computes it).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from mmrerank.errors import InputError, ShapeError
from mmrerank.index._checks import integer_ids, positive
from mmrerank.index._exact import empty
from mmrerank.index._files import Sink, get_array, open_sealed, put_array, save_sealed
from mmrerank.index._words import ENGLISH, Words
from mmrerank.parts import printed
from mmrerank.types import Keys, Neighbours

SEARCHES = "text"


@dataclass(frozen=True, kw_only=True)
class Options:
    """k1: how soon repeats of a word stop counting. b: how much long texts are held back. method: the idf; lucene's alone gives
    a word that most texts have a score above 0. stemmer, stopwords: "none" for texts that are not English."""

    k1: Annotated[float, Field(ge=0)] = 1.5
    b: Annotated[float, Field(ge=0, le=1)] = 0.75
    method: Literal["lucene", "robertson", "atire"] = "lucene"
    stemmer: Literal["english", "none"] = "english"
    stopwords: Literal["english", "none"] = "english"


class Bm25Index:
    """Texts under integer ids, found by their words."""

    def __init__(self, options: Options) -> None:
        from bm25s import BM25

        self.name = printed("bm25_index", options)
        self._options = options
        self._words = Words(_stemmer(options.stemmer), ENGLISH if options.stopwords == "english" else frozenset())
        self._bm25 = BM25(k1=options.k1, b=options.b, method=options.method, backend="numpy")
        self._ids: Keys = np.empty(0, np.int64)  # ascending, so that a tie by position is a tie by id
        self._vocabulary: dict[str, int] = {}

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
        vocabulary: dict[str, int] = {}
        terms = [[vocabulary.setdefault(word, len(vocabulary)) for word in self._words.of(texts[i])] for i in order]
        if vocabulary:  # bm25s divides by the mean length, which texts without a word do not have
            self._bm25.index((terms, dict(vocabulary)), create_empty_token=False, show_progress=False)
        self._ids, self._vocabulary = ids, vocabulary

    def search(self, text: str, k: int, *, allowed: Keys | None = None) -> Neighbours:
        """The k texts that match `text` best, among `allowed` only when it is given. Ties go by id.

        A text that shares no word with the query is no neighbour, so fewer than k may come, or none.

        Raises:
            InputError: k below 1.
        """
        k = positive(k)
        terms = [self._vocabulary[word] for word in self._words.of_query(text) if word in self._vocabulary]
        if not terms:
            return empty()
        scores = self._bm25.get_scores_from_ids(terms)  # (n_texts,)
        found = np.flatnonzero(scores > 0) if allowed is None else self._matching(scores, integer_ids(allowed))
        if k < len(found):
            worst = np.partition(scores[found], len(found) - k)[len(found) - k]
            found = found[scores[found] >= worst]
        found = found[np.argsort(-scores[found], kind="stable")][:k]
        return Neighbours(ids=self._ids[found], scores=scores[found])

    def save(self, path: Path) -> None:
        """Writes the index to one file."""

        def fill(sink: Sink) -> None:
            put_array(sink, self._ids)
            put_array(sink, np.frombuffer(json.dumps(list(self._vocabulary)).encode(), np.uint8))
            for part in ("data", "indices", "indptr") if self._vocabulary else ():
                put_array(sink, self._bm25.scores[part])

        save_sealed(path, self._header(), fill)

    def load(self, path: Path) -> None:
        """Takes over what `save` wrote.

        Raises:
            DamagedData: the file is missing, torn or changed.
            ManifestError: it was fitted with other options.
        """
        with open_sealed(path, self._header()) as file:
            ids = get_array(file)
            vocabulary = {word: number for number, word in enumerate(json.loads(get_array(file).tobytes()))}
            if vocabulary:
                parts = {part: get_array(file) for part in ("data", "indices", "indptr")}
                self._bm25.scores = {**parts, "num_docs": len(ids)}
                self._bm25.nonoccurrence_array = None  # only bm25l and bm25+ have one; bm25s sets it when it indexes
        self._ids, self._vocabulary = ids, vocabulary

    def _matching(self, scores: Any, allowed: Keys) -> Keys:
        slots = np.unique(np.searchsorted(self._ids, allowed))
        slots = slots[slots < len(self._ids)]
        slots = slots[np.isin(self._ids[slots], allowed)]
        found: Keys = slots[scores[slots] > 0]
        return found

    def _header(self) -> dict[str, Any]:
        return {"index": self.name}


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
