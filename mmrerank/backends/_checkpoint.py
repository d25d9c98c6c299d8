"""Loading a checkpoint of one of two kinds, image-text-to-text or causal language model: whole, or not at all.

What may lie there: a folder or a name on the hub; in it whole weights, quantised ones as transformers reads them, one GGUF file among
others (`FOLDER/FILE.gguf`), or a LoRA adapter, which is merged into its base.

Tried on a CPU, and with weights that accelerate left on disk; where a model is spread over GPUs, and half precision on a GPU, follow
accelerate's and torch's documentation. Quantised weights that were tried: 8 bits by torchao 0.18, 8 and 4 by bitsandbytes 0.50.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mmrerank.backends import _kinds as kinds
from mmrerank.backends._adapter import FILE as ADAPTER
from mmrerank.backends._adapter import adapter_of, merged
from mmrerank.errors import BackendError, FormatError, InputError, MissingExtra

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
ANSWERING = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt", ".py")  # suffixes of files that can move an answer
GGUF = ".gguf"
SPREAD = "spread"  # the device that is all of them
ROOM = 0.8  # of a GPU's free memory that weights may fill: the rest is for what passes through them
_WHOLE = "Expected a folder with config.json, weights, tokenizer and chat template, as the hub's command line leaves it."
_OFFLINE = "Without a network, name a folder: local/PATH; or a server: chat_http/URL#MODEL."
_REMOTE = "Read these files first: local/PATH(remote_code=True) runs them here with your rights. Or serve the model: chat_http/URL#MODEL."


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a checkpoint is, and how much of it is trusted."""

    name: str  # a folder, a GGUF file, or a name on the hub
    revision: str = "main"
    base: str = ""  # of an adapter, where the recorded one is not to be taken
    remote_code: bool = False

    @property
    def file(self) -> str | None:
        """The GGUF file in it that is meant."""
        return Path(self.name).name if self.name.endswith(GGUF) else None

    @property
    def place(self) -> str:
        """The folder, or the name on the hub, without the file."""
        return self.name if self.file is None else str(Path(self.name).parent)

    @property
    def is_here(self) -> bool:
        return Path(self.place).is_dir()

    @property
    def where(self) -> dict[str, Any]:
        """How transformers is told where to look."""
        return {"local_files_only": True} if self.is_here else {"revision": self.revision}


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A loaded model in evaluation mode."""

    network: Any
    processor: Any  # of a text model, its tokenizer
    sees: bool  # whether it takes pictures
    silence: str = ""  # why it gives no answers though its states can be read
    commit: str = ""  # of a hub's repository
    base: str = ""  # what an adapter was merged into
    base_commit: str = ""


def load(source: Source, precision: str, device: str, attention: str) -> Checkpoint:
    """The model in evaluation mode, where it fits, and its processor.

    Raises:
        InputError: nothing is named, or the folder does not exist.
        FormatError: it is no such checkpoint, lacks weights or has others: random ones never serve, and a head left aside may
            be what it was trained for.
        MissingExtra: a library that these weights need is not installed.
        BackendError: the hub did not give it.
    """
    _check_place(source)
    with _refusals(source):
        adapter = None if source.file else adapter_of(source.place, source.where)
    if adapter is None:
        return _whole(source, None, precision, device, attention)
    base = replace(source, name=source.base or adapter.base, revision="main")
    hint = f"Name the model that it changes: local/{source.name}(base='PATH')."
    if not base.name:
        raise FormatError("the adapter records no base", path=source.name, hint=hint)
    try:
        _check_place(base)
        checkpoint = _whole(base, source, precision, device, attention)
    except (InputError, BackendError) as error:
        raise FormatError(f"the base of the adapter cannot be loaded: {error.message}", path=source.name, hint=hint) from error
    if any(weight.is_meta for weight in checkpoint.network.parameters()):  # peft would lay the adapter nowhere, and say nothing
        message = "an adapter can only be merged into weights that are in memory, and some of its base are fetched when they are needed"
        raise FormatError(
            message, path=source.name, hint="Merge it where there is room, save that (merge_and_unload), and name the folder."
        )
    whole = merged(checkpoint.network, adapter, source.where)
    return replace(checkpoint, network=whole, commit=adapter.commit, base=base.name, base_commit=checkpoint.commit)


def _whole(source: Source, adapter: Source | None, precision: str, device: str, attention: str) -> Checkpoint:
    """The checkpoint of whole weights at `source`, with the processor or tokenizer of its adapter where that brought one."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    where = {**source.where, "trust_remote_code": source.remote_code}
    if source.file:
        where["gguf_file"] = source.file
    with _refusals(source):
        config = AutoConfig.from_pretrained(source.place, **where)
        kinds.check_head(source.name, config)
        sees = kinds.sees(source.name, config)
    with _refusals(source, "image-text-to-text model" if sees else "text-only language model"):
        kind = AutoModelForImageTextToText if sees else AutoModelForCausalLM
        dtype, more = _dtype(precision, config, device), {} if attention == "auto" else {"attn_implementation": attention}
        placement = _placement(kind, config, dtype, device, trusted=source.remote_code)
        network, report = kind.from_pretrained(source.place, dtype=dtype, output_loading_info=True, **where, **more, **placement)
    processor = _processor(_processing(source, adapter, sees=sees), sees=sees)
    silence = _checked(source.name, network, report)
    network = network if "device_map" in placement else network.to(device_of(device))
    commit = "" if source.is_here else str(getattr(config, "_commit_hash", None) or "")
    return Checkpoint(network=network.eval(), processor=processor, sees=sees, silence=silence, commit=commit)


