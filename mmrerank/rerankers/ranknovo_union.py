"""Orders what several first stages brought: a network sees each candidate by where every stage has it, all candidates at once.

    candidate.item.metadata["stages"] = {"bm25": [1, 12.3], "dense": [4, 0.61]}        rank from 1 and score, of the stages that have it
    distance of each (0: the best there is; 1: of no use) -> the nearest first; raw score = - distance

    mmrerank rerank --query query.json --candidates union.jsonl --with ranknovo_union/FOLDER

Source: RankNovo (arXiv 2505.17552), carried over to lists as its note proposes; the network is `models/union.py`. A candidate without
`stages` is one that a stage called "order" has, at its place with its score. Nothing of query or candidates is read but these numbers,
so that texts, pictures and pages are all the same to it. `tools/unions` makes such lists, `mmrerank train ranknovo_union` the network.

Cost per query: one forward pass over candidates x stages, a few milliseconds; no model calls. Scores of two queries do not compare.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrerank.errors import InputError
from mmrerank.ordering import MODEL_ROUNDING, best_first, levelled
from mmrerank.parts import printed
from mmrerank.types import Candidate, Explanation, Notes, Query, Ranking

if TYPE_CHECKING:
    from mmrerank.models.union import Sightings, UnionNetwork

STAGES, ORDER = "stages", "order"  # key of the metadata; name of the stage of a candidate that lacks it


@dataclass(frozen=True, kw_only=True)
class Options:
    checkpoint: str = ""  # folder of a trained network


class RankNovoUnion:
    """Reranks the union of several lists by predicted distance from the best."""

    def __init__(self, options: Options, network: UnionNetwork) -> None:
        self.name = printed("ranknovo_union", options, argument=True) if options.checkpoint else "ranknovo_union"
        self._network = network

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates, the nearest to the best first, equal ones in the incoming order.

        Raises:
            InputError: the stages of a candidate are no ranks with scores.
        """
        stages = [stages_of(one, place) for place, one in enumerate(candidates, 1)]
        level = levelled(-self._network.distances(stages), rounding=MODEL_ROUNDING)
        ranked = [Candidate(item=candidates[n].item, score=float(level[n]), raw_score=float(level[n])) for n in best_first(level)]
        ids = [one.item.item_id for one in candidates]
        notes = Notes(
            status="ok",
            reasons={item_id: f"{-level[n]:.2f} from the best, as predicted; {_ranks(stages[n])}" for n, item_id in enumerate(ids)},
            explanations={item_id: Explanation(scores={"distance": -float(level[n])}) for n, item_id in enumerate(ids)},
        )
        return Ranking(query_id=query.query_id, candidates=tuple(ranked), notes=notes)


def stages_of(candidate: Candidate, place: int) -> Sightings:
    """Where the first stages have a candidate.

    Args:
        place: its own in the list, from 1.

    Raises:
        InputError: what its metadata say is no mapping of names to ranks and scores.
    """
    stages: Any = candidate.item.metadata.get(STAGES)
    if stages is None:
        return {ORDER: (place, 0.0 if candidate.score is None else candidate.score)}
    with suppress(ValueError):  # of a table, in which nested values are JSON
        stages = json.loads(stages) if isinstance(stages, str) else stages
    if (
        not isinstance(stages, Mapping)
        or not stages
        or not all(isinstance(name, str) and _is_sighting(one) for name, one in stages.items())
    ):
        message = f"{STAGES} of candidate {candidate.item.item_id!r} is a mapping of names to rank and score; got {stages!r:.80}"
        raise InputError(message, hint='Write {"bm25": [1, 12.3]}, ranks from 1.')
    return {name: (int(rank), float(score)) for name, (rank, score) in stages.items()}


def _is_sighting(value: Any) -> bool:
    if not isinstance(value, list | tuple) or len(value) != 2 or isinstance(value[0], bool):
        return False
    return isinstance(value[0], Integral) and int(value[0]) >= 1 and isinstance(value[1], Real)


def _ranks(stages: Sightings) -> str:
    return ", ".join(f"{name} {rank}" for name, (rank, _) in sorted(stages.items()))


def build(options: Options) -> RankNovoUnion:
    """The reranker with its network.

    Raises:
        InputError: no network is named.
        FormatError: the folder holds none.
    """
    if not options.checkpoint:
        raise InputError("ranknovo_union needs a network", hint="Write ranknovo_union/FOLDER; `mmrerank train` makes one.")
    from mmrerank.models.union import UnionNetwork

    return RankNovoUnion(options, UnionNetwork.load(Path(options.checkpoint)))


def tiny() -> RankNovoUnion:
    """A network with seeded random weights, whose distances mean nothing."""
    return RankNovoUnion(Options(), _tiny())


@cache
def _tiny() -> UnionNetwork:
    import torch

    from mmrerank.models.union import UnionConfig, UnionNetwork

    torch.manual_seed(0)
    return UnionNetwork(UnionConfig(stages=("bm25", "dense"), width=16, heads=2, layers=1, hidden=16)).eval()
