"""Index recipes: TOML files that say which index to take when, and what was measured of it.

name = 'faiss_index(kind="hnsw", links=32)'     what `make` builds
take_it_when = "..."
[options]       a sentence per option
[measured]      numbers, and the command that prints them
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from mmrerank import parts
from mmrerank.errors import FormatError, InputError, UnknownName
from mmrerank.index._auto import AUTO
from mmrerank.text_files import read_toml

RECIPES = Path(__file__).parents[2] / "indexes"
KEYS = {"name": str, "take_it_when": str, "options": dict, "measured": dict}


@runtime_checkable
class IndexFactory(Protocol):
    """What the module of an index declares."""

    SEARCHES: Literal["rows", "text"]


def read_recipe(path: Path) -> str:
    """The name of the index part that a recipe describes.

    Raises:
        FormatError: the file is no TOML, lacks `name` or `take_it_when`, or holds a value of the wrong type.
        UnknownName: a key that no recipe has, or an index or option that there is none of.
        InputError: an option of the name has a wrong value, or the index searches text.
    """
    recipe = _content(Path(path))
    return _checked(recipe["name"], recipe.get("options", {}))


def shipped_recipes() -> list[tuple[Path, str, str]]:
    """File, index and when to take it, of the recipes of the repository, by file; none where only the wheel is installed."""
    recipes = ((path, _content(path)) for path in sorted(RECIPES.glob("*.toml")))
    return [(path, recipe["name"], recipe["take_it_when"]) for path, recipe in recipes]


def _content(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise InputError(f"the recipe {path} cannot be read: there is no such file")
    recipe = read_toml(path)
    for key in recipe:
        if key not in KEYS:
            raise UnknownName.among(f"key of the recipe {path.name}", key, KEYS)
    for key, kind in KEYS.items():
        if not isinstance(recipe.get(key, {} if kind is dict else None), kind):
            raise FormatError(f"expected {key!r} as a {'table' if kind is dict else 'string'}, got {recipe.get(key)!r}", path=path)
    return recipe


def rows_index_name(name: str) -> str:
    """The printed name of an index of descriptors, or `auto`.

    Raises:
        UnknownName: no index of descriptors, or no option of it, is called so.
        InputError: an option has a wrong value, or the index searches text.
    """
    if name == AUTO:
        return name
    printed_name: str = parts.make(_of_rows(name), station="index", dimension=8).name  # a dimension that every storage takes
    return printed_name


def _of_rows(name: str) -> str:
    part, names = parts.parse(name).part, parts.names("index")
    if part not in names:
        rows = [index for index in names if _searches_rows(index)]
        raise UnknownName.among("index of descriptors", part, [AUTO, *rows])
    if not _searches_rows(part):
        raise InputError(f"{name!r} searches text; a collection keeps an index of descriptors", hint="Its texts have theirs by themselves.")
    return name


def _searches_rows(part: str) -> bool:
    factory = parts.module(part, station="index")
    return isinstance(factory, IndexFactory) and factory.SEARCHES == "rows"


def _checked(name: str, explained: dict[str, Any]) -> str:
    options = parts.options_of(_of_rows(name), parts.module(name, station="index").Options)
    for option in explained:
        if not hasattr(options, option):
            raise UnknownName.among(f"option of {name!r}", option, vars(options))
    return name
