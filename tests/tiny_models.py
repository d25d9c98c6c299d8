"""Tiny random checkpoints of the real architectures, saved once a session."""

from __future__ import annotations

from pathlib import Path

from mmrerank.backends._tiny import ARCHITECTURES, TEXT_ARCHITECTURES, save_tiny

NAMES = tuple(ARCHITECTURES)
TEXT_NAMES = tuple(TEXT_ARCHITECTURES)


def saved(folder: Path, architecture: str) -> Path:
    """The folder of one checkpoint, made when it is not there."""
    place = folder / architecture
    if not place.exists():
        save_tiny(place, architecture, seed=0)
    return place
