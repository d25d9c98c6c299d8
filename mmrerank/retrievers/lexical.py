"""Items whose text matches the words of the query, by BM25: page text, captions.

The text index (`index/bm25_index.py`) makes the openings of pages and the captions of figures and tables count for more. Here

- a page that the question names ("on page 5", "slide 31", "page iv", "the last page of report.pdf") gets `page` more: by its
  number, or by what is printed on it. It is found whatever its words are, and stands first where nothing else is asked; up to 100;
- an item that holds all words of an exclusion is left out: "tide gauge" excludes what speaks of tide gauges, not every tide. Words
  compare as in the text index, stemmed; pictures, excluded ones too, are left aside, which is noted;
- with `wording="question"`, sentences that only say how to write the answer ("Round to two decimals.") are not searched for.

What each brings was found by cross-validation over documents and is measured by tests/bench/bench_documents.py. With
`page=0, wording="all"` the order is that of the index, whose score is `raw_score` in any case.

Source: Robertson & Zaragoza 2009, see the index `bm25_index`.  Cost per query: no model calls, one sparse product; for a question
that names a page a second one, and the rows of the pages of that name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from mmrerank.errors import InputError
from mmrerank.index import english, pages_named, subject
from mmrerank.parts import printed
from mmrerank.protocols import Corpus, CorpusCapabilities
from mmrerank.testing.fakes import fake_corpus
from mmrerank.types import Candidate, Item, Notes, PageNames, Query, Ranking

_POOL = 100  # at least so many matches are looked at, so that what comes first does not depend on how many are asked for
_LISTED = 3  # documents that a note names


@dataclass(frozen=True, kw_only=True)
class Options:
    page: Annotated[float, Field(ge=0)] = 4.0  # what a page that the question names gets more
    wording: Literal["question", "all"] = "question"  # question: sentences that say how to write the answer are left out


class Lexical:
    """Retrieves by the words of the query, and by the pages that it names."""

    def __init__(self, options: Options, corpus: Corpus) -> None:
        self.name = printed("lexical", options)
        self._options, self._corpus = options, corpus

    def retrieve(self, query: Query, k: int) -> Ranking:
        """The k best matches; items that share no word with the query are left out unless it names them, as are those with all
        words of an exclusion.

        Raises:
            InputError: the query has no text.
        """
        if not query.text:
            raise InputError(f"query {query.query_id!r} has no text, which 'lexical' matches", hint="Use 'dense' for pictures.")
        named = self._named(query)
        matches = self._allowed(query, query.text, k, named)
        reasons = {candidate.item.item_id: _reason(candidate, named) for candidate in matches}
        messages = (*query.left_aside("text", "excluded text"), *named.messages)
        return Ranking(query_id=query.query_id, candidates=tuple(matches), notes=Notes(reasons=reasons, messages=messages))

    def _named(self, query: Query) -> _Named:
        """The pages that the query names, as far as they are among the first of the collection."""
        names = pages_named(query.text or "") if self._options.page else PageNames()
        if not names:
            return _Named(names=names, pages={})
        items = self._corpus.pages(names, _POOL, filter=query.filter)
        return _Named(names=names, pages={item.item_id: item for item in items})

    def _allowed(self, query: Query, text: str, k: int, named: _Named) -> list[Candidate]:
        """The k best matches that no exclusion takes out, looked for deeper and deeper."""
        depth = k
        while True:
            matches = self._matches(query, text, depth, named)
            allowed = [candidate for candidate in matches if not _is_excluded(candidate.item, query)]
            if len(allowed) >= k or len(matches) < depth:
                return allowed[:k]
            depth *= 4

    def _matches(self, query: Query, text: str, depth: int, named: _Named) -> list[Candidate]:
        """At least `depth` matches where there are as many, best first; those that are named are among them in any case."""
        words = subject(text) if self._options.wording == "question" else text
        matches = self._corpus.matching(words, max(depth, _POOL) if named.names else depth, filter=query.filter)
        more = self._options.page + (max((c.score or 0.0 for c in matches), default=0.0) if named.names.alone else 0.0)
        ids = {candidate.item.item_id for candidate in matches}
        missing = [item for item_id, item in named.pages.items() if item_id not in ids]
        if missing:
            some = {c.item.item_id: c for c in self._corpus.matching(words, len(missing), filter=_among(missing))}
            matches = [*matches, *(some.get(item.item_id, Candidate(item=item, score=0.0)) for item in missing)]
        scored = [_scored(c, more, alone=named.names.alone) if named.has(c.item) else _scored(c, 0.0) for c in matches]
        places = {item_id: place for place, item_id in enumerate(named.pages)}
        return sorted(scored, key=lambda c: (-(c.score or 0.0), places.get(c.item.item_id, len(places))))  # other ties keep their order


@dataclass(frozen=True, slots=True, kw_only=True)
class _Named:
    """Pages that a query names."""

    names: PageNames
    pages: Mapping[str, Item]  # by id, in the order of the collection

    def has(self, item: Item) -> bool:
        return item.item_id in self.pages or (not self.names.document and self.names.fit(item))

    @property
    def messages(self) -> tuple[str, ...]:
        """What there is to say where a question asks for a page that several documents have."""
        documents = sorted({item.document_id or item.item_id for item in self.pages.values()})
        if not self.names.alone or len(documents) < 2:
            return ()
        some = ", ".join(documents[:_LISTED]) + (f" and {len(documents) - _LISTED} more" if len(documents) > _LISTED else "")
        return (f"{len(documents)} documents have a page of that name: {some}; name the document, as in 'page 3 of {documents[0]}'",)


def _is_excluded(item: Item, query: Query) -> bool:
    if not query.exclude_text:
        return False
    terms = set(english().of(item.text or ""))
    return any(english().all_in(text, terms) for text in query.exclude_text)


def _among(items: Sequence[Item]) -> str:
    quoted = ("'" + item.item_id.replace("'", "''") + "'" for item in items)
    return f"item_id IN ({', '.join(quoted)})"


def _scored(candidate: Candidate, more: float, *, alone: bool = False) -> Candidate:
    """The candidate with `more` added to its match, or in place of it where a page alone is asked for."""
    score = candidate.score or 0.0
    return replace(candidate, score=more if alone else score + more, raw_score=score)


def _reason(candidate: Candidate, named: _Named) -> str:
    item = candidate.item
    label = item.metadata.get("page_label")
    printed_as = f", printed {label}," if label and str(label).casefold() in named.names.labels else ""
    page_note = f" and page {item.page_number}{printed_as} is named" if named.has(item) else ""
    return f"BM25 {candidate.raw_score or 0.0:.3f}{page_note}"


def works_on(corpus: CorpusCapabilities) -> bool:
    return corpus.has_text


def build(options: Options, corpus: Corpus) -> Lexical:
    return Lexical(options, corpus)


def tiny() -> Lexical:
    return Lexical(Options(), fake_corpus())
