"""RankNovo: how far each of several peptides proposed for one spectrum is from the truth, as a whole and residue by residue.

    tokens: <cls> residues, gaps up to the longest         peaks: two anchors, then the peaks of the spectrum
    axial layers over candidates x places with the peaks as memory -> distance of a candidate (at <cls>), offset of each residue

Source: RankNovo (arXiv 2505.17552, code BEAM-Labs/denovo), by its note: tokens, the two streams of masses, anchors, axial layers, the two
heads, smooth-L1 on both (its losses are inferred there). Ours: smaller sizes; what a peak is encoded as, both masses of residues that it
may mean, as a y ion and as a b ion, counted from the end of the peptide as the tokens' remaining mass is; how near these two are, on
three scales, is added to the logits of the cross-attention (without it a small network stayed at the majority vote); rows that are
missing change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mmrerank.errors import InputError
from mmrerank.models import _folder
from mmrerank.models.axial import AxialLayer, SelfLayer, waves
from mmrerank.models.peptides import PROTON, WATER, Spectrum, masses
from mmrerank.types import Array

CLS, GAP = "<cls>", "-"
FINEST, COARSEST = 0.05, 4000.0  # Da: wavelengths of the encodings of masses
SCALES = (0.02, 0.1, 0.5)  # Da: how near a peak is to where a cut would put it


@dataclass(frozen=True, kw_only=True)
class RankNovoConfig:
    """Sizes of a network."""

    width: int = 96  # D: a quarter for the token, a quarter for its own mass, a half for the mass that remains
    heads: int = 4
    layers: int = 3
    spectrum_layers: int = 1
    hidden: int = 192  # of the feed-forward networks
    dropout: float = 0.0
    columns: bool = True  # whether candidates look at each other place by place
    peaks: int = 80  # the strongest that are looked at
    length: int = 40  # tokens of a candidate, at most
    max_charge: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Stacks:
    """A batch: B spectra with up to N candidates of up to L tokens each, and S peaks."""

    tokens: Tensor  # (B, N, L) int64
    masses: Tensor  # (B, N, L, 2) float64, Da: of the token itself, and of what remains behind it
    rows: Tensor  # (B, N) bool: candidates that are there
    peaks: (
        Tensor  # (B, S, 3) float64: mass behind the cut if it is a y ion, the same if it is a b ion, both in Da, and intensity from 0 to 1
    )
    there: Tensor  # (B, S) bool
    charge: Tensor  # (B,) int64
    mass: Tensor  # (B,) float64, Da, of all residues


class RankNovoNetwork(nn.Module):
    """Stacks -> (B, N) distances and (B, N, L) offsets, in units of 51.4238 Da."""

    def __init__(self, config: RankNovoConfig) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.vocabulary = {token: n for n, token in enumerate((CLS, GAP, *masses()))}
        self.token = nn.Embedding(len(self.vocabulary), width // 4)
        self.place = nn.Embedding(config.length + 1, width)
        self.charge = nn.Embedding(config.max_charge + 1, width)
        self.whole = nn.Linear(width // 2, width)
        self.anchor = nn.Embedding(2, width)
        self.intensity = nn.Linear(1, width // 2)
        self.entry, self.exit = nn.LayerNorm(width), nn.LayerNorm(width)
        layer = (width, config.heads, config.hidden, config.dropout)
        self.spectrum = nn.ModuleList(SelfLayer(*layer) for _ in range(config.spectrum_layers))
        self.layers = nn.ModuleList(AxialLayer(*layer, columns=config.columns, scales=len(SCALES)) for _ in range(config.layers))
        for embedding in (self.place, self.charge, self.anchor):  # small beside the waves, whose likeness is to be seen
            nn.init.normal_(embedding.weight, std=0.02)
        self.distance, self.offset = nn.Linear(width, 1), nn.Linear(width, 1)

    def forward(self, stacks: Stacks) -> tuple[Tensor, Tensor]:
        """Distances, infinite in rows that are not there, and offsets."""
        left = self._left(stacks)
        memory, there = self._memory(stacks, left)
        x = self._tokens(stacks)
        places = torch.ones(x.shape[0], x.shape[2], dtype=torch.bool, device=x.device)  # gaps are tokens like others
        apart = (stacks.masses[..., 1, None] - left[:, None, None])[..., None]  # (B, N, L, S, 1) Da
        nearness = torch.exp(-((apart / torch.tensor(SCALES, device=x.device, dtype=apart.dtype)) ** 2)).to(x.dtype)
        for layer in self.layers:
            x = layer(x, stacks.rows, places, memory, there, nearness)
        x = self.exit(x)
        distances = self.distance(x[:, :, 0])[..., 0].masked_fill(~stacks.rows, torch.inf)
        return distances, self.offset(x)[..., 0]

    @torch.inference_mode()
    def distances(self, spectrum: Spectrum, candidates: Sequence[Sequence[str]]) -> tuple[Array, list[Array]]:
        """(n,) predicted distances of the candidates of one spectrum, and of each (n_tokens,) offsets; in units of 51.4238 Da."""
        if not candidates:
            return np.zeros(0, dtype=np.float32), []
        distances, offsets = self(self.stacks([spectrum], [candidates]))
        return distances[0].numpy(), [row[1 : len(one) + 1].numpy() for row, one in zip(offsets[0], candidates, strict=True)]

    def _tokens(self, stacks: Stacks) -> Tensor:
        """(B, N, L, D)."""
        quarter = self.config.width // 4
        own, left = stacks.masses.unbind(dim=-1)
        streams = [self._waves(own, quarter), self._waves(left, 2 * quarter)]
        x = torch.cat([self.token(stacks.tokens), *streams], dim=-1)
        x = x + self.place(torch.arange(x.shape[2], device=x.device))
        whole = self.whole(self._waves(stacks.mass, 2 * quarter)) + self.charge(stacks.charge)
        first = torch.zeros(x.shape[2], 1, device=x.device, dtype=x.dtype)
        first[0] = 1
        result: Tensor = self.entry(x + whole[:, None, None] * first)
        return result

    def _left(self, stacks: Stacks) -> Tensor:
        """(B, 2 S + 2) Da: the mass behind the cut at each place of the memory."""
        ends = torch.stack([torch.zeros_like(stacks.mass), stacks.mass], dim=1)  # nothing and all of it remains
        return torch.cat([ends, stacks.peaks[..., 0], stacks.peaks[..., 1]], dim=1)

    def _memory(self, stacks: Stacks, left: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 2 S + 2, D) and which of it is there: two anchors, each peak as a y ion, each peak as a b ion."""
        strengths = torch.cat([stacks.peaks[..., 2:], stacks.peaks[..., 2:]], dim=1)
        strength = nn.functional.pad(self.intensity(strengths.to(self.intensity.weight.dtype)), (0, 0, 2, 0))  # anchors have none
        x = torch.cat([strength, self._waves(left, self.config.width // 2)], dim=-1)
        x = x + nn.functional.pad(self.anchor.weight, (0, 0, 0, left.shape[1] - 2))
        there = torch.cat([stacks.there, stacks.there], dim=1)
        there = nn.functional.pad(there, (2, 0), value=True)
        for layer in self.spectrum:
            x = layer(x, there)
        return x, there

    def _waves(self, values: Tensor, width: int) -> Tensor:
        """Computed in float64: a turn of the finest is a hundred-thousandth of what a peptide weighs."""
        return waves(values, width, FINEST, COARSEST).to(self.token.weight.dtype)

    def stacks(self, spectra: Sequence[Spectrum], candidates: Sequence[Sequence[Sequence[str]]]) -> Stacks:
        """The batch of some spectra with the tokens of their candidates.

        Raises:
            InputError: a candidate has more tokens than the network has places for.
        """
        limit = self.config.length
        longest = max((len(one) for some in candidates for one in some), default=0)
        if longest > limit:
            raise InputError(f"a peptide of {longest} tokens; this network takes up to {limit}")
        shape = (len(spectra), max(map(len, candidates), default=0), longest + 1)
        tokens, weighed = np.full(shape, self.vocabulary[GAP]), np.zeros((*shape, 2))
        rows = np.zeros(shape[:2], dtype=bool)
        tokens[..., 0] = self.vocabulary[CLS]
        for b, (spectrum, some) in enumerate(zip(spectra, candidates, strict=True)):
            weighed[b, :, 0, 1] = spectrum.residue_mass
            for n, one in enumerate(some):
                own = np.array([masses()[token] for token in one])
                rows[b, n] = True
                tokens[b, n, 1 : len(one) + 1] = [self.vocabulary[token] for token in one]
                weighed[b, n, 1 : len(one) + 1] = np.stack([own, spectrum.residue_mass - np.cumsum(own)], axis=1)
        return Stacks(
            tokens=torch.from_numpy(tokens), masses=torch.from_numpy(weighed), rows=torch.from_numpy(rows), **self._peaks(spectra)
        )

    def _peaks(self, spectra: Sequence[Spectrum]) -> dict[str, Tensor]:
        most = self.config.peaks
        peaks, there = np.zeros((len(spectra), most, 3)), np.zeros((len(spectra), most), dtype=bool)
        for b, spectrum in enumerate(spectra):
            strongest = np.argsort(-spectrum.intensity, kind="stable")[:most]
            after = spectrum.mz[strongest] - PROTON - WATER  # residues behind the cut, of a y ion of charge 1
            before = spectrum.residue_mass - (spectrum.mz[strongest] - PROTON)  # the same, of a b ion
            peaks[b, : len(strongest)] = np.stack(
                [after, before, np.sqrt(spectrum.intensity[strongest] / spectrum.intensity.max())], axis=1
            )
            there[b, : len(strongest)] = True
        charges = [min(spectrum.charge, self.config.max_charge) for spectrum in spectra]
        weights = [spectrum.residue_mass for spectrum in spectra]
        return {
            "peaks": torch.from_numpy(peaks),
            "there": torch.from_numpy(there),
            "charge": torch.tensor(charges),
            "mass": torch.tensor(weights, dtype=torch.float64),
        }

    def save(self, folder: Path) -> None:
        """Writes config.json and model.safetensors."""
        _folder.save(self, "ranknovo", folder)

    @classmethod
    def load(cls, folder: Path) -> RankNovoNetwork:
        """The network of a folder, in evaluation mode.

        Raises:
            FormatError: it is none, or its weights are not all there.
        """
        return _folder.load(folder, "ranknovo", lambda settings: cls(RankNovoConfig(**settings)))
