"""Answers without a model: the passage that covers most of the question, quoted, with its page.

    coverage(passage) = Σ w(word), word of the question and in the passage / Σ w(word)     w: rarity, times what words of its kind weigh
    support = (1 - page_weight) coverage(passage) + page_weight coverage(its page)         a heading may name what a sentence leaves out
                                                                                           and a running head counts as a passage
    score = support + rank_weight / rank of the page                                       the ranking has a say, the words decide
    gap(page) = (1 - coverage(page)) √Σ w(word)                                            what the page leaves open

Where the best page leaves open more than `threshold`, or covers less than `least` of the question, the answer is that these documents do
not say it, with the page that comes nearest. Words and weights are those of `_wording.py`: names and what is asked for count more, words
of asking less, and words are as rare as among the texts of the collection and twenty more (`index/_idf.py`), so that one page alone and
the same among hundreds are answered alike. A question for a price, a date or a number is answered from passages that have one
(`_values.py`). One that asks for a page alone ("What is on page 7?") gets its opening words.

The weights of page and rank were chosen by cross-validation over the documents of the dev halves of MMLongBench-Doc and the shipped
handbook, what words weigh and the threshold likewise (tests/bench/bench_ask.py). Source: ours.  Cost per question: no model calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from mmrerank.answering._passages import Match, matches, opening_of
from mmrerank.answering._values import Value, value_of
from mmrerank.answering._wording import missing_words
from mmrerank.errors import InputError
from mmrerank.index import pages_named, subject
from mmrerank.parts import printed
from mmrerank.protocols import Corpus
from mmrerank.types import Answer, Candidate, Citation, Notes, PageNames, Query

NOT_FOUND = "Not in these documents."
MORE = 2  # further pages cited beside the one that is quoted
CLOSE = 0.85  # a further page is cited when it covers this share of what the best one does
WITH_VALUE = 0.8  # a passage with such a value is quoted where it covers this share of what the best one of its page does
WITHOUT_VALUE = 0.85  # what the support of a page counts that has no such passage
NAMED = 3  # missing words that a refusal names


@dataclass(frozen=True, kw_only=True)
class Options:
    threshold: float = 2.5  # most that the best page may leave open of the question, 0 and above: lower refuses more
    least: Annotated[float, Field(ge=0, le=1)] = 0.5  # share of the question that the best page covers at least, and a price's passage
    page_weight: Annotated[float, Field(ge=0, le=1)] = 0.1  # share of the page beside the passage
    rank_weight: float = 0.3  # of 1 / rank beside the words

    def __post_init__(self) -> None:
        if self.threshold < 0:
            raise InputError(f"threshold is what a page may leave open of a question, 0 and above; got {self.threshold}")


class Extractive:
    """Quotes the best passage."""

    def __init__(self, options: Options, corpus: Corpus | None = None) -> None:
        self.name = printed("extractive", options)
        self._options, self._corpus = options, corpus

    def answer(self, query: Query, candidates: Sequence[Candidate]) -> Answer:
        """The best passage of these pages, with the pages that say as much; or that they do not say it, with the nearest page."""
        question = query.text or ""
        openings = _named_alone(pages_named(question), candidates)
        pages = openings or candidates
        silent = sum(not (page.item.text or "").strip() for page in pages)
        notes = Notes(messages=(f"{silent} of {len(pages)} pages have no text to quote",) if silent else ())
        if openings:
            return replace(_openings(openings), notes=notes)
        idf = self._corpus.idf(question) if self._corpus is not None else None
        ranked = matches(question, [page.item.text or "" for page in pages], idf)
        value = value_of(subject(question))
        order = self._best_of_pages(ranked, value)
        if not self._is_answered(ranked, value):
            return _refusal(question, pages, order, notes)
        cited = [order[0], *(choice for choice in order[1 : 1 + MORE] if choice.support >= CLOSE * order[0].support)]
        reasons = {pages[c.page].item.item_id: f"covers {c.match.coverage:.0%} of the question" for c in cited}
        return Answer(
            text=cited[0].match.passage.text,
            citations=tuple(_citation(pages, choice.match) for choice in cited),
            notes=replace(notes, reasons=reasons),
        )

    def _is_answered(self, ranked: Sequence[Match], value: Value | None) -> bool:
        """Whether one page leaves little enough open, and a price or date that is asked for stands in a passage with half of the words."""
        if not ranked:
            return False
        fullest = max(ranked, key=lambda match: match.page_coverage)
        if fullest.page_gap > self._options.threshold or fullest.page_coverage < self._options.least:
            return False
        near = (match for match in ranked if match.coverage >= self._options.least)  # a price is that of what stands beside it
        return value is None or not value.stands_written or any(value.stands_in(match.passage.text) for match in near)

    def _best_of_pages(self, ranked: Sequence[Match], value: Value | None) -> list[_Choice]:
        """What each page would be quoted for, best page first."""
        per_page: dict[int, list[Match]] = {}
        for match in ranked:
            per_page.setdefault(match.passage.page, []).append(match)
        choices = [self._choice(of_page, value) for of_page in per_page.values()]
        return sorted(choices, key=lambda c: (-(c.support + self._options.rank_weight / (c.page + 1)), c.page))

    def _choice(self, of_page: Sequence[Match], value: Value | None) -> _Choice:
        """The best passage of a page, or a close one that has the kind of value that is asked for."""
        best = of_page[0]
        weight = self._options.page_weight
        support = (1 - weight) * max(best.coverage, best.running_coverage) + weight * best.page_coverage
        if value is None:
            return _Choice(match=best, support=support)
        close = (match for match in of_page if match.coverage >= WITH_VALUE * best.coverage and value.stands_in(match.passage.text))
        with_value = next(close, None)
        if with_value is None:
            return _Choice(match=best, support=WITHOUT_VALUE * support)
        return _Choice(match=with_value, support=support)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """The passage that a page would be quoted for."""

    match: Match
    support: float  # 0..1

    @property
    def page(self) -> int:
        return self.match.passage.page


def _named_alone(names: PageNames, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """The pages that a question asks for where it asks for nothing else; only the collection knows which is the last, and puts it first."""
    if not names.alone:
        return ()
    return [candidate for candidate in candidates if names.fit(candidate.item)] or candidates[: len(names.from_end)]


def _openings(pages: Sequence[Candidate]) -> Answer:
    """The first words of pages that were asked for, the first page's as the answer."""
    quoted = [(page, opening_of(page.item.text or "")) for page in pages[: 1 + MORE]]
    with_words = [(page, words) for page, words in quoted if words]
    if not with_words:
        return Answer(text=NOT_FOUND, citations=(), found=False, nearest=Citation(item=pages[0].item, score=pages[0].score))
    citations = tuple(Citation(item=page.item, score=page.score, quote=words) for page, words in with_words)
    return Answer(text=with_words[0][1], citations=citations)


def _refusal(question: str, pages: Sequence[Candidate], order: Sequence[_Choice], notes: Notes) -> Answer:
    """That these pages do not say it, and which of them comes nearest, with what it lacks."""
    if not order or not order[0].match.coverage:
        return Answer(text=NOT_FOUND, citations=(), found=False, notes=notes)
    nearest = _citation(pages, order[0].match)
    lacking = missing_words(question, nearest.item.text or "")[:NAMED]
    reason = f"says nothing of {', '.join(map(repr, lacking))}" if lacking else "has the words, but not what is asked for"
    return Answer(text=NOT_FOUND, citations=(), found=False, nearest=nearest, notes=replace(notes, reasons={nearest.item.item_id: reason}))


def _citation(pages: Sequence[Candidate], match: Match) -> Citation:
    page = pages[match.passage.page]
    return Citation(item=page.item, score=page.score, quote=match.passage.text)


def build(options: Options, corpus: Corpus | None = None) -> Extractive:
    """Quotes the best passage; without a corpus, words are as rare as they are among these pages."""
    return Extractive(options, corpus)


def tiny() -> Extractive:
    return build(Options())
