"""Trains RankNovo's network on simulated spectra, as it ships.

    python -m tools.peptides.make --out data/peptides
    python -m tools.peptides.train --data data/peptides --out mmrerank/mini/ranknovo

Each step sees other spectra, each with two to four of the four models that training has, so that any number of proposals is taken later.
Labels are distances and offsets from the truth, which no row shows. Interrupted, it goes on from its last checkpoint with the same data.

Source: RankNovo (arXiv 2505.17552), by its note: AdamW with weight decay 8e-5, gradients cut at 1.5, smooth-L1 on both heads. Ours: one
cycle of the learning rate up to 2e-3, lambda 1.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from mmrerank.errors import InputError
from mmrerank.models.peptides import peptide_distance, prefix_offsets, read_spectrum, tokens_of, weights
from mmrerank.models.ranknovo import RankNovoConfig, RankNovoNetwork

CONFIG = RankNovoConfig(width=64, hidden=128, layers=2, peaks=60)
BATCH, RATE, DECAY, LARGEST_GRADIENT = 32, 2e-3, 8e-5, 1.5
SAVE_EVERY = 100


def batch_of(lines: Sequence[dict[str, Any]], step: int) -> tuple[list[dict[str, Any]], list[list[tuple[str, ...]]]]:
    """The spectra of a step with some of the proposals of each; the same for the same step."""
    dice = random.Random(step)
    chosen = [lines[(step * BATCH + n) % len(lines)] for n in range(BATCH)]
    texts = [[c["text"] for c in line["candidates"]] for line in chosen]
    return chosen, [[tokens_of(text) for text in dice.sample(some, dice.randint(2, len(some)))] for some in texts]


def labels_of(truths: Sequence[str], proposals: Sequence[Sequence[Sequence[str]]], shape: torch.Size) -> tuple[Tensor, Tensor, Tensor]:
    """(B, N) distances, (B, N, L) offsets, and which of the latter are residues."""
    distances, offsets, residues = torch.zeros(shape[:2]), torch.zeros(shape), torch.zeros(shape, dtype=torch.bool)
    for b, (truth, some) in enumerate(zip(truths, proposals, strict=True)):
        target = weights(tokens_of(truth))
        for n, one in enumerate(some):
            own = weights(one)
            distances[b, n] = peptide_distance(own, target)
            offsets[b, n, 1 : len(one) + 1] = torch.from_numpy(prefix_offsets(own, target))
            residues[b, n, 1 : len(one) + 1] = True
    return distances, offsets, residues


def loss_of(network: RankNovoNetwork, lines: Sequence[dict[str, Any]], proposals: list[list[tuple[str, ...]]]) -> Tensor:
    """Smooth-L1 of distances and offsets."""
    stacks = network.stacks([read_spectrum(line["query"]) for line in lines], proposals)
    distances, offsets, residues = labels_of([line["truth"] for line in lines], proposals, stacks.tokens.shape)
    guessed, guessed_offsets = network(stacks)
    whole = nn.functional.smooth_l1_loss(guessed[stacks.rows], distances[stacks.rows])
    return whole + nn.functional.smooth_l1_loss(guessed_offsets[residues], offsets[residues])


def train(data: Path, out: Path, steps: int) -> None:
    """Trains for so many steps and writes the network; goes on where a checkpoint lies beside it."""
    torch.manual_seed(0)
    with (data / "train.jsonl").open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in islice(file, steps * BATCH)]
    if not lines:
        raise InputError(f"{data / 'train.jsonl'} is empty", hint="Make it: python -m tools.peptides.make")
    network = RankNovoNetwork(CONFIG).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps)
    parts: dict[str, Any] = {"network": network, "optimiser": optimiser, "schedule": schedule}
    checkpoint = out.with_suffix(".checkpoint")
    first = 0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        first = state.pop("step")
        for name, part in parts.items():
            part.load_state_dict(state[name])
    for step in track(range(first, steps), "steps", console=Console(stderr=True)):
        loss = loss_of(network, *batch_of(lines, step))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
        optimiser.step()
        schedule.step()
        if (step + 1) % SAVE_EVERY == 0:
            torch.save({"step": step + 1, **{name: part.state_dict() for name, part in parts.items()}}, checkpoint)
    network.save(out)
    checkpoint.unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1000)
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    train(arguments.data, arguments.out, arguments.steps)


if __name__ == "__main__":
    main()
