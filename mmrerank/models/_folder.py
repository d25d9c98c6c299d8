"""A network in a folder: its sizes in config.json, its weights in model.safetensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from mmrerank.errors import FormatError

CONFIG, WEIGHTS = "config.json", "model.safetensors"
Network = TypeVar("Network", bound=nn.Module)


def save(network: Any, model: str, folder: Path) -> None:
    """Writes a network with the name of what it is and its `config`, a dataclass."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps({"model": model, **asdict(network.config)}, indent=2) + "\n", encoding="utf-8")
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, folder / WEIGHTS)


def load(folder: Path, model: str, build: Callable[[Mapping[str, Any]], Network]) -> Network:
    """The network of a folder, in evaluation mode.

    Args:
        build: settings -> a new network of these sizes.

    Raises:
        FormatError: it is none of this name, or its weights are not all there.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if settings.pop("model", None) != model:
            raise ValueError("its config.json is another model's")
        network = build(settings)
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, SafetensorError) as error:
        hint = f"Expected a folder with {CONFIG} and {WEIGHTS}, as `mmrerank train` writes it."
        raise FormatError(f"no network of {model}: {' '.join(str(error).split())[:300]}", path=folder, hint=hint) from error
    return network.eval()
