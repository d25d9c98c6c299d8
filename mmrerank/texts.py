"""Text from anywhere: made fit for any store, any terminal and any comparison. What all rooms share of it.

Names of files, fields of tables and words of queries come with bytes that are no UTF-8 (which Python shows as halves of surrogate
pairs), with control and escape sequences, and with nothing but blanks.
"""

from __future__ import annotations

import re
import unicodedata

_INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})", re.ASCII)
_DECIMAL = re.compile(r"-?(0|[1-9]\d{0,14})\.\d{1,15}", re.ASCII)
# what moves a cursor, colours what follows, turns the direction of a line round or is no character: controls but tab and line feed (C0,
# DEL, C1), the marks of Unicode's bidirectional algorithm that reach beyond their word, line separators, halves of surrogate pairs
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(text: str) -> str:
    """The text without NUL and without halves of surrogate pairs, which are no characters.

    >>> clean("a\\x00b \\ud800c")
    'ab ?c'
    """
    if text.isascii() and "\0" not in text:  # most names and captions
        return text
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def is_clean(text: str) -> bool:
    """Whether every character can be written as UTF-8.

    >>> is_clean("straße"), is_clean("stra\\udcdfe")
    (True, False)
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def is_blank(text: str | None) -> bool:
    """Whether there is nothing to read: no text, or nothing but blanks, controls and marks without a width.

    >>> is_blank("  \\u200b\\n"), is_blank("?")
    (True, False)
    """
    return not text or all(letter.isspace() or unicodedata.category(letter) in ("Cc", "Cf") for letter in text)


def printable(text: str) -> str:
    """The text with what would act on a terminal written as its escape; bytes that were no UTF-8 as `\\xNN`. Tabs and line feeds stay.

    >>> printable("\\x1b[2J a\\udcdfb")
    '\\\\x1b[2J a\\\\xdfb'
    """
    return _UNPRINTABLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    number = ord(match[0])
    if 0xDC80 <= number <= 0xDCFF:  # a byte that the name of a file has
        number -= 0xDC00
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def number_of(text: str) -> str | int | float:
    """The number that a text writes, or the text itself; what would not print back the same stays text.

    >>> number_of("12"), number_of("-0.5"), number_of("007"), number_of("1e5")
    (12, -0.5, '007', '1e5')
    """
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text
