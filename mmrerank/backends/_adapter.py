"""A LoRA adapter: which model it changes, and the two merged into one.

Source: Hu et al. 2021 (arXiv 2106.09685); merged by peft.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrerank.backends._kinds import SCORES
from mmrerank.errors import FormatError, MissingExtra

FILE = "adapter_config.json"
SHARED = frozenset({"embed_tokens", "lm_head"})  # modules that an adapter may bring whole and that give no score of their own


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """Where an adapter lies, and the name of its base as it was recorded."""

    name: str  # a folder, or a name on the hub
    base: str
    commit: str = ""  # of a hub's repository


def adapter_of(name: str, where: Mapping[str, Any]) -> Adapter | None:
    """The adapter of that name; None where it is a model of its own.

    Raises:
        FormatError: it is no LoRA, or has a head of its own.
    """
    from transformers.utils.hub import extract_commit_hash
    from transformers.utils.peft_utils import find_adapter_config_file

    file = find_adapter_config_file(name, **where)
    if file is None:
        return None
    try:
        settings = json.loads(Path(file).read_text(encoding="utf-8"))
        kind, task = str(settings["peft_type"]), str(settings.get("task_type"))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise FormatError(f"{FILE} cannot be read: {error!r}", path=name) from error
    if kind != "LORA":
        raise FormatError(f"an adapter of the kind {kind}; LoRA is what can be merged", path=name)
    heads = sorted(set(settings.get("modules_to_save") or ()) - SHARED)
    if task == "SEQ_CLS" or heads:
        what = ", ".join(heads) or task
        raise FormatError(f"an adapter with a head of its own ({what}), which gives no answers", path=name, hint=SCORES.format(name=name))
    commit = "" if Path(name).is_dir() else str(extract_commit_hash(file, None) or "")
    return Adapter(name=name, base=str(settings.get("base_model_name_or_path") or ""), commit=commit)


def merged(network: Any, adapter: Adapter, where: Mapping[str, Any]) -> Any:
    """The network with the adapter in its weights.

    Raises:
        MissingExtra: peft is not installed.
        FormatError: the adapter lacks weights, or has some that this base has no place for.
    """
    try:
        from peft import PeftConfig, PeftModel
    except ImportError as error:
        raise MissingExtra.of("peft", "lora", "merging a LoRA adapter") from error
    hub = {name: value for name, value in where.items() if name == "revision"}
    try:
        config = PeftConfig.from_pretrained(adapter.name, **hub)
        config.inference_mode = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft 0.21 asks transformers 5.24 by a name that is to go
            model = PeftModel(network, config)
        report = model.load_adapter(adapter.name, "default", **hub)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise FormatError(f"the adapter does not fit its base: {reason}", path=adapter.name, hint="Name another base: base=...") from error
    for kind, keys in (("lacks", report.missing_keys), ("has no place for", report.unexpected_keys)):
        if keys:
            message = f"the adapter's base and the adapter differ: the merged model {kind} {', '.join(sorted(keys)[:3])}"
            raise FormatError(message, path=adapter.name, hint="Name the base that it was trained on: base=...")
    return model.merge_and_unload()
