"""Prompts in batches, in which passes and padding together take least.

A batch is as wide as its longest prompt, and a pass costs something by itself: a long prompt among short ones is run apart, where the
padding would take more than a pass.

Source: ours; the partition of a row into runs of least cost, by dynamic programming.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

PASS_TOKENS = {"cpu": 64, "cuda": 512}  # as many tokens as a pass costs whatever is in it


def packed(
    widths: Sequence[int], fits: Callable[[int, int, int], bool], *, pass_tokens: int, beginnings: Sequence[int] = ()
) -> list[range]:
    """Runs of neighbours that cost least; one that does not fit even alone is a run of its own.

    Args:
        widths: tokens that are run over, of each prompt, like ones side by side.
        fits: whether so many prompts, so wide, behind beginnings so long may go together; more of any of them never fits better.
        beginnings: tokens that are at hand before each; none where it is empty.

    >>> packed([9, 10, 11, 90], lambda count, width, beginning: True, pass_tokens=64)
    [range(0, 3), range(3, 4)]
    """
    costs, starts = [0], [0]
    for stop in range(1, len(widths) + 1):
        width = beginning = 0
        best: tuple[int, int] | None = None
        for start in range(stop - 1, -1, -1):
            width, beginning = max(width, widths[start]), max(beginning, beginnings[start] if beginnings else 0)
            if best is not None and not fits(stop - start, width, beginning):
                break
            cost = costs[start] + pass_tokens + (stop - start) * width
            best = min(best or (cost, start), (cost, start))
        assert best is not None  # a run of one is always there
        costs.append(best[0])
        starts.append(best[1])
    runs, stop = [], len(widths)
    while stop:
        runs.append(range(starts[stop], stop))
        stop = starts[stop]
    return runs[::-1]
