"""Document sets with questions for the benches: pages read by our readers, held in memory behind the `Corpus` protocol."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mmrerank.parts import make
from mmrerank.protocols import EmbeddingSpace
from mmrerank.types import Array, Candidate, Item, Keys, PageNames, ReadItem


@dataclass(frozen=True, kw_only=True)
class Question:
    question_id: str
    text: str
    document_id: str | None  # where the evidence is known to lie in one document
    evidence: frozenset[str]  # item ids
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DocumentSet:
    items: list[Item]
    questions: list[Question]

    @cached_property
    def documents(self) -> dict[str, list[str]]:
        """Document id -> item ids in page order."""
        found: dict[str, list[str]] = {}
        for item in self.items:
            found.setdefault(item.document_id or item.item_id, []).append(item.item_id)
        return found


class PageCorpus:
    """Pages, a text index by name, and an encoder's vectors of each page that has some. Of SQL it knows what `lexical` and these
    benches ask: one document, some items."""

    def __init__(self, items: Sequence[Item], index: str = "bm25_index", vectors: Vectors | None = None) -> None:
        self._items = list(items)
        self._space = PageSpace(self._items, vectors, self._allowed) if vectors is not None else None
        self._documents = np.array([item.document_id or "" for item in items])
        self._numbers = np.array([item.page_number or 0 for item in items])
        self._index = make(index, station="index")
        self._index.fit(np.arange(len(items)), [item.text or "" for item in items])

    def matching(self, text: str, k: int, *, filter: str | None = None) -> list[Candidate]:
        found = self._index.search(text, k, allowed=self._allowed(filter))
        return [Candidate(item=self._items[n], score=float(score)) for n, score in zip(found.ids, found.scores, strict=True)]

    def _allowed(self, condition: str | None) -> Keys | None:
        if condition is None:
            return None
        kept = np.ones(len(self._items), bool)
        if match := re.search(r"document_id = '((?:[^']|'')*)'", condition):
            kept &= self._documents == match[1].replace("''", "'")
        if match := re.search(r"item_id IN \((.*)\)", condition):
            ids = {quoted.replace("''", "'") for quoted in re.findall(r"'((?:[^']|'')*)'", match[1])}
            kept &= np.array([item.item_id in ids for item in self._items], bool)
        return np.flatnonzero(kept)

    def idf(self, text: str) -> Mapping[str, float]:
        return dict(self._index.idf(text))

    def pages(self, names: PageNames, k: int, *, filter: str | None = None) -> list[Item]:
        allowed = self._allowed(filter)
        items = self._items if allowed is None else [self._items[n] for n in allowed]
        last = {item.document_id: item.page_number or 0 for item in self._items}  # pages come in order
        return [i for i in items if names.fit(i) or last[i.document_id] - (i.page_number or 0) in names.from_end][:k]

    def space(self, **_: Any) -> EmbeddingSpace:
        if self._space is None:
            raise NotImplementedError("this bench searches text only")
        return self._space


class PageSpace:
    """The vectors of pages in memory: what `EncoderSpace` is over a collection."""

    def __init__(self, items: list[Item], vectors: Vectors, allowed: Callable[[str | None], Keys | None]) -> None:
        self.encoder, self._vectors, self._allowed, self._items = vectors.encoder, vectors, allowed, items
        self._places = np.array([n for n, item in enumerate(items) if item.item_id in vectors.tokens], dtype=np.int64)
        self._rows = vectors.encoder.pooled([vectors.tokens[self._items[n].item_id] for n in self._places])

    def nearest(self, row: Array, k: int, *, filter: str | None = None) -> list[Candidate]:
        allowed = self._allowed(filter)
        kept = np.arange(len(self._places)) if allowed is None else np.flatnonzero(np.isin(self._places, allowed))
        scores = self._rows[kept] @ row
        order = np.argsort(-scores, kind="stable")[:k]
        return [Candidate(item=self._items[self._places[kept[n]]], score=float(scores[n])) for n in order]

    def rows(self, item_ids: Sequence[str]) -> Array:
        return self.encoder.pooled(self.tokens(item_ids))

    def tokens(self, item_ids: Sequence[str]) -> list[Array]:
        return [self._vectors.tokens[item_id] for item_id in item_ids]


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """An encoder of passages with those of each page that has text."""

    encoder: Any
    tokens: Mapping[str, Array]  # item id -> (n_passages, dimension)


def encoded(items: Sequence[Item], encoder: str, kept: Path | None) -> Vectors:
    """The passages of every page that has text, from the file `kept` where an earlier run left them there."""
    part = make(encoder, station="encoders")
    with_text = [item for item in items if (item.text or "").strip()]
    told = hashlib.sha256("".join(f"{item.item_id} {item.text}" for item in with_text).encode()).hexdigest()
    of = f"{part.weights_hash} {part.name.partition('(')[2]} {told}"
    if kept is not None and kept.exists() and str(np.load(kept)["of"]) == of:
        held = np.load(kept)
        tokens = np.split(held["rows"].astype(np.float32), held["ends"][:-1])
    else:
        groups = (with_text[start : start + 32] for start in range(0, len(with_text), 32))
        tokens = [rows for group in groups for rows in part.encode_tokens([item.text for item in group])]
        if kept is not None:
            np.savez(kept, of=of, rows=np.concatenate(tokens).astype(np.float16), ends=np.cumsum([len(rows) for rows in tokens]))
    return Vectors(encoder=part, tokens={item.item_id: rows for item, rows in zip(with_text, tokens, strict=True)})


def read_set(folder: Path, *, ocr: str) -> DocumentSet:
    """The set below `folder`, known by the files it has."""
    if (folder / "pdfs").is_dir():
        return _mmlongbench(folder, ocr)
    return _receipts(folder, ocr) if (folder / "receipts.jsonl").exists() else _deck(folder, ocr)


def in_document(document_id: str) -> str:
    quoted = document_id.replace("'", "''")
    return f"document_id = '{quoted}'"


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _items(paths: Sequence[Path], reader: str) -> list[Item]:
    part = make(reader, station="readers")
    return [entry.item for path in paths for entry in part.read(path, path.name) if isinstance(entry, ReadItem)]


def _mmlongbench(folder: Path, ocr: str) -> DocumentSet:
    questions = [
        Question(
            question_id=q["id"],
            text=q["question"],
            document_id=q["doc"],
            evidence=frozenset(f"{q['doc']}#page={number + 1}" for number in q["evidence_pages"]),
            sources=tuple(source.split(" (")[0] for source in q["evidence_sources"]),
        )
        for q in _lines(folder / "queries.jsonl")
        if q["evidence_pages"] and not q["evidence_out_of_range"]
    ]
    return DocumentSet(items=pages_of(folder, ocr=ocr), questions=questions)


def pages_of(folder: Path, *, ocr: str) -> list[Item]:
    """The pages of every PDF in `pdfs/` below the folder."""
    return _items(sorted((folder / "pdfs").glob("*.pdf")), f"pdf(ocr={ocr})")


def _receipts(folder: Path, ocr: str) -> DocumentSet:
    """Scanned receipts; the question for each is its company and date. A second of the same company and day counts as well."""
    rows = _lines(folder / "receipts.jsonl")
    named = {row["image"]: (row["company"], row["date"]) for row in rows}
    questions = [
        Question(
            question_id=row["image"],
            text=f"receipt of {row['company']} dated {row['date']}",
            document_id=None,
            evidence=frozenset(image for image, name in named.items() if name == named[row["image"]]),
        )
        for row in rows
    ]
    return DocumentSet(
        items=_items([folder / "images" / row["image"] for row in rows], f"images(pages=all, ocr={ocr})"), questions=questions
    )


def _deck(folder: Path, ocr: str) -> DocumentSet:
    asked = json.loads((folder / "rag_dataset.json").read_text("utf-8"))
    questions = [
        Question(
            question_id=str(n),
            text=q["query"],
            document_id="document.pdf",
            evidence=frozenset(f"document.pdf#page={number}" for number in q["meta_info"]["reference_page"]),
        )
        for n, q in enumerate(asked["examples"])
    ]
    return DocumentSet(items=_items([folder / "document.pdf"], f"pdf(ocr={ocr})"), questions=questions)
