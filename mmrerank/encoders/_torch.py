"""What the encoders that run on torch share: device and precision, batches, checks of inputs and rows, weights files.

Rows do not depend on their neighbours or on the batch size, up to float32 rounding: within 1e-6 of a unit row on a CPU
(matrix products of different sizes add in different orders), and within some 1e-3 in half precision on a GPU.
"""

from __future__ import annotations

import atexit
import hashlib
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file

from mmrerank.errors import FormatError, InputError
from mmrerank.types import Array, Download, Modality

Precision: TypeAlias = Literal["auto", "fp32", "fp16", "bf16"]
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
BROKEN = (RuntimeError, ValueError, KeyError, TypeError, AttributeError, AssertionError, EOFError, pickle.UnpicklingError, SafetensorError)
"""What torch, safetensors and open_clip raise over a file that is not the checkpoint it should be."""


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
        raise InputError(f"no device {name!r} here: {brief(error)}", hint="Pass device='cpu' or leave it at 'auto'.") from error
    return device


def precision_of(precision: Precision, device: torch.device) -> str:
    """The precision to compute in; "auto" is bf16 on a GPU that has it, fp16 on another GPU, fp32 on a CPU.

    Raises:
        InputError: there is no such precision.
    """
    if precision not in get_args(Precision):
        raise InputError(f"precision is one of {', '.join(get_args(Precision))}; got {precision!r}")
    if precision != "auto":
        return precision
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def fetched(name: str, repository: str, files: Sequence[str], mib: float | None = None) -> Download | None:
    """What a part fetches of a repository on the hub; None where one of these files is in the hub's folder on this machine."""
    from huggingface_hub import constants, try_to_load_from_cache

    try:
        if any(isinstance(try_to_load_from_cache(repository, file), str) for file in files):
            return None
    except ValueError:  # the hub can have no repository of that name; whoever loads it says so
        return None
    return Download(name=name, source=f"{constants.ENDPOINT}/{repository}", folder=constants.HF_HUB_CACHE, mib=mib)


def batch_size_of(size: int | None, device: torch.device) -> int:
    """How many values go through the model at once: what was asked, or 256 on a GPU and 32 on a CPU.

    Raises:
        InputError: fewer than one.
    """
    if size is None:
        return 32 if device.type == "cpu" else 256
    if size < 1:
        raise InputError(f"batch_size is 1 or more; got {size}")
    return size


def batches(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Consecutive slices of at most `size` values, in order.

    >>> [list(batch) for batch in batches("abcde", 2)]
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    for start in range(0, len(values), size):
        yield values[start : start + size]


def encoded(values: Sequence[Any], size: int, dimension: int, rows: Callable[[Sequence[Any]], Array]) -> Array:
    """(n, dimension) float32: `rows` of each batch, one after the other; (0, dimension) of nothing."""
    parts = [rows(batch) for batch in batches(values, size)]
    return np.concatenate(parts) if parts else np.zeros((0, dimension), dtype=np.float32)


def modality_of(value: Any) -> Modality:
    """Whether a value, or what a torch encoder's `prepare` made of it, is a picture or a text.

    Raises:
        InputError: it is neither.
    """
    if isinstance(value, Image.Image):
        return "image"
    if isinstance(value, str):
        return "text"
    if isinstance(value, np.ndarray) and value.ndim == 3 and value.dtype == np.float32:
        return "image"
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype == np.int64:
        return "text"
    shape = f" of shape {value.shape} and dtype {value.dtype}" if isinstance(value, np.ndarray) else ""
    raise InputError(f"an encoder takes a PIL picture, a string, or what its prepare() returned; got {type(value).__name__}{shape}")


def one_modality(values: Iterable[Any], takes: frozenset[Modality], name: str) -> Modality:
    """The modality that all values share.

    Raises:
        InputError: they mix modalities, or it is one that the encoder does not take.
    """
    modalities = {modality_of(value) for value in values}
    if len(modalities) > 1:
        raise InputError(f"{name!r} encodes one modality a call; got pictures and texts", hint="Encode them in two calls.")
    modality = modalities.pop()
    if modality not in takes:
        raise InputError(f"{name!r} takes {' and '.join(sorted(takes))}, not {modality}")
    return modality


def finished_rows(rows: torch.Tensor, name: str, *, normalise: bool) -> Array:
    """(n, dimension) float32 rows on the CPU, of unit length or as long as the model leaves them.

    Raises:
        InputError: a row is not finite (half precision overflows in some models) or has no direction.
    """
    vectors = rows.detach().float()  # the length is taken in float32, whatever the model computed in
    lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    if not bool(torch.isfinite(lengths).all() and (lengths > 0).all()):
        raise InputError(f"{name!r} gave a row that is zero or not finite", hint="Pass precision='fp32', or check its weights.")
    result: Array = (vectors / lengths if normalise else vectors).cpu().numpy()
    return result


def mean_rows(tokens: Sequence[Array], name: str, dimension: int, *, normalise: bool) -> Array:
    """(n, dimension) float32 means of the (n_tokens, dimension) rows of each value; length and errors as in `finished_rows`."""
    if not tokens:
        return np.zeros((0, dimension), dtype=np.float32)
    means = np.stack([rows.mean(axis=0, dtype=np.float64) for rows in tokens])
    return finished_rows(torch.from_numpy(means), name, normalise=normalise)


def state_dict_of(path: Path) -> dict[str, Any]:
    """What a weights file holds: safetensors, or a torch file read without unpickling code.

    Raises:
        InputError: there is no such file.
        FormatError: it cannot be read so, or holds no dictionary.
    """
    if not path.is_file():
        raise InputError(f"there is no checkpoint at {path}")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except (*BROKEN, OSError) as error:
        hint = "Only tensors are read, never pickled code: save the state dict alone."
        raise FormatError(f"not a readable checkpoint: {brief(error)}", path=path, hint=hint) from error
    if not isinstance(state, dict):
        raise FormatError(f"expected a state dict; it holds a {type(state).__name__}", path=path)
    return state


def file_hash(path: Path) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


def brief(error: BaseException) -> str:
    """The message of an error on one line, cut at 300 characters: a mismatch of weights can list thousands of keys."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}..."


def temporary_folder() -> Path:
    """A folder for the checkpoint of a `tiny()`, removed when Python ends."""
    folder = Path(tempfile.mkdtemp(prefix="mmrerank-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def prepared_array(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """A prepared input as numpy: float32 for pictures, int64 for token ids. Arrays travel between threads and processes."""
    array: npt.NDArray[Any] = tensor.contiguous().numpy()
    return array
