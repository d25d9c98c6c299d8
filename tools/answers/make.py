"""Writes WikiQA and TrecQA as `mmrerank evaluate` reads them: a table of the sentences, and each question with BM25 over its own.

    python -m tools.answers.make --data DATA --out DATA/answers

    {wikiqa,trecqa}-{train,dev}.jsonl    id, query, candidates (id, score; best first), qrels (id -> grade)
    corpus.jsonl                         id and text of every sentence

Ids are those that `mmrerank train` gives to the sentences of the same lists: so the run of a reranker over them can be a recipe's teacher.
Cost: seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrerank.training.data import Group, lists

PARTS = ("wikiqa-train", "wikiqa-dev", "trecqa-train", "trecqa-dev")


def line(group: Group) -> dict[str, Any]:
    """A question with its sentences by their ids."""
    candidates = [{"id": one.item.item_id, "score": one.score} for one in group.candidates]
    return {"id": group.query.query_id, "query": group.query.text, "candidates": candidates, "qrels": dict(group.grades)}


def sentences(groups: Iterable[Group]) -> list[dict[str, Any]]:
    """Every sentence with its id."""
    return [{"id": one.item.item_id, "text": one.item.text} for group in groups for one in group.candidates]


def build(data: Path, out: Path) -> dict[str, int]:
    """Writes the files; returns how many lines each has.

    Raises:
        InputError: a file is missing.
        FormatError: one holds no judged lists.
    """
    parts = {part: lists(data, [f"{part.replace('-', '/')}.jsonl"], first_stage="bm25").groups for part in PARTS}
    out.mkdir(parents=True, exist_ok=True)
    corpus = [row for groups in parts.values() for row in sentences(groups)]
    files = {part: [line(group) for group in groups] for part, groups in parts.items()} | {"corpus": corpus}
    return {name: _write(out / f"{name}.jsonl", rows) for name, rows in files.items()}


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> int:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return len(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with wikiqa/ and trecqa/")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write into")
    options = parser.parse_args(arguments)
    sys.stdout.write(json.dumps(build(options.data, options.out)) + "\n")


if __name__ == "__main__":
    main()
