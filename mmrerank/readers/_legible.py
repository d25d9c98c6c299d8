"""Whether the letters of a text layer say anything.

Fonts without a usable map give private-use letters, replacement marks, or letters moved along the alphabet ("7KH" for "The"); their
page looks right and its text layer is of no use. What decides, cautiously, since tables and lists of codes are odd text as well:

- a large share of private-use, unassigned or replacement characters, or of letters of the far end of extended Latin;
- many words, none of them a word of grammar of the larger languages in Latin letters, and either most words are without a vowel, or a
  move along the alphabet or the character table makes words of grammar of them.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator

_UNREADABLE = re.compile("[\ue000-\uf8ff\ufffd\U000f0000-\U0010ffff\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_FAR_LATIN = re.compile("[\u0180-\u01cc\u01dd-\u0217\u021c-\u024f]")  # Vietnamese has two of them, Romanian others
_WORD = re.compile(r"[^\W\d_]{2,}")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u017f]+")
_VOWEL = re.compile(
    "[aeiouy\u00e0-\u00e6\u00e8-\u00ef\u00f2-\u00f6\u00f8-\u00fd\u0101\u0103\u0105\u0113-\u011b\u0129-\u0131\u014d-\u0153\u0169-\u0173]",
    re.I,
)
_SHARE = 0.3  # of unreadable characters
_FAR_SHARE = 0.12
_FEWEST_WORDS = 8  # and as many different ones: a table repeats a few
_MANY_WORDS = 30
_MOST_CHARACTERS = 4000  # are looked at; it is a share that decides
_GRAMMAR = frozenset(
    [
        "the",
        "of",
        "and",
        "to",
        "in",
        "is",
        "for",
        "that",
        "on",
        "with",
        "as",
        "are",
        "by",
        "was",
        "be",
        "at",
        "or",
        "from",
        "this",
        "it",
        "not",
        "have",
        "an",
        "der",
        "die",
        "das",
        "und",
        "ist",
        "von",
        "den",
        "mit",
        "zu",
        "im",
        "dem",
        "nicht",
        "auf",
        "ein",
        "eine",
        "sich",
        "des",
        "le",
        "la",
        "les",
        "de",
        "des",
        "et",
        "est",
        "du",
        "en",
        "un",
        "une",
        "dans",
        "que",
        "pour",
        "pas",
        "sur",
        "au",
        "par",
        "qui",
        "el",
        "los",
        "las",
        "del",
        "por",
        "con",
        "para",
        "se",
        "su",
        "al",
        "una",
        "il",
        "di",
        "che",
        "per",
        "non",
        "della",
        "sono",
        "con",
        "nel",
        "alla",
        "da",
        "het",
        "van",
        "een",
        "dat",
        "op",
        "te",
        "voor",
        "zijn",
        "met",
        "och",
        "att",
        "som",
        "det",
        "av",
        "en",
        "for",
        "den",
        "til",
        "er",
        "og",
        "paa",
        "na",
        "nie",
        "do",
        "jest",
        "sie",
        "ze",
        "je",
        "se",
        "ve",
        "pri",
        "ze",
        "ale",
        "jak",
        "ja",
        "on",
        "ei",
        "ett",
        "az",
        "es",
        "egy",
        "hogy",
        "nem",
        "bir",
        "bu",
        "ve",
        "ile",
        "dan",
        "yang",
        "untuk",
        "dengan",
        "um",
        "uma",
        "os",
        "as",
        "no",
        "na",
        "com",
        "ao",
        "em",
    ]
)


def is_meaningless(text: str) -> bool:
    """Whether nobody could search the text or read it.

    >>> is_meaningless("\\ue010\\ue011 \\ue012"), is_meaningless("7KH TXLFN EURZQ IR[ RI WKH IDUP DQG WKH GRJ " * 8)
    (True, True)
    >>> is_meaningless("TG-204  3.5  kW"), is_meaningless("Der Hafen von Rostock und die Werft im Norden " * 8)
    (False, False)
    """
    sample = "".join(text[:_MOST_CHARACTERS].split())
    count = len(sample)
    if not count:
        return False
    if len(_UNREADABLE.findall(sample)) > _SHARE * count or len(_FAR_LATIN.findall(sample)) > _FAR_SHARE * count:
        return True
    words = _WORD.findall(text[:_MOST_CHARACTERS])
    if len(words) < _FEWEST_WORDS or len(set(words)) < _FEWEST_WORDS or not _mostly_latin(words) or _grammar_share(words) >= 0.01:
        return False
    return _without_vowels(words) > 0.5 or any(_reads_well(moved) for moved in _moved(text[:_MOST_CHARACTERS]))


def _mostly_latin(words: list[str]) -> bool:
    return sum(_LATIN.fullmatch(word) is not None for word in words) > 0.7 * len(words)


def _grammar_share(words: list[str]) -> float:
    return sum(word.lower() in _GRAMMAR for word in words) / len(words) if words else 0.0


def _reads_well(words: list[str]) -> bool:
    return _grammar_share(words) > 0.2 and len(_GRAMMAR.intersection(word.lower() for word in words)) >= 3


def _without_vowels(words: list[str]) -> float:
    long = [word for word in words if len(word) >= 4]
    return sum(_VOWEL.search(word) is None for word in long) / len(long) if len(long) >= _MANY_WORDS else 0.0


def _moved(text: str) -> Iterator[list[str]]:
    """The words of the text moved along the character table, then along the alphabet, by every distance."""
    for step in [*range(1, 32), *range(-31, 0)]:
        yield _WORD.findall(text.translate({code: code + step for code in range(33, 127) if 32 <= code + step < 127}))
    small, capital = string.ascii_lowercase, string.ascii_uppercase
    for step in range(1, 26):
        table = str.maketrans(small + capital, small[step:] + small[:step] + capital[step:] + capital[:step])
        yield _WORD.findall(text.translate(table))
