"""Miniature trees of benchmarks as their authors ship them, and the shipped cards over them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w
from makers import picture

from mmrerank.evaluation.benchmark import Benchmark, open_benchmark
from mmrerank.evaluation.cards import CHECKED, DATASETS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def write(root: Path, files: Mapping[str, Any]) -> Path:
    """Writes files below a folder: JSON where the value is no text or bytes, a picture where it is a number."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, int):
            picture(content).save(path)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return root


def lines(*rows: Mapping[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def opened(tmp_path: Path, card: str, split: str | None = None, **expected: Any) -> Benchmark:
    """The miniature in `tmp_path/data` by a shipped card, whose counts and ids give way to those of the miniature."""
    content = tomllib.loads((DATASETS / f"{card}.toml").read_text("utf-8"))
    table = content["benchmark"]
    table["splits"] = {name: {k: v for k, v in entry.items() if k not in CHECKED} for name, entry in table["splits"].items()}
    table["splits"][split or table["split"]] |= expected
    path = tmp_path / "card.toml"
    path.write_text(tomli_w.dumps(content), encoding="utf-8")
    return open_benchmark(path, tmp_path / "data", split)


def cirr(root: Path, split: str = "val", prefix: str = "dev", judged: bool = True) -> Path:
    names = [f"{prefix}-{n}-0-img0" for n in range(6)]
    pairs = [
        {
            "pairid": 7 + n,
            "reference": names[n],
            "caption": f"caption {n}",
            "img_set": {"id": 1, "members": names, "reference_rank": 0},
            **({"target_hard": names[n + 1], "target_soft": {names[n + 1]: 1.0}} if judged else {}),
        }
        for n in range(2)
    ]
    return write(
        root,
        {
            f"captions/cap.rc2.{split}.json": pairs,
            f"image_splits/split.rc2.{split}.json": {name: f"./{prefix}/{name}.png" for name in names},
            **{f"img_raw/{prefix}/{name}.png": n for n, name in enumerate(names)},
        },
    )
