"""The losses, the learning rate and the weight average of the mini CLIP.

Source: Radford et al. 2021 (CLIP), section 2.3, for the symmetric loss; the composed loss (picture + wording -> picture) is ours.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

from tools.mini_clip.data import Table, augmented, caption, composed_pairs, normalised
from tools.mini_clip.recipe import Recipe

if TYPE_CHECKING:
    import torch

LARGEST_SCALE = math.log(100.0)  # Radford et al. clip the logit scale there


def rate(step: int, steps: int, recipe: Recipe) -> float:
    """The learning rate of a step: linear warm-up, then half a cosine to zero."""
    options = recipe.optimizer
    if step < options.warmup_steps:
        return options.learning_rate * (step + 1) / options.warmup_steps
    progress = (step - options.warmup_steps) / max(1, steps - options.warmup_steps)
    return options.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def contrastive(logits: torch.Tensor, twins: torch.Tensor) -> torch.Tensor:
    """Symmetric cross entropy of (n, n) logits whose diagonal is right; twins of the right one are left out."""
    import torch
    from torch.nn import functional

    own = torch.arange(len(logits), device=logits.device)
    alike = (twins[:, None] == twins[None]) & (own[:, None] != own[None])
    masked = logits.masked_fill(alike, -1e4)
    return (functional.cross_entropy(masked, own) + functional.cross_entropy(masked.T, own)) / 2


def texts_of(table: Table, step: int, recipe: Recipe) -> tuple[list[str], list[tuple[int, int]], list[str]]:
    """Captions of the batch, pairs of positions in it, and the words that lead from one to the other."""
    chance = random.Random(f"{recipe.seed} texts {step}")
    captions = [caption(emoji, chance, recipe.batches.name_share) for emoji in table.emojis]
    return captions, *composed_pairs(table.emojis, recipe.batches.composed_pairs, chance)


def loss_of(model: Any, tokenizer: Any, table: Table, step: int, recipe: Recipe, device: str) -> dict[str, torch.Tensor]:
    """The losses of one batch: `names`, `composed` and their weighted sum `loss`."""
    import torch
    from torch.nn import functional

    captions, pairs, words = texts_of(table, step, recipe)
    generator = torch.Generator().manual_seed(hash((recipe.seed, step)) % 2**31)  # integers hash alike in every process
    pictures = augmented(normalised(table.pixels).to(device), generator).contiguous(memory_format=torch.channels_last)
    tokens = tokenizer(captions + words).to(device)
    with torch.autocast(device, dtype=torch.bfloat16, enabled=recipe.budget(device).bfloat16):
        image_rows, text_rows = model.encode_image(pictures), model.encode_text(tokens)
    image_rows, text_rows = functional.normalize(image_rows.float(), dim=-1), functional.normalize(text_rows.float(), dim=-1)
    scale = model.logit_scale.exp()
    twins = torch.from_numpy(table.twins).to(device)
    losses = {"names": contrastive(scale * image_rows @ text_rows[: len(captions)].T, twins)}
    losses["loss"] = losses["names"]
    if pairs:
        references, targets = torch.tensor(pairs, device=device).T
        composed_rows = functional.normalize(image_rows[references] + text_rows[len(captions) :], dim=-1)
        logits = scale * composed_rows @ image_rows.T
        alike = (twins[targets][:, None] == twins[None]).scatter(1, targets[:, None], False)
        losses["composed"] = functional.cross_entropy(logits.masked_fill(alike, -1e4), targets)
        losses["loss"] = losses["names"] + recipe.batches.composed_weight * losses["composed"]
    return losses


class Average:
    """A moving average of the weights; what is not a float is copied."""

    def __init__(self, model: Any, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def update(self, model: Any, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))  # follows fast at the start
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value.detach(), 1 - decay)
            else:
                self.state[name].copy_(value)
