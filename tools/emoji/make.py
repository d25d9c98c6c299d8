"""Builds `datasets/emoji/`: 3,655 pictures with names and attributes, composed queries and the card.

    python -m tools.emoji.make --out datasets/emoji

Source: Noto Color Emoji (Debian package fonts-noto-color-emoji) drawn through Pillow, `emoji-test.txt` of Unicode (Debian package
unicode-data).  Cost: some ten seconds on one core. The same packages and libraries give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, features

from mmrerank.errors import InputError
from tools.emoji.attributes import Emoji, read_names
from tools.emoji.card import card
from tools.emoji.queries import composed_queries

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
NAMES = Path("/usr/share/unicode/emoji/emoji-test.txt")
PREFIX = "pictures.parquet::"
STRIKE_PX = 109  # the only size of the font's bitmaps
GLYPH_PX = 136  # their width; they are 128 high
SIDE_PX = 72
COLOURS = 256
TEST_SHARE = 0.25  # of the combinations of each role
DEV_COMBINATIONS = 120
SEED = 2023


def draw(emoji: Emoji, font: ImageFont.FreeTypeFont) -> bytes:
    """The picture as a palette PNG of SIDE_PX squared with transparency.

    Raises:
        InputError: the sequence does not come out as one glyph.
    """
    text = "".join(map(chr, emoji.codepoints))
    left, top, right, bottom = font.getbbox(text)
    if (right - left, bottom - top) != (GLYPH_PX, 128):
        raise InputError(f"{emoji.name!r} is drawn {right - left} x {bottom - top} px, expected one glyph of {GLYPH_PX} x 128")
    canvas = Image.new("RGBA", (GLYPH_PX, GLYPH_PX))
    ImageDraw.Draw(canvas).text((-left, -top + (GLYPH_PX - 128) // 2), text, font=font, embedded_color=True)
    small = canvas.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.quantize(COLOURS, method=Image.Quantize.FASTOCTREE).save(out, "PNG", optimize=True)
    return out.getvalue()


def draw_all(emojis: Sequence[Emoji], font_path: Path) -> list[bytes]:
    """The pictures in order.

    Raises:
        InputError: Pillow was built without raqm, which joins sequences into one glyph.
    """
    if not features.check("raqm"):
        raise InputError("this Pillow has no raqm, so joined emoji would fall apart", hint="Install Pillow from its wheel.")
    font = ImageFont.truetype(str(font_path), STRIKE_PX, layout_engine=ImageFont.Layout.RAQM)
    return [draw(emoji, font) for emoji in emojis]


def twins_of(emojis: Sequence[Emoji], pictures: Sequence[bytes]) -> dict[str, list[str]]:
    """Keys of pixel-identical pictures, for each key that has such twins; its own key comes first."""
    groups: dict[bytes, list[str]] = {}
    for emoji, picture in zip(emojis, pictures, strict=True):
        groups.setdefault(picture, []).append(emoji.key)
    return {key: [key, *(other for other in keys if other != key)] for keys in groups.values() if len(keys) > 1 for key in keys}


def assign_splits(emojis: Sequence[Emoji], twins: Mapping[str, Sequence[str]], *, seed: int = SEED) -> dict[str, str]:
    """Key -> train, dev or test, by combination of role, gender, skin tone and hair.

    A quarter of the combinations of every role goes to test and DEV_COMBINATIONS of the rest to dev. A picture with a
    pixel-identical twin stays in train: held out it would be seen all the same.
    """
    chance = random.Random(seed)
    roles: dict[str, list[str]] = {}
    for emoji in emojis:
        if emoji.combination is not None and emoji.key not in twins:
            roles.setdefault(emoji.combination[0], []).append(emoji.key)
    splits = dict.fromkeys((emoji.key for emoji in emojis), "train")
    spare = []
    for keys in roles.values():
        chance.shuffle(keys)
        n_test = round(TEST_SHARE * len(keys))
        splits.update(dict.fromkeys(keys[:n_test], "test"))
        if len(keys) >= 10:  # a role of five pictures has none to spare for dev
            spare.extend(keys[n_test:])
    splits.update(dict.fromkeys(chance.sample(spare, DEV_COMBINATIONS), "dev"))
    return splits


def write_pictures(path: Path, emojis: Sequence[Emoji], pictures: Sequence[bytes], splits: Mapping[str, str]) -> None:
    """The table of pictures, in the order of the Unicode list."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {
        "key": [emoji.key for emoji in emojis],
        "image": pa.array(pictures, pa.binary()),
        "text": [emoji.name for emoji in emojis],
    }
    for name in ("group", "subgroup", "role", "gender", "skin_tone", "hair"):
        columns[name] = pa.array([getattr(emoji, name) for emoji in emojis], pa.string())
    columns["skin_tones"] = pa.array([list(emoji.skin_tones) for emoji in emojis], pa.list_(pa.string()))
    columns["split"] = [splits[emoji.key] for emoji in emojis]
    columns["codepoints"] = [" ".join(f"{code:04X}" for code in emoji.codepoints) for emoji in emojis]
    # PNG does not shrink further; one row group keeps the reading of a single picture simple
    pq.write_table(pa.table(columns), path, compression="zstd", row_group_size=len(emojis))


