"""The recipe of a small CLIP: a TOML file as frozen options, unknown keys refused."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from mmrerank.errors import FormatError, UnknownName

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Section = TypeVar("Section")


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
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise FormatError(str(error), path=path) from error
    _known("recipe section", raw, {"seed", *SECTIONS})
    missing = sorted({"seed", *SECTIONS} - set(raw))
    if missing:
        raise FormatError(f"the recipe lacks {', '.join(missing)}", path=path)
    sections = {name: _section(kind, name, raw[name], path) for name, kind in SECTIONS.items()}
    return Recipe(seed=int(raw["seed"]), **sections)


def _section(kind: type[Section], name: str, values: Mapping[str, Any], path: Path) -> Section:
    types = {field.name: str(field.type) for field in fields(kind)}  # type: ignore[arg-type]
    _known(f"key of [{name}]", values, set(types))
    for key, expected in types.items():
        if key not in values:
            raise FormatError(f"[{name}] lacks {key}", path=path)
        got = type(values[key]).__name__
        if got != expected and (expected, got) != ("float", "int"):
            raise FormatError(f"[{name}] {key} should be {expected}, not {got}", path=path)
    return kind(**values)


def _known(kind: str, given: Mapping[str, Any], known: set[str]) -> None:
    for key in given:
        if key not in known:
            raise UnknownName.among(kind, key, known)
