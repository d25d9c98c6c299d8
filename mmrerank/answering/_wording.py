"""What a question asks: its words, each with what it weighs, and the kind of value that would answer it.

    "How many paper boats did Grace launch in 2024?"    asked: paper, boats    names: Grace, 2024    plain: launch    value: a number

A name or number that a page lacks says more against it than a plain word, which the page may put in other words; a word of asking
("according", "percentage", "largest") says little. Read from English wording; in another language all words are plain.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from functools import cache

from mmrerank.index import english, subject

FORM, PLAIN, HEAD, NAME = 0.25, 1.0, 1.5, 1.5  # what words of these kinds weigh, times their rarity

_TOKEN = re.compile(r"[^\W_][\w'’.,/@+&\u2010-]*\w|[^\W_]")
_YEAR = re.compile(r"[^\W\d_]{1,2}(\d{4})")
_DATE_FORM = re.compile(r"[YMDymd]{2,4}(?:[-/.][YMDymd]{2,4})+")  # YYYY-MM-DD
_HEAD_PHRASE = re.compile(
    r"\b(?:how (?:many|much)|which|what|whose)\s+(?:(?:kinds?|types?|sorts?|number|amount|percentage) of\s+)?((?:[\w'’-]+\s*){1,6})",
    re.IGNORECASE,
)
_HEAD_WORDS = 3
_HEAD_ENDS = """
is are was were be been being do does did has have had having can could will would shall should may might must
of in on at for from to with by that this these those which who whom and or as than between after before since during about the a an
"""
_PARTS = """
document report paper slide page figure subfigure table chart graph diagram section subsection appendix guidebook
 picture image photo drawing illustration bar pie
"""
_ASKING = """
according mention show shown give given list name
number called tell describe compare compared comparing following based answer question information detail example please use using say
said author work article text presentation guide manual book left right top bottom corner first second last
many much long often far high deep good big small large cold hot old tall wide heavy fast early late near close
kind type sort part value percentage percent proportion rate ratio total sum average amount share score difference gap change
higher lower more most less least than highest lowest largest smallest biggest longest shortest best worst greater
each every all any one two other another different
happen come came go went get got make made take took reach set stand find found do done become keep put
already before after during since until while out off up down back through between among
roughly about approximately exactly usually ever still yet also both again away respectively
include contain provide appear refer mean discuss talk write yes directly round decimal integer format string float order
people person thing way case place year day month week time date able possible whole column row group step color colour
"""
_NUMBER_WORDS = """
two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen
twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion dozen half twice once none no
"""
_MONTHS = "january february march april may june july august september october november december"
_DAYS = "monday tuesday wednesday thursday friday saturday sunday"


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One word of a question."""

    text: str  # as it stands
    pieces: tuple[frozenset[str], ...]  # a text that has a spelling of each of these has the word
    whole: frozenset[str]  # and so has one that has a spelling of it in one piece
    factor: float  # what its kind weighs

    def is_in(self, terms: Set[str]) -> bool:
        return not self.whole.isdisjoint(terms) or all(not piece.isdisjoint(terms) for piece in self.pieces)

    def idf(self, idf: Mapping[str, float]) -> float:
        """That of its rarest piece, of whose spellings the commonest counts; 1 where nothing is known of it."""
        pieces = [[idf[term] for term in piece if term in idf] for piece in self.pieces]
        return max((min(values) for values in pieces if values), default=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """The words of a question with what each weighs among certain texts."""

    words: tuple[tuple[Word, float], ...]

    @property
    def total(self) -> float:
        return math.fsum(weight for _, weight in self.words)

    def coverage(self, terms: Set[str]) -> float:
        """The share of the question that a text of these terms covers, 0..1."""
        return math.fsum(weight for word, weight in self.words if word.is_in(terms)) / (self.total or 1.0)

    def gap(self, coverage: float) -> float:
        """What is not covered, between a share and a sum: of two questions with one share left open the longer has the wider gap."""
        return (1 - coverage) * math.sqrt(self.total)


def weighed(words: Iterable[Word], idf: Mapping[str, float]) -> Weighed:
    """The words with their factor times their rarity."""
    return Weighed(words=tuple((word, word.factor * word.idf(idf)) for word in words))


def missing_words(question: str, text: str) -> list[str]:
    """The words of a question that a text lacks, those that weigh most first; words of asking only where it lacks no other.

    >>> missing_words("What salary did Tait receive?", "Tait signed it.")
    ['salary', 'receive']
    """
    terms = frozenset(english().of(text))
    lacking = [word for word in words_of(question) if not word.is_in(terms)]
    telling = [word for word in lacking if word.factor > FORM] or lacking
    return [word.text for word in sorted(telling, key=lambda word: -word.factor)]


def words_of(question: str) -> list[Word]:
    """The words of a question but those of grammar, each once.

    >>> [(word.text, word.factor) for word in words_of("How many boats did Grace launch in 2024?")]
    [('many', 0.25), ('boats', 1.5), ('Grace', 1.5), ('launch', 1.0), ('2024', 1.5)]
    """
    question = subject(question)
    content = frozenset(english().of_query(question))
    head = _head(question)
    words: dict[tuple[frozenset[str], ...], Word] = {}
    for match in _TOKEN.finditer(question):
        if _DATE_FORM.fullmatch(match[0]) or content.isdisjoint(english().of(match[0])):
            continue
        is_name = _is_name(match, question)
        parts = list(english().parted(match[0]))
        for pieces, whole in parts:
            text = match[0] if len(parts) == 1 else min(pieces[0])
            words.setdefault(pieces, Word(text=text, pieces=pieces, whole=whole | _year(match[0]), factor=_factor(pieces, is_name, head)))
    return list(words.values())


def _year(text: str) -> frozenset[str]:
    """The year of "FY2021", whose page may say 2021; nothing of any other word."""
    year = _YEAR.fullmatch(text)
    return frozenset({year[1]} if year else ())


def _factor(pieces: tuple[frozenset[str], ...], is_name: bool, head: frozenset[str]) -> float:
    """What a word of these pieces weighs."""
    if _all_in(pieces, _parts()) or (_all_in(pieces, _asking()) and not is_name):
        return FORM
    if is_name:
        return NAME
    return HEAD if _all_in(pieces, head) else PLAIN


def _all_in(pieces: tuple[frozenset[str], ...], terms: frozenset[str]) -> bool:
    return all(not piece.isdisjoint(terms) for piece in pieces)


def _is_name(match: re.Match[str], question: str) -> bool:
    """Whether a token has a digit, or a capital though it begins no sentence and not all of the question is in capitals."""
    if any(letter.isdigit() for letter in match[0]):
        return True
    begins = re.search(r"(?:^|[.!?:]\s)\W*$", question[: match.start()]) is not None
    return match[0][0].isupper() and not begins and not question.isupper()


def _head(question: str) -> frozenset[str]:
    """The terms of what is asked for: "paper boats" of "how many paper boats were launched"."""
    terms: set[str] = set()
    for match in _HEAD_PHRASE.finditer(question):
        for count, word in enumerate(match[1].split()):
            if word.casefold() in _head_ends() or count == _HEAD_WORDS:
                break
            terms.update(english().of(word))
    return frozenset(terms)


@cache
def _parts() -> frozenset[str]:
    return frozenset(english().of(_PARTS))


@cache
def _asking() -> frozenset[str]:
    return frozenset(english().of(_ASKING))


@cache
def _head_ends() -> frozenset[str]:
    return frozenset(_HEAD_ENDS.split())
