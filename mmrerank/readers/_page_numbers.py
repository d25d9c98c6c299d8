"""The numbers printed on pages, read from their text where the file itself does not say them.

A line at the head or foot that is a page number ("12", "- iv -", "Page 12 of 30", "A-3", "12 | Annual Report") counts where the page
before or behind goes on with it: 12 then 13, iv then v. A table's last cell does not. Only labels that differ from the number of the
page are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from mmrerank.readers._running_lines import APART
from mmrerank.types import Failure, Item, ReadItem

LABEL = "page_label"
_EDGE = 2  # lines from head and foot that are looked at
_ROMAN = r"(?=[ivxl])(?:xl|l?x{0,3})(?:ix|iv|v?i{0,3})"
_NUMBER = rf"(?P<prefix>(?:[A-Z]{{1,2}}[-.]?|\d{{1,3}}-)?)(?P<number>\d{{1,4}}|{_ROMAN})"
_ALONE = re.compile(rf"\W*(?:(?i:page|seite|slide|p\.|s\.|p[áa]gina|pagina|blz\.?)\s*)?{_NUMBER}(?:\s*(?:/|of|von|de|sur)\s*\d{{1,4}})?\W*")
_BESIDE = (
    re.compile(rf"{_NUMBER}\s*[|·•–—]\s*\D.*"),
    re.compile(rf".*\D\s*[|·•–—]\s*{_NUMBER}"),
    re.compile(rf".*\b(?i:page|seite)\s+{_NUMBER}"),
)
_VALUES = {"i": 1, "v": 5, "x": 10, "l": 50}


def numbered(entries: Iterable[ReadItem | Failure]) -> Iterator[ReadItem | Failure]:
    """The pages of one document in order, each with the number printed on it as `page_label`, where it can be read and is another."""
    before: dict[tuple[str, bool], int] = {}
    entries = iter(entries)
    entry = next(entries, None)
    here = _candidates(entry)
    while entry is not None:
        following = next(entries, None)
        after = _candidates(following)
        yield _labelled(entry, here, before, after)
        entry, before, here = following, here, after


def _candidates(entry: ReadItem | Failure | None) -> dict[tuple[str, bool], int]:
    """(what stands before it, whether it is Roman) -> the number, of the lines at head and foot that look like page numbers."""
    if not isinstance(entry, ReadItem) or not entry.item.text:
        return {}
    running, _, body = entry.item.text.rpartition(APART)
    lines = [line.strip() for line in body.splitlines() if line.strip()]
    numbers: dict[tuple[str, bool], int] = {}
    # running heads and feet before the body, whose foot comes first
    for line in [*map(str.strip, running.splitlines()), *lines[-1 : -_EDGE - 1 : -1], *lines[:_EDGE]]:
        match = _ALONE.fullmatch(line) or next((m for pattern in _BESIDE if (m := pattern.fullmatch(line))), None)
        if match and (value := _value(match["number"])):
            numbers.setdefault((match["prefix"], not match["number"].isdecimal()), value)
    return numbers


def _labelled(entry: ReadItem | Failure, here: dict[tuple[str, bool], int], *neighbours: dict[tuple[str, bool], int]) -> ReadItem | Failure:
    if not isinstance(entry, ReadItem) or LABEL in entry.item.metadata:
        return entry
    for step, numbers in zip((-1, 1), neighbours, strict=True):
        for series, value in here.items():
            if numbers.get(series) == value + step:
                return replace(entry, item=_with_label(entry.item, f"{series[0]}{_roman(value) if series[1] else value}"))
    return entry


def _with_label(item: Item, label: str) -> Item:
    return item if label == str(item.page_number) else replace(item, metadata={**item.metadata, LABEL: label})


def _value(number: str) -> int:
    """The number in digits or small Roman numerals; 0 where it is none."""
    if number.isdecimal():
        return int(number)
    values = [_VALUES[letter] for letter in number]
    return sum(-value if value < max(values[place:]) else value for place, value in enumerate(values))


def _roman(number: int) -> str:
    text = ""
    for value, letters in ((50, "l"), (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i")):
        text += letters * (number // value)
        number %= value
    return text
