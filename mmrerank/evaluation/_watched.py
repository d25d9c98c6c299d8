"""Keeps watch over the model that an evaluation asks, so that one that nobody reaches is not measured as if it had answered.

Rerankers keep the order as it came where a model gives no answer. In a search that loses nothing; as a figure it would be that of
the stage before.
"""

from __future__ import annotations

from mmrerank.backends import NotingBackend

ENOUGH = 5  # queries after which a model that never answered is given up; each may have waited through all of its retries


def check_answered(backend: NotingBackend, done: int, expected: int) -> None:
    """Passes while there may be something to measure.

    Args:
        done: queries so far, of those expected.

    Raises:
        BackendError: the one that came last, where none of enough queries or of all had an answer.
    """
    if backend.failure is not None and not backend.has_answered and done in (ENOUGH, expected):
        raise backend.failure
