"""Builds `mmrerank/mini/sample.tar`: the few of the shipped emoji that `mmrerank demo` searches where no checkout is at hand.

    python -m tools.emoji.sample --pictures datasets/emoji/pictures.parquet --out mmrerank/mini/sample.tar

A WebDataset shard: of each emoji its picture, its name and its attributes.  Cost: a second. The same pictures give the same bytes.
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

ROLES = {"farmer", "firefighter", "pilot", "technologist", "bouncing-ball"}
SUBGROUPS = {"cat-face", "face-smiling", "animal-mammal", "animal-bird", "food-fruit", "transport-water"}
FIELDS = ("group", "subgroup", "role", "gender", "skin_tone")


def chosen(row: Mapping[str, Any]) -> bool:
    """Whether an emoji is in the sample: people of some roles in all their forms, faces, animals, fruit and boats."""
    return row["role"] in ROLES or row["subgroup"] in SUBGROUPS or "bouncing-ball" in row["key"]


def members(row: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """The files of one emoji."""
    attributes = {name: row[name] for name in FIELDS if row[name]}
    yield f"{row['key']}.json", json.dumps(attributes, ensure_ascii=False).encode()
    yield f"{row['key']}.png", row["image"]
    yield f"{row['key']}.txt", row["text"].encode()


def write_sample(pictures: Path, out: Path) -> int:
    """Writes the shard; returns how many emoji it holds."""
    rows = [row for row in pq.read_table(pictures).to_pylist() if chosen(row)]
    with tarfile.open(out, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in (member for row in rows for member in members(row)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    print(f"{write_sample(arguments.pictures, arguments.out)} emoji in {arguments.out}")  # noqa: T201


if __name__ == "__main__":
    main()
