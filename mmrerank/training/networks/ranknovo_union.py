"""RankNovo over unions as it is trained: candidates with their first stages -> how far each is from the best of its query.

    [model]  network = "ranknovo_union"   options: the sizes of `models/union.py`: stages, width, heads, layers, ...

The distance of a candidate is 1 - its grade / the best grade among the candidates of its group.

Source: RankNovo (arXiv 2505.17552) by its note, see `models/union.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmrerank.errors import InputError
from mmrerank.models.union import Sightings, UnionConfig, UnionNetwork
from mmrerank.rerankers.ranknovo_union import stages_of
from mmrerank.training.collate import Sample
from mmrerank.training.networks._lists import NetworkTrainee, by_group, checked_options, plain
from mmrerank.training.recipe import Model, Stage
from mmrerank.training.trainee import Collated


@dataclass(frozen=True, kw_only=True)
class Lists:
    """A batch of lists with where the first stages have each candidate."""

    samples: tuple[Sample, ...]
    stages: tuple[tuple[Sightings, ...], ...]


class UnionTrainee(NetworkTrainee):
    """The network with what its losses read: distances and offsets, and scores."""

    def collator(self, stage: Stage) -> Collated:
        """Lists with their first stages."""
        plain(stage)
        return batch_of

    def forward(self, batch: Lists, wanted: Collection[str] = ()) -> dict[str, Tensor | None]:
        """`distances` (n_candidates,) and `offsets` (n_sightings,) as guessed and as they are; `scores` (n_groups, n_candidates)."""
        unions = self.network.unions(batch.stages)
        distances, offsets = self.network(unions)
        tensors = by_group(batch.samples, distances.device)
        grades = tensors["targets"].clamp(min=0)
        true = 1 - grades / grades.max(dim=1, keepdim=True).values.clamp(min=1)  # (n_groups, n_candidates)
        sightings = unions.ranks > 0
        wrong = 1 - 1 / unions.ranks.clamp(min=1) - true[..., None]
        regression = {"distances": distances[unions.rows], "true_distances": true[unions.rows]}
        regression |= {"offsets": offsets[sightings], "true_offsets": wrong[sightings]}
        return {**tensors, **regression, "scores": -distances.masked_fill(~unions.rows, 0.0)}


def batch_of(samples: Sequence[Sample]) -> Lists:
    """Some lists with where the first stages have each candidate.

    Raises:
        InputError: a candidate does not say so; the order in which a sample shows its candidates says nothing.
    """
    for sample in samples:
        for candidate in sample.candidates:
            if "stages" not in candidate.item.metadata:
                raise InputError(f"candidate {candidate.item.item_id!r} of query {sample.query.query_id!r} names no first stages")
    return Lists(samples=tuple(samples), stages=tuple(tuple(stages_of(one, 1) for one in sample.candidates) for sample in samples))


def build(model: Model, root: Path, seed: int) -> UnionTrainee:
    """A new network.

    Raises:
        InputError: a base is named, or a size is of another kind.
        UnknownName: an option that there is none of.
    """
    options: Any = checked_options(model, UnionConfig)
    if model.base:
        raise InputError("ranknovo_union begins with new weights", hint="Leave base out of [model].")
    torch.manual_seed(seed)
    return UnionTrainee(UnionNetwork(options), "new weights")
