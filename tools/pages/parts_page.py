"""The page with every part and its options, asked of `mmrerank.parts`: what a name can say, and what each word of it means."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from mmrerank import parts
from mmrerank.errors import InputError
from tools.pages.source_comments import comments_by_line

BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
NEEDS = {  # what `build` asks for -> in words
    "backend": "a backend (`--backend`)",
    "corpus": "the collection",
    "descriptors": "descriptors of the candidates (a first stage that has them, or `--encoder`)",
    "dimension": "how long a row is",
}
EVERYWHERE = {  # options that mean the same in every part that has them
    "backoff_s": "seconds before the first retry; each further one waits twice as long",
    "batch_size": "inputs of one batch; None: by the device",
    "checkpoint": "a name or a folder, as the head of the source says",
    "device": "cpu, cuda, cuda:1, mps; auto takes what is there",
    "encoder": "which of the collection's encoders; None: the first that takes the query",
    "exclude_weight": "how much of each exclusion is subtracted from the unit query row",
    "max_bytes": "of one file; a larger one is refused",
    "max_pixels": "of one picture; a larger one is refused before it is decoded",
    "max_tokens": "of an answer",
    "normalise_inputs": "whether picture and text are brought to unit length before they are summed",
    "precision": "of the arithmetic; auto: as saved on a GPU, fp32 on a CPU",
    "prompt": "a prompt that ships, by name, or a TOML file of the same form",
    "retries": "how often what may succeed later is tried again",
    "seed": "of every random choice",
    "temperature": "0 is greedy",
}


def page() -> str:
    """All parts, station by station, as Markdown."""
    return "\n".join(station(place) for place in parts.STATIONS)


def station(place: str) -> str:
    """All parts of one station, such as "rerankers"."""
    return "\n".join([f"## {place.capitalize()}\n", *(part(place, name) for name in parts.names(place))])


def part(place: str, name: str) -> str:
    """One part: its summary, what it needs, and a table of its options."""
    module = import_module(f"mmrerank.{place}.{name}")
    summary = first_sentence(module.__doc__ or "")
    where = f"[source and cost](rooms/{place}.md#{module.__name__})"
    lines = [f"### `{name}` {{ #{place}-{name} }}\n", f"{summary} ({where})\n", *needs(place, name), *table(module), ""]
    return "\n".join(lines)


def first_sentence(docstring: str) -> str:
    """The first paragraph of a docstring in one line, with a full stop."""
    paragraph = " ".join(docstring.strip().split("\n\n")[0].split())
    words = re.sub(r'^Index "\w+": ', "", paragraph).rstrip(":")
    return words[:1].upper() + words[1:]


def needs(place: str, name: str) -> list[str]:
    """What the part has to be made with besides its options; what it can do without is said so."""
    try:
        requirements = parts.requires(name, station=place)
    except InputError:  # one around another, which has to be named first
        return ["Needs what the part within it needs.\n"]
    words = [
        words if resource in requirements.needed else f"{words}, if there is one"
        for resource, words in NEEDS.items()
        if resource in requirements.used
    ]
    return [f"Needs {' and '.join(words)}.\n"] if words else []


def table(module: ModuleType) -> list[str]:
    """Option, type, default, and the comment beside the option in the source."""
    fields = dataclasses.fields(module.Options)
    if not fields:
        return ["No options.\n"]
    kinds = typing.get_type_hints(module.Options, include_extras=True)
    comments = comments_of(module)
    rows = [
        f"| `{field.name}` | {cell(kind(kinds[field.name]))} | {cell(default(field))} | {cell(remark(field, comments))} |"
        for field in fields
    ]
    return ["| option | type | default | meaning |", "|---|---|---|---|", *rows]


def comments_of(module: ModuleType) -> dict[str, str]:
    """What the source says of each option: the comment beside it, or its word in the docstring of `Options` ("links: ...").

    >>> from mmrerank.rerankers import square
    >>> comments_of(square)["depth"]
    'K, how many of the candidates are drawn'
    """
    beside = comments_by_line(Path(inspect.getfile(module)).read_text(encoding="utf-8"))
    lines, start = inspect.getsourcelines(module.Options)
    names = {field.name for field in dataclasses.fields(module.Options)}
    matches = ((re.match(r"\s+(\w+)\s*:", line), start + n) for n, line in enumerate(lines))
    comments = {match[1]: beside[n] for match, n in matches if match and match[1] in names and n in beside}
    return described_together(module.Options.__doc__ or "", names) | comments


def described_together(docstring: str, names: set[str]) -> dict[str, str]:
    """What a docstring says of several options at once, as "kind, storage: see above. links: how many."."""
    text = " ".join(docstring.split())
    matches = re.finditer(r"(?:^|(?<=[.;] ))(\w+(?:, \w+)*): ", text)
    openings = [match for match in matches if set(match[1].split(", ")) <= names]
    ends = [match.start() for match in openings[1:]] + [len(text)]
    return {
        name: text[match.end() : end].strip().rstrip(".")
        for match, end in zip(openings, ends, strict=False)  # where nothing opens there is one end
        for name in match[1].split(", ")
    }


def kind(annotation: Any) -> str:
    """A type in words.

    >>> kind(typing.Literal["auto", "fp32"]), kind(int | None), kind(tuple[str, ...])
    ("'auto' or 'fp32'", 'int or None', 'several str')
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return ", ".join([kind(arguments[0]), *bounds(arguments[1:])])
    if origin is typing.Literal:
        return " or ".join(map(repr, arguments))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(kind, arguments))
    if origin is tuple:
        return f"several {kind(arguments[0])}"
    return "None" if annotation is type(None) else str(getattr(annotation, "__name__", annotation))


def bounds(metadata: tuple[Any, ...]) -> list[str]:
    """The limits that pydantic's `Field` sets, in words."""
    limits = [limit for data in metadata for limit in getattr(data, "metadata", [data])]
    return [f"{word} {getattr(limit, name)}" for limit in limits for name, word in BOUNDS.items() if hasattr(limit, name)]


def default(field: dataclasses.Field[Any]) -> str:
    """The default as it is written in a name; large numbers in groups of three."""
    if field.default is dataclasses.MISSING:
        return "must be given"
    return f"`{field.default!r}`" if not isinstance(field.default, int) or isinstance(field.default, bool) else f"`{field.default:_}`"


def remark(field: dataclasses.Field[Any], comments: dict[str, str]) -> str:
    """What the source says of the option, or what it means everywhere, and whether it only moves speed."""
    meaning = comments.get(field.name) or EVERYWHERE.get(field.name, "")
    return "; ".join(filter(None, [meaning, "*speed*" if field.metadata.get("in_name") is False else ""]))


@cache
def cell(text: str) -> str:
    """Text that stands in one cell of a Markdown table."""
    return text.replace("|", "\\|")
