"""What an index is asked with to see how much it finds, and how wide it is to search for that: rows that it holds, and texts as people
would type them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from mmrerank.encoders import prepared
from mmrerank.index import RECALL_K as K
from mmrerank.index import ExactScores, Questions, without_own
from mmrerank.protocols import Encoder, MeasuredIndex, QueryEncoder, QueryTokenEncoder, RowSearcher, WidenedIndex
from mmrerank.store.table import Snapshot
from mmrerank.types import Array, Keys

SIZE = 128  # questions of each kind: recall is seen to about .01 with half of them
AIM = 0.97  # recall@10 that is searched wider for, less one standard error
SLIGHT = 0.005  # more of it that is not worth it, where nothing reaches that
FEWEST_TEXTS = 16  # with fewer texts of items, words are asked
MOST_CHARACTERS = 300  # of a text: what is typed is short
WORDS = (  # what people type, where the items say nothing
    "dog cat horse bird fish tree flower grass mountain river beach snow rain sunset cloud forest street bridge house tower church window "
    "door kitchen table chair bed lamp book newspaper map clock bottle cup bread fruit cake soup car bus train boat bicycle aeroplane "
    "child baby woman man crowd dancer runner football guitar piano hat dress shoe umbrella glasses camera computer telephone painting "
    "statue"
)


def item_questions(snapshot: Snapshot, slug: str, *, seed: int = 0) -> dict[str, Questions]:
    """Some of its own rows, each of which is not asked to find itself."""
    keys, rows = snapshot.sample(slug, SIZE, seed=seed)
    return {"items": Questions(rows=rows, own=keys)} if len(keys) else {}


def text_questions(snapshot: Snapshot, encoder: Encoder) -> Questions | None:
    """Rows of texts of the items, or of plain words where they have none; None for an encoder that takes no text."""
    if "text" not in encoder.takes or isinstance(encoder, QueryTokenEncoder):
        return None
    some = np.random.default_rng(0).choice(snapshot.keys, min(4 * SIZE, len(snapshot.keys)), replace=False)
    texts = [text[:MOST_CHARACTERS] for text in snapshot.texts(some) if text.strip()][:SIZE]
    texts = texts if len(texts) >= FEWEST_TEXTS else WORDS.split()
    encode = encoder.encode_queries if isinstance(encoder, QueryEncoder) else encoder.encode
    rows: Array = encode([prepared(encoder, text) for text in texts], normalise=True)
    return Questions(rows=rows)


def proposals(index: RowSearcher, k: int, spare: int) -> int:
    """How many rows to ask an index for so that the k best are among them, with some to spare."""
    return max(k + spare, index.proposals(k)) if isinstance(index, MeasuredIndex) else k + spare


class RecallTest:
    """Questions of some kinds, with the best scores that any row has for each, once every row went by."""

    def __init__(self, questions: Mapping[str, Questions], snapshot: Snapshot, slug: str) -> None:
        self._questions, self._snapshot, self._slug = questions, snapshot, slug
        self._exact = {kind: ExactScores(some) for kind, some in questions.items()}

    def watch(self, batches: Iterable[tuple[Keys, Array]]) -> Iterable[tuple[Keys, Array]]:
        """The batches of all rows as they come: (n,) keys and (n, dimension) unit rows each."""
        for scores in self._exact.values():
            batches = scores.watch(batches)
        return batches

    def recall(self, index: MeasuredIndex) -> dict[str, float]:
        """The recall@10 of an index by each kind of question."""
        return {kind: float(np.mean(shares)) for kind, shares in self._shares(index).items()}

    def widen(self, index: WidenedIndex) -> int:
        """Has an index search as wide as these questions ask for, if it may; returns how wide that is, 0 where nothing is asked."""
        if not self._questions:
            return 0
        lows: dict[int, float] = {}
        for width in index.widths:
            index.widen(width)
            lows[width] = min(_low(shares) for shares in self._shares(index).values())
            if lows[width] >= AIM:
                break
        enough = min(AIM, max(lows.values()) - SLIGHT)
        width = next(width for width, low in lows.items() if low >= enough)
        index.widen(width)
        return width

    def _shares(self, index: MeasuredIndex) -> dict[str, Array]:
        """By each kind of question the share of the 10 best that each finds, the proposals scored again as a search does it."""
        shares = {}
        for kind, some in self._questions.items():
            hits = index.search(some.rows, proposals(index, K + 1, 0))
            scores = np.full((len(hits), K), -np.inf, np.float32)
            for number, neighbours in enumerate(hits):
                keys, rows = self._snapshot.some_described(neighbours.ids, self._slug)
                alone = Questions(rows=some.rows[number : number + 1], own=None if some.own is None else some.own[number : number + 1])
                one = np.sort(without_own(alone, alone.rows @ rows.T, keys[None, :])[0])[::-1][:K]
                scores[number, : len(one)] = one
            shares[kind] = self._exact[kind].shares(scores)
        return shares


def _low(shares: Array) -> float:
    """What their mean is above by one standard error."""
    return float(np.mean(shares) - np.std(shares) / np.sqrt(len(shares)))
