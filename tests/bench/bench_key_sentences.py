"""How often MTM's selection finds the claim in a long article, in which it is one of some thirty sentences and a few are read.

    python -m tools.claims.make --data DATA/checkthat2020 --out DATA/claims
    python tests/bench/bench_key_sentences.py --with mtm/FOLDER --data DATA/claims

For each held-out tweet (those that the recipe leaves out of training) whose right claim the first stage has among its first ten, the
article of that claim. `event` selects by nearness to the tweet alone, `chance` is what a blind choice would find. Which cost dominates:
word vectors, milliseconds an article. Intervals are 95 %, by bootstrap over tweets; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from mmrerank.evaluation.comparison import mean_interval
from mmrerank.models.mtm import MtmNetwork, key_sentences
from mmrerank.rerankers.mtm import sentences_of
from mmrerank.training.data import Group, read_groups
from mmrerank.training.recipe import Source, read_recipe


def heldout(data: Path, name: str) -> dict[str, Group]:
    """The held-out tweets with their candidates of one file, as the recipe parts them."""
    own = read_recipe("mtm").data
    source = Source(layout="lists", options={"files": [name]}, part="held_out", heldout_share=own.heldout_share)
    return {group.query.query_id: group for group in read_groups(source, data, data).groups}


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
    arguments = parser.parse_args()
    network = MtmNetwork.load(Path(arguments.name.removeprefix("mtm/")))
    read = arguments.read or network.config.sentences
    short, rows = heldout(arguments.data, "tweets.jsonl"), []
    for name, group in heldout(arguments.data, "articles.jsonl").items():
        claims = {one.item.item_id: (one.item.text or "").splitlines()[-1] for one in short[name].candidates}
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
    print(json.dumps(result))


if __name__ == "__main__":
    main()
