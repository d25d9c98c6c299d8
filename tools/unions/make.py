"""Writes the union of three first stages for each question of a card, as `mmrerank train ranknovo_union` reads it.

    python -m tools.unions.make datasets/handbook/card.toml --encoder MINILM --out DATA/unions/handbook.jsonl
    python -m tools.unions.make datasets/mmlongbench_pages.toml --data DATA/mmlongbench --encoder MINILM --read-with "pdf(ocr=never)" \\
        --pages 50 --out DATA/unions/mmlongbench.jsonl

    lexical    BM25 with the openings and captions of pages, as in a collection
    dense      cosine of the question with the best passage of a page, passages of 126 tokens
    late       late interaction: over the question's tokens, the sum of the best cosine among the tokens of a page

The encoder of the last two is any BERT of sentences, such as all-MiniLM-L6-v2; its last states are the vectors of tokens, their mean
that of a passage. A page is read up to two passages. A line is {"id", "query", "candidates": [{"id", "metadata": {"stages"}, "score"}],
"qrels"}; the candidates stand in the order of reciprocal rank fusion. Questions without an answer are left out. Where the stages have a
page is of one question, so that an id is QUESTION/PAGE. Beside handbook.jsonl stands handbook.corpus.jsonl, the same candidates as a table
of {"id", "text": the page, "stages"}, by which `mmrerank evaluate datasets/unions.toml` measures.

Cost: reading the documents, and encoding, some .1 s a page.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from mmrerank.collection import Collection
from mmrerank.errors import InputError
from mmrerank.evaluation.benchmark import Benchmark, open_benchmark
from mmrerank.evaluation.evaluate import collection_for
from mmrerank.fusion import reciprocal_rank_fusion
from mmrerank.types import Item, Query

DEPTH = 50  # of each first stage
PASSAGE, PASSAGES, AT_ONCE = 126, 2, 8  # tokens; of a page; in one pass
Ranked = list[tuple[str, float]]  # ids with their scores, best first


class Sentences:
    """Texts -> unit vectors of their tokens."""

    def __init__(self, folder: str) -> None:
        from transformers import AutoModel, AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._network = AutoModel.from_pretrained(folder, local_files_only=True, add_pooling_layer=False).eval()

    def passages(self, text: str) -> list[list[int]]:
        """The tokens of a text, cut into passages."""
        ids = self._tokenizer(text, add_special_tokens=False, truncation=True, max_length=PASSAGE * PASSAGES)["input_ids"]
        return [ids[start : start + PASSAGE] for start in range(0, len(ids), PASSAGE)]

    @torch.inference_mode()
    def states(self, passages: Sequence[Sequence[int]]) -> list[Tensor]:
        """(n_tokens, D) of each passage, with the tokens that begin and end it."""
        begin, end = self._tokenizer.cls_token_id, self._tokenizer.sep_token_id
        states: list[Tensor] = []
        for start in range(0, len(passages), AT_ONCE):
            rows = [torch.tensor([begin, *one, end]) for one in passages[start : start + AT_ONCE]]
            ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
            mask = nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                output = self._network(input_ids=ids, attention_mask=mask).last_hidden_state.float()
            states += [state[: len(row)] for state, row in zip(output, rows, strict=True)]
        return states


def unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=-1)


class Pages:
    """The pages that one set of questions is searched in, encoded."""

    def __init__(self, items: Sequence[Item], sentences: Sentences) -> None:
        cut = [(item.item_id, passage) for item in items for passage in sentences.passages(item.text or "")]
        self._owners, self._states = [item_id for item_id, _ in cut], sentences.states([passage for _, passage in cut])

    def dense(self, question: Tensor) -> Ranked:
        """By the best passage; `question` (n_tokens, D)."""
        row = unit(question.mean(dim=0))
        return best_of((owner, float(unit(states.mean(dim=0)) @ row)) for owner, states in zip(self._owners, self._states, strict=True))

    def late(self, question: Tensor) -> Ranked:
        """By the best tokens of a page; `question` (n_tokens, D)."""
        best: dict[str, Tensor] = {}
        for owner, states in zip(self._owners, self._states, strict=True):
            near = (unit(question) @ unit(states).T).max(dim=1).values
            best[owner] = torch.maximum(best[owner], near) if owner in best else near
        return best_of((owner, float(near.sum())) for owner, near in best.items())


def best_of(scores: Iterator[tuple[str, float]]) -> Ranked:
    """Each id with its best score, best first; ties by id."""
    best: dict[str, float] = {}
    for item_id, score in scores:
        best[item_id] = max(score, best.get(item_id, score))
    return sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))[:DEPTH]


def line(query: Query, stages: Mapping[str, Ranked], grades: Mapping[str, int]) -> dict[str, Any]:
    """One question with the union of its first stages."""
    seen: dict[str, dict[str, tuple[int, float]]] = {}
    for name, ranked in stages.items():
        for rank, (item_id, score) in enumerate(ranked, 1):
            seen.setdefault(item_id, {})[name] = (rank, score)
    fused = reciprocal_rank_fusion([[item_id for item_id, _ in ranked] for ranked in stages.values()])
    own = f"{query.query_id}/"
    candidates = [{"id": own + item_id, "metadata": {"stages": seen[item_id]}, "score": score} for item_id, score in fused]
    qrels = {own + item_id: grade for item_id, grade in grades.items()}
    return {"id": query.query_id, "query": query.text, "candidates": candidates, "qrels": qrels}


def table(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The candidates of a line as rows of a table."""
    names = [(one, one["id"].removeprefix(f"{row['id']}/")) for one in row["candidates"]]
    return [{"id": one["id"], "text": name, "stages": one["metadata"]["stages"]} for one, name in names]


