"""The recipe `auto`: which index a number of rows is searched by. It moves up as rows are added, and back once half are gone. The width in
a name is where it begins: whoever builds it widens it as its test asks for."""

from __future__ import annotations

import importlib.util

AUTO = "auto"
STEPS = (  # from so many rows on; measured in docs/guides/scale.md
    (0, "flat"),
    (100_000, 'faiss_index(kind="ivf", storage="sq8", probes=64)'),
    (3_000_000, 'faiss_index(kind="ivf", storage="rabitq", bits=2, probes=64)'),
)


def chosen(n_rows: int, now: str = "") -> str:
    """The index for so many rows; where FAISS is not installed `flat`, whatever their number.

    Args:
        now: what there is. It stays until the rows have halved below what it is for.

    >>> chosen(20), chosen(60_000, chosen(120_000)) == chosen(120_000)
    ('flat', True)
    """
    steps = STEPS if importlib.util.find_spec("faiss") else STEPS[:1]
    step = max(n for n, (rows, _) in enumerate(steps) if n_rows >= rows)
    present = next((n for n, (_, name) in enumerate(steps) if name == now), step)
    if step < present and 2 * n_rows >= steps[present][0]:
        step = present
    return steps[step][1]
