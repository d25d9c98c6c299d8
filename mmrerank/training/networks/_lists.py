"""What the networks of their own share: the ends of a trainee, a BERT to begin with, layers that stay, what is wanted of lists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from mmrerank.errors import InputError
from mmrerank.training.collate import Sample
from mmrerank.training.recipe import Model, Stage, check_keys

Table = TypeVar("Table")


class NetworkTrainee(nn.Module):
    """A network that any stage trains as far as it is open; `collator` and `forward` are of each."""

    def __init__(self, network: Any, origin: str) -> None:
        """
        Args:
            network: with a `save` of its own.
        """
        super().__init__()
        self.network, self.origin = network, origin

    @property
    def trained(self) -> dict[str, Any]:
        """The weights that are trained, by name."""
        return {name: weight for name, weight in self.network.named_parameters() if weight.requires_grad}

    def save(self, folder: Path) -> None:
        """Writes what the reranker of the network's name loads."""
        self.network.save(folder)


def checked_options(model: Model, record: type[Table]) -> Table:
    """The options of a network's table.

    Raises:
        UnknownName: an option that there is none of.
        InputError: one is of another kind, or adapters are asked for.
    """
    if model.lora is not None:
        raise InputError(f"{model.network} is trained whole, without adapters", hint="Leave [model.lora] out.")
    check_keys(f"option of {model.network}", model.options, list(record.__dataclass_fields__))  # type: ignore[attr-defined]
    try:
        return TypeAdapter(record).validate_python(dict(model.options))
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"option {'.'.join(map(str, first['loc']))} of {model.network}: {first['msg']}") from error


def loaded_bert(model: Model, root: Path, *, with_heads: bool = False) -> tuple[Any, Any]:
    """The BERT that a recipe names, without its pooler or as it was pretrained, and its tokenizer.

    Raises:
        InputError: none is named, it cannot be loaded, or weights are missing.
    """
    from transformers import AutoTokenizer, BertForPreTraining, BertModel

    if not model.base:
        raise InputError(f"{model.network} begins with a BERT", hint="Name it in [model] base: a folder below the data, or on the hub.")
    place = root / model.base
    name = str(place) if place.is_dir() else model.base
    try:
        kind, options = (BertForPreTraining, {}) if with_heads else (BertModel, {"add_pooling_layer": False})
        encoder, report = kind.from_pretrained(name, output_loading_info=True, dtype=torch.float32, **options)
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, RuntimeError) as error:
        why = " ".join(str(error).split())[:300]
        raise InputError(f"{model.base!r} is no BERT below {root}, and the hub did not give one: {why}") from error
    if missing := sorted(report.get("missing_keys") or ()):
        raise InputError(
            f"{name} lacks weights: {', '.join(missing[:3])}", hint="Name a BERT, with its heads where pieces are to be named."
        )
    return encoder, tokenizer


def frozen_below(encoder: Any, layers: int) -> None:
    """Takes the embeddings and so many layers of a BERT from below out of what is trained; all is trained where it is 0.

    Raises:
        InputError: it has not so many.
    """
    if layers > len(encoder.encoder.layer):
        raise InputError(f"frozen_layers is at most {len(encoder.encoder.layer)}, the encoder's layers; got {layers}")
    for module in (encoder.embeddings, *encoder.encoder.layer[:layers]) if layers else ():
        module.requires_grad_(False)


def plain(stage: Stage) -> None:
    """InputError where a stage asks for what only a language model can do."""
    for key in ("answer", "beside"):
        if getattr(stage, key):
            raise InputError(f"[[stages]] {stage.name}: {key} is for language models", hint="Leave it out.")


def by_list(rows: Tensor, samples: Sequence[Sample]) -> Tensor:
    """Rows of all candidates, (n, ...), as (n_groups, n_candidates, ...), with zeros behind shorter lists."""
    lists = torch.split(rows, [len(one.candidates) for one in samples])
    return nn.utils.rnn.pad_sequence(list(lists), batch_first=True)


def by_group(samples: Sequence[Sample], device: Any) -> dict[str, Tensor]:
    """`targets` and `mask` of some lists, and `teacher` where there is one, each (n_groups, n_candidates)."""
    rows: dict[str, list[Sequence[float]]] = {"targets": [one.grades for one in samples]}
    rows["mask"] = [[1.0] * len(one.grades) for one in samples]
    if samples[0].teacher:
        rows["teacher"] = [one.teacher for one in samples]
    tensors = {name: nn.utils.rnn.pad_sequence([torch.tensor(one) for one in some], batch_first=True) for name, some in rows.items()}
    tensors["mask"] = tensors["mask"].bool()
    return {name: tensor.to(device) for name, tensor in tensors.items()}
