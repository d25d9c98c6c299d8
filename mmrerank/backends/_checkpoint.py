"""Loading a checkpoint of one of two kinds, image-text-to-text or causal language model: whole, or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch

from mmrerank.errors import BackendError, FormatError, InputError

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
ANSWERING = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt")  # suffixes of files that can move an answer
_WHOLE = "Expected a folder with config.json, weights, tokenizer and chat template, as the hub's command line leaves it."
_ANSWERS = (
    "Take a model that answers: image-text-to-text, such as Qwen/Qwen2.5-VL-7B-Instruct, or a causal language model; "
    "a served one: chat_http/URL#MODEL."
)
_OFFLINE = "Without a network, name a folder: local/PATH; or a server: chat_http/URL#MODEL."


def load(model: str, revision: str, precision: str, device: torch.device) -> tuple[Any, Any]:
    """The model in evaluation mode on the device, and its processor; of a text model, its tokenizer.

    Raises:
        InputError: nothing is named, or the folder does not exist.
        FormatError: the folder is no such checkpoint, or lacks weights: random ones never serve.
        BackendError: the hub did not give it.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

    is_folder = _checked(model)
    where: dict[str, Any] = {"local_files_only": True} if is_folder else {"revision": revision}
    dtype = DTYPES.get(precision, "auto" if device.type == "cuda" else torch.float32)
    try:
        sees = _sees(model, AutoConfig.from_pretrained(model, **where))
        processor = (AutoProcessor if sees else AutoTokenizer).from_pretrained(model, **where)
        kind = AutoModelForImageTextToText if sees else AutoModelForCausalLM
        network, report = kind.from_pretrained(model, dtype=dtype, output_loading_info=True, **where)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        if is_folder:
            raise FormatError(f"no checkpoint can be loaded: {reason}", path=model) from error
        raise BackendError(f"the hub did not give {model!r}: {reason}", hint=_OFFLINE) from error
    _check_complete(model, report)
    return network.to(device).eval(), processor


def device_of(name: str) -> torch.device:
    """The device called `name`; "auto" is the GPU where there is one, else the CPU.

    Raises:
        InputError: torch knows no such device, or it is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"no device {name!r} here: {reason}", hint="Pass device='cpu' or leave it at 'auto'.") from error
    return device


def weights_hash_of(model: str, config: Any) -> str:
    """16 hex digits that tell a checkpoint from any that answers otherwise; "" where a hub's files have no commit.

    Of a folder every file that can move an answer is read whole: two checkpoints of one training may share their first
    gigabyte. That takes seconds for a large one.
    """
    if not Path(model).is_dir():
        return str(getattr(config, "_commit_hash", None) or "")[:16]
    digest = hashlib.sha256()
    for file in sorted(Path(model).iterdir()):
        if file.suffix in ANSWERING and file.is_file():
            digest.update(f"{file.name} {file.stat().st_size} ".encode())
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()[:16]


def _checked(model: str) -> bool:
    """Whether the name is a folder here; names that look like paths must exist."""
    if not model:
        raise InputError("no model is named", hint="Expected local/PATH or local/NAME-on-the-hub.")
    path = Path(model)
    if path.is_dir():
        if not (path / "config.json").is_file():
            count = sum(1 for _ in path.iterdir())
            lack = f"there is no config.json among its {count} files" if count else "the folder is empty"
            raise FormatError(f"no checkpoint: {lack}", path=model, hint=_WHOLE)
        return True
    if path.is_absolute() or model.startswith((".", "~")) or model.count("/") != 1:
        raise InputError(f"{model} is no folder, and no name on the hub (ORGANISATION/NAME)", hint=_OFFLINE)
    return False


def _sees(model: str, config: Any) -> bool:
    """Whether the configuration is that of a model that takes pictures; FormatError where it answers no questions at all."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return True
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return False
    raise FormatError(f"a model of the kind {config.model_type!r}, which answers no questions", path=model, hint=_ANSWERS)


def _check_complete(model: str, report: dict[str, Any]) -> None:
    for kind in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        keys = sorted(map(str, report.get(kind) or ()))
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise FormatError(f"{kind.replace('_', ' ')} in the weights: {', '.join(keys[:3])}{more}", path=model)
