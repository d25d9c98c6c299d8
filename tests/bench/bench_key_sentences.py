"""How often MTM's selection finds the claim in a long article, in which it is one of some thirty sentences and a few are read; and R@1.

    python -m tools.claims.make --data DATA/checkthat2020 --out DATA/claims
    python tests/bench/bench_key_sentences.py --with mtm/FOLDER --data DATA/claims

For each held-out tweet (those that the recipe leaves out of training) whose right claim the first stage has among its first ten, the
article of that claim. `event` selects by nearness to the tweet alone, `chance` is what a blind choice would find. With `--rank` the ten
articles of every held-out tweet are ranked too: by BM25 over the articles, which is the first stage, and by the network; `order of the
file` is that of BM25 over claims alone. Which cost dominates: word vectors, milliseconds an article; ranked, passes of the network, some
minutes. Intervals are 95 %, by bootstrap over tweets; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from mmrerank.evaluation.comparison import mean_interval
from mmrerank.models.mtm import MtmNetwork, key_sentences
from mmrerank.parts import make
from mmrerank.rerankers.mtm import sentences_of
from mmrerank.training.data import Judged, read_groups
from mmrerank.training.measured import figures, orders, table
from mmrerank.training.recipe import Source, read_recipe
from tools.claims.make import ARTICLES

MEASURES = ("R@1", "RR")


def heldout(data: Path, name: str, first_stage: str = "given") -> Judged:
    """The held-out tweets with their candidates of one file, as the recipe parts them."""
    options = {"files": [name], "first_stage": first_stage}
    source = Source(layout="lists", options=options, part="held_out", heldout_share=read_recipe("mtm").data.heldout_share)
    return read_groups(source, data, data)


def ranked(data: Path, name: str) -> dict[str, Any]:
    """What the network makes of BM25's order of the articles; its table is printed."""
    judged = heldout(data, "articles.jsonl", "bm25")
    with TemporaryDirectory() as folder:
        order = orders(judged, make(name, station="rerankers"), ARTICLES, Path(folder) / "orders.jsonl")
    result = figures(judged, MEASURES, {"mtm": order})
    for measure in MEASURES:
        print(table(result, measure))
    return result


def selections(network: MtmNetwork, tweet: str, sentences: list[str], place: int, read: int) -> dict[str, float]:
    """Whether each way of selecting so many sentences reads the one at a place."""
    rows = network.vectors([tweet, *sentences])
    nearest = np.argsort(np.linalg.norm(rows[1:] - rows[0], axis=1), kind="stable")[:read]
    chosen = key_sentences(rows[0], rows[1:], network.memory.numpy(), read)
    chance = min(1.0, read / len(sentences))
    return {"selection": float(place in chosen.places), "event": float(place in nearest), "chance": chance}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--with", dest="name", required=True, help="mtm/FOLDER")
    parser.add_argument("--data", type=Path, required=True, help="folder that tools.claims.make wrote")
    parser.add_argument("--read", type=int, help="sentences that are read; as many as the network was trained with when left out")
    parser.add_argument("--rank", action="store_true", help="rank the articles too")
    arguments = parser.parse_args()
    network = MtmNetwork.load(Path(arguments.name.removeprefix("mtm/")))
    read = arguments.read or network.config.sentences
    short, rows = {group.query.query_id: group for group in heldout(arguments.data, "tweets.jsonl").groups}, []
    for group in heldout(arguments.data, "articles.jsonl").groups:
        claims = {one.item.item_id: (one.item.text or "").splitlines()[-1] for one in short[group.query.query_id].candidates}
        for article in (one for one in group.candidates if group.grade(one) > 0):
            lines = (article.item.text or "").splitlines()
            sentences = sentences_of(article.item)
            place = next((n for n, one in enumerate(sentences) if one in claims[article.item.item_id]), None)
            if place is not None and len(sentences) >= len(lines):
                rows.append(selections(network, group.query.text or "", sentences, place, read))
    result: dict[str, Any] = {"bench": "key_sentences", "articles": len(rows), "read": read}
    for key in ("selection", "event", "chance"):
        span = mean_interval(np.array([row[key] for row in rows]))
        result[key] = [span.value, span.low, span.high]
        print(f"{key:10s} {span.value:.3f} ({span.low:.3f} to {span.high:.3f}) of {len(rows)} articles")
    if arguments.rank:
        result["ranked"] = ranked(arguments.data, arguments.name)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
