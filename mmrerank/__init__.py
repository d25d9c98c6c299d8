"""Find the right picture or document page and put it first.

`make(name)` builds any part by its printed name; `Collection` is what a user holds; `picture(path)` is a picture to ask with.
Importing the package loads no model library: torch, FAISS, Lance and the rest come in with the part that needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmrerank.parts import make
from mmrerank.types import Candidate, Item, Query, Ranking

if TYPE_CHECKING:
    from mmrerank.collection import Collection
    from mmrerank.pictures import picture

__version__ = "0.2.0"
__all__ = ["Candidate", "Collection", "Item", "Query", "Ranking", "__version__", "make", "picture"]


def __getattr__(name: str) -> Any:
    if name == "Collection":  # pulls in Lance, so only on request
        from mmrerank.collection import Collection

        return Collection
    if name == "picture":  # pulls in the readers of pictures
        from mmrerank.pictures import picture

        return picture
    raise AttributeError(f"module 'mmrerank' has no attribute {name!r}")
