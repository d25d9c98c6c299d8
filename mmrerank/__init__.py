"""Find the right picture or document page and put it first.

`Collection` is what a user holds; `rerank(query, documents, name)` puts a few texts or pictures in order; `picture(path)` is a picture to
ask with; `make(name)` builds any part by its printed name.
Importing the package loads no model library: torch, FAISS, Lance and the rest come in with the part that needs them.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mmrerank.parts import make
from mmrerank.types import Candidate, Item, Query, Ranking

if TYPE_CHECKING:
    from mmrerank.collection import Collection
    from mmrerank.documents import rerank
    from mmrerank.pictures import picture

__version__ = "0.4.0"
__all__ = ["Candidate", "Collection", "Item", "Query", "Ranking", "__version__", "make", "picture", "rerank"]


_ON_REQUEST = {  # name -> its module: they pull in Lance, the readers of pictures and the like
    "Collection": "mmrerank.collection",
    "picture": "mmrerank.pictures",
    "rerank": "mmrerank.documents",
}


def _work_on_with_one_thread() -> None:
    """In a process that was forked after its parent used PyTorch or FAISS: the threads of OpenMP are not there, and the first product of
    matrices would wait for them for ever. PyTorch's own data loader does the same in its workers."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)
    if (faiss := sys.modules.get("faiss")) is not None:
        faiss.omp_set_num_threads(1)


if sys.platform != "win32":  # where nothing forks
    os.register_at_fork(after_in_child=_work_on_with_one_thread)


def __getattr__(name: str) -> Any:
    if name in _ON_REQUEST:
        return getattr(import_module(_ON_REQUEST[name]), name)
    raise AttributeError(f"module 'mmrerank' has no attribute {name!r}")
