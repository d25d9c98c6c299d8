"""A benchmark as the evaluation sees it, and `open_benchmark`, which makes one from a card and the files it describes.

The ids of items are those that `Collection.add(sources)` gives them, so that a search result can be measured as it comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from mmrerank.errors import FormatError, InputError, UnknownName
from mmrerank.evaluation.cards import Card, read_card
from mmrerank.evaluation.loaders._loaded import Loaded
from mmrerank.types import Query

_LOADERS = Path(__file__).parent / "loaders"


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Queries, what answers them, and how a ranking is measured."""

    name: str
    queries: tuple[Query, ...]
    qrels: Mapping[str, Mapping[str, int]]  # query_id -> item_id -> grade; negative grade: junk, removed before measuring
    measures: tuple[str, ...]  # official ones, first is the main one
    sources: tuple[Path, ...] = ()  # what `Collection.add` indexes; none: only runs of other systems can be scored
    galleries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # query_id -> the items it is searched in
    removed: Mapping[str, frozenset[str]] = field(default_factory=dict)  # query_id -> ids taken out of a ranking before measuring
    subsets: Mapping[str, frozenset[str]] = field(default_factory=dict)  # query_id -> small gallery of R_subset@k
    groups: Mapping[str, str] = field(default_factory=dict)  # query_id -> group averaged on its own
    retriever: str = "dense"  # first stage that suits the queries
    encoder: str | None = None
    text_encoder: str | None = None


def open_benchmark(card: Path, data: Path | None = None, split: str | None = None) -> Benchmark:
    """The benchmark that a card describes, read from its files and checked against the counts and ids of the card.

    Args:
        card: the TOML file.
        data: folder of the files as the authors ship them; may be left out where they ship with the card.
        split: part of the benchmark; the card's default when None.

    Raises:
        InputError: the card or a file of the benchmark is missing; the hint says where to get it.
        UnknownName: the card has no such split, or a layout or key that there is none of.
        FormatError: a file is not of the layout, or holds other counts or ids than the card says.
    """
    found = read_card(Path(card))
    name = split or found.split
    loaded = _load(found, data, name)
    return Benchmark(
        name=f"{found.name}/{name}",
        queries=loaded.queries,
        qrels=loaded.qrels,
        measures=found.measures,
        sources=tuple(source for source in loaded.sources if source.exists()),
        galleries=loaded.galleries,
        removed=loaded.removed,
        subsets=loaded.subsets,
        groups=loaded.groups,
        retriever=found.retriever,
        encoder=found.encoder,
        text_encoder=found.text_encoder,
    )


def corpus_ids(card: Path, data: Path | None = None, split: str | None = None) -> tuple[str, ...]:
    """Ids of all items that the benchmark's queries are searched in; empty where its files do not list them.

    Raises:
        as `open_benchmark`.
    """
    found = read_card(Path(card))
    return _load(found, data, split or found.split).items


def _load(card: Card, data: Path | None, split: str) -> Loaded:
    folder = data or card.data
    if folder is None:
        raise InputError(f"the files of {card.name} do not ship with its card; name their folder.", hint=card.get_it)
    if not Path(folder).is_dir():
        raise InputError(f"there is no folder {folder} with the files of {card.name}.", hint=card.get_it)
    options = card.options_of(split)
    try:
        loaded: Loaded = _layout(card).load(Path(folder), split, options)
    except InputError as error:
        raise type(error)(error.message, hint=error.hint or card.get_it) from error
    _check(card, split, loaded)
    return loaded


def _layout(card: Card) -> Any:
    known = sorted(path.stem for path in _LOADERS.glob("[a-z]*.py"))
    if card.layout not in known:
        raise UnknownName.among("layout", card.layout, known)
    return import_module(f"mmrerank.evaluation.loaders.{card.layout}")


def _check(card: Card, split: str, loaded: Loaded) -> None:
    """Compares what was found with what the card says; what the files do not tell (no list of items) is passed over."""
    ids = tuple(query.query_id for query in loaded.queries)
    found: dict[str, Any] = {"queries": len(ids)} | _ends("query", ids)
    if loaded.items:
        found |= {"items": len(loaded.items)} | _ends("item", loaded.items)
    wrong = {key: value for key, value in card.expected_of(split).items() if key in found and found[key] != value}
    if wrong:
        told = "; ".join(f"{key.replace('_', ' ')}: {value!r} expected, {found[key]!r} found" for key, value in wrong.items())
        raise FormatError(f"the files are not the split {split!r} that the card describes: {told}.", path=card.path, hint=card.get_it)


def _ends(what: str, ids: tuple[str, ...]) -> dict[str, str | None]:
    return {f"first_{what}": ids[0] if ids else None, f"last_{what}": ids[-1] if ids else None}
