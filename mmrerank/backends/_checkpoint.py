"""Loading an image-text-to-text checkpoint: whole, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mmrerank.errors import BackendError, FormatError, InputError

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_OFFLINE = "Without a network, name a folder: local/PATH; or a server: chat_http/URL#MODEL."


def load(model: str, revision: str, precision: str, device: torch.device) -> tuple[Any, Any]:
    """The model in evaluation mode on the device, and its processor.

    Raises:
        InputError: nothing is named, or the folder does not exist.
        FormatError: the folder is no such checkpoint, or lacks weights: random ones never serve.
        BackendError: the hub did not give it.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor

    is_folder = _checked(model)
    where: dict[str, Any] = {"local_files_only": True} if is_folder else {"revision": revision}
    dtype = DTYPES.get(precision, "auto" if device.type == "cuda" else torch.float32)
    try:
        processor = AutoProcessor.from_pretrained(model, **where)
        loaded, report = AutoModelForImageTextToText.from_pretrained(model, dtype=dtype, output_loading_info=True, **where)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        said = " ".join(str(error).split())[:300]
        if is_folder:
            raise FormatError(f"no image-text-to-text checkpoint can be loaded: {said}", path=model) from error
        raise BackendError(f"the hub did not give {model!r}: {said}", hint=_OFFLINE) from error
    _check_complete(model, report)
    if not getattr(processor, "chat_template", None) and not getattr(processor.tokenizer, "chat_template", None):
        hint = "Use an instruction-tuned checkpoint, or put its chat_template.jinja into the folder."
        raise FormatError("the checkpoint has no chat template, which says how a prompt is written", path=model, hint=hint)
    return loaded.to(device).eval(), processor


def _checked(model: str) -> bool:
    """Whether the name is a folder here; names that look like paths must exist."""
    if not model:
        raise InputError("no model is named", hint="Expected local/PATH or local/NAME-on-the-hub.")
    path = Path(model)
    if path.is_dir():
        return True
    if path.is_absolute() or model.startswith((".", "~")) or model.count("/") != 1:
        raise InputError(f"{model} is no folder, and no name on the hub (ORGANISATION/NAME)", hint=_OFFLINE)
    return False


def _check_complete(model: str, report: dict[str, Any]) -> None:
    for kind in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        keys = sorted(map(str, report.get(kind) or ()))
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise FormatError(f"{kind.replace('_', ' ')} in the weights: {', '.join(keys[:3])}{more}", path=model)
