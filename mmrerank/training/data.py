"""Judged queries with their candidates, best first by a first stage, for training and for measuring.

    lists        JSON lines: {"id", "query", "candidates": [{"id", "text", "image", "metadata", "grade", "score"}], "qrels"}
    pairs        JSON lines: {"query", "positive": text or texts, "negative": texts}
    texts        JSON lines: {"text"}, which nothing is judged for: what a language is learnt from
    card         a card of the evaluation, its pictures and texts, with the run of a first stage
    captions     the items of a card, each asked for by its own text: pictures with captions
    collection   a collection of the user's own, with judgements or clicks in a CSV

A layout is a function of its name here; what it takes are the keys of the recipe's table. A candidate's grade is 0 where nobody judged it.
"""

from __future__ import annotations

import csv
import hashlib
import inspect
import io
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmrerank.backends import open_backend
from mmrerank.collection import Collection
from mmrerank.errors import FormatError, InputError, UnknownName
from mmrerank.evaluation.benchmark import Benchmark, open_benchmark
from mmrerank.evaluation.evaluate import collection_for
from mmrerank.evaluation.running import first_stage as first_stage_of
from mmrerank.evaluation.runs import read_run
from mmrerank.evaluation.sampling import evenly
from mmrerank.json_io import picture_from
from mmrerank.parts import make, stage_of
from mmrerank.protocols import Retriever
from mmrerank.text_files import json_lines, read_text
from mmrerank.training.recipe import Draw, Source, check_keys
from mmrerank.types import Candidate, Item, Query

FILE_ORDER = "given"  # the order of the file as the first stage
ANSWERS = "answers"  # folder in the cache: of models that are not trained


@dataclass(frozen=True, kw_only=True)
class Group:
    """A query, its candidates, and what is known of them."""

    query: Query
    candidates: tuple[Candidate, ...]  # best first by the first stage
    grades: Mapping[str, int]  # item_id -> grade, of items that no candidate is too
    teacher: Mapping[str, float] = field(default_factory=dict)  # item_id -> score of another model
    file_order: tuple[str, ...] = ()  # item ids in the order of the file, where that is another

    def grade(self, candidate: Candidate) -> int:
        return self.grades.get(candidate.item.item_id, 0)

    @property
    def is_mixed(self) -> bool:
        """Whether something can be learnt from it: right and wrong candidates."""
        grades = [self.grade(one) > 0 for one in self.candidates]
        return any(grades) and not all(grades)

    @property
    def is_text(self) -> bool:
        """Whether it is a text alone, with neither candidates nor judgements."""
        return not self.candidates and not self.grades


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The groups of one source."""

    groups: tuple[Group, ...]
    first_stage: str  # what ordered the candidates


def read_groups(source: Source, root: Path, cache: Path) -> Judged:
    """The groups of a source that its part has.

    Args:
        root: folder that its paths are below.
        cache: folder in which the collection of a card is made where there is none, and in which a teacher's model keeps its answers.

    Raises:
        UnknownName: no such layout, or no such key of it.
        InputError: a file is missing, or no group is left.
        FormatError: a file is not of the layout.
    """
    check_source(source)
    options = {key: value for key, value in source.options.items() if key != "teacher"}
    judged: Judged = LAYOUTS[source.layout](root, **options, **({"cache": cache} if "cache" in _parameters(source.layout) else {}))
    groups = tuple(group for group in judged.groups if _belongs(group, source))
    if not groups:
        raise InputError(f"no query is left of the {len(judged.groups)} of {source.options}", hint="Look at part and heldout_share.")
    teacher = source.options.get("teacher")
    return replace(judged, groups=groups if teacher is None else _taught(groups, teacher, root, cache))


def check_source(source: Source) -> None:
    """What of a source can be checked before its files are read.

    Raises:
        UnknownName: no such layout, or no such key of it.
        InputError: a key is missing.
    """
    if source.layout not in LAYOUTS:
        raise UnknownName.among("layout of data", source.layout, LAYOUTS)
    parameters = _parameters(source.layout)
    keys = [name for name in parameters if name not in ("root", "cache")]
    check_keys(f"key of the layout {source.layout!r}", source.options, [*keys, "teacher"])
    needed = [name for name in keys if parameters[name].default is inspect.Parameter.empty and name not in source.options]
    if needed:
        raise InputError(f"the layout {source.layout!r} needs {', '.join(needed)}")


def _parameters(layout: str) -> Mapping[str, inspect.Parameter]:
    """What the function of a layout takes."""
    return inspect.signature(LAYOUTS[layout]).parameters


def _belongs(group: Group, source: Source) -> bool:
    """Whether a group is in the part of the source; by its query's words, so that the same question is never in both."""
    if source.part == "all":
        return True
    digest = hashlib.sha256((group.query.text or group.query.query_id).encode()).digest()
    is_apart = int.from_bytes(digest[:4], "big") / 2**32 < source.heldout_share
    return is_apart == (source.part == "held_out")


