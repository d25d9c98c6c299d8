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

if TYPE_CHECKING:
    from mmrerank.collection import Collection
    from mmrerank.documents import rerank
    from mmrerank.parts import make
    from mmrerank.pictures import picture
    from mmrerank.types import Candidate, Item, Query, Ranking

__version__ = "0.7.0"
__all__ = ["Candidate", "Collection", "Item", "Query", "Ranking", "__version__", "make", "picture", "rerank"]


_ON_REQUEST = {  # name -> its module: they pull in numpy, Lance, the readers of pictures and the like
    "Candidate": "mmrerank.types",
    "Collection": "mmrerank.collection",
    "Item": "mmrerank.types",
    "Query": "mmrerank.types",
    "Ranking": "mmrerank.types",
    "make": "mmrerank.parts",
    "picture": "mmrerank.pictures",
    "rerank": "mmrerank.documents",
}
_MODULES = ("errors", "parts", "types")  # which are there as attributes without an import of their own


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
    if name in _MODULES:
        return import_module(f"mmrerank.{name}")
    raise AttributeError(f"module 'mmrerank' has no attribute {name!r}")
