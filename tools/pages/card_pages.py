"""Pages made of the cards: benchmarks (`datasets/*.toml`), index recipes (`indexes/*.toml`), the embedded models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]


def benchmarks() -> str:
    """A section for each card of a benchmark."""
    files = [*sorted((ROOT / "datasets").glob("*/card.toml")), *sorted((ROOT / "datasets").glob("*.toml"))]
    return "\n".join(benchmark(file) for file in files)


def benchmark(file: Path) -> str:
    card = tomllib.loads(file.read_text(encoding="utf-8"))
    table = card["benchmark"]
    rows = {
        "card": f"`{file.relative_to(ROOT)}`",
        "files": "ships" if "data" in table else table.get("get_it", card.get("source", "")),
        "source": card.get("source", ""),
        "paper": card.get("paper", ""),
        "licence": card.get("licence", ""),
        "layout": f"`{table['layout']}`",
        "measures": ", ".join(f"`{name}`" for name in table.get("measures", [])),
        "first stage": f"`{table.get('retriever', 'comes with the data')}`",
        "counts": counts(card.get("counts", {})),
        "traps": "; ".join(map(str, card.get("traps", {}).values())),
    }
    head, *lines = [f"| {key} | {cell(value)} |" for key, value in rows.items() if isinstance(value, str) and value]
    return "\n".join([f"## {card['title']} {{ #{card['name']} }}\n", head, "|---|---|", *lines, ""])


def counts(table: dict[str, Any]) -> str:
    numbers = (f"{key.replace('_', ' ')} {value:,}" for key, value in table.items() if isinstance(value, int))
    return "; ".join(numbers)


def indexes() -> str:
    """A section for each index recipe."""
    return "\n".join(recipe(file) for file in sorted((ROOT / "indexes").glob("*.toml")))


def recipe(file: Path) -> str:
    data = tomllib.loads(file.read_text(encoding="utf-8"))
    options = [f"- `{name}`: {words}" for name, words in data.get("options", {}).items()]
    rows = [f"| {key.replace('_', ' ')} | {cell(figure(value))} |" for key, value in data.get("measured", {}).items()]
    return "\n".join(
        [
            f"## {file.stem}\n",
            f"`{data['name']}`\n",
            f"Take it when {data['take_it_when']}.\n",
            *options,
            "",
            "| measured | value |",
            "|---|---|",
            *rows,
            "",
        ]
    )


def figure(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {part}" for key, part in value.items())
    return f"`{value}`" if isinstance(value, str) and value.startswith(("python", "OMP")) else str(value)


def model(name: str) -> str:
    """The card of an embedded model, its links as seen from `models/`."""
    text = (ROOT / "mmrerank" / "mini" / name / "CARD.md").read_text(encoding="utf-8")
    return text.replace("](../../../docs/", "](../")


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
