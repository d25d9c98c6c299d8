"""Whether paired differences may well be chance: the randomisation test.

Under the hypothesis that it makes no difference which of two systems ranked a query, every difference might as well have the other
sign. p is how often random signs give a mean as far out as the one that was observed.
Source: Smucker, Allan & Carterette 2007.  Cost: all signs up to 10,000 of them, else 10,000 drawn from a fixed seed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mmrerank.measures.scoring import Values

FLIPS = 10_000
BLOCK = 500  # rows of signs made at once
ROUNDING = 1e-12


def randomisation(difference: Values, weights: Values | None = None, *, above_only: bool = False) -> float:
    """p of the paired randomisation test; two-sided, or with `above_only` of a mean as high.

    Args:
        difference: (n,) per query; NaN where a query does not count.
        weights: (n,) what each query counts in the mean; all alike when None.

    >>> randomisation(np.array([1.0, 1.0, 1.0])), randomisation(np.array([1.0, 1.0, 1.0]), above_only=True)
    (0.25, 0.125)
    """
    weighted = np.where(np.isfinite(difference), difference, 0.0) * (1.0 if weights is None else weights)
    weighted = weighted[np.abs(weighted) > 0]
    if len(weighted) == 0:
        return 1.0
    observed = float(weighted.sum()) if above_only else abs(float(weighted.sum()))
    reached = flips = 0
    for signs in _signs(len(weighted)):
        sums = signs @ weighted
        reached += int(((sums if above_only else np.abs(sums)) >= observed - ROUNDING).sum())
        flips += len(signs)
    return reached / flips if flips == 2 ** len(weighted) else (reached + 1) / (flips + 1)


def _signs(count: int) -> Iterator[Values]:
    """Blocks of (flips, count) signs: all there are, or as many drawn ones."""
    if 2**count <= FLIPS:
        yield np.asarray(1.0 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1), dtype=np.float64)
        return
    generator = np.random.default_rng(0)
    for _ in range(FLIPS // BLOCK):
        yield np.asarray(generator.integers(0, 2, (BLOCK, count), dtype=np.int8) * 2.0 - 1, dtype=np.float64)
