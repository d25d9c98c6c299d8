"""Items whose text matches the words of the query, by BM25: page text, captions.

Source: Robertson & Zaragoza 2009; the matching itself is bm25s.  Cost per query: no model calls, one sparse product.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmrerank.errors import InputError
from mmrerank.parts import printed
from mmrerank.retrievers._double import double_corpus
from mmrerank.retrievers._query_rows import ranked
from mmrerank.types import Corpus, Query, Ranking


@dataclass(frozen=True, kw_only=True)
class Options:
    pass


class Lexical:
    def __init__(self, options: Options, corpus: Corpus) -> None:
        self.name = printed("lexical", options)
        self._corpus = corpus

    def retrieve(self, query: Query, k: int) -> Ranking:
        """The k best matches; items that share no word with the query are left out, as are matches of an exclusion.

        Raises:
            InputError: the query has no text.
        """
        if not query.text:
            raise InputError(f"query {query.query_id!r} has no text, which 'lexical' matches", hint="Use 'dense' for pictures.")
        excluded = {c.item.item_id for text in query.exclude_text for c in self._corpus.matching(text, k * 10, filter=query.filter)}
        found = self._corpus.matching(query.text, k + len(excluded), filter=query.filter)
        return ranked(query, [c for c in found if c.item.item_id not in excluded][:k], "BM25")


def build(options: Options, corpus: Corpus) -> Lexical:
    return Lexical(options, corpus)


def tiny() -> Lexical:
    return Lexical(Options(), double_corpus())
