"""The query as it stands in a prompt: the pictures to start from, the text, and what must not be there.

    Reference picture: [picture]   Query, a change to the reference picture: in green.   Not wanted: people.   Not wanted as here: [picture]

A method whose prompt file has the pieces of `QUERY_PIECES` shows any query so: by text, by picture, composed, with exclusions.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmrerank.prompting.files import PromptText
from mmrerank.prompting.items import open_within
from mmrerank.types import Markup, Part, Query

QUERY_PIECES: dict[str, set[str]] = {
    "reference": {"number"},
    "changed": {"query"},
    "alike": set(),
    "wanted": {"query"},
    "excluded": {"text"},
    "excluded_picture": set(),
}


def query_parts(prompt: PromptText, query: Query, max_pixels: int) -> list[Part]:
    """The parts of a message that say what is looked for, pictures within the pixel budget.

    Raises:
        FormatError: a picture of the query cannot be opened.
    """
    parts: list[Part] = []
    for number, handle in enumerate(query.images, 1):
        parts += [prompt.fill("reference", number=f" {number}" if len(query.images) > 1 else ""), open_within(handle, max_pixels), "\n"]
    parts.append(query_lines(prompt, query))
    for handle in query.exclude_images:
        parts += [prompt.pieces["excluded_picture"], open_within(handle, max_pixels), "\n"]
    return parts


def query_lines(prompt: PromptText, query: Query) -> str:
    """The words of the query alone, for where it is repeated."""
    wish = prompt.fill("changed" if query.images else "wanted", query=query.text) if query.text else prompt.pieces["alike"]
    return wish + "".join(prompt.fill("excluded", text=excluded) for excluded in query.exclude_text)


def joined(parts: Sequence[Part]) -> list[Part]:
    """Neighbouring texts as one part, so that nothing depends on how a backend sets parts apart; `Markup` stays on its own.

    >>> joined(["a", "b", Markup("<x>"), "c"])
    ['ab', '<x>', 'c']
    """
    whole: list[Part] = []
    for part in parts:
        last = whole[-1] if whole else None
        if isinstance(part, str) and isinstance(last, str) and not isinstance(part, Markup) and not isinstance(last, Markup):
            whole[-1] = last + part
        else:
            whole.append(part)
    return whole
