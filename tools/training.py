"""What the trainers of the small models share: groups of weights, a log of JSON lines, a checkpoint that survives a kill."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOG, CHECKPOINT = "log.jsonl", "checkpoint.pt"


def weight_groups(model: Any, weight_decay: float) -> list[dict[str, Any]]:
    """Groups for an optimizer: matrices decay, biases and norms do not."""
    matrices = [weight for weight in model.parameters() if weight.ndim >= 2]
    others = [weight for weight in model.parameters() if weight.ndim < 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def append_entry(work: Path, entry: Mapping[str, Any], logger: logging.Logger) -> None:
    """One more line in the log of a run, said to its logger too."""
    line = json.dumps(entry)
    with (work / LOG).open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    logger.info("%s", line)


def entries_of(log: Path) -> list[dict[str, Any]]:
    """The entries of a log by their steps; of a step that stands there twice, after a resume, the last counts."""
    entries = {entry["step"]: entry for entry in map(json.loads, log.read_text(encoding="utf-8").splitlines())}
    return [entries[step] for step in sorted(entries)]


def save_checkpoint(work: Path, state: Mapping[str, Any]) -> None:
    """Writes the state of a run; one that is killed meanwhile keeps the checkpoint it had."""
    import torch

    torch.save(dict(state), work / "checkpoint.tmp")
    (work / "checkpoint.tmp").replace(work / CHECKPOINT)


def load_checkpoint(work: Path, device: str) -> dict[str, Any]:
    """The state that `save_checkpoint` wrote, on a device."""
    import torch

    state: dict[str, Any] = torch.load(work / CHECKPOINT, map_location=device, weights_only=True)
    return state
