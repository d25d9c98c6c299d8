"""Pages cut into passages, and how much of a question each passage covers."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mmrerank.index._words import english

LONGEST = 60  # words of a passage
JOINED = 3  # neighbouring sentences that may make one passage
_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """Some neighbouring sentences of one page."""

    page: int  # position of the page among those given
    text: str
    terms: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """How much of a question a passage covers, and the page it stands on."""

    passage: Passage
    coverage: float  # share of the question's terms, each weighted by its rarity, that stand in the passage; 0..1
    page_coverage: float  # the same for all words of its page, at least as much


def passages_of(text: str, page: int) -> Iterator[Passage]:
    """Every run of up to `JOINED` sentences of one paragraph, list item or table that is no longer than `LONGEST` words."""
    for block in re.split(r"\n\s*\n|[•▪◦‣]\s+", text):
        sentences = [(sentence, frozenset(english().of(sentence))) for sentence in _sentences(block)]
        for start in range(len(sentences)):
            for stop in range(start + 1, min(start + JOINED, len(sentences)) + 1):
                joined = " ".join(sentence for sentence, _ in sentences[start:stop])
                if stop - start > 1 and len(joined.split()) > LONGEST:
                    break
                yield Passage(page=page, text=joined, terms=frozenset().union(*(terms for _, terms in sentences[start:stop])))


def _sentences(block: str) -> Iterator[str]:
    """Sentences of the flattened block; one of more than `LONGEST` words is a table or list and goes by lines."""
    for sentence in _END.split(" ".join(block.split())):
        if len(sentence.split()) > LONGEST:
            yield from _by_lines(block, sentence)
        elif sentence.strip():
            yield sentence


def _by_lines(block: str, sentence: str) -> Iterator[str]:
    inside = [" ".join(line.split()) for line in block.splitlines()]
    lines = [line for line in inside if line and line in sentence] or [sentence]
    for line in lines:
        pieces = line.split()
        yield from (" ".join(pieces[n : n + LONGEST]) for n in range(0, len(pieces), LONGEST))


def matches(question: str, texts: Sequence[str], rarity: Mapping[str, float] | None = None) -> list[Match]:
    """Every passage of the pages with its coverage, best first; of equals the shorter one, then the one that stands first.

    Args:
        rarity: what each term of the question weighs; None: by how few of these passages have it. A few pages say little of
            that: what none of them has may be a rare name or a word that any other page has.
    """
    found = [passage for page, text in enumerate(texts) for passage in passages_of(text, page)]
    weight = rarity if rarity is not None else _rarity(found, set(english().of_query(question)))
    asked, total = frozenset(weight), math.fsum(weight.values()) or 1.0

    def covered(terms: frozenset[str]) -> float:
        return math.fsum(weight[term] for term in sorted(terms & asked)) / total

    pages = [covered(frozenset().union(*(p.terms for p in found if p.page == page))) for page in range(len(texts))]
    scored = [Match(passage=p, coverage=covered(p.terms), page_coverage=pages[p.page]) for p in found]
    return sorted(scored, key=lambda match: (-round(match.coverage, 9), len(match.passage.text)))


def nearest(question: str, answer: str, texts: Sequence[str]) -> int | None:
    """The position of the page whose passage covers question and answer best, of those with half of what the answer adds to the
    question; None where no page has that.

    >>> nearest("When was the mill built?", "In 1870.", ["The mill.", "Built in 1870.", "The mill was built in 1870."])
    2
    """
    said, asked = frozenset(english().of_query(answer)), frozenset(english().of(question))
    told = said - asked or said
    for match in matches(f"{question} {answer}", texts):
        if told and 2 * len(told & match.passage.terms) >= len(told):
            return match.passage.page
    return None


def _rarity(found: Sequence[Passage], asked: set[str]) -> dict[str, float]:
    frequency = Counter(term for passage in found for term in passage.terms & asked)
    return {term: math.log(1 + (len(found) + 1) / (frequency[term] + 0.5)) for term in asked}
