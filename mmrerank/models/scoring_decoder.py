"""A decoder with a scoring head: token ids -> one number, as rerankers were trained that are Llama, Qwen or the like at heart.

    ids, padded on the right --decoder--> state of the last real token --head, in float32--> score

transformers' own class looks for the last token that is not the padding token of its configuration, which is another one than the
tokenizer's in some checkpoints, and then reads at padding; here the lengths say where a sequence ends. A folder of a LoRA adapter is
merged into its base. A head that is not in the files is refused: transformers would fill it at random, and random scores look like any.

Source: ours, over transformers' `GenericForSequenceClassification` and peft.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from mmrerank.errors import BackendError, FormatError, InputError, MissingExtra

Precision: TypeAlias = Literal["auto", "fp32", "fp16", "bf16"]
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
ADAPTER = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_FORM = "Expected a folder with config.json or adapter_config.json, weights as safetensors and a tokenizer, or a name on the hub."


class ScoringDecoder:
    """A checkpoint in evaluation mode."""

    def __init__(self, network: Any, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._network = network
        self._head = network.score.weight.detach().float()  # (1, D)

    @classmethod
    def load(
        cls, checkpoint: str, *, revision: str = "main", base: str = "", precision: Precision = "auto", device: str = "auto"
    ) -> ScoringDecoder:
        """The checkpoint in a folder or of a name on the hub, whole.

        Args:
            base: of an adapter, in place of the one that it names.

        Raises:
            InputError: no such folder, or no name.
            FormatError: no decoder with one scoring head, or weights are missing.
            MissingExtra: an adapter, and peft is not installed.
            BackendError: the hub did not give it.
        """
        place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        dtype = DTYPES.get(precision, "auto" if place.type == "cuda" else torch.float32)
        folder = _folder(checkpoint)
        try:
            adapter = folder is not None and (folder / ADAPTER).is_file()
            network = _merged(folder, base, revision, dtype) if folder and adapter else _whole(checkpoint, folder, revision, dtype)
            tokenizer = _tokenizer(checkpoint, base or _base_of(folder) if folder and adapter else "", folder, revision)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            if isinstance(error, FormatError | InputError):
                raise
            why = " ".join(str(error).split())[:300]
            if folder is None:
                raise BackendError(f"the hub did not give {checkpoint!r}: {why}", hint="Without a network, name a folder.") from error
            raise FormatError(f"no decoder with a scoring head can be loaded: {why}", path=checkpoint, hint=_FORM) from error
        return cls(network.to(place).eval(), tokenizer)

    @torch.inference_mode()
    def scores(self, sequences: Sequence[Sequence[int]], *, read_at: int | None = None) -> npt.NDArray[np.float32]:
        """(n,) the score of each sequence of token ids, in float32; none depends on another.

        Args:
            read_at: the place where the score is read, behind the sequence, which is filled up to there with padding that nothing looks
                at; None: at the last token of the sequence.
        """
        lengths = [len(ids) for ids in sequences]
        width = max(lengths) if read_at is None else read_at + 1
        fill = self.tokenizer.eos_token_id or self.tokenizer.pad_token_id or 0
        ids = torch.tensor([[*one, *[fill] * (width - len(one))] for one in sequences])
        mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
        decoder = self._network.base_model
        states = decoder(ids.to(self._network.device), attention_mask=mask.long().to(self._network.device)).last_hidden_state  # (n, T, D)
        places = torch.tensor([length - 1 if read_at is None else read_at for length in lengths], device=states.device)
        last = states[torch.arange(len(lengths), device=states.device), places].float()  # (n, D)
        result: npt.NDArray[np.float32] = (last @ self._head.to(last.device).T)[:, 0].cpu().numpy()
        return result


def _folder(checkpoint: str) -> Path | None:
    """The folder of a checkpoint; None for a name on the hub."""
    if not checkpoint:
        raise InputError("no checkpoint is named", hint=_FORM)
    path = Path(checkpoint)
    if path.is_dir():
        if not any((path / name).is_file() for name in ("config.json", ADAPTER)):
            raise FormatError("no checkpoint: there is neither config.json nor adapter_config.json", path=checkpoint, hint=_FORM)
        return path
    if path.is_absolute() or checkpoint.startswith((".", "~")) or checkpoint.count("/") != 1:
        raise InputError(f"{checkpoint} is no folder, and no name on the hub (ORGANISATION/NAME)", hint=_FORM)
    return None


def _whole(checkpoint: str, folder: Path | None, revision: str, dtype: Any) -> Any:
    network, report = _read(checkpoint, folder is not None, revision, dtype)
    _check(checkpoint, network, report, allowed=frozenset())
    return network


def _merged(folder: Path, base: str, revision: str, dtype: Any) -> Any:
    """The base of an adapter with the adapter in it."""
    try:
        from peft import PeftModel
    except ImportError as error:
        raise MissingExtra.of("peft", "lora", f"the adapter {folder}") from error
    from safetensors.torch import load_file

    if not (folder / WEIGHTS).is_file():
        raise FormatError(f"an adapter without {WEIGHTS}", path=folder, hint=_FORM)
    tensors = load_file(folder / WEIGHTS)
    heads = [key for key in tensors if key.endswith("score.weight")]
    name = base or _base_of(folder)
    network, report = _read(name, Path(name).is_dir(), revision, dtype)
    _check(name, network, report, allowed=frozenset({"score.weight"}) if heads else frozenset())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)  # peft asks transformers by an old name
        merged = PeftModel.from_pretrained(network, str(folder)).merge_and_unload()
    if heads and not torch.equal(merged.score.weight.float().cpu(), tensors[heads[0]].to(merged.score.weight.dtype).float()):
        raise FormatError("the scoring head of the adapter did not come to be in the model", path=folder)
    return merged


def _base_of(folder: Path) -> str:
    """The base that an adapter names."""
    settings = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))
    base = settings.get("base_model_name_or_path") if isinstance(settings, dict) else None
    if not isinstance(base, str) or not base:
        raise FormatError("the adapter names no base", path=folder / ADAPTER, hint="Pass base='PATH'.")
    return base


def _read(checkpoint: str, local: bool, revision: str, dtype: Any) -> tuple[Any, dict[str, Any]]:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    where: dict[str, Any] = {"local_files_only": True} if local else {"revision": revision}
    config = AutoConfig.from_pretrained(checkpoint, **where)
    if not any("ForSequenceClassification" in name for name in config.architectures or ()):
        config.num_labels = 1  # a language model as the base of an adapter
    network, report = AutoModelForSequenceClassification.from_pretrained(
        checkpoint, config=config, dtype=dtype, output_loading_info=True, **where
    )
    return network, report


def _check(checkpoint: str, network: Any, report: dict[str, Any], *, allowed: frozenset[str]) -> None:
    """FormatError unless this is a decoder with one scoring head that came out of its files; `allowed` keys may be missing."""
    from transformers.modeling_layers import GenericForSequenceClassification

    if not isinstance(network, GenericForSequenceClassification):
        hint = "Take cross_encoder for an encoder such as BERT."
        raise FormatError(f"{type(network).__name__} is no decoder with a scoring head", path=checkpoint, hint=hint)
    missing = sorted(set(map(str, report.get("missing_keys") or ())) - allowed)
    missing += sorted(map(str, report.get("mismatched_keys") or ()))
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        message = f"missing in the weights: {', '.join(missing[:3])}{more}; they would be random, and so would the scores"
        raise FormatError(message, path=checkpoint, hint="Take a checkpoint that was trained to score, or the adapter that holds its head.")
    if network.num_labels != 1:
        raise FormatError(f"the head gives {network.num_labels} numbers; expected one score", path=checkpoint)


def _tokenizer(checkpoint: str, base: str, folder: Path | None, revision: str) -> Any:
    """The tokenizer beside the weights; of an adapter that has none, its base's."""
    from transformers import AutoTokenizer

    own = folder is None or any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model"))
    name = checkpoint if own else base
    return AutoTokenizer.from_pretrained(name, **({"local_files_only": True} if Path(name).is_dir() else {"revision": revision}))
