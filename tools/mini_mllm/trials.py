"""The judged queries that an MLLM's rerankers are measured on, and what came of each."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from mmrerank.collection import Collection
from mmrerank.evaluation.sampling import evenly
from mmrerank.protocols import Backend, Reranker, Retriever
from mmrerank.types import Candidate, Item, Notes, Query, Ranking
from tools.mini_clip.data import Table, caption
from tools.mini_mllm.cards import draw_card
from tools.mini_mllm.samples import Material, distance
from tools.mini_mllm.tasks import NUMBERS
from tools.mini_mllm.two_pass import two_pass

PICTURES, CARDS = "pictures.parquet", "cards.parquet"
PAGE_QUESTION = "Where is {}?"  # no word of it stands on a card, so that the first stage is not led astray


@dataclass(frozen=True, kw_only=True)
class JudgedQuery:
    """A query, the items that answer it, and the item its picture was taken from, which is no answer."""

    query: Query
    relevant: frozenset[str]
    own: str = ""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One query through a first stage and a reranker, over the same candidates."""

    judged: JudgedQuery
    before: tuple[Candidate, ...]
    after: tuple[Candidate, ...]
    notes: Notes

    def rank(self, candidates: Sequence[Candidate]) -> int:
        """Position of the first right item, from 1; one more than there are candidates where none is right."""
        places = [n for n, candidate in enumerate(candidates, 1) if candidate.item.item_id in self.judged.relevant]
        return min(places, default=len(candidates) + 1)

    @property
    def ranks(self) -> tuple[int, int]:
        """Before and after."""
        return self.rank(self.before), self.rank(self.after)


def rerank(
    queries: Sequence[JudgedQuery], retriever: Retriever, reranker: Callable[[Backend], Reranker], depth: int, backend: Backend
) -> Iterator[Trial]:
    """The trials of these queries; the picture a query was made of is no candidate."""
    firsts = [first(one, retriever, depth) for one in queries]

    def ask(other: Backend) -> None:
        listening = reranker(other)
        for one, before in zip(queries, firsts, strict=True):
            listening.rerank(one.query, before)

    answering = reranker(two_pass(backend, ask))
    for one, before in zip(queries, firsts, strict=True):
        ranking = answering.rerank(one.query, before)
        yield Trial(judged=one, before=before, after=ranking.candidates, notes=replace(ranking.notes, pictures=()))


def compare(
    queries: Sequence[JudgedQuery], retriever: Retriever, other: Callable[[Backend], Retriever], depth: int, backend: Backend
) -> Iterator[Trial]:
    """Trials of two first stages in place of a stage and its reranker."""

    def ask(listener: Backend) -> None:
        listening = other(listener)
        for one in queries:
            listening.retrieve(one.query, 1)

    answering = other(two_pass(backend, ask))
    for one in queries:
        ranking = answering.retrieve(one.query, depth + 1)
        yield Trial(judged=one, before=first(one, retriever, depth), after=_without(ranking, one.own, depth), notes=ranking.notes)


def first(one: JudgedQuery, retriever: Retriever, depth: int) -> tuple[Candidate, ...]:
    """The candidates of the first stage."""
    return _without(retriever.retrieve(one.query, depth + 1), one.own, depth)


def _without(ranking: Ranking, own: str, depth: int) -> tuple[Candidate, ...]:
    return tuple(candidate for candidate in ranking.candidates if candidate.item.item_id != own)[:depth]


# ------------------------------------------------------------------


def indexed(folder: Path, source: Path) -> Collection:
    """The pictures of a table, indexed with the embedded CLIP; as it is where that was done before."""
    collection = Collection.open_or_create(folder, encoders=["openclip/mini"])
    collection.add([source])
    return collection


def composed(emoji: Collection, data: Path, split: str, most: int) -> list[JudgedQuery]:
    """Up to `most` composed queries of a split, evenly over all of them."""
    rows = [row for row in map(json.loads, (data / "queries.jsonl").read_text(encoding="utf-8").splitlines()) if row["split"] == split]
    rows = evenly(rows, most)
    items = {row["image"]: emoji.item(row["image"]) for row in rows}
    return [
        JudgedQuery(query=_query(row["query_id"], row["text"], items[row["image"]]), relevant=frozenset(row["relevant"]), own=row["image"])
        for row in rows
    ]


def _query(query_id: str, text: str, item: Item) -> Query:
    return Query(query_id=query_id, text=text, images=(item.image,) if item.image is not None else ())


def write_cards(table: Table, path: Path, seed: int = 0) -> None:
    """A table of cards, one for every picture: the picture, a number, and its name, which is the page's text as well."""
    chance = random.Random(f"{seed} cards")
    rows = []
    for emoji, pixels in zip(table.emojis, table.pixels, strict=True):
        number = chance.randint(1, NUMBERS)
        rows.append({"key": emoji.key, "image": _png(draw_card(pixels, emoji.name, number)), "text": emoji.name})
    pq.write_table(pa.Table.from_pylist(rows), path)


def _png(pixels: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")  # type: ignore[arg-type]
    return out.getvalue()


def card_questions(table: Table, split: str, most: int) -> list[JudgedQuery]:
    """Where a picture of a split is, which is described in other words than those on its card."""
    chance = random.Random(f"{split} cards")
    rows = [{"key": table.emojis[row].key, "words": caption(table.emojis[row], chance, 0.0)} for row in table.rows(split)]
    return [
        JudgedQuery(
            query=Query(query_id=row["key"], text=PAGE_QUESTION.format(row["words"])), relevant=frozenset({f"{CARDS}::{row['key']}"})
        )
        for row in evenly(rows, most)
    ]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A question about a picture, and pictures one attribute off it."""

    query: Query
    target: str  # item ids
    negatives: tuple[str, ...]


def pairs(table: Table, emoji: Collection, split: str, most: int, *, change: bool, negatives: int = 4) -> list[Pair]:
    """Targets of a split, each with pictures that differ from it in one attribute: by caption, or as a change to a reference."""
    material, chance = Material(table, tuple(set(table.splits)), split), random.Random(f"{split} pairs {change}")
    questions = []
    for number in range(most):
        reference, row, words = material.compose(chance) if change else (-1, chance.choice(material.people), "")
        others = [n for n in material.alike(row, 3 * negatives, chance) if _off(material, row, n) == 1 and n != reference][:negatives]
        image = emoji.item(f"{PICTURES}::{material.emojis[reference].key}").image if change else None
        query = Query(query_id=str(number), text=words or material.emojis[row].name, images=(image,) if image is not None else ())
        ids = [f"{PICTURES}::{material.emojis[n].key}" for n in (row, *others)]
        questions.append(Pair(query=query, target=ids[0], negatives=tuple(ids[1:])))
    return questions


def _off(material: Material, one: int, other: int) -> int:
    return distance(material.emojis[one], material.emojis[other])


def candidates(emoji: Collection, item_ids: Iterable[str]) -> tuple[Candidate, ...]:
    """Candidates without their names, so that only the picture tells."""
    return tuple(Candidate(item=replace(emoji.item(item_id), text=None)) for item_id in item_ids)
