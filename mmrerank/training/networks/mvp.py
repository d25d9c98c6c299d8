"""MVP as it is trained: lists of pairs -> scores and anchors.

    [model]  network = "mvp"   base: a BERT, such as sentence-transformers/all-MiniLM-L6-v2
             options = { views = 4, heads = 4 }      frozen_layers: of the encoder, from below, with the embeddings

What a query and a candidate say, and how much of it, is what the reranker of the stage shows: `mvp(length=96)` is 96 tokens a pair.

Source: MVP (arXiv 2509.07485), see `models/mvp.py`. Ours: the encoder is a BERT, whose unused tokens become the views, in place of a T5.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from mmrerank.models.mvp import EncoderViews, by_anchors
from mmrerank.parts import options_of
from mmrerank.rerankers.mvp import Options as RerankerOptions
from mmrerank.rerankers.mvp import question_of, text_of
from mmrerank.training.collate import Sample
from mmrerank.training.networks._lists import NetworkTrainee, by_group, by_list, checked_options, frozen_below, loaded_bert, plain
from mmrerank.training.recipe import Model, Stage
from mmrerank.training.trainee import Collated

PAIRS_AT_ONCE = 10  # more is padded more, and no faster on a CPU


@dataclass(frozen=True, kw_only=True)
class Options:
    views: Annotated[int, Field(ge=1)] = 4
    heads: Annotated[int, Field(ge=1)] = 4  # of the layer of the anchors


@dataclass(frozen=True, kw_only=True)
class Lists:
    """A batch: the token ids of every pair of a query with a candidate."""

    samples: tuple[Sample, ...]
    sequences: tuple[tuple[int, ...], ...]  # of all samples, one after the other


class MvpTrainee(NetworkTrainee):
    """The network with what its loss reads: scores and anchors."""

    def collator(self, stage: Stage) -> Collated:
        """Pairs as the stage's reranker reads them."""
        plain(stage)
        length = options_of(stage.reranker, RerankerOptions).length

        def collate(samples: Sequence[Sample]) -> Lists:
            pairs = [(question_of(one.query), text_of(candidate.item)) for one in samples for candidate in one.candidates]
            return Lists(samples=tuple(samples), sequences=tuple(tuple(self.network.ids(*pair, length)) for pair in pairs))

        return collate

    def forward(self, batch: Lists, wanted: Collection[str] = ()) -> dict[str, Tensor | None]:
        """Scores (n_groups, n_candidates), anchors (n_groups, n_views, width), and what is wanted of them."""
        tensors = by_group(batch.samples, self.network.device)
        views = by_list(self.network.states(batch.sequences, PAIRS_AT_ONCE), batch.samples)  # (n_groups, n, m, D)
        anchors = self.network.anchors(views, tensors["mask"]).float()
        return {**tensors, "scores": by_anchors(views.float(), anchors).mean(dim=1), "anchors": anchors}


def build(model: Model, root: Path, seed: int) -> MvpTrainee:
    """The network with a new layer of anchors over a BERT.

    Raises:
        InputError: no base is named, or it is no BERT.
        UnknownName: an option that there is none of.
    """
    options: Any = checked_options(model, Options)
    encoder, tokenizer = loaded_bert(model, root)
    torch.manual_seed(seed)
    network = EncoderViews(encoder, tokenizer, options.views, options.heads)
    frozen_below(encoder, model.frozen_layers)
    return MvpTrainee(network, model.base)
