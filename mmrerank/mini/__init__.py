"""Small models trained by the recipes in `tools/`, for demonstrations and tests without a download."""

from __future__ import annotations

from pathlib import Path

CLIP = Path(__file__).parent / "clip"
