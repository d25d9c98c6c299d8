"""A benchmark as the evaluation sees it, and `open_benchmark`, which makes one from a card and the files it describes.

The ids of items are those that `Collection.add(sources)` gives them, so that a search result can be measured as it comes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from mmrerank.errors import FormatError, InputError, UnknownName
from mmrerank.evaluation.cards import Card, read_card
from mmrerank.evaluation.loaders._loaded import Loaded
from mmrerank.evaluation.runs import Run
from mmrerank.parts import BY_DESCRIPTORS
from mmrerank.types import Query

_LOADERS = Path(__file__).parent / "loaders"


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Queries, what answers them, and how a ranking is measured."""

    name: str
    queries: tuple[Query, ...]
    qrels: Mapping[str, Mapping[str, int]]  # query_id -> item_id -> grade; for grades below 0 see `junk`
    measures: tuple[str, ...]  # official ones, first is the main one
    junk: bool = True  # whether items of grades below 0 are taken out before measuring; where not, they count as wrong
    sources: tuple[Path, ...] = ()  # what `Collection.add` indexes; none: only runs of other systems can be scored
    missing: tuple[Path, ...] = ()  # what it would index too, and is not there
    get_it: str = ""  # where the files are to be had
    galleries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # query_id -> the items it is searched in
    removed: Mapping[str, frozenset[str]] = field(default_factory=dict)  # query_id -> ids taken out of a ranking before measuring
    subsets: Mapping[str, frozenset[str]] = field(default_factory=dict)  # query_id -> small gallery of R_subset@k
    groups: Mapping[str, str] = field(default_factory=dict)  # query_id -> group averaged on its own
    items: tuple[str, ...] = ()  # all that is searched; empty where the files do not list it
    names: Mapping[str, str] = field(default_factory=dict)  # item id -> what the authors call it, where that differs
    references: Mapping[str, str] = field(default_factory=dict)  # query_id -> the item whose picture the query begins with
    shipped_run: Run | None = None  # the first stage that the authors ship, for rerankers to start from
    read_with: tuple[str, ...] = ()  # readers that `Collection.add` is to use instead of those with default options
    server: str = ""  # whose submissions are written for a split without judgements
    retriever: str = BY_DESCRIPTORS  # first stage that suits the queries
    encoder: str | None = None
    text_encoder: str | None = None

    @property
    def judged(self) -> bool:
        """Whether right answers are known here; where not, a server measures what is submitted to it."""
        return bool(self.qrels) or not self.queries

    def in_item_ids(self, run: Run) -> Run:
        """The run of a system that calls the items as the authors do, in the ids of the items.

        Raises:
            InputError: none of its items is one of the benchmark, so that every figure would be 0 for want of a common name. Where
                the files do not list all items, pages and rows of the files that they name count as items.
        """
        items = {name: item for item, name in self.names.items()}
        rankings = {q: tuple(i if i in self.names else items.get(i, i) for i in ids) for q, ids in run.rankings.items()}
        known = self._known_items()
        items_of_run = {item for query in self.queries for item in rankings.get(query.query_id, ())}
        files = set() if self.items else {_file(item) for item in known} - {""}
        if items_of_run and known and known.isdisjoint(items_of_run) and files.isdisjoint(map(_file, items_of_run)):
            message = (
                f"the run {run.name!r} holds no item of {self.name} that is known here: {min(items_of_run)!r} where {min(known)!r} is one"
            )
            raise InputError(message, hint="Items are called as the benchmark's authors call them, or as a collection of its files does.")
        return replace(run, rankings=rankings)

    def _known_items(self) -> set[str]:
        by_query = (*self.galleries.values(), *self.removed.values(), *self.subsets.values(), *self.qrels.values())
        shipped = () if self.shipped_run is None else self.shipped_run.rankings.values()
        return {*self.items, *self.names, *(item for ids in (*by_query, *shipped) for item in ids)}


def _file(item_id: str) -> str:
    """What an item is a page or a row of; "" where it is a file itself."""
    name, mark, _ = item_id.replace("#page=", "::").rpartition("::")
    return name if mark else ""


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
    description = read_card(Path(card))
    name = split or description.split
    loaded = _load(description, data, name)
    return Benchmark(
        name=f"{description.name}/{name}",
        queries=loaded.queries,
        qrels=loaded.qrels,
        measures=description.measures,
        junk=loaded.junk if description.below_zero is None else description.below_zero == "removed",
        sources=tuple(source for source in loaded.sources if source.exists()),
        missing=tuple(source for source in loaded.sources if not source.exists()),
        get_it=description.get_it,
        galleries=loaded.galleries,
        removed=loaded.removed,
        subsets=loaded.subsets,
        groups=loaded.groups,
        items=loaded.items,
        names=loaded.names,
        references=loaded.references,
        shipped_run=_shipped_run(description, loaded),
        read_with=loaded.read_with,
        server=description.server,
        retriever=description.retriever,
        encoder=description.encoder,
        text_encoder=description.text_encoder,
    )


def _shipped_run(card: Card, loaded: Loaded) -> Run | None:
    """The first stage that comes with the queries, as a run."""
    if not loaded.first_stage:
        return None
    return Run(
        tag="given",
        rankings={query_id: tuple(scores) for query_id, scores in loaded.first_stage.items()},
        scores={query_id: tuple(scores.values()) for query_id, scores in loaded.first_stage.items()},
        made_by={"first_stage": f"as the files of {card.name} give it"},
    )


def _load(card: Card, data: Path | None, split: str) -> Loaded:
    folder = data or card.data
    if folder is None:
        raise InputError(f"the files of {card.name} do not ship with its card; name their folder.", hint=card.get_it)
    if not os.path.isdir(folder):  # unlike Path.is_dir, it takes names that no folder can have
        raise InputError(f"there is no folder {folder} with the files of {card.name}.", hint=card.get_it)
    options = card.options_of(split)
    try:
        loaded: Loaded = _layout(card).load(Path(folder), split, options)
    except InputError as error:
        raise type(error)(error.message, hint=error.hint or card.get_it) from error
    except OSError as error:  # a name that no file can have
        raise InputError(f"a file of {card.name} cannot be looked at: {error.strerror}", hint=card.get_it) from error
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
    actual: dict[str, Any] = {"queries": len(ids)} | _ends("query", ids)
    if loaded.items:
        actual |= {"items": len(loaded.items)} | _ends("item", loaded.items)
    wrong = {key: value for key, value in card.expected_of(split).items() if key in actual and actual[key] != value}
    if wrong:
        message = "; ".join(f"{key.replace('_', ' ')}: {value!r} expected, {actual[key]!r} found" for key, value in wrong.items())
        raise FormatError(f"the files are not the split {split!r} that the card describes: {message}.", path=card.path, hint=card.get_it)


def _ends(what: str, ids: tuple[str, ...]) -> dict[str, str | None]:
    return {f"first_{what}": ids[0] if ids else None, f"last_{what}": ids[-1] if ids else None}
