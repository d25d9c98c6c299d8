"""The embedded MLLM, a demonstration model of 7 million parameters: `mmrerank/mini/mllm/CARD.md` says what it was trained on.

It is an ordinary Qwen2.5-VL folder, loaded by `local`. It knows the shipped emoji and cards of them, and nothing else.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmrerank.backends import local
from mmrerank.parts import printed, runtime_option

FOLDER = Path(__file__).parents[1] / "mini" / "mllm"


@dataclass(frozen=True, kw_only=True)
class Options:
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    device: str = runtime_option("auto")
    batch_size: int | None = runtime_option(None)
    prefix_bytes: int = runtime_option(1 << 30)  # of memory for keys and values of beginnings of prompts; 0 keeps none
    prefix_folder: str | None = runtime_option(None)  # where they are kept on disk too, for later processes
    prefix_folder_bytes: int = runtime_option(10 << 30)  # of that folder; what was used longest ago goes


def build(options: Options) -> local.Local:
    """The shipped model; InputError where the device is not there."""
    backend = local.build(local.Options(model=str(FOLDER), **dataclasses.asdict(options)))
    backend.name = printed("mini", options)  # whatever folder the package lies in
    return backend


def tiny() -> local.Local:
    """The model as it ships: it is small, and needs no network."""
    return build(Options(device="cpu"))
