"""Writes the judged lists that `mmrerank train mtm` reads, from the claims and tweets of CheckThat 2020.

    python -m tools.claims.make --data DATA/checkthat2020 --out DATA/claims

    titles.jsonl      a claim asked for by the title of the article that checked it, among claims that BM25 takes for it; no tweet is used
    tweets.jsonl      tweets with their first stage as it comes: 50 claims, each with its title
    articles.jsonl    tweets with the first ten of these as long articles: the claim alone, at a place by chance in text of the handbook
                      that ships, which has nothing to do with it

A line is {"id", "query", "candidates": [{"id", "text", "score"}], "qrels"}; the sentences of a text stand on lines of their own. The same
seed gives the same files. Cost: half a minute.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmrerank.parts import make
from mmrerank.rerankers.mtm import sentences_of
from mmrerank.text_files import json_lines
from mmrerank.types import Item

ROOT = Path(__file__).parents[2]
UNRELATED = sorted((ROOT / "datasets" / "handbook" / "source").glob("*.md"))
RIVALS, ARTICLES, LENGTH = 10, 10, 30  # claims beside a title's own; articles of a tweet; sentences of an article
_MARKUP = re.compile(r"[#*|`>\[\]{}_]|https?:")


def titles(claims: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each title that there is, with its claim and those that BM25 finds by it."""
    index = make("bm25_index", station="index")
    index.fit(np.arange(len(claims)), [claim["claim"] for claim in claims])
    for n, claim in enumerate(claims):
        if not claim["title"]:
            continue
        nearest = index.search(claim["title"], RIVALS + 1).ids
        chosen = [n, *(int(m) for m in nearest if m != n)][: RIVALS + 1]
        candidates = [{"id": claims[m]["id"], "text": claims[m]["claim"]} for m in chosen]
        yield {"id": f"title-{claim['id']}", "query": claim["title"], "candidates": candidates, "qrels": {claim["id"]: 1}}


def listed(tweets: Iterable[Mapping[str, Any]], texts: Mapping[str, str], depth: int) -> Iterator[dict[str, Any]]:
    """Tweets with the first of their claims, as these texts."""
    for tweet in tweets:
        candidates = [{"id": item, "text": texts[item], "score": score} for item, score in tweet["bm25_top50"][:depth]]
        yield {"id": tweet["id"], "query": tweet["query"], "candidates": candidates, "qrels": tweet["qrels"]}


def article(claim: Mapping[str, Any], sentences: Sequence[str], seed: int) -> str:
    """A claim among sentences that have nothing to do with it, a sentence a line; the same for the same seed."""
    dice = random.Random(f"{seed}/{claim['id']}")
    start = dice.randrange(len(sentences) - LENGTH)
    lines = list(sentences[start : start + LENGTH - 1])
    lines.insert(dice.randint(0, len(lines)), claim["claim"])
    return "\n".join(lines)


def unrelated() -> list[str]:
    """The sentences of the handbook's sources that are plain prose."""
    blocks = [block for path in UNRELATED for block in path.read_text(encoding="utf-8").split("\n\n")]
    prose = [" ".join(block.split()) for block in blocks if not _MARKUP.search(block)]
    return [sentence for block in prose for sentence in sentences_of(Item(item_id="prose", text=block)) if len(sentence.split()) > 4]


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with corpus.jsonl and dev.jsonl")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    claims = [row for _, row in json_lines(arguments.data / "corpus.jsonl")]
    tweets = [row for _, row in json_lines(arguments.data / "dev.jsonl")]
    sentences = unrelated()
    arguments.out.mkdir(parents=True, exist_ok=True)
    _write(arguments.out / "titles.jsonl", titles(claims))
    _write(
        arguments.out / "tweets.jsonl", listed(tweets, {one["id"]: f"{one['title'] or ''}\n{one['claim']}".strip() for one in claims}, 50)
    )
    long = {one["id"]: article(one, sentences, arguments.seed) for one in claims}
    _write(arguments.out / "articles.jsonl", listed(tweets, long, ARTICLES))


if __name__ == "__main__":
    main()
