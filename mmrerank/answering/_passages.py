"""Pages cut into passages, and how much of a question each passage covers."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mmrerank.answering._wording import weighed, words_of
from mmrerank.index import CJK, english, idf_of
from mmrerank.readers import body_of

LONGEST = 60  # words of a passage
JOINED = 3  # neighbouring sentences that may make one passage
_END = re.compile(
    r"(?<=[.!?।॥؟۔])[\"')\]»]*\s+(?=[\"'(\[«„]?([^\W_]))"
    r"|(?<=[。！？｡])(?![。！？｡」』）”])\s*|(?<=[。！？｡][」』）”])\s*"  # in Chinese and Japanese no space follows
)
_WIDE = re.compile(rf"[{CJK}\u3001-\u303f\uff01-\uff65]")  # two of these make a word, and no space parts them


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
    coverage: float  # share of the question's words, each with its weight, that stand in the passage; 0..1
    page_coverage: float  # the same for all words of its page, at least as much
    running_coverage: float  # the same for the running head and foot of its page, which name what it is about
    page_gap: float  # what its page leaves open of the question; see `Weighed.gap`


def passages_of(text: str, page: int) -> Iterator[Passage]:
    """Every run of up to `JOINED` sentences of one paragraph, list item or table that is no longer than `LONGEST` words."""
    for block in re.split(r"\n\s*\n|[•▪◦‣]\s+", body_of(text)):  # running heads and feet are no part of what a page says
        sentences = [(sentence, _length(sentence), frozenset(english().of(sentence))) for sentence in _sentences(block)]
        for start, (joined, words, terms) in enumerate(sentences):
            yield Passage(page=page, text=joined, terms=terms)
            for sentence, more, others in sentences[start + 1 : start + JOINED]:
                if (words := words + more) > LONGEST:
                    break
                joined, terms = f"{joined}{_gap(joined, sentence)}{sentence}", terms | others
                yield Passage(page=page, text=joined, terms=terms)


def _sentences(block: str) -> Iterator[str]:
    """Sentences of the flattened block; one of more than `LONGEST` words is a table or list and goes by lines."""
    flat, begins = _flattened(block)
    for start, stop in _spans(flat):
        if _length(flat[start:stop]) > LONGEST:
            inside = begins[bisect_right(begins, start) : bisect_left(begins, stop)]
            yield from _pieces(flat[begin:end] for begin, end in pairwise([start, *inside, stop]))
        elif start < stop:
            yield flat[start:stop]


def _flattened(block: str) -> tuple[str, list[int]]:
    """The lines of the block as one, and where each of them begins in it."""
    pieces, begins, length, before = [""], [], 0, ""
    for line in filter(None, (" ".join(line.split()) for line in block.splitlines())):
        gap = _gap(before, line) if before else ""
        begins.append(length + len(gap))
        length, before = begins[-1] + len(line), line
        pieces += [gap, line]
    return "".join(pieces), begins


def _gap(before: str, after: str) -> str:
    return "" if _WIDE.match(before[-1]) and _WIDE.match(after) else " "


def _length(text: str) -> int:
    """How many words that is; two characters of Chinese or Japanese count as one."""
    return len(text.split()) + (0 if text.isascii() else len(_WIDE.findall(text)) // 2)


def _spans(flat: str) -> Iterator[tuple[int, int]]:
    """Where each sentence starts and stops. What goes on with a small letter is still the same one, as after "approx."."""
    start = 0
    for end in _END.finditer(flat):
        if not (end[1] and end[1].islower()):
            yield start, end.start()
            start = end.end()
    yield start, len(flat)


def _pieces(lines: Iterable[str]) -> Iterator[str]:
    """The lines, cut where they are longer than a passage."""
    for line in lines:
        words = line.split()
        if _length(line) > max(len(words), LONGEST):  # Chinese or Japanese
            yield from (line[n : n + 2 * LONGEST].strip() for n in range(0, len(line), 2 * LONGEST))
        else:
            yield from (" ".join(words[n : n + LONGEST]) for n in range(0, len(words), LONGEST))


def matches(question: str, texts: Sequence[str], idf: Mapping[str, float] | None = None) -> list[Match]:
    """Every passage of the pages with its coverage, best first; of equals the shorter one, then the one that stands first.

    Args:
        idf: how rare each term of the question is; None: by how few of these passages have it.
    """
    passages = [passage for page, text in enumerate(texts) for passage in passages_of(text, page)]
    words = words_of(question)
    terms = {term for word in words for piece in word.pieces for term in piece}
    weights = weighed(words, idf if idf is not None else _idf(passages, terms))
    running = [set(english().of(text[: len(text) - len(body_of(text))])) for text in texts]
    pages = [weights.coverage(some) for some in _page_terms(passages, running)]
    heads = [weights.coverage(some) for some in running]
    gaps = [weights.gap(coverage) for coverage in pages]
    scored = [
        Match(
            passage=p,
            coverage=weights.coverage(p.terms),
            page_coverage=pages[p.page],
            running_coverage=heads[p.page],
            page_gap=gaps[p.page],
        )
        for p in passages
    ]
    return sorted(scored, key=lambda match: (-round(match.coverage, 9), len(match.passage.text)))


def opening_of(text: str) -> str:
    """The first words of a page, up to `LONGEST`, to the end of a sentence where one ends there; "" where it has none.

    >>> opening_of("Tides\\n\\nThe tide turns.")
    'Tides The tide turns.'
    """
    words: list[str] = []
    for block in re.split(r"\n\s*\n", body_of(text)):
        for sentence in _sentences(block):
            if words and len(words) + _length(sentence) > LONGEST:
                return " ".join(words)
            words += sentence.split()
    return " ".join(words)


def _page_terms(passages: Iterable[Passage], running: Sequence[set[str]]) -> list[set[str]]:
    """The terms of each page: of all its passages, and of the running lines that no quote has."""
    terms = [set(some) for some in running]
    for passage in passages:
        terms[passage.page] |= passage.terms
    return terms


def nearest(question: str, answer: str, texts: Sequence[str]) -> int | None:
    """The position of the page whose passage covers question and answer best, of those with half of what the answer adds to the
    question; None where no page has that.

    >>> nearest("When was the mill built?", "In 1870.", ["The mill.", "Built in 1870.", "The mill was built in 1870."])
    2
    """
    terms = frozenset(english().of_query(answer))
    new = terms - frozenset(english().of(question)) or terms
    for match in matches(f"{question} {answer}", texts):
        if new and 2 * len(new & match.passage.terms) >= len(new):
            return match.passage.page
    return None


def _idf(passages: Sequence[Passage], terms: set[str]) -> dict[str, float]:
    frequency = Counter(term for passage in passages for term in passage.terms & terms)
    return {term: idf_of(frequency[term], len(passages)) for term in terms}
