"""RankNovo over the union of several first stages: how far each candidate is from the best, seen by where each stage has it.

    rows: candidates        columns: <cls>, then the stages        peaks: what each stage says of its first candidates
    axial layers over candidates x stages with the peaks as memory -> distance of a candidate (at <cls>), offset of each stage

A first stage stands where a residue does: its name is the token, its rank and its score within its list are the two streams of numbers, and
a candidate that it does not have is a gap. Distance 0 is a candidate of the best grade of its query, 1 one without any; the offset of a
stage is how much further off it puts the candidate than it is, counting a rank r as 1 - 1 / r.

Source: RankNovo (arXiv 2505.17552) for layers and heads, and the transfer that its note proposes: 1 - gain / max gain for the distance,
ranks and scores as numbers with absence marked. Ours: the rest. Rows are not told apart but by what stands in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from mmrerank.models import _folder
from mmrerank.models.axial import AxialLayer, waves
from mmrerank.types import Array

CLS, OTHER = 0, 1  # tokens: of the whole candidate, of a stage whose name training did not see
Sightings: TypeAlias = Mapping[str, tuple[int, float]]  # name of a stage -> the rank of a candidate there, from 1, and its score


@dataclass(frozen=True, kw_only=True)
class UnionConfig:
    """Sizes of a network."""

    stages: tuple[str, ...] = ()  # names that have a token of their own
    width: int = 32
    heads: int = 4
    layers: int = 2
    hidden: int = 64
    dropout: float = 0.1
    peaks: int = 10  # first candidates of each stage that are the memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Unions:
    """A batch: B lists of up to N candidates from up to S stages."""

    tokens: Tensor  # (B, S) int64
    columns: Tensor  # (B, S) bool: stages that are there
    ranks: Tensor  # (B, N, S) from 1; 0 where the stage does not have the candidate
    scores: Tensor  # (B, N, S) from 0 to 1 within the list of the stage
    rows: Tensor  # (B, N) bool: candidates that are there


class UnionNetwork(nn.Module):
    """Unions -> (B, N) distances and (B, N, S) offsets."""

    def __init__(self, config: UnionConfig) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.token = nn.Embedding(len(config.stages) + 2, width)
        self.gap, self.start = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        self.numbers = nn.Linear(width, width)
        layer = (width, config.heads, config.hidden, config.dropout)
        self.layers = nn.ModuleList(AxialLayer(*layer) for _ in range(config.layers))
        self.entry, self.exit = nn.LayerNorm(width), nn.LayerNorm(width)
        self.distance, self.offset = nn.Linear(width, 1), nn.Linear(width, 1)

    def forward(self, unions: Unions) -> tuple[Tensor, Tensor]:
        """Distances, infinite in rows that are not there, and offsets."""
        seen = self._seen(unions)  # (B, N, S, D)
        whole = self.token.weight[CLS].expand(*seen.shape[:2], 1, -1)
        x = self.entry(torch.cat([whole, seen], dim=2))
        places = nn.functional.pad(unions.columns, (1, 0), value=True)
        memory, there = self._peaks(unions, seen)
        for layer in self.layers:
            x = layer(x, unions.rows, places, memory, there)
        x = self.exit(x)
        distances = self.distance(x[:, :, 0])[..., 0].masked_fill(~unions.rows, torch.inf)
        return distances, self.offset(x[:, :, 1:])[..., 0]

    @torch.inference_mode()
    def distances(self, candidates: Sequence[Sightings]) -> Array:
        """(n,) predicted distances of the candidates of one query."""
        if not candidates:
            return np.zeros(0, dtype=np.float32)
        result: Array = self(self.unions([candidates]))[0][0].cpu().numpy()
        return result

    def _seen(self, unions: Unions) -> Tensor:
        """(B, N, S, D) where each stage has each candidate."""
        half = self.config.width // 2
        numbers = torch.cat([waves(unions.ranks.clamp(min=1).log2(), half, 1.0, 16.0), waves(unions.scores, half, 0.25, 4.0)], dim=-1)
        present = unions.ranks > 0
        place = torch.where(present[..., None], self.numbers(numbers), self.gap)
        result: Tensor = self.token(unions.tokens)[:, None] + place
        return result

    def _peaks(self, unions: Unions, seen: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1 + N S, D) and which of it is looked at: the first candidates of each stage, and one place that is always there."""
        first = (unions.ranks > 0) & (unions.ranks <= self.config.peaks)
        start = self.start.expand(len(seen), 1, -1)
        return torch.cat([start, seen.flatten(1, 2)], dim=1), nn.functional.pad(first.flatten(1, 2), (1, 0), value=True)

    def unions(self, lists: Sequence[Sequence[Sightings]]) -> Unions:
        """The batch of some lists of candidates."""
        names = [sorted({name for one in some for name in one}) for some in lists]
        shape = (len(lists), max(map(len, lists)), max(map(len, names)))
        ranks, scores, rows = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32), np.zeros(shape[:2], dtype=bool)
        tokens, columns = np.full((shape[0], shape[2]), OTHER), np.zeros((shape[0], shape[2]), dtype=bool)
        numbers = {name: n for n, name in enumerate(self.config.stages, OTHER + 1)}
        for b, (some, own) in enumerate(zip(lists, names, strict=True)):
            rows[b, : len(some)] = True
            for s, name in enumerate(own):
                tokens[b, s], columns[b, s] = numbers.get(name, OTHER), True
                places = [n for n, one in enumerate(some) if name in one]
                ranks[b, places, s] = [some[n][name][0] for n in places]
                scores[b, places, s] = to_unit([some[n][name][1] for n in places])
        arrays = {"tokens": tokens, "columns": columns, "ranks": ranks, "scores": scores, "rows": rows}
        return Unions(**{name: torch.from_numpy(array).to(self.gap.device) for name, array in arrays.items()})

    def save(self, folder: Path) -> None:
        """Writes config.json and model.safetensors."""
        _folder.save(self, "ranknovo_union", folder)

    @classmethod
    def load(cls, folder: Path) -> UnionNetwork:
        """The network of a folder, in evaluation mode.

        Raises:
            FormatError: it is none, or its weights are not all there.
        """
        return _folder.load(folder, "ranknovo_union", lambda own: cls(UnionConfig(**{**own, "stages": tuple(own["stages"])})))


def to_unit(scores: Sequence[float]) -> Array:
    """Scores of one list from 0 to 1, the best 1; all 1 where they are equal.

    >>> to_unit([4.0, 2.0, 3.0]).tolist(), to_unit([2.0, 2.0]).tolist()
    ([1.0, 0.0, 0.5], [1.0, 1.0])
    """
    values = np.asarray(scores, dtype=np.float64)
    apart = values.max() - values.min()
    unit: Array = ((values - values.min()) / apart if apart > 0 else np.ones_like(values)).astype(np.float32)
    return unit