def _processing(source: Source, adapter: Source | None, *, sees: bool) -> Source:
    """Where the processor or tokenizer lies: beside the adapter, where that brought a whole one, else with the weights."""
    files = ("processor_config.json", "preprocessor_config.json") if sees else ("tokenizer_config.json",)
    has_own = adapter is not None and adapter.is_here and any((Path(adapter.place) / file).is_file() for file in files)
    return adapter if adapter is not None and has_own else source


def _processor(source: Source, *, sees: bool) -> Any:
    from transformers import AutoProcessor, AutoTokenizer, PreTrainedTokenizerBase

    files = {**source.where, "trust_remote_code": source.remote_code}
    if source.file:
        files["gguf_file"] = source.file
    with _refusals(source):
        processor = (AutoProcessor if sees else AutoTokenizer).from_pretrained(source.place, **files)
    if sees and isinstance(processor, PreTrainedTokenizerBase):  # which AutoProcessor takes where it finds nothing else
        message = "the model takes pictures, and the checkpoint has a tokenizer but no processor for them"
        raise FormatError(message, path=source.name, hint="Put processor_config.json or preprocessor_config.json of its base there.")
    return processor


@contextmanager
def _refusals(source: Source, what: str = "checkpoint") -> Iterator[None]:
    """What a library says of a checkpoint that it cannot load, as one of our errors; `what` is what it should be, as far as is known."""
    try:
        yield
    except ImportError as error:
        if isinstance(error, MissingExtra):
            raise
        reason = " ".join(str(error).split())[:300]
        hint = "Install it: pip install 'mmrerank[gguf]'" if source.file else "Install what it names."
        raise MissingExtra(f"the weights of {source.name!r} need a library that is not installed: {reason}", hint=hint) from error
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        if isinstance(error, FormatError | InputError):
            raise
        reason = " ".join(str(error).split())[:300]
        if "trust_remote_code" in str(error):
            raise FormatError(
                "the checkpoint brings Python files of its own, which are not run unasked", path=source.name, hint=_REMOTE
            ) from error
        if source.is_here:
            raise FormatError(f"no {what} can be loaded: {reason}", path=source.name) from error
        raise BackendError(f"the hub did not give {source.name!r}: {reason}", hint=_OFFLINE) from error


def _dtype(precision: str, config: Any, device: str) -> Any:
    """What the weights are held in; quantised ones as they are."""
    if precision == "auto" and config.to_dict().get("quantization_config"):
        return "auto"
    is_on_gpu = device_of(device).type != "cpu"
    return DTYPES.get(precision, "auto" if is_on_gpu else torch.float32)


def _placement(kind: Any, config: Any, dtype: Any, device: str, *, trusted: bool) -> dict[str, Any]:
    """How transformers is told to spread the model over all devices; nothing where it belongs on one."""
    if device != SPREAD and not (device == "auto" and torch.cuda.is_available() and not _fits(kind, config, dtype, trusted=trusted)):
        return {}
    try:
        import accelerate  # noqa: F401  # transformers calls it
    except ImportError as error:
        raise MissingExtra.of("accelerate", "spread", "spreading a model over several devices") from error
    return {"device_map": "auto"}


