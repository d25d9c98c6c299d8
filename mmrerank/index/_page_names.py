"""Which pages of a document a text names, and in which words.

    page 7   p. 7   pp 7-8   pages 3, 5 and 6   slide 31   page no. 8   page thirteen   7th page   Seite 7   página 3
    page iv   page A-3   page B12                by what is printed on it
    first, third, last, second last page         the last two pages   cover page   back cover
    page 3 of report.pdf                         of which document

Read from English wording, and from "Seite", "page", "página", "pagina", "blz." with a number behind it.
"""

from __future__ import annotations

import re

from mmrerank.types import PageNames

_PAGE = re.compile(r"page|slide|cover|seite|p[áa]g|\bpp?\b|\bs\.|blz", re.IGNORECASE)  # without one of these, no page is named


def pages_named(text: str) -> PageNames:
    """The pages that a text names; none where it speaks of pages in general.

    >>> sorted(pages_named("Who signed pages 15 and 16, and what is on the cover page?").numbers)
    [1, 15, 16]
    >>> sorted(pages_named("How many charts are there from page 3 to page 6?").numbers)
    [3, 4, 5, 6]
    >>> names = pages_named("What is on page iv of report.pdf?")
    >>> sorted(names.labels), names.document, names.alone
    (['iv'], 'report.pdf', True)
    """
    if not _PAGE.search(text):
        return PageNames()
    from mmrerank.index._page_mentions import names_in

    return names_in(text)