def lines(benchmark: Benchmark, collection: Collection, sentences: Sentences, most: int) -> Iterator[dict[str, Any]]:
    """The judged questions, those that are searched in the same pages together; those searched in more than `most` are left out."""
    version = collection.version
    lexical = version.retriever("lexical")
    by_pages = sorted(
        (one for one in benchmark.queries if benchmark.qrels.get(one.query_id)), key=lambda one: (one.filter or "", one.query_id)
    )
    groups = [(key, list(some)) for key, some in itertools.groupby(by_pages, key=lambda one: one.filter)]
    for key, some in track(groups, "documents", console=Console(stderr=True)):
        items = list(version.items(key))
        if len(items) > most:
            continue
        pages = Pages(items, sentences)
        for query in some:
            words = [(one.item.item_id, float(one.score or 0)) for one in lexical.retrieve(query, DEPTH).candidates]
            question = sentences.states(sentences.passages(query.text or "")[:1])[0]
            stages = {"lexical": words, "dense": pages.dense(question), "late": pages.late(question)}
            yield line(query, stages, benchmark.qrels[query.query_id])


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("card", type=Path)
    parser.add_argument("--data", type=Path, help="folder of the card's files, where they do not ship with it")
    parser.add_argument("--split")
    parser.add_argument("--encoder", required=True, help="folder of a BERT of sentences")
    parser.add_argument("--read-with", action="append", default=[], help="a reader with options")
    parser.add_argument("--pages", type=int, default=10_000, help="questions searched in more pages are left out")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines")
    arguments = parser.parse_args()
    benchmark = open_benchmark(arguments.card, arguments.data, arguments.split)
    benchmark = replace(benchmark, read_with=(*benchmark.read_with, *arguments.read_with))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        collection, _ = collection_for(benchmark, Path(folder))
        if collection is None:
            raise InputError(f"the card {benchmark.name!r} names no files to search", hint="Take one of documents.")
        rows = list(lines(benchmark, collection, Sentences(arguments.encoder), arguments.pages))
    write(arguments.out, rows)
    write(arguments.out.with_suffix(".corpus.jsonl"), [one for row in rows for one in table(row)])


if __name__ == "__main__":
    main()
