"""Rows for the tests of the indexes."""

from __future__ import annotations

import numpy as np

from mmrerank.testing.samples import corners as corners
from mmrerank.testing.samples import plainly as plainly
from mmrerank.testing.samples import shuffled_ids as shuffled_ids
from mmrerank.testing.samples import structured as structured
from mmrerank.types import Neighbours


def same(found: Neighbours, expected: Neighbours, *, tolerance: float = 1e-5) -> bool:
    """Equal up to the order of scores that differ by rounding only."""
    if found.ids.shape != expected.ids.shape or not np.allclose(found.scores, expected.scores, atol=tolerance):
        return False
    clear = expected.scores > expected.scores[-1] + 2 * tolerance if len(expected.scores) else np.empty(0, bool)  # the edge may swap
    return set(expected.ids[clear].tolist()) <= set(found.ids.tolist()) and len(set(found.ids.tolist())) == len(found.ids)
