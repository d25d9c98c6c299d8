"""A collection of pictures, what its users said of it, and a reranker trained on that: judgements first, then clicks.

The collection are the shipped emoji, and the words are a shop's: "woman / firefighter / dark". Both trainings end with a card of held-out
queries: the first stage, the model as it was, the model as it is now. What is printed last serves the collection with the trained model.

python demos/train_on_your_own_data.py --out demo-out [--queries 200 --steps 150]

With `--judgements FILE.csv` it writes the judged queries and trains nothing: docs/guides/training.md goes on from there.
"""

import argparse
import csv
import random
from pathlib import Path

import pyarrow.parquet as pq

from mmrerank import Collection
from mmrerank.training import Training, read_recipe
from mmrerank.training.measured import table

EMOJI = Path(__file__).parents[1] / "datasets" / "emoji" / "pictures.parquet"
RECIPE = """
name = "{name}"
title = "A shop's own words, by {name}"
source = "demos/train_on_your_own_data.py"

[model]
backend = "mini"

[model.lora]
modules = ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "gate_proj", "down_proj"]

[data]
layout = "collection"
collection = "shop"
{name} = "{name}.csv"
depth = 50
part = "train"

[data.draw]  # hard negatives: what the search itself puts first
negatives = [{{ first = 1, last = 8, count = 2 }}, {{ first = 9, last = 50, count = 1 }}]

[[stages]]
reranker = "ragllava(task=caption)"
loss = "yes_no"
options = {{ balanced = true }}
steps = {steps}
groups = 4
learning_rate = 1e-3

[[heldout]]
name = "held-out"
layout = "collection"
collection = "shop"
judgements = "judgements.csv"
depth = 50
part = "held_out"
rerank = "ragllava(task=caption)"
measures = ["R@1", "RR"]
"""


def indexed(folder: Path) -> Collection:
    if (folder / "collection.toml").exists():
        return Collection.open(folder)
    collection = Collection.create(folder, encoders=["openclip/mini"])
    collection.add([EMOJI])
    return collection


def judgements(count: int) -> list[tuple[str, str]]:
    """Queries in a shop's words, each with the one picture that is meant."""
    rows = pq.read_table(EMOJI, columns=["key", "role", "gender", "skin_tone", "split"]).to_pylist()
    known = [row for row in rows if row["role"] and row["gender"] and row["skin_tone"] and row["split"] == "train"]
    words = {f"{row['gender']} / {row['role']} / {row['skin_tone']}": f"pictures.parquet::{row['key']}" for row in known}
    return random.Random(0).sample(sorted(words.items()), count)


def clicks(collection: Collection, judged: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """What people would have clicked who looked at the first twenty hits."""
    seen = {query: [hit.item.item_id for hit in collection.search(query, k=20).hits] for query, _ in judged}
    return [(query, item) for query, item in judged if item in seen[query]]


def write(path: Path, rows: list[tuple[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("query", "item_id"), *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo-out"))
    parser.add_argument("--queries", type=int, default=24)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--judgements", type=Path)
    options = parser.parse_args()
    if options.judgements:
        write(options.judgements, judgements(options.queries))
        return
    folder = options.out / "training"
    shop = indexed(folder / "shop")
    judged = judgements(options.queries)
    write(folder / "judgements.csv", judged)
    write(folder / "clicks.csv", clicks(shop, judged))
    for name in ("judgements", "clicks"):
        recipe = folder / f"{name}.toml"
        recipe.write_text(RECIPE.format(name=name, steps=options.steps), encoding="utf-8")
        training = Training.of(read_recipe(recipe), folder / name, cache=folder / "cache")
        card = training.run()
        print(f"{name}: {card['queries']} queries\n{table(card['heldout'][0], 'RR')}\n")
        print(f"mmrerank serve {folder / 'shop'} --backend local/{training.result}\n")


if __name__ == "__main__":
    main()
