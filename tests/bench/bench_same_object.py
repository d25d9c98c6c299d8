"""What `same_object` gains or loses on real photographs of things, by the embedded model, which was trained on emoji.

Which cost dominates: two pictures a candidate through the model.

    python tests/bench/bench_same_object.py FOLDER

The folder has `images/`, `images.jsonl`, `queries.jsonl` and the rows of a first stage, `mobilenet_v1.npy`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmrerank.backends import mini
from mmrerank.rerankers import same_object
from mmrerank.testing.samples import InMemory
from mmrerank.types import Candidate, Item, Query


def photos(folder: Path, depth: int, side_px: int) -> dict[str, Any]:
    """mAP and P@1 of the first stage's best photographs and of `same_object` over them."""
    images = [json.loads(line)["image"] for line in (folder / "images.jsonl").read_text().splitlines()]
    opened = {image: Image.open(folder / "images" / image).convert("RGB") for image in images}
    rows, places = np.load(folder / "mobilenet_v1.npy"), {image: n for n, image in enumerate(images)}
    part = same_object.build(same_object.Options(max_pixels=side_px * side_px), mini.build(mini.Options(device="cpu")))
    values: dict[str, list[list[float]]] = {"first stage": [], "same_object": []}
    for record in map(json.loads, (folder / "queries.jsonl").read_text().splitlines()):
        left_out = {record["query_image"], *record["ignore"]}
        order = [images[n] for n in np.argsort(-(rows @ rows[places[record["query_image"]]]), kind="stable") if images[n] not in left_out]
        candidates = [Candidate(item=Item(item_id=name, image=InMemory(opened[name]))) for name in order[:depth]]
        query = Query(images=(InMemory(opened[record["query_image"]]),))
        ranked = [*part.rerank(query, candidates).item_ids, *order[depth:]]
        for way, ids in (("first stage", order), ("same_object", ranked)):
            values[way].append(measures(ids, set(record["positives"])))
    means = {way: np.mean(numbers, axis=0).tolist() for way, numbers in values.items()}
    gain = np.array(values["same_object"])[:, 0] - np.array(values["first stage"])[:, 0]
    draws = np.random.default_rng(0).choice(gain, (2000, len(gain))).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    for way, (average, first) in means.items():
        print(f"{way}: mAP {average:.3f}, P@1 {first:.3f}")
    print(f"  mAP moves by {gain.mean():+.3f} ({low:+.3f} to {high:+.3f}), {len(gain)} queries, depth {depth}, {side_px} px")
    return {"set": "instance_photos", "depth": depth, "means": means, "gain": float(gain.mean()), "low": float(low), "high": float(high)}


def measures(ids: Sequence[str], positives: set[str]) -> list[float]:
    """Average precision, and whether the first is right."""
    hits = np.array([name in positives for name in ids])
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return [float((precision * hits).sum() / len(positives)), float(hits[0])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of instance photographs")
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--side", type=int, default=72, help="pixels of a picture's side")
    wanted = parser.parse_args()
    print(json.dumps({"bench": "same_object", **photos(wanted.folder, wanted.depth, wanted.side)}))


if __name__ == "__main__":
    main()
