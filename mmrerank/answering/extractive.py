"""Answers without a model: the passage that covers most of the question, quoted, with its page.

    coverage(passage) = Σ idf(t), t in question and passage / Σ idf(t), t in question      idf over all texts of the collection
    support = (1 - page_weight) coverage(passage) + page_weight coverage(its page)         a heading may name what a sentence leaves out
    score = support + rank_weight / rank of the page                                       the ranking has a say, the words decide

Where no page covers `threshold` of the question the answer is that these documents do not say it: what is asked after has a word that
stands nowhere beside the others. The weights were chosen by cross-validation over the documents of the dev halves of MMLongBench-Doc
and the shipped handbook, the threshold on the latter (tests/bench/bench_ask.py). Source: ours.  Cost per question: no model calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from mmrerank.answering._passages import Match, matches
from mmrerank.errors import InputError
from mmrerank.parts import printed
from mmrerank.types import Answer, Candidate, Citation, Corpus, Notes, Query

NOT_FOUND = "Not in these documents."
MORE = 2  # further pages cited beside the one that is quoted
CLOSE = 0.85  # a further page is cited when it covers this share of what the best one does


@dataclass(frozen=True, kw_only=True)
class Options:
    threshold: float = 0.44  # least coverage of the best page, 0..1
    page_weight: Annotated[float, Field(ge=0, le=1)] = 0.1  # share of the page beside the passage
    rank_weight: float = 0.3  # of 1 / rank beside the words

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise InputError(f"threshold is a share of the question's words in 0..1; got {self.threshold}")


class Extractive:
    """Quotes the best passage."""

    def __init__(self, options: Options, corpus: Corpus | None = None) -> None:
        self.name = printed("extractive", options)
        self._options, self._corpus = options, corpus

    def answer(self, query: Query, candidates: Sequence[Candidate]) -> Answer:
        """The best passage of these pages, with the pages that say as much."""
        question = query.text or ""
        idf = self._corpus.idf(question) if self._corpus is not None else None
        per_page = self._best_of_pages(matches(question, [candidate.item.text or "" for candidate in candidates], idf))
        silent = sum(not (candidate.item.text or "").strip() for candidate in candidates)
        notes = Notes(messages=(f"{silent} of {len(candidates)} pages have no text to quote",) if silent else ())
        if not per_page or max(match.page_coverage for match in per_page) < self._options.threshold:
            return Answer(text=NOT_FOUND, citations=(), found=False, notes=notes)
        best = per_page[0]
        cited = [best, *(match for match in per_page[1 : 1 + MORE] if self._support(match) >= CLOSE * self._support(best))]
        reasons = {candidates[m.passage.page].item.item_id: f"covers {m.coverage:.0%} of the question" for m in cited}
        return Answer(
            text=best.passage.text, citations=tuple(_citation(candidates, m) for m in cited), notes=replace(notes, reasons=reasons)
        )

    def _support(self, match: Match) -> float:
        return (1 - self._options.page_weight) * match.coverage + self._options.page_weight * match.page_coverage

    def _best_of_pages(self, ranked: Sequence[Match]) -> list[Match]:
        """The best passage of each page, best page first."""
        best: dict[int, Match] = {}
        for match in ranked:
            best.setdefault(match.passage.page, match)
        return sorted(best.values(), key=lambda m: (-(self._support(m) + self._options.rank_weight / (m.passage.page + 1)), m.passage.page))


def _citation(candidates: Sequence[Candidate], match: Match) -> Citation:
    candidate = candidates[match.passage.page]
    return Citation(item=candidate.item, score=candidate.score, quote=match.passage.text)


def build(options: Options, corpus: Corpus | None = None) -> Extractive:
    """Quotes the best passage; without a corpus, words are as rare as they are among these pages."""
    return Extractive(options, corpus)


def tiny() -> Extractive:
    return build(Options())
