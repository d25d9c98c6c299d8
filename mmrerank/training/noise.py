"""Noise over pictures, as forward diffusion lays it: sqrt(a) x picture + sqrt(1 - a) x normal noise.

Source: RagLLaVA (arXiv 2407.21439, code IDEA-FinAI/RagLLaVA at d31de67): the schedule, step 500 of 1000, fresh noise each time, over the
normalised pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

STEPS, STEP = 1000, 500


def signal_and_noise(step: int = STEP) -> tuple[float, float]:
    """How much of the picture is left after so many steps, counted from 0, and how much noise there is.

    >>> [round(share, 4) for share in signal_and_noise(500)], [round(share, 4) for share in signal_and_noise(999)]
    ([0.863, 0.5052], [0.285, 0.9585])
    """
    betas = torch.sigmoid(torch.linspace(-6, 6, STEPS, dtype=torch.float64)) * (0.005 - 0.00001) + 0.00001
    left = float(torch.cumprod(1 - betas, 0)[step])
    return math.sqrt(left), math.sqrt(1 - left)


def diffused(pixels: Tensor, step: int = STEP) -> Tensor:
    """Normalised pixels of any shape with noise over them, drawn from torch's own chance."""
    signal, noise = signal_and_noise(step)
    return signal * pixels + noise * torch.randn_like(pixels)
