"""Rows as CLIP would make them of as many pictures as are asked for: mixtures of the pictures that there are, with their own kind of noise.

A row is three real picture vectors mixed by random shares, plus four deviations of real pictures from their mean, weighted at random.
Captions stay what they are: real text vectors, which lie apart from every picture, so that their neighbours differ by little and are the
ones an index misses first.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import sparse

from mmrerank.types import Array

BLOCK = 65_536
PARTS, DEVIATIONS, NOISE = 3, 4, 0.35


def unit(rows: Array) -> Array:
    out: Array = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return out


class ClipRows:
    """Mixtures of the picture vectors of a folder, and its caption vectors, in so many numbers: as they are, or their main directions."""

    def __init__(self, folder: Path, dimension: int) -> None:
        pictures, captions = (unit(np.load(folder / f"{part}_embeddings.npy").astype(np.float32)) for part in ("image", "query"))
        if dimension < pictures.shape[1]:
            _, _, directions = np.linalg.svd(pictures, full_matrices=False)
            pictures, captions = (unit(rows @ directions[:dimension].T) for rows in (pictures, captions))
        self.pictures, self.captions = pictures, captions

    def blocks(self, count: int, *, seed: int) -> Iterator[Array]:
        """(n, dimension) unit rows, 65,536 at a time; the same ones for the same seed."""
        for start in range(0, count, BLOCK):
            yield self._block(min(BLOCK, count - start), np.random.default_rng((seed, start)))

    def _block(self, count: int, generator: np.random.Generator) -> Array:
        shares = generator.dirichlet(np.ones(PARTS), count)
        noise = generator.standard_normal((count, DEVIATIONS)) * NOISE / DEVIATIONS**0.5
        numbers = generator.integers(0, len(self.pictures), (count, PARTS + DEVIATIONS))
        weights = np.concatenate([shares, noise], axis=1).astype(np.float32)
        ends = np.arange(count + 1) * weights.shape[1]
        mixing = sparse.csr_matrix((weights.ravel(), numbers.ravel(), ends), (count, len(self.pictures)))
        drift = noise.sum(axis=1, keepdims=True).astype(np.float32) * self.pictures.mean(axis=0)
        return unit(mixing @ self.pictures - drift)
