"""How much of what is nearest an index finds, against every row: tested in passing while it is built, and again by `verify`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from mmrerank.types import Array, Keys

RECALL_K = 10
NEAR = 1e-6  # cosines this close are one place


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """Rows that an index is asked with, of one kind."""

    rows: Array  # (n, dimension) unit
    own: Keys | None = None  # (n,) the ids of these rows where they are of the index: nobody is asked to find itself

    def half(self, first: int) -> Questions:
        """Every second one, from the one of that number on, 0 or 1; all of them where there is one only."""
        some = slice(first, None, 2) if len(self.rows) > 1 else slice(None)
        return Questions(rows=self.rows[some], own=None if self.own is None else self.own[some])


class ExactScores:
    """The best scores of questions over all rows that go by."""

    def __init__(self, questions: Questions, k: int = RECALL_K) -> None:
        self._questions = questions
        self._best: Array = np.full((len(questions.rows), k), -np.inf, np.float32)

    def watch(self, batches: Iterable[tuple[Keys, Array]]) -> Iterator[tuple[Keys, Array]]:
        """The batches as they come: (n,) ids and (n, dimension) unit rows each."""
        for ids, rows in batches:
            self.take(ids, rows)
            yield ids, rows

    def take(self, ids: Keys, rows: Array) -> None:
        """Scores the questions against (n, dimension) unit rows of these (n,) ids."""
        scores = without_own(self._questions, self._questions.rows @ rows.T, ids[None, :])
        both = np.concatenate([self._best, scores], axis=1)
        self._best = -np.partition(-both, self._best.shape[1] - 1, axis=1)[:, : self._best.shape[1]]

    def shares(self, scores: Array) -> Array:
        """(n,) which share of the k best of each question these (n, m) exact scores of what was found are; -inf where nothing was.

        Of equal scores any will do.
        """
        worst = self._best.min(axis=1, where=np.isfinite(self._best), initial=np.inf)[:, None]  # of the k-th, or of the last that there is
        places = np.isfinite(self._best).sum(axis=1)
        hits = np.minimum((scores >= worst - NEAR).sum(axis=1), places)
        shares: Array = hits / np.maximum(places, 1)
        return shares


def without_own(questions: Questions, scores: Array, ids: Keys) -> Array:
    """(n, m) scores with -inf at each question's own id.

    Args:
        ids: (1, m) or (n, m).
    """
    return scores if questions.own is None else np.where(ids == questions.own[:, None], np.float32(-np.inf), scores).astype(np.float32)


def in_words(recall: Mapping[str, float]) -> str:
    """The recall@10 of an index by each kind of question, in a line.

    >>> in_words({"texts": 0.9812, "pictures": 1.0})
    'recall@10 .981 of texts, 1.000 of pictures'
    """
    return f"recall@{RECALL_K} " + ", ".join(f"{value:.3f}".removeprefix("0") + f" of {kind}" for kind, value in recall.items())
