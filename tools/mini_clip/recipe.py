"""The recipe of a small CLIP: a TOML file as frozen options, unknown keys refused."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tools.recipes import check_complete, check_keys, read_section, read_toml


@dataclass(frozen=True, kw_only=True)
class Model:
    embed_dim: int
    side_px: int
    trunk: str
    text_width: int
    text_layers: int
    text_heads: int
    context_length: int
    vocabulary: int


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    gradient_norm: float
    average_decay: float


@dataclass(frozen=True, kw_only=True)
class Batches:
    neighbours: int
    composed_pairs: int
    composed_weight: float
    name_share: float


@dataclass(frozen=True, kw_only=True)
class Log:
    every: int
    evaluate_every: int
    checkpoint_every: int


@dataclass(frozen=True, kw_only=True)
class Budget:
    steps: int
    batch: int
    bfloat16: bool
    threads: int


SECTIONS: dict[str, Any] = {"model": Model, "optimizer": Optimizer, "batches": Batches, "log": Log, "cpu": Budget, "gpu": Budget}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What `read_recipe` returns; `as_dict` is what a checkpoint remembers of it."""

    seed: int
    model: Model
    optimizer: Optimizer
    batches: Batches
    log: Log
    cpu: Budget
    gpu: Budget

    def budget(self, device: str) -> Budget:
        return self.cpu if device == "cpu" else self.gpu

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file.

    Raises:
        FormatError: not TOML, a key is missing or has the wrong type.
        UnknownName: a key or section that no recipe has.
    """
    content, names = read_toml(path), {"seed", *SECTIONS}
    check_keys("recipe section", content, names)
    check_complete("the recipe", content, names, path)
    sections = {name: read_section(kind, name, content[name], path) for name, kind in SECTIONS.items()}
    return Recipe(seed=int(content["seed"]), **sections)
