"""RankNovo as it is trained: spectra with what several models propose -> how far each proposal is from the truth, whole and by residue.

    [model]  network = "ranknovo"   base: "", or a folder that holds one to go on from
             options: the sizes of `models/ranknovo.py`: width, heads, layers, hidden, peaks, ...

The truth is the candidate of the highest grade of its list: what distances are measured to, and no row of what the network sees. Of the
other candidates two or more are shown, as many as chance says, the same for the same spectrum: so any number of them is taken later.

Source: RankNovo (arXiv 2505.17552), see `models/ranknovo.py`; that subsets are shown is its study of them, made part of every training.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmrerank.errors import InputError
from mmrerank.models.peptides import Spectrum, peptide_distance, prefix_offsets, read_spectrum, tokens_of, weights
from mmrerank.models.ranknovo import GAP, RankNovoConfig, RankNovoNetwork
from mmrerank.training.collate import Sample
from mmrerank.training.networks._lists import NetworkTrainee, checked_options, plain
from mmrerank.training.recipe import Model, Stage
from mmrerank.training.trainee import Collated

Peptide = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Spectra:
    """A batch: spectra, their proposals, and what is wanted of these."""

    spectra: tuple[Spectrum, ...]
    proposals: tuple[tuple[Peptide, ...], ...]
    distances: Tensor  # (n_proposals,) of all spectra, one after the other
    offsets: Tensor  # (n_residues,) of all proposals, likewise


class RankNovoTrainee(NetworkTrainee):
    """The network with what its loss reads: distances and offsets, as guessed and as they are."""

    def collator(self, stage: Stage) -> Collated:
        """Spectra with some of their proposals."""
        plain(stage)
        return batch_of

    def forward(self, batch: Spectra, wanted: Collection[str] = ()) -> dict[str, Tensor | None]:
        """`distances` (n_proposals,) and `offsets` (n_residues,) as guessed; `true_distances` and `true_offsets` as they are."""
        stacks = self.network.stacks(batch.spectra, batch.proposals)
        residues = stacks.tokens[..., 1:] != self.network.vocabulary[GAP]  # behind <cls>
        distances, offsets = self.network(stacks)
        return {
            "distances": distances[stacks.rows],
            "true_distances": batch.distances.to(distances),
            "offsets": offsets[..., 1:][residues],
            "true_offsets": batch.offsets.to(offsets),
        }


def batch_of(samples: Sequence[Sample]) -> Spectra:
    """The spectra of some samples with two or more proposals of each, and their distances from the truth.

    Raises:
        InputError: a sample has no truth, fewer than two proposals, or what is no spectrum or peptide.
    """
    spectra, proposals, distances, offsets = [], [], [], []
    for sample in samples:
        texts, truth = _parted(sample)
        dice = random.Random(sample.query.query_id)
        some = tuple(tokens_of(text) for text in dice.sample(texts, dice.randint(2, len(texts))))
        target = weights(tokens_of(truth))
        spectra.append(read_spectrum(sample.query.text or ""))
        proposals.append(some)
        for own in map(weights, some):
            distances.append(peptide_distance(own, target))
            offsets.append(torch.from_numpy(prefix_offsets(own, target)))
    return Spectra(
        spectra=tuple(spectra), proposals=tuple(proposals), distances=torch.tensor(distances), offsets=torch.cat(offsets).float()
    )


def _parted(sample: Sample) -> tuple[list[str], str]:
    """The proposals of a sample, and the truth."""
    best = max(sample.grades, default=0)
    if best <= 0 or sample.grades.count(best) > 1 or len(sample.candidates) < 3:
        name = sample.query.query_id
        raise InputError(f"spectrum {name!r} needs its truth as the one candidate of the highest grade, and two proposals or more")
    place = sample.grades.index(best)
    return [text for n, text in enumerate(sample.texts) if n != place], sample.texts[place]


def build(model: Model, root: Path, seed: int) -> RankNovoTrainee:
    """A new network, or the one of a folder.

    Raises:
        InputError: sizes beside a folder, or a size of another kind.
        UnknownName: an option that there is none of.
        FormatError: the folder holds none.
    """
    options: Any = checked_options(model, RankNovoConfig)
    torch.manual_seed(seed)
    if model.base and model.options:
        raise InputError("a network that goes on has its sizes", hint="Leave options out of [model], or base.")
    network = RankNovoNetwork.load(root / model.base).train() if model.base else RankNovoNetwork(options)
    return RankNovoTrainee(network, model.base or "new weights")
