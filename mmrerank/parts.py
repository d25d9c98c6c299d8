"""Parts have names: `make("superglobal(neighbours=3)")` builds the part that its file name says.

A part is one file in a station's folder with `Options` (a frozen dataclass), `build(options, ...)` and `tiny()`. Its
name is the file's name; `-` and `_` are the same. The grammar of a name:

    name                      dense
    name/argument             openclip/ViT-B-32.laion2b_s34b_b79k@224     the argument fills the first option
    name(option=value, ...)   superglobal(neighbours=9, beta=0.15)        values are Python literals or bare words

`printed` writes the name back with every option that moves a number, so that it parses to the same part. Options made
with `runtime_option` (batch size, device) only move speed and are left out. After an argument only what is not the default is written,
and what was made with `always_named`.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from mmrerank.errors import InputError, UnknownName

STATIONS = {  # station folder -> what one of its parts is called
    "readers": "reader",
    "encoders": "encoder",
    "index": "index",
    "backends": "backend",
    "retrievers": "retriever",
    "rerankers": "reranker",
    "answering": "answerer",
}
DOORS = {"backend": "backend", "descriptors": "encoder"}  # resource -> the option of the command line that gives it
_PACKAGE = Path(__file__).parent
_NAME = re.compile(r"(?P<part>[A-Za-z][\w-]*)(?:/(?P<argument>.+?))?(?:\((?P<options>\s*|\s*\w+\s*=.*)\))?", re.DOTALL)


def runtime_option(default: Any) -> Any:
    """A dataclass field that moves speed or memory only, and so stays out of the printed name."""
    return dataclasses.field(default=default, metadata={"in_name": False})


def always_named(default: Any) -> Any:
    """A dataclass field that the printed name shows even at its default: one that came later, or whose default may move, so that
    what was kept under the old name is not taken for its like."""
    return dataclasses.field(default=default, metadata={"in_name": "always"})


@dataclass(frozen=True, kw_only=True)
class PartName:
    """A parsed name: the part's file, its argument (after the slash) and its options."""

    part: str
    argument: str | None
    options: Mapping[str, Any]


def parse(name: str) -> PartName:
    """The pieces of a part's name.

    Raises:
        InputError: it does not follow the grammar.

    >>> parse("superglobal(neighbours=9, beta=0.15)").options
    {'neighbours': 9, 'beta': 0.15}
    >>> parse("openclip/mini").argument
    'mini'
    """
    match = _NAME.fullmatch(name.strip())
    if match is None:
        raise InputError(f"{name!r} is not a part's name", hint="Expected NAME, NAME/ARGUMENT or NAME(option=value, ...).")
    part = match["part"].replace("-", "_").lower()
    return PartName(part=part, argument=match["argument"], options=_keywords(match["options"] or "", name))


def _keywords(text: str, name: str) -> dict[str, Any]:
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args or any(k.arg is None for k in call.keywords):
            raise ValueError("every option needs its name")
        return {str(k.arg): _literal(k.value) for k in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise InputError(f"the options of {name!r} cannot be read: {error}", hint="Expected (option=value, ...).") from error


def _literal(node: ast.expr) -> Any:
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)  # a bare word is a string


def as_tuple(given: Any) -> tuple[Any, ...]:
    """What was given in a row, and one thing alone as a row of one: a text is one name, not its letters.

    >>> as_tuple("square"), as_tuple(["square", "bm25"])
    (('square',), ('square', 'bm25'))
    """
    return (given,) if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)


@cache
def names(station: str) -> tuple[str, ...]:
    """The names of all parts of one station, sorted: its files that do not begin with an underscore."""
    return tuple(sorted(file.stem for file in (_PACKAGE / station).glob("*.py") if not file.stem.startswith("_")))


def module(name: str, *, station: str | None = None) -> ModuleType:
    """The module of a part, found by its name in one station or in all.

    Raises:
        UnknownName: there is none; the message lists the real ones and the nearest.
    """
    part = parse(name).part
    stations = [station] if station else list(STATIONS)
    for place in stations:
        if part in names(place):
            return import_module(f"mmrerank.{place}.{part}")
    kind = STATIONS[station] if station else "part"
    raise UnknownName.among(kind, part, [known for place in stations for known in names(place)])


def make(name: str, *, station: str | None = None, **resources: Any) -> Any:
    """The part that `name` describes.

    Args:
        name: see the head of this file.
        station: look there only ("encoders", "rerankers", ...).
        resources: what the part's `build` asks for by name (`corpus`, `backend`, `descriptors`, `dimension`);
            those that it does not ask for are left aside.

    Raises:
        UnknownName: no such part or option.
        InputError: an option has a wrong type, or `build` asks for a resource that was not given.
    """
    found = module(name, station=station)
    asked = list(inspect.signature(found.build).parameters.values())[1:]
    missing = [p.name for p in asked if p.default is p.empty and p.name not in resources]
    if missing:
        door = f", or --{DOORS[missing[0]]} NAME on the command line" if missing[0] in DOORS else ""
        raise InputError(f"{name!r} needs {', '.join(missing)}", hint=f"Pass {missing[0]}=... to make(){door}.")
    given = {p.name: resources[p.name] for p in asked if p.name in resources}
    return found.build(options_of(name, found.Options), **given)


def options_of(name: str, record: type[Any]) -> Any:
    """The options record that a name describes, with its types checked.

    Raises:
        UnknownName: an option that the record does not have.
        InputError: a value of the wrong type, or an argument where the part takes none.
    """
    from pydantic import TypeAdapter, ValidationError

    parsed = parse(name)
    fields = [field.name for field in dataclasses.fields(record)]
    values = dict(parsed.options)
    if parsed.argument is not None:
        if not fields or fields[0] in values:
            raise InputError(f"{parsed.part!r} takes no argument after a slash; got {parsed.argument!r}")
        values = {fields[0]: parsed.argument, **values}
    for unknown in (key for key in values if key not in fields):
        raise UnknownName.among(f"option of {parsed.part!r}", unknown, fields)
    try:
        return TypeAdapter(record).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(str(piece) for piece in first["loc"]) or "options"
        raise InputError(f"{parsed.part!r}: {option}: {first['msg']}; got {first['input']!r}") from error


def printed(part: str, options: Any, *, argument: bool = False) -> str:
    """The name that parses back to these options; with `argument`, the first option goes after the slash.

    >>> @dataclass(frozen=True)
    ... class Options:
    ...     depth: int = 9
    ...     batch_size: int = runtime_option(32)
    >>> printed("square", Options())
    'square(depth=9)'
    """
    shown = [field for field in dataclasses.fields(options) if field.metadata.get("in_name", True)]
    head = part
    if argument:
        head = f"{part}/{getattr(options, shown[0].name)}"
        shown = [f for f in shown[1:] if f.metadata.get("in_name") == "always" or getattr(options, f.name) != f.default]
    inside = ", ".join(f"{field.name}={getattr(options, field.name)!r}" for field in shown)
    return f"{head}({inside})" if inside else head