def _fits(kind: Any, config: Any, dtype: Any, *, trusted: bool) -> bool:
    """Whether the weights fit the first GPU as it is now."""
    with torch.device("meta"):
        shapes = kind.from_config(config, dtype=torch.bfloat16 if dtype == "auto" else dtype, trust_remote_code=trusted)
    need = sum(weight.numel() * weight.element_size() for weight in shapes.parameters())
    free, _ = torch.cuda.mem_get_info(0)
    return bool(need <= ROOM * free)


def device_of(name: str) -> torch.device:
    """The device called `name`; "auto" and "spread" begin at the GPU where there is one, else the CPU.

    Raises:
        InputError: torch knows no such device, or it is not there.
    """
    if name in ("auto", SPREAD):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"no device {name!r} here: {reason}", hint="Pass device='cpu' or leave it at 'auto'.") from error
    return device


def file_text(source: Source, name: str) -> str | None:
    """The text of one file of a checkpoint that was loaded; None where it has none of that name."""
    from transformers.utils import cached_file

    quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    path = Path(source.place) / name if source.is_here else cached_file(source.place, name, **source.where, **quiet)
    return None if path is None or not Path(path).is_file() else Path(path).read_text(encoding="utf-8")


def weights_hash_of(source: Source, checkpoint: Checkpoint) -> str:
    """16 hex digits that tell a checkpoint from any that answers otherwise; "" where a hub's files have no commit.

    Of a folder every file that can move an answer is read whole: two checkpoints of one training may share their first
    gigabyte. That takes seconds for a large one. An adapter's is of both, itself and its base.
    """
    places = [(source, checkpoint.commit)]
    if checkpoint.base:
        places.append((Source(name=checkpoint.base), checkpoint.base_commit))
    if len(places) == 1 and not source.is_here:
        return checkpoint.commit[:16]
    digest = hashlib.sha256()
    for place, commit in places:
        if not place.is_here and not commit:
            return ""
        digest.update(commit.encode())
        for file in sorted(Path(place.place).iterdir()) if place.is_here else ():
            if file.is_file() and (file.suffix in ANSWERING or file.name == place.file):
                _feed(digest, file)
    return digest.hexdigest()[:16]


def _feed(digest: Any, file: Path) -> None:
    digest.update(f"{file.name} {file.stat().st_size} ".encode())
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)


def _check_place(source: Source) -> None:
    """Names that look like paths must exist, and a folder holds a checkpoint."""
    if not source.name:
        raise InputError("no model is named", hint="Expected local/PATH or local/NAME-on-the-hub.")
    path = Path(source.place)
    if path.is_dir():
        if source.file and not Path(source.name).is_file():
            others = ", ".join(sorted(file.name for file in path.glob(f"*{GGUF}"))[:5]) or "none"
            raise FormatError(f"there is no such file; GGUF files here: {others}", path=source.name)
        if not source.file and not any((path / name).is_file() for name in ("config.json", ADAPTER)):
            raise FormatError(f"no checkpoint: {_lack(path)}", path=source.name, hint=_WHOLE)
        return
    if path.is_absolute() or source.place.startswith((".", "~")) or source.place.count("/") != 1:
        raise InputError(f"{source.name} is no folder, and no name on the hub (ORGANISATION/NAME)", hint=_OFFLINE)


def _lack(folder: Path) -> str:
    files = [file.name for file in folder.iterdir()]
    ggufs = sorted(name for name in files if name.endswith(GGUF))
    if ggufs:
        return f"there is no config.json among its {len(files)} files; name one of the GGUF files: {', '.join(ggufs[:3])}"
    return f"there is no config.json among its {len(files)} files" if files else "the folder is empty"


def _checked(name: str, network: Any, report: dict[str, Any]) -> str:
    """Why the model gives no answers, if so; FormatError where weights of its body are missing, or there are others."""
    missing = {str(key) for key in report.get("missing_keys") or ()}
    head = network.get_output_embeddings()
    of_head = {f"{place}.{key}" for place, module in network.named_modules() if module is head for key in head.state_dict()}
    silence = kinds.silence(name, network, missing, of_head)
    for kind, keys in (
        ("missing_keys", missing - of_head if silence else missing),
        ("mismatched_keys", report.get("mismatched_keys")),
        ("unexpected_keys", report.get("unexpected_keys")),
    ):
        if keys:
            names = sorted(map(str, keys))
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            message = f"{kind.replace('_', ' ')} in the weights: {', '.join(names[:3])}{more}"
            raise FormatError(message, path=name, hint=kinds.hint_for(name, names))
    return silence
