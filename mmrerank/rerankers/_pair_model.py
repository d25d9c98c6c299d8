"""Loading a cross-encoder of sentence-transformers: whole, or not at all.

Source: sentence-transformers 6.2, whose loading was read for what follows. It takes sequence classification as such, and what has a
`modules.json` as that says (LogitScore over language and image-text models, pooled heads, adapters). A language model without one it
would take for a reranker by the words yes and no, without the prompt that makes it one; a checkpoint without a head it would give a
random one. Both score, and the order is noise: here they are refused.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from mmrerank.errors import BackendError, FormatError, InputError, MissingExtra
from mmrerank.rerankers._cross_encoder import Side
from mmrerank.rerankers._rankings import some_of

DTYPES: dict[str, Any] = {"auto": "auto", "fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
HEADS = re.compile(r"score|classifier|head|proj")  # in the names of weights that make a score
BY_RECIPE = "A language model is asked by a recipe: judge(recipe=NAME)/local/PATH; the guide on models lists them."
OFFLINE = "Without a network, name a folder: cross_encoder/PATH."


class PairModel:
    """A cross-encoder that gives raw scores, as its head has them."""

    def __init__(self, model: Any, prompt: str | None = None) -> None:
        self.model = model
        self.takes_pictures = bool(model.supports("image"))
        self._prompt = prompt
        self._lock = threading.Lock()  # a tokenizer that pads changes its own state

    def with_prompt(self, prompt: str | None) -> PairModel:
        """The same network with another instruction; None: the checkpoint's own."""
        other = PairModel(self.model, prompt)
        other._lock = self._lock
        return other

    def predict(self, inputs: list[tuple[Side, Side]], /) -> Any:
        """(n,) scores of n pairs before any activation.

        Raises:
            InputError: the checkpoint does not take such pairs.
        """
        with self._lock:
            try:
                return self.model.predict(
                    list(inputs), prompt=self._prompt, activation_fn=torch.nn.Identity(), batch_size=len(inputs), show_progress_bar=False
                )
            except (ValueError, TypeError) as error:
                raise InputError(f"the cross-encoder does not take the pairs: {_brief(error)}") from error


def load_pair_model(
    name: str, *, revision: str = "main", precision: str = "fp32", device: str = "auto", remote_code: bool = False
) -> PairModel:
    """The cross-encoder in a folder, or of that name on the hub, in evaluation mode.

    Args:
        revision: of a name on the hub.
        precision: "fp32", "fp16", "bf16", or "auto" as saved.
        remote_code: whether code that comes with the checkpoint may run.

    Raises:
        MissingExtra: sentence-transformers is not installed.
        InputError: nothing is named, the folder is not there, or torch has no such device.
        FormatError: it is no cross-encoder, or lacks weights: random ones never serve.
        BackendError: the hub did not give it.
    """
    try:
        from sentence_transformers import CrossEncoder
    except ImportError as error:
        raise MissingExtra.of("sentence-transformers", "sentence", "the reranker 'cross_encoder'") from error
    folder, place = _folder(name), _device(device)
    where: dict[str, Any] = {"local_files_only": True} if folder else {"revision": revision}
    try:
        _check_kind(name, folder, where, remote_code=remote_code)
        model = CrossEncoder(
            str(folder or name), device=place, trust_remote_code=remote_code, model_kwargs={"dtype": DTYPES[precision]}, **where
        )
        for part in _transformers_in(model):
            _check_complete(part, folder, remote_code=remote_code)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, AttributeError) as error:
        raise _refusal(name, error, is_folder=folder is not None) from error
    if model.num_labels != 1:
        raise FormatError(f"no reranker: its head gives {model.num_labels} numbers a pair, and a ranking needs one", path=name)
    return PairModel(model.eval())


