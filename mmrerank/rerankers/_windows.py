"""Windows over a list that is too long for one call, from its end to its head, so that what is good can rise all the way.

10 candidates, size 4, step 2:   . . . . . . 6 7 8 9
                                 . . . . 4 5 6 7 . .
                                 . . 2 3 4 5 . . . .
                                 0 1 2 3 . . . . . .
"""

from __future__ import annotations

from mmrerank.errors import InputError


def windows(count: int, size: int, step: int) -> list[tuple[int, int]]:
    """(start, stop) of each window in the order in which they are ranked; together they cover every position.

    The last one starts at 0 and is full whenever count >= size, so it may overlap its neighbour by more than the others.

    Raises:
        InputError: the step is not in 1..size, so that windows would leave gaps.

    >>> windows(10, 4, 2)
    [(6, 10), (4, 8), (2, 6), (0, 4)]
    >>> windows(7, 4, 2)
    [(3, 7), (1, 5), (0, 4)]
    """
    if not 1 <= step <= size:
        raise InputError(f"the step of windows lies between 1 and their size {size}; got {step}")
    if count == 0:
        return []
    starts = [*range(max(count - size, 0), 0, -step), 0]
    return [(start, min(start + size, count)) for start in starts]
