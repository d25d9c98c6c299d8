"""How rare a word is, so that texts few and many weigh it alike."""

from __future__ import annotations

import math

_FURTHER = 20  # texts that are thought of beside those that there are
_SHARE = 0.02  # of which so many have any one word


def idf_of(having: int, texts: int) -> float:
    """The idf of a term that `having` of so many texts have, above 0.

    It is counted as if there were twenty more texts: in a single one every word that it has would be as common as can be, and one that it
    lacks weigh five times as much.

    Source: Robertson & Zaragoza 2009, as bm25s' "lucene" has it; the further texts are ours.

    >>> [round(idf_of(having, texts), 1) for having, texts in ((0, 1), (1, 1), (0, 1000), (1, 1000), (500, 1000))]
    [3.2, 2.5, 7.0, 6.3, 1.1]
    """
    return math.log(1 + (texts + _FURTHER) / (having + _SHARE * _FURTHER + 0.5))