def _refusal(name: str, error: Exception, *, is_folder: bool) -> Exception:
    """What is told of an error of the libraries below."""
    if isinstance(error, FormatError | InputError):
        return error
    if "trust_remote_code" in str(error):
        hint = "If you trust it, having read it: cross_encoder/NAME(remote_code=True)."
        return FormatError("the checkpoint runs code of its own, which is never done unasked", path=name, hint=hint)
    if is_folder or isinstance(error, ValueError):
        return FormatError(f"no cross-encoder can be loaded: {_brief(error)}", path=name, hint=BY_RECIPE)
    return BackendError(f"the hub did not give {name!r}: {_brief(error)}", hint=OFFLINE)


def _folder(name: str) -> Path | None:
    """The folder of that name; None where it is a name on the hub.

    Raises:
        InputError: it is neither.
    """
    if not name:
        raise InputError("no model is named", hint="Expected cross_encoder/PATH or cross_encoder/NAME-on-the-hub.")
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise InputError(f"{name} is no folder, and no name on the hub (ORGANISATION/NAME)", hint=OFFLINE)
    return None


def _check_kind(name: str, folder: Path | None, where: dict[str, Any], *, remote_code: bool) -> None:
    """FormatError where nothing but a guess would make the checkpoint a reranker."""
    from transformers import AutoConfig
    from transformers.utils import cached_file

    modules = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    has_modules = (folder / "modules.json").is_file() if folder else cached_file(name, "modules.json", **modules, **where) is not None
    is_adapter = folder is not None and (folder / "adapter_config.json").is_file()
    if has_modules or is_adapter:
        return
    config = AutoConfig.from_pretrained(str(folder or name), trust_remote_code=remote_code, **where)
    kind = next(iter(config.architectures or [""]), "")
    has_code = bool(config.to_dict().get("auto_map"))
    if kind and not kind.endswith("ForSequenceClassification") and not has_code:
        raise FormatError(f"a model of the kind {kind}, whose folder does not say how it scores a pair", path=name, hint=BY_RECIPE)


def _transformers_in(module: torch.nn.Module) -> Iterator[PreTrainedModel]:
    """The outermost transformers models in a module."""
    if isinstance(module, PreTrainedModel):
        yield module
    else:
        for child in module.children():
            yield from _transformers_in(child)


def _check_complete(model: PreTrainedModel, folder: Path | None, *, remote_code: bool) -> None:
    """FormatError where weights were made up or a head was left aside; told by transformers' own report, of a load without memory."""
    without_memory = {"device_map": "meta"} if find_spec("accelerate") else {}
    options: dict[str, Any] = {"config": model.config, "local_files_only": True, "output_loading_info": True, **without_memory}
    report = type(model).from_pretrained(model.name_or_path, trust_remote_code=remote_code, **options)[1]
    elsewhere = _adapter_weights(folder)
    for kind in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        keys = [key for key in sorted(map(str, report.get(kind) or ())) if kind != "unexpected_keys" or HEADS.search(key)]
        keys = [key for key in keys if not any(name.endswith(key) for name in elsewhere) and not key.startswith("pooler.")]
        if keys:
            what = "its head is lost, or was never trained" if kind != "unexpected_keys" else "its head is one that is not read so"
            raise FormatError(
                f"{kind.replace('_', ' ')} in the weights: {some_of(keys, most=3)}; {what}", path=folder or "", hint=BY_RECIPE
            )


def _adapter_weights(folder: Path | None) -> list[str]:
    """The names of weights that an adapter brings along, its head among them."""
    from safetensors import safe_open

    file = folder / "adapter_model.safetensors" if folder else None
    if file is None or not file.is_file():
        return []
    with safe_open(str(file), framework="pt") as weights:
        return [name.replace(".modules_to_save.", ".") for name in weights.keys()]  # noqa: SIM118, it is no mapping


def _device(name: str) -> str:
    """The device as sentence-transformers takes it.

    Raises:
        InputError: torch knows no such device, or it is not there.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=torch.device(name))
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"no device {name!r} here: {_brief(error)}", hint="Pass device='cpu' or leave it at 'auto'.") from error
    return name


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
