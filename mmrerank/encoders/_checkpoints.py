"""Checkpoints that sentence-transformers loads: the folder, fetched where it is not there, a model with all of its weights, its hash.

Source: sentence-transformers 6.2 and transformers 5.24, whose loading was read for what follows.

- A checkpoint is a folder or a name on the hub, there at a `revision`: a branch, a tag or a commit. Adapters (LoRA) are loaded over the
  base model that their own file names, which is fetched too.
- No code from a checkpoint is run unless `remote_code` says so. Weights are read from safetensors only, so no pickle is.
- Weights that miss a key, which transformers would fill at random, are refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

from mmrerank.encoders import _torch
from mmrerank.errors import BackendError, FormatError, InputError, MissingExtra
from mmrerank.types import Download

FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
CODE = ("*.py",)
ADAPTER = "adapter_config.json"
MODULES = "modules.json"


def is_local(checkpoint: str) -> bool:
    return Path(checkpoint).expanduser().exists() or checkpoint.startswith(("/", ".", "~")) or checkpoint.count("/") != 1


def fetches(name: str, checkpoint: str) -> Download | None:
    """What is fetched from the hub for a part of that name."""
    if not checkpoint or is_local(checkpoint):
        return None
    return _torch.fetched(name, checkpoint, ("config.json", MODULES, ADAPTER))


def folder_of(checkpoint: str, *, part: str, revision: str | None, remote_code: bool) -> Path:
    """The folder of a checkpoint, fetched from the hub where it is not there yet.

    Raises:
        InputError: a path that is no folder, a revision of one, or a name that the hub cannot have.
        BackendError: the hub did not give it.
    """
    if is_local(checkpoint):
        local = Path(checkpoint).expanduser()
        if not local.is_dir():
            raise InputError(f"there is no folder {local}", hint=f"Or name one on the hub: {part}/ORGANISATION/NAME.")
        if revision is not None:
            raise InputError(f"a folder has no revisions; got revision={revision!r} for {local}")
        return local
    return _fetched(checkpoint, revision, part, (*FILES, *CODE) if remote_code else FILES)


def _fetched(repository: str, revision: str | None, part: str, patterns: tuple[str, ...]) -> Path:
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(patterns)))
    except HFValidationError as error:
        raise InputError(f"the hub can have no checkpoint called {repository!r}: {_torch.brief(error)}") from error
    except OSError as error:
        reachable = not isinstance(error, RepositoryNotFoundError | RevisionNotFoundError)
        hint = f"Without a network, name a local folder: {part}/PATH."
        raise BackendError(f"the hub did not give {repository!r}: {_torch.brief(error)}", retryable=reachable, hint=hint) from error


def hash_of(folder: Path) -> str:
    """16 hexadecimal digits of the SHA-256 over the names and hashes of the files of a checkpoint."""
    digest = hashlib.sha256()
    for file in sorted({file for pattern in (*FILES, *CODE) for file in folder.rglob(pattern)}):
        digest.update(f"{file.relative_to(folder)} {_torch.file_hash(file)}\n".encode())
    return digest.hexdigest()[:16]


def load(
    kind: Literal["SentenceTransformer", "MultiVectorEncoder"],
    folder: Path,
    device: torch.device,
    precision: str,
    *,
    part: str,
    remote_code: bool,
) -> Any:
    """The model of a folder in evaluation mode, with all of its weights.

    Raises:
        MissingExtra: sentence-transformers is not installed.
        InputError: it brings code of its own, which nobody allowed.
        FormatError: it is no complete checkpoint.
    """
    try:
        import sentence_transformers
    except ImportError as error:
        raise MissingExtra.of("sentence-transformers", "sentence", f"the encoder {part!r}") from error
    if not remote_code:
        _without_code(folder, part)
    _base_of(folder, part)
    options = {"dtype": _torch.DTYPES[precision], "use_safetensors": True}
    try:
        model = _class_of(sentence_transformers, kind)(
            str(folder), device=str(device), local_files_only=True, trust_remote_code=remote_code, model_kwargs=options
        )
        for one in transformers_in(model):
            _all_keys(one, remote_code)
    except (OSError, ImportError, *_torch.BROKEN) as error:
        raise FormatError(f"no complete checkpoint for {part!r}: {_torch.brief(error)}", path=folder) from error
    return model.eval()


def _class_of(library: Any, kind: str) -> Any:
    return {"SentenceTransformer": library.SentenceTransformer, "MultiVectorEncoder": library.MultiVectorEncoder}[kind]


def _without_code(folder: Path, part: str) -> None:
    """Refuses a checkpoint some of whose modules are code in its own folder."""
    modules = folder / MODULES
    if not modules.is_file():
        return
    own = [str(entry["type"]) for entry in json_of(modules) if str(entry["type"]).split(".")[0] not in ("sentence_transformers", "pylate")]
    if own:
        hint = f"Read it; if you trust it, say {part}/...(remote_code=True)."
        raise InputError(f"{folder} brings code of its own ({', '.join(own[:3])}), which is not run unasked", hint=hint)


def _base_of(folder: Path, part: str) -> None:
    """Fetches the model that an adapter stands on, where that is one on the hub."""
    adapter = folder / ADAPTER
    base = str(json_of(adapter).get("base_model_name_or_path") or "") if adapter.is_file() else ""
    if base and not is_local(base):
        _fetched(base, json_of(adapter).get("revision"), part, FILES)


def json_of(file: Path) -> Any:
    """What a JSON file holds; FormatError where it holds none."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FormatError(f"is no JSON: {error}", path=file) from error


def transformers_in(module: torch.nn.Module) -> Iterator[Any]:
    """The outermost transformers models in a module."""
    from transformers import PreTrainedModel

    if isinstance(module, PreTrainedModel):
        yield module
    else:
        for child in module.children():
            yield from transformers_in(child)


def _all_keys(model: Any, remote_code: bool) -> None:
    """Loads once more what a model was loaded from, without values, since only transformers' own report tells what it made up."""
    options: dict[str, Any] = {"config": model.config, "local_files_only": True, "trust_remote_code": remote_code, "use_safetensors": True}
    options |= {"device_map": "meta"} if find_spec("accelerate") else {}  # which transformers places models with
    report = type(model).from_pretrained(model.name_or_path, **options, output_loading_info=True)[1]
    lacking = sorted(str(key) for kind in ("missing_keys", "mismatched_keys") for key in report.get(kind) or ())
    if lacking := [key for key in lacking if not key.startswith("pooler.")]:  # BERT's own, which no pooling of tokens uses
        raise ValueError(f"its weights lack {', '.join(lacking[:3])}{' and more' if len(lacking) > 3 else ''}")