def _taught(groups: Iterable[Group], teacher: str, root: Path, cache: Path) -> tuple[Group, ...]:
    """The groups with scores of a teacher: a TREC run, or a reranker that is asked here.

    Raises:
        InputError: it gives no scores for a query, or for none of its candidates.
    """
    scores_of = _run_scores(_there(root, teacher)) if teacher.endswith(".trec") else _reranker_scores(teacher, cache)
    taught = []
    for group in groups:
        known = scores_of(group)
        if known.keys().isdisjoint(_ids(group)):
            raise InputError(f"the teacher {teacher} has no scores for the candidates of query {group.query.query_id!r}")
        least = min(known.values())
        taught.append(replace(group, teacher={item_id: known.get(item_id, least) for item_id in _ids(group)}))
    return tuple(taught)


def _run_scores(path: Path) -> Callable[[Group], dict[str, float]]:
    run = read_run(path)

    def scores(group: Group) -> dict[str, float]:
        ids, values = run.rankings.get(group.query.query_id, ()), run.scores.get(group.query.query_id) or ()
        own = [one if one in _ids(group) else one.rpartition("::")[2] for one in ids]  # rows of a table are named behind it
        return {one: float(value) for one, value in zip(own, values, strict=False) if value is not None}

    return scores


def _reranker_scores(name: str, cache: Path) -> Callable[[Group], dict[str, float]]:
    """Its raw scores; of one that gives an order alone, each place less than the one before. A training that goes on after a kill reads
    its data again, and asks the teacher's model nothing twice."""
    stage = stage_of(name)
    part = make(stage, backend=open_backend(stage.backend, cache=cache / ANSWERS)) if stage.backend else make(stage)

    def scores(group: Group) -> dict[str, float]:
        ranked = part.rerank(group.query, list(group.candidates)).candidates
        known = {one.item.item_id: float(one.raw_score) for one in ranked if one.raw_score is not None}
        return known or {one.item.item_id: -float(place) for place, one in enumerate(ranked, 1)}

    return scores


def drawn(group: Group, draw: Draw, chance: random.Random) -> tuple[Candidate, ...]:
    """Right and wrong candidates as the recipe says, shuffled; fewer where there are fewer.

    Args:
        chance: what decides; the same state gives the same group.
    """
    right = [one for one in group.candidates if group.grade(one) > 0]
    wrong = [(rank, one) for rank, one in enumerate(group.candidates, 1) if group.grade(one) <= 0]
    taken = chance.sample(right, min(draw.positives, len(right)))
    for band in draw.negatives:
        within = [one for rank, one in wrong if band.first <= rank <= band.last and one not in taken]
        taken += chance.sample(within, min(band.count, len(within)))
    missing = draw.positives + sum(band.count for band in draw.negatives) - len(taken)
    rest = [one for _, one in wrong if one not in taken]  # a band that a short list does not have
    taken += chance.sample(rest, min(max(missing, 0), len(rest)))
    chance.shuffle(taken)
    return tuple(taken)


# ------------------------------------------------------------------ files


def _there(root: Path, name: str) -> Path:
    path = root / name
    if not path.exists():
        raise InputError(f"there is no {path}", hint="Name the folder of the data: data=PATH.")
    return path


def lists(root: Path, files: Sequence[str], first_stage: str = FILE_ORDER, depth: int | None = None, queries: int | None = None) -> Judged:
    """Questions with their candidates in JSON lines.

    Args:
        first_stage: "given" for the order of the file, or a reranker that needs no model, such as bm25.
        depth: how many candidates there are of each at most.
        queries: so many questions at most, evenly over the files.
    """
    groups = [_listed(row, f"{path.stem}-{line}", path, line) for path in _files(root, files) for line, row in json_lines(path)]
    return _ordered(groups if queries is None else evenly(groups, queries), first_stage, depth)


def _files(root: Path, files: Sequence[str] | str) -> list[Path]:
    return [_there(root, name) for name in ([files] if isinstance(files, str) else files)]


