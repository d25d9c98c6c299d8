"""Titles that a program put in because nobody gave one: "Untitled", "Microsoft Word - x.doc", "Slide 1". They name nothing."""

from __future__ import annotations

import re

_NOTHING = re.compile(
    r"[\W_]*|\W*(?:untitled|unnamed|unbenannt|no title|title|sans titre|sin t[íi]tulo|senza titolo|naamloos"
    r"|unspecified|anonymous|none|null)"
    r"(?:[\W_]*(?:document|dokument|presentation|\d+))*\W*",
    re.IGNORECASE,
)
_NUMBERED = re.compile(
    r"(?:slide|folie|diapositi\w+|page|seite|document|dokument|doc|presentation|pr[äé]sentation|book|mappe|workbook|sheet|layout|drawing|scan"
    r"|scanned|image|img|bookmark|print|printout|publication|new)[\s_-]*(?:document|dokument)?[\s_#-]*\d*",
    re.IGNORECASE,
)
_PROGRAM = re.compile(
    r"(?:microsoft|openoffice|libreoffice|adobe|corel)\s*(?:office\s*)?(?:word|excel|powerpoint|publisher|visio|outlook|writer|impress|indesign"
    r"|photoshop|illustrator|draw\w*)?\s*-.*|powerpoint[\s-]*(?:presentation|pr[äa]sentation)|pr[ée]sentation powerpoint"
    r"|presentaci[óo]n de powerpoint|presentazione (?:standard di )?powerpoint|print job|full page (?:photo|print)|about:blank"
    r"|new microsoft \w+ (?:document|worksheet|presentation)",
    re.IGNORECASE,
)
_FILE = re.compile(
    r"(?:[a-z]:[\\/]|file:|\\\\|/(?:users|home|tmp|var)/).*"
    r"|\S.*\.(?:docx?|rtf|odt|pptx?|odp|xlsx?|ods|pdf|indd|qxd|qxp|ai|eps|ps|cdr|dvi|tex|fm|p65|pub|vsd|wpd|html?|txt|tiff?|jpe?g|png|tmp)",
    re.IGNORECASE,
)


def is_placeholder(title: str) -> bool:
    """Whether a title, or an entry in a table of contents, names nothing.

    >>> [is_placeholder(title) for title in ("Untitled-1", "Microsoft Word - x.doc", "Slide 1", "Slides of 2024", "Annual Report")]
    [True, True, True, False, False]
    """
    return any(pattern.fullmatch(title.strip()) for pattern in (_NOTHING, _NUMBERED, _PROGRAM, _FILE))
