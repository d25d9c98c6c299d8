"""What a checkpoint is, by the files in its folder, and which parts can read it. No weights are loaded, and none of its code is run.

    folder --checkpoint_in--> Checkpoint --fits--> (name of a part, why), the surest first
                                         --traps--> what would make a wrong part rank by noise

A folder is told by what it says of itself (config.json, modules.json, adapter_config.json, the names of its weights), never by what it is
called.

Source: ours; what the files of released checkpoints look like was read for the notes on checkpoints (November 2026) and in transformers
5.24 and sentence-transformers 6.2.  Cost: the JSON files and the heads of the safetensors files.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mmrerank.backends._kinds import SCORES
from mmrerank.errors import FormatError, InputError
from mmrerank.text_files import read_json, read_text

CONFIG, ADAPTER, MODULES = "config.json", "adapter_config.json", "modules.json"
OF_SENTENCES = "config_sentence_transformers.json"
LARGEST_HEAD = 100 << 20  # bytes of the names of a safetensors file
CLASSIFYING = frozenset({"score", "classifier", "pre_classifier", "classification_head", "logits_proj"})  # heads of sequence classifiers
ADDED = CLASSIFYING | {"projector", "custom_text_proj", "embedding_proj_layer", "v_head", "value_head", "reward_head", "rank_head"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A part that can read a checkpoint."""

    part: str  # as it is typed, with PATH for the folder
    why: str


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What the files of a folder say. Names of weights are those of safetensors; of other files they are not read."""

    folder: Path
    config: Mapping[str, Any]
    adapter: Mapping[str, Any]
    modules: tuple[str, ...]  # classes of the modules of sentence-transformers, without their packages
    sentence_kind: str  # what sentence-transformers saved it as; "" where it did not
    chat_template: str
    weights: frozenset[str]  # names of the tensors; empty where they cannot be read without loading them
    files: frozenset[str]

    @property
    def architectures(self) -> tuple[str, ...]:
        return tuple(map(str, self.config.get("architectures") or ()))

    @property
    def model_type(self) -> str:
        return str(self.config.get("model_type", ""))

    @property
    def labels(self) -> int:
        """How many numbers a sequence classifier gives."""
        named = self.config.get("id2label")
        return len(named) if isinstance(named, Mapping) else int(self.config.get("num_labels", 2))

    @property
    def heads(self) -> tuple[str, ...]:
        """The first pieces of the names of its weights, sorted."""
        return tuple(sorted({name.partition(".")[0] for name in self.weights}))

    @property
    def takes_pairs(self) -> bool:
        """Whether its chat template takes a query and a document as such."""
        return any(all(quote + role + quote in self.chat_template for role in ("query", "document")) for quote in ("'", '"'))

    @cached_property
    def kinds(self) -> frozenset[str]:
        """Which of transformers' kinds its class is of: "causal", "image-text", "classifier", "retrieval"."""
        return frozenset(kind for kind, classes in _classes().items() if classes & set(self.architectures))


def _classes() -> dict[str, set[str]]:
    from transformers.models.auto import modeling_auto as auto

    tables = {
        "causal": auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        "image-text": auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
        "classifier": auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        "retrieval": auto.MODEL_FOR_RETRIEVAL_MAPPING_NAMES,
    }
    named = {kind: {name for value in table.values() for name in _names(value)} for kind, table in tables.items()}
    return named | {"causal": named["causal"] - named["image-text"]}  # a model that sees counts as one that sees