def _listed(row: Any, name: str, path: Path, line: int) -> Group:
    try:
        query_id = str(row.get("id", name))
        items = [_item(one, f"{query_id}-{n}", path.parent) for n, one in enumerate(row["candidates"])]
        grades = row.get("qrels") or {item.item_id: int(one.get("grade", 0)) for item, one in zip(items, row["candidates"], strict=True)}
        query = Query(query_id=query_id, text=row["query"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        expected = 'Expected {"query", "candidates": [{"text", "grade"}]}.'
        raise FormatError(f"no list of judged candidates: {error!r}", path=path, line=line, hint=expected) from error
    scores = [one.get("score") for one in row["candidates"]]
    candidates = tuple(Candidate(item=item, score=score) for item, score in zip(items, scores, strict=True))
    return Group(query=query, candidates=candidates, grades={str(item): int(grade) for item, grade in grades.items()})


def _item(entry: Any, name: str, folder: Path) -> Item:
    """A candidate's text, picture (a file below the folder, or a data URI) or both, or neither where it has metadata that are read."""
    picture, metadata = picture_from(entry["image"], folder) if entry.get("image") else None, entry.get("metadata") or {}
    text = entry.get("text") if picture is not None or metadata else str(entry["text"])
    return Item(item_id=str(entry.get("id", name)), text=text, image=picture, metadata=metadata)


def pairs(root: Path, files: Sequence[str], first_stage: str, depth: int | None = None, queries: int | None = None) -> Judged:
    """Questions with right and wrong texts in JSON lines; options as of `lists`, and a first stage, since the file gives no order.

    Raises:
        InputError: the order of the file is to be the first stage: right texts stand first in it.
    """
    if first_stage == FILE_ORDER:
        raise InputError("pairs come without an order: the right texts would stand first", hint="Name a reranker that needs no model.")
    groups = [_paired(row, f"{path.stem}-{line}", path, line) for path in _files(root, files) for line, row in json_lines(path)]
    judged = _ordered(groups if queries is None else evenly(groups, queries), first_stage, depth)
    return replace(judged, groups=tuple(replace(one, file_order=()) for one in judged.groups))


def texts(root: Path, files: Sequence[str]) -> Judged:
    """Texts in JSON lines, each the query of a group of its own without candidates."""
    rows = [(row, path, line) for path in _files(root, files) for line, row in json_lines(path)]
    for row, path, line in rows:
        if not isinstance(row, dict) or not isinstance(row.get("text"), str):
            raise FormatError('expected {"text"}', path=path, line=line)
    named = [Query(query_id=f"{path.stem}-{line}", text=row["text"]) for row, path, line in rows]
    return Judged(groups=tuple(Group(query=query, candidates=(), grades={}) for query in named), first_stage="none")


def _paired(row: Any, name: str, path: Path, line: int) -> Group:
    if not isinstance(row, dict) or not {"query", "positive", "negative"} <= set(row):
        raise FormatError('expected {"query", "positive", "negative"}', path=path, line=line)
    sides = [(row[side] if isinstance(row[side], list) else [row[side]], grade) for side, grade in (("positive", 1), ("negative", 0))]
    entries = [{"text": text, "grade": grade} for texts, grade in sides for text in texts]
    return _listed({"id": row.get("id", name), "query": row["query"], "candidates": entries}, name, path, line)


def _ordered(groups: Sequence[Group], first_stage: str, depth: int | None) -> Judged:
    """The groups with their candidates in the order of the first stage."""
    if first_stage == FILE_ORDER:
        return Judged(groups=tuple(replace(one, candidates=one.candidates[:depth]) for one in groups), first_stage="as given")
    reranker = make(first_stage, station="rerankers")
    done = [replace(one, candidates=reranker.rerank(one.query, one.candidates).candidates[:depth], file_order=_ids(one)) for one in groups]
    return Judged(groups=tuple(done), first_stage=reranker.name)


def _ids(group: Group) -> tuple[str, ...]:
    return tuple(one.item.item_id for one in group.candidates)


# ------------------------------------------------------------------ collections


def card(
    root: Path,
    cache: Path,
    card: str,
    data: str | None = None,
    split: str | None = None,
    retriever: str | None = None,
    run: str | None = None,
    depth: int = 100,
    queries: int | None = None,
) -> Judged:
    """The queries of a card of the evaluation, searched in a collection of its items, or with a TREC run of another system.

    Args:
        data: folder of the benchmark's files, where they do not ship with the card.
        split: the card's own where it is left out.
        queries: so many of them at most, evenly over the split.
    """
    benchmark = open_benchmark(_there(root, card), None if data is None else _there(root, data), split)
    collection = _collection_of(benchmark, cache)
    from_run = None if run is None else benchmark.in_item_ids(read_run(_there(root, run)))
    first = first_stage_of(benchmark, collection, name=retriever, run=from_run)
    some = benchmark.queries if queries is None else evenly(benchmark.queries, queries)
    return Judged(groups=tuple(_searched(some, benchmark.qrels, first, depth)), first_stage=first.name)


def _collection_of(benchmark: Benchmark, cache: Path) -> Collection:
    """The collection of a card's items, made where there is none."""
    items, _ = collection_for(benchmark, cache)
    if items is None:
        raise InputError(f"the card {benchmark.name!r} names no items", hint="Take one with sources.")
    return items


def captions(
    root: Path,
    cache: Path,
    card: str,
    filter: str | None = None,
    retriever: str | None = None,
    depth: int = 100,
    queries: int | None = None,
) -> Judged:
    """The items of a card's collection, each asked for by its own text, among all of them.

    Args:
        filter: SQL over the fields of the items that are asked for, such as a split.
        queries: so many of them at most, evenly over their ids.
    """
    benchmark = open_benchmark(_there(root, card), None)
    items = _collection_of(benchmark, cache)
    first = first_stage_of(benchmark, items, name=retriever, run=None)
    targets = [item for item in items.version.items(filter) if item.text and item.image is not None]
    some = targets if queries is None else evenly(targets, queries)
    texts = [Query(query_id=item.item_id, text=item.text) for item in some]
    grades = {item.item_id: {item.item_id: 1} for item in some}
    return Judged(groups=tuple(_searched(texts, grades, first, depth)), first_stage=first.name)


def collection(
    root: Path, collection: str, judgements: str | None = None, clicks: str | None = None, retriever: str | None = None, depth: int = 100
) -> Judged:
    """A collection of the user's own with what people said or did.

    Args:
        judgements: CSV with `query`, `item_id` and, where there are several, `grade`.
        clicks: CSV with `query` and `item_id`, a row a click. What stood above the last click of a query and was not clicked is wrong, what
            stood below nobody saw (Joachims 2002).
    """
    if (judgements is None) == (clicks is None):
        raise InputError("a collection needs judgements or clicks, one of the two")
    version = Collection.open(_there(root, collection)).version
    grades = _grades(_there(root, judgements or clicks or ""))
    queries = [Query(query_id=text, text=text) for text in grades]
    first = version.retriever(retriever or version.default_retriever(queries[0]))
    missing = sorted({item for row in grades.values() for item in row} - {item.item_id for item in version.items()})
    if missing:
        raise InputError(f"{len(missing)} judged items are not in {collection}: {', '.join(missing[:3])}")
    groups = list(_searched(queries, grades, first, depth))
    return Judged(groups=tuple(map(_seen, groups) if clicks else groups), first_stage=first.name)


def _grades(path: Path) -> dict[str, dict[str, int]]:
    """query -> item -> grade of a CSV with a header."""
    reader = csv.DictReader(io.StringIO(read_text(path)))
    if not {"query", "item_id"} <= set(reader.fieldnames or ()):
        raise FormatError(f"expected the columns query, item_id and grade; got {', '.join(reader.fieldnames or ()) or 'none'}", path=path)
    grades: dict[str, dict[str, int]] = {}
    for line, row in enumerate(reader, 2):
        try:
            grades.setdefault(row["query"].strip(), {})[row["item_id"].strip()] = int(row.get("grade") or 1)
        except (ValueError, AttributeError) as error:
            raise FormatError(f"no judgement: {row}", path=path, line=line) from error
    if not grades:
        raise FormatError("there is no judgement in it", path=path)
    return grades


def _searched(queries: Iterable[Query], qrels: Mapping[str, Mapping[str, int]], first: Retriever, depth: int) -> Iterable[Group]:
    for query in queries:
        yield Group(query=query, candidates=first.retrieve(query, depth).candidates, grades=qrels.get(query.query_id, {}))


def _seen(group: Group) -> Group:
    """The candidates down to the last that was clicked."""
    clicked = [place for place, one in enumerate(group.candidates) if group.grade(one) > 0]
    return replace(group, candidates=group.candidates[: max(clicked, default=-1) + 1])


LAYOUTS: Mapping[str, Callable[..., Judged]] = {layout.__name__: layout for layout in (lists, pairs, texts, card, captions, collection)}
