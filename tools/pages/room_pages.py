"""The reference: a page for each room of the package, its public modules through mkdocstrings."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import mmrerank

PACKAGE = Path(__file__).parents[2] / "mmrerank"
FIRST = ("documents", "types", "parts", "errors", "pictures", "handles", "pipeline")  # of the root: what a user meets first
ELSEWHERE = {"cli", "mini"}  # the command line has its own page, the models their cards


def rooms() -> list[str]:
    """The rooms that have a page, in the order of their names; the files of the root make one, "ground"."""
    folders = sorted(file.parent.name for file in PACKAGE.glob("*/__init__.py"))
    return ["ground", *(name for name in folders if name not in ELSEWHERE)]


def public_modules(room: str) -> list[str]:
    """Dotted names of a room's modules whose names do not begin with an underscore."""
    if room == "ground":
        stems = {file.stem for file in PACKAGE.glob("*.py") if not file.stem.startswith("_")}
        return [f"mmrerank.{stem}" for stem in sorted(stems, key=lambda stem: (stem not in FIRST, (*FIRST, stem).index(stem), stem))]
    files = sorted((PACKAGE / room).rglob("*.py"))
    names = [file.relative_to(PACKAGE.parent).with_suffix("").parts for file in files]
    return [".".join(parts) for parts in names if not any(part.startswith("_") for part in parts)]


def page(room: str) -> str:
    """One room: what its `__init__` says, then module after module."""
    head = "The modules of the root" if room == "ground" else room.capitalize()
    intro = (
        "Records, errors, names of parts, and where the stations meet."
        if room == "ground"
        else ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))) or ""
    )
    return "\n\n".join([f"# {head}", intro, *(f"::: {name}" for name in public_modules(room)), ""])


def offered() -> str:
    """A table of the names that `import mmrerank` offers, with what each is and a link to it."""
    rows = [f"| [`{name}`][{place}] | {first_line(thing)} |" for name, place, thing in public_names()]
    return "\n".join(["| name | what |", "|---|---|", *rows])


def public_names() -> list[tuple[str, str, Any]]:
    """Each name of `mmrerank.__all__`, where it is defined, such as `mmrerank.types.Query`, and the thing itself."""
    things = [(name, getattr(mmrerank, name)) for name in mmrerank.__all__ if not name.startswith("__")]
    return [(name, f"{thing.__module__}.{thing.__qualname__}", thing) for name, thing in things]


def first_line(thing: Any) -> str:
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