def _names(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


# Reading ------------------------------------------------------------------


def checkpoint_in(folder: Path) -> Checkpoint:
    """What the files of a folder say.

    Raises:
        InputError: there is no such folder.
        FormatError: none of its files is that of a checkpoint, or one of them cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}", hint="A checkpoint of the hub is looked at where it lies on this machine.")
    files = frozenset(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    if not files & {CONFIG, ADAPTER, MODULES, "open_clip_config.json"} and not any(name.endswith(".gguf") for name in files):
        raise FormatError(f"no checkpoint: no {CONFIG}, {ADAPTER} or {MODULES}, and no GGUF, among its {len(files)} files", path=folder)
    modules = _list(folder / MODULES)
    return Checkpoint(
        folder=folder,
        config=_table(folder / CONFIG),
        adapter=_table(folder / ADAPTER),
        modules=tuple(str(module.get("type", "")).rpartition(".")[2] for module in modules),
        sentence_kind=str(_table(folder / OF_SENTENCES).get("model_type", "SentenceTransformer")) if modules else "",
        chat_template=_template(folder),
        weights=frozenset(name for file in sorted(folder.glob("*.safetensors")) for name in tensor_names(file)),
        files=files,
    )


def _table(path: Path) -> Mapping[str, Any]:
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, Mapping):
        raise FormatError(f"expected an object; got {type(content).__name__}", path=path)
    return content


def _list(path: Path) -> list[Mapping[str, Any]]:
    content = read_json(path) if path.is_file() else []
    if not isinstance(content, list) or not all(isinstance(entry, Mapping) for entry in content):
        raise FormatError("expected a list of objects", path=path)
    return content


def _template(folder: Path) -> str:
    own = folder / "chat_template.jinja"
    if own.is_file():
        return read_text(own)
    for name in ("processor_config.json", "tokenizer_config.json"):
        text = _table(folder / name).get("chat_template")
        if isinstance(text, str):
            return text
    return ""


def tensor_names(file: Path) -> list[str]:
    """The names of the tensors in a safetensors file, from its head alone.

    Raises:
        FormatError: it is none.
    """
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > LARGEST_HEAD:
                raise ValueError(f"a head of {length} bytes")
            head = json.loads(stream.read(length))
        return sorted(set(head) - {"__metadata__"})
    except (OSError, ValueError, struct.error, TypeError) as error:
        raise FormatError(f"no safetensors file: {error}", path=file, hint="Was it downloaded whole?") from error


# What fits ------------------------------------------------------------------


def fits(checkpoint: Checkpoint) -> list[Fit]:
    """The parts that can read it, the surest first; none where nothing here does."""
    if checkpoint.adapter:
        return list(_of_adapter(checkpoint))
    if checkpoint.modules:
        return list(_of_sentences(checkpoint))
    if "open_clip_config.json" in checkpoint.files:
        return [Fit(part="openclip/PATH", why="an open_clip checkpoint: pictures and texts to vectors")]
    if not checkpoint.config:
        return [Fit(part=f"local/PATH/{name}", why="a GGUF file") for name in sorted(checkpoint.files) if name.endswith(".gguf")]
    return list(_of_class(checkpoint))


def _of_adapter(checkpoint: Checkpoint) -> Iterator[Fit]:
    base, whole = checkpoint.adapter.get("base_model_name_or_path"), checkpoint.adapter.get("modules_to_save") or ()
    if checkpoint.adapter.get("task_type") == "SEQ_CLS" or ADDED & set(whole):
        yield Fit(part="cross_encoder/PATH", why=f"a LoRA adapter with a head of its own over {base}")
    elif checkpoint.sentence_kind:
        yield from _of_sentences(checkpoint)
    else:
        yield Fit(part="local/PATH", why=f"a LoRA adapter over {base}, merged into it as it is loaded")


def _of_sentences(checkpoint: Checkpoint) -> Iterator[Fit]:
    """What sentence-transformers saved."""
    kind, modules = checkpoint.sentence_kind, set(checkpoint.modules)
    if kind == "CrossEncoder" or "LogitScore" in modules:
        how = "by the log-odds of a word" if "LogitScore" in modules else "by a head of its own"
        yield Fit(part="cross_encoder/PATH", why=f"a reranker of sentence-transformers, which scores pairs {how}")
    elif kind in ("MultiVectorEncoder", "ColBERT"):
        yield Fit(part="multivector/PATH", why="an encoder of many vectors, late interaction")
    elif kind == "SparseEncoder":
        return
    elif "image-text" in checkpoint.kinds or "Router" in modules or "CLIPModel" in modules:
        yield Fit(part="universal/PATH", why="an encoder of sentence-transformers that takes pictures and texts, together too")
    else:
        yield Fit(part="sentence/PATH", why="an encoder of sentence-transformers: texts to vectors")


def _of_class(checkpoint: Checkpoint) -> Iterator[Fit]:
    """By the class in config.json."""
    kinds = checkpoint.kinds
    if "retrieval" in kinds:
        yield Fit(part="multivector/PATH", why=f"{checkpoint.architectures[0]}: an encoder of many vectors, late interaction")
    elif "classifier" in kinds and checkpoint.labels == 1:
        yield Fit(part="cross_encoder/PATH", why=f"{checkpoint.architectures[0]} with one label: a reranker of text pairs")
    elif "classifier" in kinds:
        return
    elif kinds & {"image-text", "causal"} and not extra_heads(checkpoint):
        if checkpoint.takes_pairs:
            yield Fit(part="cross_encoder/PATH", why="its chat template takes a query and a document: a reranker with its own words")
        sees = "pictures and texts" if "image-text" in kinds else "texts alone"
        yield Fit(part="local/PATH", why=f"{checkpoint.architectures[0]}: a backend of the rerankers that ask a model, for {sees}")
        yield Fit(part="query_likelihood/local/PATH", why="where it was never trained to rank: small models write better than they judge")


def extra_heads(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The heads of a language model that its class does not know: weights that a loader may drop, and rank by noise without. Others than
    those of released checkpoints are met by whoever loads it whole or not at all, as `local` does."""
    if not checkpoint.kinds & {"image-text", "causal"}:
        return ()
    return tuple(head for head in checkpoint.heads if head in ADDED)


def traps(checkpoint: Checkpoint) -> list[str]:
    """What is wrong with it, or would go wrong in a part that does not look, in whole sentences."""
    return list(_traps(checkpoint))


def _traps(checkpoint: Checkpoint) -> Iterator[str]:
    config = checkpoint.config
    if config.get("auto_map"):
        yield "Its class is code of its own, which is run only where remote_code=True says so; or serve it, and name the server."
    if heads := extra_heads(checkpoint):
        yield f"It has a head that its class does not know ({', '.join(heads)}): loaded as a language model it ranks by noise."
        yield SCORES.format(name="PATH")
    if "classifier" in checkpoint.kinds and checkpoint.weights and not set(checkpoint.heads) & CLASSIFYING:
        yield "It is a classifier without the weights of its head, which would be random: not downloaded whole, or never trained."
    if "classifier" in checkpoint.kinds and checkpoint.labels != 1 and not checkpoint.modules:
        yield f"It gives {checkpoint.labels} labels and no score: a classifier, and no reranker."
    if checkpoint.sentence_kind == "SparseEncoder":
        yield "It is a sparse encoder, which no part here reads; BM25 is always there."
    if checkpoint.kinds & {"image-text", "causal"} and not checkpoint.chat_template and not checkpoint.modules:
        yield "It has no chat template, so that prompts reach it as bare text: a base model, or one that was trained on bare prompts."
    if config.get("quantization_config"):
        yield f"It is quantised ({config['quantization_config'].get('quant_method', 'in a way it does not name')}): its scores are its own."
