"""Writes cards of the emoji and questions about them, as the recipes `mm_r5` and `ragllava_noise` read them.

    python -m tools.mini_mllm.card_data --data datasets/emoji --out data/cards

    cards.parquet               a card for every picture: the picture, a number, and its name in words, which is the text as well
    collection/                 the same, searched by BM25 over those words
    {train,dev,test}.csv        query, item_id: where a picture of the split is, described in other words than those on its card

Questions of dev and test are about combinations of role, gender and skin tone that are no target in train; those of test are the ones of
`tools.mini_mllm.evaluate`. Cost: seconds.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from mmrerank.collection import Collection
from mmrerank.text_files import write_text
from tools.mini_clip.data import Table, read_table
from tools.mini_mllm.train import PICTURE_PX
from tools.mini_mllm.trials import CARDS, card_questions, write_cards

MOST = {"train": 10_000, "dev": 10_000, "test": 300}


def build(data: Path, out: Path) -> dict[str, int]:
    """Writes the files; returns how many cards there are, and how many questions of each split.

    Raises:
        InputError: the folder holds a collection already.
    """
    out.mkdir(parents=True, exist_ok=True)
    collection = Collection.create(out / "collection")
    table = read_table(data, PICTURE_PX)
    write_cards(table, out / CARDS)
    collection.add([out / CARDS])
    return {"cards": len(table.emojis)} | {split: _write(table, split, out / f"{split}.csv") for split in MOST}


def _write(table: Table, split: str, path: Path) -> int:
    """The judgements of a split; returns how many there are."""
    rows = [(one.query.text, item_id) for one in card_questions(table, split, MOST[split]) for item_id in sorted(one.relevant)]
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows([("query", "item_id"), *rows])
    write_text(path, lines.getvalue())
    return len(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="datasets/emoji")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write into")
    options = parser.parse_args(arguments)
    sys.stdout.write(json.dumps(build(options.data, options.out)) + "\n")


if __name__ == "__main__":
    main()
