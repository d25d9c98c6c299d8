"""`mmrerank list [STATION]`"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any

import typer

from mmrerank.cli import _output
from mmrerank.errors import UnknownName
from mmrerank.parts import STATIONS, installed, module, names

PLURALS = {"indexes": "index"}  # what people say -> the folder
Listed = list[dict[str, Any]]


def _measures() -> Listed:
    from mmrerank.measures.names import KNOWN

    return [{"name": name, "summary": summary, "options": {}} for name, summary in KNOWN.items()]


def _datasets() -> Listed:
    from mmrerank.evaluation.cards import shipped_cards

    return [
        {
            "name": card.name,
            "summary": card.title,
            "options": {"card": str(card.path), "splits": list(card.splits), "measures": list(card.measures)},
        }
        for card in shipped_cards()
    ]


def _recipes() -> Listed:
    from mmrerank.index import shipped_recipes

    return [
        {"name": path.stem, "summary": f"take it when {when}", "options": {"recipe": str(path), "index": index}}
        for path, index, when in shipped_recipes()
    ]


# what is no part, and listed the same way
OTHERS: dict[str, Callable[[], Listed]] = {"recipes": _recipes, "measures": _measures, "datasets": _datasets}


def list_parts(
    station: Annotated[
        str | None, typer.Argument(help=f"One of {', '.join([*STATIONS, 'indexes', *OTHERS])}; all when left out.", metavar="STATION")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> int:
    """List the parts that names can be made of with their options, index recipes, the measures and the cards of benchmarks."""
    folder = PLURALS.get(station, station) if station else None
    if folder is not None and folder not in (*STATIONS, *OTHERS):
        raise UnknownName.among("station", str(station), [*STATIONS, *PLURALS, *OTHERS])
    stations = [place for place in STATIONS if folder in (None, place)]
    listing = {place: [*(_described(place, name) for name in names(place)), *_installed(place)] for place in stations}
    listing |= {place: listed() for place, listed in OTHERS.items() if folder in (None, place) or (folder, place) == ("index", "recipes")}
    if json:
        _output.emit(listing)
        return 0
    console = _output.out()
    for place, parts in listing.items():
        console.print(f"[bold]{place}[/]")
        for part in parts:
            console.print(f"  {part['name']}: {part['summary']}", markup=False)
            if part["options"]:
                console.print(
                    "    " + ", ".join(f"{option}={value!r}" for option, value in part["options"].items()), markup=False, style="dim"
                )
    return 0


def _installed(place: str) -> Listed:
    """The parts of other packages, which are not imported to be listed."""
    return [
        {"name": name, "summary": f"from {point.dist.name if point.dist else 'another package'}: {point.value}", "options": {}}
        for name, point in sorted(installed(place).items())
    ]


def _described(place: str, name: str) -> dict[str, Any]:
    part = module(name, station=place)
    options = {field.name: None if field.default is dataclasses.MISSING else field.default for field in dataclasses.fields(part.Options)}
    return {"name": name, "summary": (part.__doc__ or "").strip().split("\n")[0], "options": options}
