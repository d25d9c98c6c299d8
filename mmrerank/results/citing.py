"""Where the words of a citation stand on its page."""

from __future__ import annotations

from mmrerank.errors import FormatError
from mmrerank.types import Citation


def boxes_of(citation: Citation) -> list[tuple[float, float, float, float]]:
    """Left, top, right, bottom of each line of its quote, as shares of the page's width and height; none where the page has no text layer
    that says it, or its file went away: the citation stands, only its place cannot be shown."""
    from mmrerank.readers import boxes
    from mmrerank.readers.pdf import PagePicture

    page = citation.item.image
    if not citation.quote or not isinstance(page, PagePicture):
        return []
    try:
        return boxes(page.path, page.page_number, citation.quote)
    except FormatError:
        return []