def package_version(package: str) -> str:
    """The version of an installed Debian package, 'unknown' where there is no dpkg or no such package."""
    if shutil.which("dpkg-query") is None:
        return "unknown"
    answer = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, check=False)
    return answer.stdout or "unknown"


def build(out: Path, *, font_path: Path = FONT, names_path: Path = NAMES) -> dict[str, int]:
    """Writes pictures.parquet, queries.jsonl and card.toml into `out`; returns the counts.

    Raises:
        InputError: a source file is missing.
    """
    for path, package in ((font_path, "fonts-noto-color-emoji"), (names_path, "unicode-data")):
        if not path.is_file():
            raise InputError(f"no file {path}", hint=f"Install the Debian package {package}, or name the file.")
    emojis = read_names(names_path)
    pictures = draw_all(emojis, font_path)
    twins = twins_of(emojis, pictures)
    splits = assign_splits(emojis, twins)
    queries = composed_queries(emojis, splits, twins, prefix=PREFIX, seed=SEED)
    out.mkdir(parents=True, exist_ok=True)
    write_pictures(out / "pictures.parquet", emojis, pictures, splits)
    lines = "".join(json.dumps(query, ensure_ascii=False) + "\n" for query in queries)
    (out / "queries.jsonl").write_text(lines, encoding="utf-8")
    counts = _counts(emojis, splits, twins, queries)
    hashes = {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in ("pictures.parquet", "queries.jsonl")}
    versions = {name: package_version(name) for name in ("fonts-noto-color-emoji", "unicode-data")}
    text = card(counts, hashes, versions, first=PREFIX + emojis[0].key, last=PREFIX + emojis[-1].key)
    (out / "card.toml").write_text(text, encoding="utf-8")
    return counts


def _counts(
    emojis: Sequence[Emoji], splits: Mapping[str, str], twins: Mapping[str, Sequence[str]], queries: Sequence[Mapping[str, Any]]
) -> dict[str, int]:
    counts = {"pictures": len(emojis), "combinations": sum(emoji.combination is not None for emoji in emojis), "with_twins": len(twins)}
    for split in ("train", "dev", "test"):
        counts[f"pictures_{split}"] = sum(value == split for value in splits.values())
    counts["queries"] = len(queries)
    for split in ("train", "dev", "test"):
        counts[f"queries_{split}"] = sum(query["split"] == split for query in queries)
    return counts


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Build the emoji dataset.")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write into")
    parser.add_argument("--font", type=Path, default=FONT, help="NotoColorEmoji.ttf")
    parser.add_argument("--names", type=Path, default=NAMES, help="emoji-test.txt")
    options = parser.parse_args(arguments)
    counts = build(options.out, font_path=options.font, names_path=options.names)
    sys.stdout.write(json.dumps(counts) + "\n")


if __name__ == "__main__":
    main()
