"""Axial attention over a stack of rows: along each row with one map for all, across rows place by place, and to a memory beside them.

    x (B, N, L, D) --rows, tied--> --columns--> --memory (B, S, D)--> --feed-forward--> x            each: x + f(norm(x))

Rows are candidates, columns their places. The map of the tied attention is shared by all rows of a stack:

    A = softmax_j( sum_r q_ri . k_rj / (sqrt(d) sqrt(N)) )      N: the rows that are there, d: the width of a head

Nothing tells the rows apart but what stands in them, so that another order of the rows is another order of the results and no more.

Source: RankNovo (arXiv 2505.17552, code BEAM-Labs/denovo), by its note; tied rows are MSA Transformer's (Rao et al. 2021). Ours: N counts
the rows that are there, so that a missing row changes nothing; how near a place of the memory is to a place of a row, where both are
places on one scale, is added to the logits by a learnt weight a head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention of (..., T, D) to (..., S, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor, there: Tensor, bias: Tensor | None = None) -> Tensor:
        """(..., T, D); `there` (..., S) says which of the memory may be looked at, at least one for each; `bias` (..., H, T, S) is added
        to the logits."""
        query, key, value = self.split(self.query(x)), self.split(self.key(memory)), self.split(self.value(memory))
        mask = there[..., None, None, :]
        if bias is not None:
            mask = bias.masked_fill(~mask, -torch.inf)
        seen = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        result: Tensor = self.out(_merged(seen))
        return result

    def tied(self, x: Tensor, rows: Tensor, there: Tensor) -> Tensor:
        """(B, N, L, D) of rows that share one map; `rows` (B, N) says which are there, `there` (B, L) which places."""
        query, key, value = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))  # (B, N, H, L, d)
        query = query * rows[:, :, None, None, None]
        scale = math.sqrt(query.shape[-1]) * rows.sum(dim=1).clamp(min=1).sqrt()
        logits = torch.einsum("bnhid,bnhjd->bhij", query, key) / scale[:, None, None, None]
        weights = logits.masked_fill(~there[:, None, None, :], -torch.inf).softmax(dim=-1)
        result: Tensor = self.out(_merged(torch.einsum("bhij,bnhjd->bnhid", weights, value)))
        return result

    def split(self, x: Tensor) -> Tensor:
        """(..., H, T, d) heads of (..., T, D)."""
        return x.reshape(*x.shape[:-1], self.heads, -1).transpose(-3, -2)


def _merged(x: Tensor) -> Tensor:
    return x.transpose(-3, -2).flatten(-2)


class Block(nn.Module):
    """A feed-forward network behind its norm, with the norms of the attentions before it."""

    def __init__(self, width: int, hidden: int, dropout: float, attentions: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(attentions + 1))
        self.feed = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.drop = nn.Dropout(dropout)

    def fed(self, x: Tensor) -> Tensor:
        """x + feed(norm(x))."""
        result: Tensor = x + self.drop(self.feed(self.norms[-1](x)))
        return result


class AxialLayer(Block):
    """One layer over a stack of rows with a memory beside it."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, *, columns: bool = True, scales: int = 0) -> None:
        super().__init__(width, hidden, dropout, 3)
        self.along, self.across, self.aside = (Attention(width, heads) for _ in range(3))
        self.columns = columns
        self.near = nn.Linear(scales, heads, bias=False) if scales else None
        if self.near is not None:
            nn.init.constant_(self.near.weight, 2.0)  # what is near is looked at before anything is learnt

    def forward(self, x: Tensor, rows: Tensor, places: Tensor, memory: Tensor, there: Tensor, nearness: Tensor | None = None) -> Tensor:
        """(B, N, L, D) from the same.

        Args:
            rows: (B, N) bool; which are there, as `places` (B, L) and `there` (B, S).
            memory: (B, S, D).
            nearness: (B, N, L, S, scales) from 0 to 1.
        """
        x = x + self.drop(self.along.tied(self.norms[0](x), rows, places))
        if self.columns:
            y = self.norms[1](x).transpose(1, 2)  # (B, L, N, D)
            x = x + self.drop(self.across(y, y, rows[:, None]).transpose(1, 2))
        bias = None if nearness is None or self.near is None else self.near(nearness).movedim(-1, 2)  # (B, N, H, L, S)
        x = x + self.drop(self.aside(self.norms[2](x), memory[:, None], there[:, None], bias))
        return self.fed(x)


class SelfLayer(Block):
    """One layer over a sequence that looks at itself."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__(width, hidden, dropout, 1)
        self.look = Attention(width, heads)

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        """(B, T, D) from the same; `there` (B, T) says which places are."""
        y = self.norms[0](x)
        return self.fed(x + self.drop(self.look(y, y, there)))


def waves(values: Tensor, width: int, shortest: float, longest: float) -> Tensor:
    """(..., width) sines and cosines of numbers, on wavelengths from the shortest to the longest in equal ratios; width is even."""
    steps = torch.linspace(0, 1, width // 2, device=values.device, dtype=values.dtype)
    lengths = shortest * (longest / shortest) ** steps
    angles = values[..., None] * (2 * math.pi / lengths)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
