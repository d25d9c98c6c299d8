"""Text -> the terms that BM25 counts.

Unicode NFKC, case folded. An identifier gives itself and its pieces, so either finds it:

    TG-204      tg204  tg  204          co-author   coauthor  co  author (stemmed)
    3.14        3.14  3  14             12,345      12345  12  345
    run_name    run_name  run  name     U.S.        us
    café        café  cafe              Müller      müller  muller  mueller

A number is the same with and without the marks of its groups, whichever they are (1,234 1.234 1 234 1'234), and with either mark before
its decimals; 1.234 may be either and is both. A word with accents is also the word without them, so that each finds the other and the
very word comes first; where a language writes a letter otherwise too (ü as ue, ё as е, hamza on alef), that counts as well.

A hyphen joins (`coauthor` finds `co-author`, and a word broken at the end of a line is whole again), other marks stay. Single
letters count where they stand alone. Chinese, Japanese and Thai, which put no spaces, give overlapping pairs of characters. The
vowel signs of Hindi or Tamil belong to their words; the points of Hebrew and Arabic, which most texts leave out, are left out.
Stop words are dropped from queries only: documents keep them, so that their length is what a reader sees and a query of stop
words alone ("to be or not to be") still finds its page.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Container, Iterator
from functools import cache, lru_cache
from itertools import groupby

WORDS_VERSION = 4  # goes up when texts come to have other terms, so that an index of the former ones is made anew
_HYPHEN = "-\u2010\u00ad\ufffe"  # hyphen-minus, hyphen, soft hyphen, and the mark PDFium puts where a line broke a word
CJK = "\u3005\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"  # Chinese and Japanese
_UNSPACED = f"{CJK}\u0e01-\u0e4e\u0e81-\u0ece\u1000-\u103f\u1050-\u108f\u1780-\u17d3"  # and Thai, Lao, Burmese, Khmer
_MARK_PLACES = (*range(0x300, 0x3400), *range(0xA000, 0xAC00), *range(0xFB00, 0x10000))  # between are ideographs, Hangul, private use
_MARK_CODES = [code for code in _MARK_PLACES if unicodedata.category(chr(code)) in ("Mn", "Mc")]  # vowel signs and such
_MARK_RUNS = [[code for _, code in run] for _, run in groupby(enumerate(_MARK_CODES), lambda pair: pair[1] - pair[0])]
_MARKS = "".join(f"{chr(run[0])}-{chr(run[-1])}" for run in _MARK_RUNS)  # as ranges, which are read faster than 1,300 letters
_POINTS = re.compile("[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0640\u064b-\u0652\u0670]")  # Hebrew, Arabic: mostly not written
_BREAK = r"(?:[ \t]*\r?\n[ \t]*)?"
_WORD = rf"[^\W_]+(?:[{_MARKS}]+[^\W_]*)*"  # to Python a mark is no part of a word
_SPACED = rf"[^\W_{_UNSPACED}]+(?:[{_MARKS}]+[^\W_{_UNSPACED}]*)*"
_COMPOUND = re.compile(rf"{_WORD}(?:(?:[{_HYPHEN}]{_BREAK}|[._/@+&']|(?<=\d)[,:](?=\d)){_WORD})*")
_ASCII_PIECE = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_WHOLE = re.compile(rf"[{_HYPHEN}\d_]")  # what makes a compound an identifier and not two words with a slash or a lost space
_SEPARATOR = re.compile(rf"[{_HYPHEN}]{_BREAK}")
_GROUP_MARK = re.compile(r"(?<=\d)['\u2019\u00a0\u2007\u2009\u202f\u066c](?=\d{3}(?!\d))")  # between digits they mark nothing else
_SPACED_NUMBER = re.compile(r"(?<![\d.,] )(?<![\d.,])\d{1,3}(?: \d{3}){1,3}(?! ?[\d])")
_GROUPED = re.compile(r"\d{1,3}(?:,\d{2,3})*,\d{3}(?:\.\d+)?")
_GROUPED_BY_POINTS = re.compile(r"\d{1,3}(?:\.\d{3})+(?:,\d+)?")
_DECIMAL_COMMA = re.compile(r"\d+,\d+")
_UNACCENTED = str.maketrans(
    {
        "ł": "l",
        "đ": "d",
        "ø": "o",
        "æ": "ae",
        "œ": "oe",
        "ı": "i",
        "ð": "d",
        "þ": "th",
        "ё": "е",
        "أ": "ا",
        "إ": "ا",
        "آ": "ا",
        "ى": "ي",
        "ة": "ه",
    }
)
_SPELT_OUT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa", "æ": "ae"})
_ACCENTED_LETTER = re.compile("[À-ɏͰ-ϿḀ-῿][̀-ͯ]*|[A-Za-zͰ-Ͽ][̀-ͯ]+")
_ABBREVIATION = re.compile(r"[^\W\d_](?:\.[^\W\d_])+")
_OPENING = re.compile(r"(?:\S+\s+){0,29}\S*")
_OPENING_CHARACTERS = 300  # where no spaces part the words
_NAME = r"((?i:figure|fig|table|chart|exhibit|box|appendix|section))s?\.?\s*((?:[A-Z][-.]?)?\d+(?:\.\d+)*|[A-Z]\b)"
_CAPTION, _MENTION = re.compile(rf"^[^\S\n]*{_NAME}", re.MULTILINE), re.compile(rf"\b{_NAME}")

# Words of grammar. Words of amount, order and place (more, most, all, before, over, not) say what is asked, and stay.
_GRAMMAR = """
a an the this that these those and or but if because as until while of at by for with about into to from in on then than
i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself
it its itself they them their theirs themselves there here so such too very just again further once now
am is are was were be been being have has had having do does did doing done can could will would shall should may might must
what which who whom whose when where why how eg ie etc
"""
_CONTRACTED = "isn aren wasn weren don doesn didn hasn haven hadn won wouldn couldn shouldn can mustn needn"
ENGLISH = (
    frozenset(_GRAMMAR.split())
    | {f"{verb}'t" for verb in _CONTRACTED.split()}
    | {f"{word}'s" for word in ("it", "that", "what", "who", "she", "he")}
)


def normal(text: str) -> str:
    """`text` in NFKC, case folded, with one kind of apostrophe, without the points of Hebrew and Arabic.

    >>> normal("ＴＧ‑204 Straße")
    'tg‐204 strasse'
    """
    is_plain = text.isascii()
    text = text if is_plain else text.translate(_digits())
    text = _GROUP_MARK.sub(",", text) if _has_digit(text) else text
    text = text.casefold() if is_plain else unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")
    text = _SPACED_NUMBER.sub(lambda match: match[0].replace(" ", ","), text) if _has_digit(text) else text
    return text if is_plain else _POINTS.sub("", text)


def _has_digit(text: str) -> bool:
    """Looked for ten times, which is forty times faster than by a pattern."""
    return any(map(text.__contains__, "0123456789"))


def unaccented(word: str) -> tuple[str, ...]:
    """The other spellings of a word in small letters: without accents, and with the letters that stand for them.

    >>> unaccented("café"), unaccented("müller"), unaccented("mill")
    (('cafe',), ('muller', 'mueller'), ())
    """
    if word.isascii():
        return ()
    spellings = (word.translate(table) for table in (_UNACCENTED, _SPELT_OUT))
    others = (_ACCENTED_LETTER.sub(lambda match: _bare(match[0]), spelling) for spelling in spellings)
    return tuple(dict.fromkeys(other for other in others if other != word))


@cache
def _digits() -> dict[int, str]:
    """The digits of other scripts and what they are in ours."""
    codes = range(0x660, 0x11000)
    return {code: str(unicodedata.decimal(chr(code))) for code in codes if unicodedata.category(chr(code)) == "Nd"}


def _pieces(compound: str) -> list[str]:
    """The words in a compound; of ASCII without the pattern of all scripts, which takes longer to compile than a search takes."""
    return (_ASCII_PIECE if compound.isascii() else _any_piece()).findall(compound)


@cache
def _any_piece() -> re.Pattern[str]:
    return re.compile(rf"[{_UNSPACED}]+|{_SPACED}(?:'{_SPACED})*")


@cache
def _without_spaces() -> re.Pattern[str]:
    return re.compile(f"[{_UNSPACED}]")


def _bare(letter: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFD", letter) if not unicodedata.combining(sign))


class Words:
    """Splits texts into terms; `stem` maps a word to its stem."""

    def __init__(self, stem: Callable[[str], str], stopwords: frozenset[str]) -> None:
        self._stem = stem
        self._stopwords = stopwords
        # most words come again and again
        self._groups = lru_cache(maxsize=1 << 16)(lambda compound: tuple(self._split(compound)))
        self._terms = lru_cache(maxsize=1 << 16)(lambda compound: tuple(term for group in self._groups(compound) for term in group))

    def of(self, text: str) -> list[str]:
        """The terms of a document, repeats and stop words included.

        >>> Words(str, ENGLISH).of("The TG-204 co-\\nauthor's 12,345")
        ['the', 'tg', '204', 'tg204', 'co', "author's", "coauthor's", '12', '345', '12345']
        """
        return [term for compound in self.compounds(text) for term in self._terms(compound)]

    def compounds(self, text: str) -> list[str]:
        """What stands in a text as one word or identifier, as it comes."""
        return _COMPOUND.findall(normal(text))

    def terms(self, compound: str) -> tuple[str, ...]:
        """The terms of one of them; many texts have most of theirs in common."""
        return self._terms(compound)

    def of_query(self, text: str) -> list[str]:
        """The terms of a query: without stop words, unless nothing else is left."""
        return [term for compound in self._content_words(text) for term in self._terms(compound)]

    def all_in(self, text: str, terms: Container[str]) -> bool:
        """Whether a document of these terms holds every word of `text` but stop words; an identifier, whole or all its pieces.

        >>> words = Words(str, ENGLISH)
        >>> [words.all_in("the co-author's pump", words.of(page)) for page in ("pump of coauthor's", "author's pump", "")]
        [True, False, False]
        """
        compounds = self._content_words(text)
        return bool(compounds) and all(self._holds(compound, terms) for compound in compounds)

    def parted(self, text: str) -> Iterator[tuple[tuple[frozenset[str], ...], frozenset[str]]]:
        """Each word of a text as a document may say it: with a spelling of every one of these pieces, or of the whole behind them.

        >>> list(Words(str, ENGLISH).parted("TG-204")) == [((frozenset({"tg"}), frozenset({"204"})), frozenset({"tg204"}))]
        True
        """
        for compound in self.compounds(text):
            groups = [frozenset(group) for group in self._groups(compound)]
            if self._has_whole(compound):
                yield tuple(groups[:-1]), groups[-1]
            else:
                yield from (((group,), frozenset()) for group in groups)

    def _holds(self, compound: str, terms: Container[str]) -> bool:
        groups = self._groups(compound)
        whole = groups[-1:] if self._has_whole(compound) else ()
        pieces = groups[: len(groups) - len(whole)]
        return any(term in terms for group in whole for term in group) or all(any(term in terms for term in group) for group in pieces)

    def _content_words(self, text: str) -> list[str]:
        """The words of a query as they stand: without stop words, unless nothing else is left."""
        compounds = self.compounds(text)
        return [c for c in compounds if c not in self._stopwords and c.replace(".", "") not in self._stopwords] or compounds

    def _split(self, compound: str) -> Iterator[tuple[str, ...]]:
        """The terms of a compound, those that are spellings of one word together; the whole of it last."""
        if _ABBREVIATION.fullmatch(compound):
            yield (compound.replace(".", ""),)
            return
        for piece in _pieces(compound):
            if not piece.isascii() and _without_spaces().match(piece):
                yield from ((pair,) for pair in pairs(piece))
            else:
                yield self._spellings(piece)
        if self._has_whole(compound):
            yield numbers(compound) or self._spellings(_SEPARATOR.sub("", compound))

    def _spellings(self, word: str) -> tuple[str, ...]:
        """A word and its other spellings as terms; what is more than letters is not stemmed."""
        if word.isalpha() or "'" in word:
            return tuple(dict.fromkeys(self._stem(other) for other in (word, *unaccented(word))))
        return (word, *unaccented(word))

    def _has_whole(self, compound: str) -> bool:
        """Whether its last term is the identifier itself, behind those of its pieces."""
        return bool(_WHOLE.search(compound)) and not _ABBREVIATION.fullmatch(compound) and len(_pieces(compound)) > 1


@cache
def english() -> Words:
    """The terms of English text, as the text index counts them."""
    from Stemmer import Stemmer

    return Words(Stemmer("english").stemWord, ENGLISH)


def opening(text: str) -> str:
    """The first 30 words: on most pages their heading, or the running title and what the page goes on with.

    >>> opening("Chapter 2\\n" + "and more " * 100).count("more")
    14
    """
    match = _OPENING.match(text.lstrip()[:_OPENING_CHARACTERS])
    return match[0] if match else ""


def captions(text: str) -> set[str]:
    """The figures, tables and sections whose names begin a line: that is where they stand, not where they are spoken of.

    >>> captions("as Table 2 shows\\nFig. 3: Growth")
    {'figure 3'}
    """
    return {_caption(*match.groups()) for match in _CAPTION.finditer(unicodedata.normalize("NFKC", text))}


def mentions(text: str) -> set[str]:
    """The figures, tables and sections that a question speaks of.

    >>> mentions("What does the blue line of figure 3 mean?")
    {'figure 3'}
    """
    return {_caption(*match.groups()) for match in _MENTION.finditer(unicodedata.normalize("NFKC", text))}


def _caption(kind: str, number: str) -> str:
    return f"{'figure' if kind.lower() == 'fig' else kind.lower()} {number.lower()}"


def numbers(compound: str) -> tuple[str, ...]:
    """A number as it is compared: without marks of groups, a point before its decimals; none where it is no such number.

    >>> numbers("12,345.5"), numbers("12.345,5"), numbers("1.234"), numbers("3,5"), numbers("1.2.3")
    (('12345.5',), ('12345.5',), ('1.234', '1234'), ('3.5',), ())
    """
    if _GROUPED.fullmatch(compound):
        return (compound.replace(",", ""),)
    if _GROUPED_BY_POINTS.fullmatch(compound):
        grouped = compound.replace(".", "").replace(",", ".")
        return (compound, grouped) if compound.count(".") == 1 and "," not in compound else (grouped,)
    return (compound.replace(",", "."),) if _DECIMAL_COMMA.fullmatch(compound) else ()


def pairs(run: str) -> list[str]:
    """Overlapping pairs of characters; a lone character is itself.

    >>> pairs("検索機")
    ['検索', '索機']
    """
    return [run[i : i + 2] for i in range(len(run) - 1)] or [run]
