"""What made a thing."""

from __future__ import annotations

import platform
from typing import Any

LIBRARIES = ("mmrerank", "numpy", "torch", "open_clip_torch", "faiss-cpu", "faiss-gpu", "pylance", "pypdfium2", "pillow")


def made_by(**more: Any) -> dict[str, Any]:
    """What made a thing: library versions and Python, and whatever is added; goes with every collection, run and result."""
    from importlib.metadata import PackageNotFoundError, version  # here, since it brings all of `email`

    versions: dict[str, str] = {}
    for library in LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    return {"libraries": versions, "python": platform.python_version(), **more}
