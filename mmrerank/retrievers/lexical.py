"""Items whose text matches the words of the query, by BM25: page text, captions.

The text index (`index/bm25_index.py`) makes the openings of pages and the captions of figures and tables count for more. Here

- a page that the question names ("on page 5", "slide 31", "the cover page") gets `page` more: by its number, or by the number
  printed on it as far as the PDF says so and it is among the first 100 matches;
- an item that holds all words of an exclusion is left out: "tide gauge" excludes what speaks of tide gauges, not every tide. Words
  compare as in the text index, stemmed; excluded pictures mean nothing to it;
- with `wording="question"`, sentences that only say how to write the answer ("Round to two decimals.") are not searched for.

What each brings was found by cross-validation over documents and is measured by tests/bench/bench_documents.py. With
`page=0, wording="all"` the order is that of the index, whose score is `raw_score` in any case.

Source: Robertson & Zaragoza 2009; the matching itself is bm25s.  Cost per query: no model calls, one sparse product; two for a
question that names a page.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from mmrerank.errors import InputError
from mmrerank.index import english
from mmrerank.parts import printed
from mmrerank.retrievers._question import pages_named, subject
from mmrerank.testing.fakes import fake_corpus
from mmrerank.types import Candidate, Corpus, CorpusCapabilities, Item, Notes, Query, Ranking

_POOL = 100  # at least so many matches are looked at, so that what comes first does not depend on how many are asked for


@dataclass(frozen=True, kw_only=True)
class Options:
    page: Annotated[float, Field(ge=0)] = 4.0  # what a page that the question names gets more
    wording: Literal["question", "all"] = "question"  # question: sentences that say how to write the answer are left out


class Lexical:
    def __init__(self, options: Options, corpus: Corpus) -> None:
        self.name = printed("lexical", options)
        self._options, self._corpus = options, corpus

    def retrieve(self, query: Query, k: int) -> Ranking:
        """The k best matches; items that share no word with the query are left out, as are those with all words of an exclusion.

        Raises:
            InputError: the query has no text.
        """
        if not query.text:
            raise InputError(f"query {query.query_id!r} has no text, which 'lexical' matches", hint="Use 'dense' for pictures.")
        numbers = pages_named(query.text) if self._options.page else frozenset()
        matches = self._allowed(query, query.text, k, numbers)
        reasons = {candidate.item.item_id: _reason(candidate, numbers) for candidate in matches}
        return Ranking(query_id=query.query_id, candidates=tuple(matches), notes=Notes(reasons=reasons))

    def _allowed(self, query: Query, text: str, k: int, numbers: frozenset[int]) -> list[Candidate]:
        """The k best matches that no exclusion takes out, looked for deeper and deeper."""
        depth = k
        while True:
            matches = self._matches(query, text, depth, numbers)
            allowed = [candidate for candidate in matches if not _is_excluded(candidate.item, query)]
            if len(allowed) >= k or len(matches) < depth:
                return allowed[:k]
            depth *= 4

    def _matches(self, query: Query, text: str, depth: int, numbers: frozenset[int]) -> list[Candidate]:
        """At least `depth` matches where there are as many, best first; those that are named are among them in any case."""
        words = subject(text) if self._options.wording == "question" else text
        matches = self._corpus.matching(words, max(depth, _POOL) if numbers else depth, filter=query.filter)
        if numbers:
            ids = {candidate.item.item_id for candidate in matches}
            some = self._corpus.matching(words, depth, filter=_among_pages(query.filter, numbers))
            matches = [*matches, *(candidate for candidate in some if candidate.item.item_id not in ids)]
        return sorted((self._scored(c, numbers) for c in matches), key=lambda c: -(c.score or 0.0))  # ties keep their order

    def _scored(self, candidate: Candidate, numbers: frozenset[int]) -> Candidate:
        score = candidate.score or 0.0
        return replace(candidate, score=score + self._options.page * _is_named(candidate.item, numbers), raw_score=score)


def _is_named(item: Item, numbers: frozenset[int]) -> bool:
    label = str(item.metadata.get("page_label", ""))
    return item.page_number is not None and (item.page_number in numbers or (label.isdecimal() and int(label) in numbers))


def _is_excluded(item: Item, query: Query) -> bool:
    if not query.exclude_text:
        return False
    terms = set(english().of(item.text or ""))
    return any(english().all_in(text, terms) for text in query.exclude_text)


def _among_pages(condition: str | None, numbers: frozenset[int]) -> str:
    pages = f"page_number IN ({', '.join(map(str, sorted(numbers)))})"
    return pages if condition is None else f"({condition}) AND {pages}"


def _reason(candidate: Candidate, numbers: frozenset[int]) -> str:
    page_note = f" and page {candidate.item.page_number} is named" if _is_named(candidate.item, numbers) else ""
    return f"BM25 {candidate.raw_score or 0.0:.3f}{page_note}"


def works_on(corpus: CorpusCapabilities) -> bool:
    return corpus.has_text


def build(options: Options, corpus: Corpus) -> Lexical:
    return Lexical(options, corpus)


def tiny() -> Lexical:
    return Lexical(Options(), fake_corpus())
