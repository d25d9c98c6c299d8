"""Orders candidates by the words they share with the query: BM25 over the candidates themselves, without an index.

    raw = Σ idf(t) tf / (tf + k1 (1 - b + b length / mean length))     over the query's terms t, idf(t) = ln(1 + (n - df + .5) / (df + .5))
    score = raw / Σ idf(t)                        within 0 and 1: how much of the query, each term by its rarity, is there

Counts are those of the n candidates, so scores compare within one call. Terms are those of the text index: stemmed English, parts
of identifiers, pairs of Chinese and Japanese characters. A candidate that shares no term keeps its place behind those that do.

Source: Robertson & Zaragoza 2009, the idf of Lucene; the division is ours.  Cost per query: no model calls, a pass over the texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from mmrerank.index import english
from mmrerank.ordering import best_first, levelled
from mmrerank.parts import printed
from mmrerank.types import Array, Candidate, Modality, Notes, Query, Ranking

LOOKS_AT: frozenset[Modality] = frozenset({"text"})


@dataclass(frozen=True, kw_only=True)
class Options:
    k1: Annotated[float, Field(ge=0)] = 1.5  # how soon repeats of a word stop counting
    b: Annotated[float, Field(ge=0, le=1)] = 0.75  # how much long texts are held back


class Bm25:
    """Reranks by words."""

    def __init__(self, options: Options) -> None:
        self.name = printed("bm25", options)
        self._options = options

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates by the share of the query they hold, less the share of its exclusions; equal ones in the incoming order.

        A query without text leaves the order as it came. Pictures of the query, excluded ones too, are left aside, which is noted.
        """
        if not query.text:
            why = "the query has no text, whose words are looked for; the order stays as it came"
            unmoved = tuple(Candidate(item=candidate.item) for candidate in candidates)
            return Ranking(query_id=query.query_id, candidates=unmoved, notes=Notes(status="fallback", messages=(why,)))
        texts = [Counter(english().of(candidate.item.text or "")) for candidate in candidates]
        terms = english().of_query(query.text)
        raw, most = self._scores(terms, texts)
        for excluded in query.exclude_text:
            against, of = self._scores(english().of_query(excluded), texts)
            raw = np.maximum(raw - against * np.float32(most / of if of else 0), 0)
        raw = levelled(raw)
        ranked = [_scored(candidates[n], float(raw[n]), most) for n in best_first(raw)]
        matches = {c.item.item_id: sum(term in text for term in set(terms)) for c, text in zip(candidates, texts, strict=True)}
        silent = sum(not text for text in texts)
        no_text = (f"{silent} of {len(texts)} candidates have no text",)
        return Ranking(
            query_id=query.query_id,
            candidates=tuple(ranked),
            notes=Notes(
                messages=(*query.left_aside("text", "excluded text"), *(no_text if silent else ())),
                reasons={c.item.item_id: f"BM25 {c.raw_score:.3f}, {matches[c.item.item_id]} of {len(set(terms))} words" for c in ranked},
            ),
        )

    def _scores(self, terms: Sequence[str], texts: Sequence[Counter[str]]) -> tuple[Array, float]:
        """(n,) BM25 of each text, and what it cannot exceed."""
        length = np.array([text.total() for text in texts], np.float32)
        damping = self._options.k1 * (1 - self._options.b + self._options.b * length / max(float(length.mean() if texts else 0), 1.0))
        raw, most = np.zeros(len(texts), np.float32), 0.0
        for term, times in Counter(terms).items():
            frequency = np.array([text[term] for text in texts], np.float32)  # (n,)
            holders = int((frequency > 0).sum())
            idf = float(np.log(1 + (len(texts) - holders + 0.5) / (holders + 0.5)))
            raw += times * idf * frequency / np.maximum(frequency + damping, 1e-9)
            most += times * idf
        return raw, most


def _scored(candidate: Candidate, raw: float, most: float) -> Candidate:
    return Candidate(item=candidate.item, score=min(raw / most, 1.0) if most else 0.0, raw_score=raw)


def build(options: Options) -> Bm25:
    return Bm25(options)


def tiny() -> Bm25:
    return build(Options())
