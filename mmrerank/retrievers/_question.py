"""What a question says beside its subject: which pages it names, and how it wants its answer written.

Both are read from English wording. A question in another language names no page and loses nothing.
"""

from __future__ import annotations

import re

_NUMBERS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_ORDINALS = {word: number for number, word in enumerate(_NUMBERS, 1)}
_MOST = 50  # pages in "pages 3 to 40"; a longer stretch says little
_NUMBERED = re.compile(
    r"\b(?:pages?|slides?|pp?\.)\s*\(?(?:no\.?|number)?\s*(\d{1,5})(?:\s*(?P<to>-|–|to|through)?(?:and|&|,)?\s*(?:pages?|slides?)?\s*(\d{1,5}))?",
    re.I,
)
_FRONT = re.compile(r"\b(?:cover|title|front)\s+(?:page|slide)\b|\bcover of\b", re.I)
_NTH = re.compile(rf"\b({'|'.join(_ORDINALS)})\s+(?:page|slide)\b", re.I)

_SENTENCE = re.compile(r"(?<=[?!;])\s*(?=[A-Za-z])|(?<=[^.\s]{2}\.)\s+(?=[A-Za-z])")  # not within "e.g." or a name with points
_ORDER = re.compile(r"(?:please\s+)?(?:an[sw]+er|write|round|list|format|enumerate|give|return|save|express|report|state)\b", re.I)
_EXAMPLE = re.compile(r"e\.?g\b|for example|such as|like\b", re.I)
_FORM = re.compile(
    r"\b(?:answer|format(?:ted)?|decimals?|integer|int|float|string|alphabetical|order"
    r"|(?:in|within|as|into|a) (?:a |the )?list"
    r"|in (?:\w+ )?(?:percent(?:age)?|percents|thousands?|millions?|billions?)(?: terms?)?)\b",
    re.I,
)


def pages_named(question: str) -> frozenset[int]:
    """The numbers of the pages or slides that a question names, from 1.

    >>> sorted(pages_named("Who signed pages 15 and 16, and what is on the cover page?"))
    [1, 15, 16]
    >>> sorted(pages_named("How many charts are there from page 3 to page 6?"))
    [3, 4, 5, 6]
    """
    numbers = {1} if _FRONT.search(question) else set()
    numbers |= {_ORDINALS[match[1].lower()] for match in _NTH.finditer(question)}
    for match in _NUMBERED.finditer(question):
        first, last = int(match[1]), int(match[3] or match[1])
        stretch = match["to"] and first <= last < first + _MOST
        numbers |= set(range(first, last + 1)) if stretch else {first, last}
    return frozenset(numbers - {0})


def subject(question: str) -> str:
    """The question without the sentences after its first that only say how the answer is to be written.

    >>> subject("What is the total debt in 2021? Answer in millions. Round to two decimals.")
    'What is the total debt in 2021?'
    >>> subject("How many pumps run? Please write a list, for example [1]. And why?")
    'How many pumps run? And why?'
    >>> subject("The pump stopped. List the seals of the second hall.")
    'The pump stopped. List the seals of the second hall.'
    """
    first, *others = _SENTENCE.split(question)
    sentences, is_form = [first], False
    for sentence in others:
        is_form = bool(_ORDER.match(sentence) and _FORM.search(sentence)) or (is_form and bool(_EXAMPLE.match(sentence)))
        if not is_form:
            sentences.append(sentence)
    return question if len(sentences) == 1 + len(others) else " ".join(part.strip() for part in sentences)
