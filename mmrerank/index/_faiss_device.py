"""Where a FAISS index is searched: in host memory, or in copies on one GPU or several."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmrerank.errors import InputError, MissingExtra

WITHOUT = "Without it, the index 'flat' does: mmrerank index FOLDER --into COLLECTION --recipe flat, also for a collection that is there."
MOST_ON_GPU = 2048  # the largest k that FAISS's GPU kernels take
_DEVICE = re.compile(r"gpu(?::(?P<numbers>\d+(?:,\d+)*))?")


def faiss_module() -> Any:
    """The faiss module.

    Raises:
        MissingExtra: it is not installed, or not whole.
    """
    try:
        import faiss
    except ImportError as error:
        missing = MissingExtra.of("faiss-cpu", "cpu", "the index 'faiss_index'")
        raise MissingExtra(missing.message, hint=f"{missing.hint} (with a GPU: 'mmrerank[gpu]', never both). {WITHOUT}") from error
    except RuntimeError as error:  # faiss-gpu without its CUDA libraries says so itself
        raise MissingExtra(f"the index 'faiss_index' needs faiss, which does not load: {error}") from error
    return faiss


def mapping_flags(faiss: Any) -> int:
    """What `read_index` is told to leave codes in the file; 0 where it cannot, so that they are read: before FAISS 1.11, and on Windows."""
    flags: int = getattr(faiss, "IO_FLAG_MMAP_IFC", 0) if os.name != "nt" else 0
    return flags


def gpus(faiss: Any, device: str) -> tuple[int, ...]:
    """The GPU numbers that `device` names; none for "cpu".

    Raises:
        InputError: it names no device, or a GPU that is not there.
        MissingExtra: this build of FAISS has no GPU part.
    """
    if device == "cpu":
        return ()
    match = _DEVICE.fullmatch(device)
    if match is None:
        raise InputError(f'expected device "cpu", "gpu", "gpu:0" or "gpu:0,1", got {device!r}')
    if not hasattr(faiss, "StandardGpuResources"):
        raise MissingExtra(
            f"device {device!r} needs faiss-gpu; the installed faiss has no GPU part.",
            hint="The two share one import name: pip uninstall faiss-cpu, then pip install 'mmrerank[gpu]'. Or pass device=\"cpu\".",
        )
    numbers = tuple(dict.fromkeys(int(number) for number in (match["numbers"] or "0").split(",")))
    there = faiss.get_num_gpus()
    if max(numbers) >= there:
        raise InputError(
            f"device {device!r} names GPU {max(numbers)}; FAISS sees {there}", hint='Pass device="cpu" or a GPU that is there.'
        )
    return numbers


def copied(faiss: Any, index: Any, numbers: tuple[int, ...]) -> Any:
    """A copy of `index` on these GPUs: whole on each of them, so several share the queries of a batch."""
    resources = [faiss.StandardGpuResources() for _ in numbers]
    if len(numbers) == 1:
        return faiss.index_cpu_to_gpu(resources[0], numbers[0], index)
    return faiss.index_cpu_to_gpu_multiple_py(resources, index, gpus=list(numbers))


@contextmanager
def threads(faiss: Any, number: int) -> Iterator[None]:
    """Runs FAISS with so many threads; 0 leaves its own choice. The setting belongs to the process and is put back."""
    if not number:
        yield
        return
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(number)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
