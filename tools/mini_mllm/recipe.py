"""The recipe of a small MLLM: a TOML file as frozen options, unknown keys refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mmrerank.errors import FormatError
from tools.mini_mllm.tasks import TASKS
from tools.recipes import check_complete, check_keys, read_section, read_toml


@dataclass(frozen=True, kw_only=True)
class Model:
    vocabulary: int
    bpe_tokens: int
    text_width: int
    text_layers: int
    text_heads: int
    text_key_heads: int
    text_inner: int
    vision_width: int
    vision_layers: int
    vision_heads: int
    vision_inner: int
    patch_px: int
    max_pixels: int

    @property
    def token_px(self) -> int:
        """Side of the square of pixels that becomes one token."""
        return 2 * self.patch_px


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    learning_rate: float
    last_rate: float
    weight_decay: float
    warmup_steps: int
    gradient_norm: float


@dataclass(frozen=True, kw_only=True)
class Log:
    every: int
    probe_minutes: float
    save_minutes: float
    probe_samples: int


@dataclass(frozen=True, kw_only=True)
class Budget:
    minutes: float
    samples: float
    bfloat16: bool
    threads: int


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of the budget with its own mix of tasks."""

    share: float  # of the minutes
    samples: Mapping[str, int]  # task -> samples per step, times the budget's `samples`
    grids: tuple[int, ...]  # sides of the grids shown, in cells; one is drawn per batch
    hard: float  # share of negatives and of grids with pictures that differ in one or two attributes only
    with_slips: float  # share of rankings with wrong names before the decision
    cell_px: int  # of grids without gutters that nobody shrinks; 0: the default grid, as large as the processor lets it be


SECTIONS: dict[str, Any] = {"model": Model, "optimizer": Optimizer, "log": Log, "cpu": Budget, "gpu": Budget}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What `read_recipe` returns."""

    seed: int
    model: Model
    optimizer: Optimizer
    log: Log
    cpu: Budget
    gpu: Budget
    phases: tuple[Phase, ...]

    def budget(self, device: str) -> Budget:
        return self.cpu if device == "cpu" else self.gpu

    def phase(self, progress: float) -> Phase:
        """The phase at a share of the budget between 0 and 1; the last one beyond."""
        for phase in self.phases:
            if progress < phase.share:
                return phase
            progress -= phase.share
        return self.phases[-1]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file.

    Raises:
        FormatError: not TOML, a key is missing or has the wrong type, the shares do not add up to 1.
        UnknownName: a key, section or task that no recipe has.
    """
    content, names = read_toml(path), {"seed", "phase", *SECTIONS}
    check_keys("recipe section", content, names)
    check_complete("the recipe", content, names, path)
    sections = {name: read_section(kind, name, content[name], path) for name, kind in SECTIONS.items()}
    phases = tuple(_phase(values, path) for values in content["phase"])
    if abs(sum(phase.share for phase in phases) - 1) > 1e-6:
        raise FormatError("the shares of the phases do not add up to 1", path=path)
    return Recipe(seed=int(content["seed"]), phases=phases, **sections)


def _phase(values: Mapping[str, Any], path: Path) -> Phase:
    names = [field.name for field in fields(Phase)]
    check_keys("key of [[phase]]", values, names)
    check_complete("[[phase]]", values, names, path)
    check_keys("task", values["samples"], TASKS)
    return Phase(
        share=float(values["share"]),
        samples=dict(values["samples"]),
        grids=tuple(values["grids"]),
        hard=float(values["hard"]),
        with_slips=float(values["with_slips"]),
        cell_px=int(values["cell_px"]),
    )
