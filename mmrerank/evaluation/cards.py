"""Cards: TOML files that say what a benchmark is, where it comes from and how its files are read.

Most of a card is for people: source, licence, counts, traps. What the loader needs stands in one table:

    [benchmark]
    layout = "triplets"                 a file of `mmrerank/evaluation/loaders/`
    split = "val"                       where none is asked for
    measures = ["mAP@5", "R@1"]         the official ones, the main one first
    retriever = "composed"              the first stage that suits the queries
    data = "."                          folder of the files below the card's; left out where they do not ship with the card
    get_it = "..."                      where the files are to be had
    below_zero = "removed"              items of grades below 0: taken out before measuring, or "wrong", as for trec_eval; the layout's way
                                        when left out
    server = "cirr"                     what `mmrerank.evaluation.submissions` writes for splits without judgements
    [benchmark.options]                 file names and field names of the layout, for every split
    [benchmark.splits.val]              for one split: `queries`, `items`, `first_query`, `last_query`, `first_item`, `last_item`
                                        are what must be found; all else is passed on as options
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrerank.errors import FormatError, InputError, UnknownName
from mmrerank.parts import BY_DESCRIPTORS
from mmrerank.text_files import read_toml

KEYS = {
    "layout": str,
    "split": str,
    "measures": list,
    "retriever": str,
    "encoder": str,
    "text_encoder": str,
    "data": str,
    "get_it": str,
    "server": str,
    "below_zero": str,
    "options": dict,
    "splits": dict,
}
DATASETS = Path(__file__).parents[2] / "datasets"  # of a checkout; the wheel has none
NEEDED = ("layout", "split", "measures", "splits")
BELOW_ZERO = ("wrong", "removed")
CHECKED = ("queries", "items", "first_query", "last_query", "first_item", "last_item")


@dataclass(frozen=True, kw_only=True)
class Card:
    """The part of a card that the loaders read."""

    path: Path
    name: str
    title: str
    layout: str
    split: str
    measures: tuple[str, ...]
    retriever: str
    encoder: str | None
    text_encoder: str | None
    data: Path | None  # where the files lie, when they ship with the card
    get_it: str
    server: str
    below_zero: str | None
    options: Mapping[str, Any]
    splits: Mapping[str, Mapping[str, Any]]

    def options_of(self, split: str) -> dict[str, Any]:
        """Options of the layout for one split; those of the split win."""
        return {**self.options, **{key: value for key, value in self._split(split).items() if key not in CHECKED}}

    def expected_of(self, split: str) -> dict[str, Any]:
        """What must be found in one split: counts, first and last ids, as far as they are known."""
        return {key: value for key, value in self._split(split).items() if key in CHECKED}

    def _split(self, split: str) -> Mapping[str, Any]:
        if split not in self.splits:
            raise UnknownName.among(f"split of {self.name}", split, self.splits)
        return self.splits[split]


def read_card(path: Path) -> Card:
    """The card in this file.

    Raises:
        InputError: the file cannot be read.
        FormatError: it is no TOML, has no [benchmark] table or no `name`, or a value is of the wrong type.
        UnknownName: [benchmark] has a key that no card has, or its default split is not described.
    """
    path = Path(path)
    content = _content(path)
    table = content.get("benchmark")
    if not isinstance(content.get("name"), str) or not isinstance(table, dict):
        raise FormatError("is no card of a benchmark: it lacks `name` or the table [benchmark]", path=path)
    _check(table, path)
    card = Card(
        path=path,
        name=content["name"],
        title=str(content.get("title", "")),
        layout=table["layout"],
        split=table["split"],
        measures=tuple(table["measures"]),
        retriever=table.get("retriever", BY_DESCRIPTORS),
        encoder=table.get("encoder"),
        text_encoder=table.get("text_encoder"),
        data=(path.parent / table["data"]) if "data" in table else None,
        get_it=table.get("get_it", ""),
        server=table.get("server", ""),
        below_zero=table.get("below_zero"),
        options=table.get("options", {}),
        splits=table["splits"],
    )
    card.expected_of(card.split)
    return card


def shipped_cards() -> list[Card]:
    """The cards of the repository, by name; none where only the wheel is installed."""
    paths = (*DATASETS.glob("*.toml"), *DATASETS.glob("*/card.toml"))
    return sorted((read_card(path) for path in paths), key=lambda card: card.name)


def _content(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise InputError(f"there is no card {path}")
    return read_toml(path)


def _check(table: Mapping[str, Any], path: Path) -> None:
    for key, value in table.items():
        if key not in KEYS:
            raise UnknownName.among(f"key of [benchmark] in {path.name}", key, KEYS)
        if not isinstance(value, KEYS[key]):
            raise FormatError(f"[benchmark] {key}: expected a {KEYS[key].__name__}, got {value!r}", path=path)
    if missing := [key for key in NEEDED if not table.get(key)]:
        raise FormatError(f"[benchmark] lacks {', '.join(missing)}", path=path)
    if not all(isinstance(name, str) for name in table["measures"]):
        raise FormatError(f"[benchmark] measures: expected names, got {table['measures']!r}", path=path)
    if table.get("below_zero", BELOW_ZERO[0]) not in BELOW_ZERO:
        raise FormatError(f"[benchmark] below_zero: expected 'wrong' or 'removed', got {table['below_zero']!r}", path=path)
    if not all(isinstance(split, dict) for split in table["splits"].values()):
        raise FormatError("[benchmark] splits: expected a table for each split", path=path)
