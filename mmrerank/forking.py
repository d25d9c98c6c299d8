"""A process that was forked after its parent used PyTorch or FAISS: it works on with one thread, where it would wait for ever.

The threads of OpenMP are not there in the child, and its first product of matrices waits for them. With one thread nothing waits; this is
what PyTorch's own data loader does in its workers. CUDA cannot be used again after a fork, and PyTorch says so.
"""

from __future__ import annotations

import os
import sys


def work_on_with_one_thread() -> None:
    """Sets the number of threads of what is loaded already to 1."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)
    if (faiss := sys.modules.get("faiss")) is not None:
        faiss.omp_set_num_threads(1)


if sys.platform != "win32":  # where nothing forks
    os.register_at_fork(after_in_child=work_on_with_one_thread)
