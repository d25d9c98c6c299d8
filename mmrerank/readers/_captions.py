"""Which words of a sample are its text: by the names that data sets give to captions, and in the shapes in which they write them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from mmrerank.readers._metadata import clean, parsed

# in this order, whatever the case of letters
NAMES = (
    "text",
    "caption",
    "captions",
    "texts",
    "title",
    "txt",
    "sentences",
    "sentence",
    "description",
    "alt_text",
    "alttext",
    "alt",
    "raw",
)
_NUMBERED = re.compile(r"(?:text|caption|sentence|cap)[ _.-]?(\d{1,3})", re.IGNORECASE)  # caption_0, caption_1, ...
_WITHIN = ("raw", "text", "caption", "sentence", "value")  # where a caption is a record
_MAX_CAPTIONS = 1000


def text_of(values: Mapping[str, Any], names: Sequence[str] = ()) -> tuple[str | None, frozenset[str]]:
    """The text of a sample and the columns that it is made of; several captions are lines.

    Args:
        names: columns to take, all of them; by default the first of `NAMES` that has words, or else numbered ones.

    >>> text_of({"TEXT": "a boat", "id": 3})
    ('a boat', frozenset({'TEXT'}))
    >>> text_of({"caption_1": "at sea", "caption_0": ["a boat"]})[0]
    'a boat\\nat sea'
    """
    if names:
        return _joined(values, names), frozenset(names)
    ordered, numbered = _text_columns(tuple(values))
    for name in ordered:
        if text := _joined(values, [name]):
            return text, frozenset((name,))
    text = _joined(values, numbered)
    return text, frozenset(numbered) if text else frozenset()


@lru_cache(maxsize=256)
def _text_columns(columns: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The columns with a known name, best first, and the numbered ones in the order of their numbers."""
    ordered = sorted(
        (name for name in columns if name.lower() in NAMES), key=lambda name: (NAMES.index(name.lower()), name.lower() != name)
    )
    numbers = {name: int(match[1]) for name in columns if (match := _NUMBERED.fullmatch(name))}
    return ordered, sorted(numbers, key=lambda name: numbers[name])


def _joined(values: Mapping[str, Any], names: Iterable[str]) -> str | None:
    lines = [line for name in names for line in _captions(values.get(name))]
    return "\n".join(dict.fromkeys(lines)) or None


def _captions(value: Any, depth: int = 3) -> list[str]:
    """The captions in a value: a text, a list of captions (as JSON too), a record with one; so many levels deep."""
    if isinstance(value, str):
        text = clean(value).strip()
        listed = _listed(text) if text.startswith("[") and text.endswith("]") else None
        return [text] if text and listed is None else listed or []
    if isinstance(value, dict) and depth:
        return next((captions for name in _WITHIN if (captions := _captions(value.get(name), depth - 1))), [])
    if isinstance(value, (list, tuple)) and depth:
        return [caption for entry in value[:_MAX_CAPTIONS] for caption in _captions(entry, depth - 1)]
    return []


def _listed(text: str) -> list[str] | None:
    """The texts of a JSON list of texts; None for anything else."""
    try:
        value = parsed(text)
    except ValueError:
        return None
    are_texts = isinstance(value, list) and all(isinstance(entry, str) for entry in value)
    return [entry.strip() for entry in value if entry.strip()] if are_texts else None
