"""What a mini CLIP reaches on the emoji: names and composed queries searched over all pictures.

    python -m tools.mini_clip.evaluate mmrerank/mini/clip --data datasets/emoji --split test

Cost: some fifteen seconds on one core.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tools.mini_clip.data import Rows, Table, caption, normalised, read_pictures, read_table

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float32]
Measures: TypeAlias = dict[str, dict[str, float]]  # task -> measure -> value
CUTOFFS = (1, 5, 10)
ALPHA = 0.5  # the picture's share in a composed query
PREFIX = "pictures.parquet::"


def picture_rows(model: Any, pictures: torch.Tensor, *, batch: int = 256) -> Floats:
    """(n, dim) float32 unit rows of (n, 3, side, side) normalised pictures."""
    import torch

    model.eval()
    device = next(model.parameters()).device
    with torch.inference_mode():
        parts = [model.encode_image(part.to(device), normalize=True).float().cpu().numpy() for part in torch.split(pictures, batch)]
    return np.concatenate(parts).astype(np.float32)


def text_rows(model: Any, tokenizer: Any, texts: Sequence[str], *, batch: int = 512) -> Floats:
    """(n, dim) float32 unit rows."""
    import torch

    model.eval()
    device = next(model.parameters()).device
    with torch.inference_mode():
        parts = [
            model.encode_text(tokenizer(list(texts[start : start + batch])).to(device), normalize=True).float().cpu().numpy()
            for start in range(0, len(texts), batch)
        ]
    return np.concatenate(parts).astype(np.float32)


def ranks(scores: Floats, targets: Rows) -> Rows:
    """(n_queries,) ranks from 1 of one target per row of (n_queries, n) scores; a tie counts for the lower row number."""
    own = np.take_along_axis(scores, targets[:, None], axis=1)
    before = np.arange(scores.shape[1])[None] < targets[:, None]
    return np.asarray(((scores > own) | ((scores == own) & before)).sum(axis=1) + 1, dtype=np.int64)


def recalls(scores: Floats, targets: Rows, twins: Rows) -> dict[str, float]:
    """R@1, R@5, R@10, where a pixel-identical twin counts as the target and, as `strict`, where it does not."""
    strict = ranks(scores, targets)
    aware = strict.copy()
    for query, target in enumerate(targets):
        for twin in np.flatnonzero(twins == twins[target]):
            aware[query] = min(aware[query], ranks(scores[query : query + 1], np.array([twin]))[0])
    measures = {f"R@{k}": float((aware <= k).mean()) for k in CUTOFFS}
    return measures | {f"strict_R@{k}": float((strict <= k).mean()) for k in CUTOFFS}


def read_queries(data: Path, split: str) -> list[dict[str, Any]]:
    """The composed queries of one split."""
    lines = (data / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    return [query for query in map(json.loads, lines) if query["split"] == split]


def measure(
    model: Any,
    tokenizer: Any,
    table: Table,
    queries: Sequence[dict[str, Any]],
    split: str,
    *,
    pictures: torch.Tensor | None = None,
) -> Measures:
    """Measures by task, each searched over all pictures.

    `names`: the names of the split. `reworded`: the same attributes in other words. `composed`: its composed queries, the
    reference left out of the ranking; `composed_picture_only` and `composed_text_only` are what one half alone reaches.
    `pictures` are the table's, preprocessed; when None they are made of its pixels.
    """
    rows = picture_rows(model, normalised(table.pixels) if pictures is None else pictures)
    targets = table.rows(split)
    chance = random.Random(0)
    texts = {
        "names": [table.emojis[row].name for row in targets],
        "reworded": [caption(table.emojis[row], chance, 0.0) for row in targets],
    }
    row_of = {PREFIX + emoji.key: row for row, emoji in enumerate(table.emojis)}
    references = np.array([row_of[query["image"]] for query in queries], dtype=np.int64)
    goals = np.array([row_of[query["relevant"][0]] for query in queries], dtype=np.int64)
    words = text_rows(model, tokenizer, [query["text"] for query in queries])
    measures = {task: recalls(text_rows(model, tokenizer, wordings) @ rows.T, targets, table.twins) for task, wordings in texts.items()}
    for task, share in (("composed", ALPHA), ("composed_picture_only", 1.0), ("composed_text_only", 0.0)):
        scores = (share * rows[references] + (1 - share) * words) @ rows.T
        np.put_along_axis(scores, references[:, None], -2.0, axis=1)
        measures[task] = recalls(scores, goals, table.twins)
    return measures


def evaluate(folder: Path, data: Path, split: str) -> Measures:
    """What a finished folder reaches, loaded through open_clip and fed through its own preprocessing."""
    import open_clip
    import torch

    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    table = read_table(data, model.visual.image_size[0])
    pictures = torch.stack([preprocess(picture) for picture in read_pictures(data)])
    return measure(model, tokenizer, table, read_queries(data, split), split, pictures=pictures)


def report(measures: Measures, folder: Path, split: str) -> str:
    """The measures as a table, and once more as one JSON line."""
    lines = [f"{folder} on the {split} split, all pictures searched", ""]
    lines.append(f"{'':24}" + "".join(f"{name:>12}" for name in next(iter(measures.values()))))
    lines += [f"{task:24}" + "".join(f"{value:12.3f}" for value in values.values()) for task, values in measures.items()]
    return "\n".join([*lines, json.dumps({"model": folder.name, "split": split, "measures": measures})]) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure a finished mini CLIP.")
    parser.add_argument("folder", type=Path, help="a folder that open_clip loads, such as mmrerank/mini/clip")
    parser.add_argument("--data", type=Path, required=True, help="datasets/emoji")
    parser.add_argument("--split", choices=["train", "dev", "test"], default="test", help="what to measure on")
    options = parser.parse_args(arguments)
    sys.stdout.write(report(evaluate(options.folder, options.data, options.split), options.folder, options.split))


if __name__ == "__main__":
    main()
