"""What a question says beside its subject: how it wants its answer written. Read from English wording; a question in another
language loses nothing."""

from __future__ import annotations

import re

_SENTENCE = re.compile(r"(?<=[?!;])\s*(?=[A-Za-z])|(?<=[^.\s]{2}\.)\s+(?=[A-Za-z])")  # not within "e.g." or a name with points
_ORDER = re.compile(
    r"(?:please\s+)?(?:directly\s+)?(?:an[sw]+er|wri\w*|round|list|format|enumerate|give|return|save|express|report|state)\b", re.I
)
_EXAMPLE = re.compile(r"e\.?g\b|for example|such as|like\b", re.I)
_FORM = re.compile(
    r"\b(?:answer|format(?:ted)?|decimals?|integer|int|float|string|alphabetical|order"
    r"|(?:in|within|as|into|a) (?:a |the )?list"
    r"|in (?:\w+ )?(?:percent(?:age)?|percents|thousands?|millions?|billions?)(?: terms?)?)\b",
    re.I,
)


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
