"""The shipped emoji data keeps its promises, and its builder makes the same bytes again."""

from __future__ import annotations

import hashlib
import io
import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmrerank.errors import FormatError, InputError
from tools.emoji import make as builder
from tools.emoji.attributes import Emoji, read_names
from tools.emoji.queries import CHANGES, askable, differences, wording

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DATA = Path(__file__).parents[3] / "datasets" / "emoji"
PREFIX = "pictures.parquet::"
SPLITS = ("train", "dev", "test")


@pytest.fixture(scope="module")
def pictures() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(DATA / "pictures.parquet").to_pylist()
    return rows


@pytest.fixture(scope="module")
def queries() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / "queries.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def card() -> dict[str, Any]:
    return tomllib.loads((DATA / "card.toml").read_text(encoding="utf-8"))


def combination(row: dict[str, Any]) -> tuple[str, ...] | None:
    if row["role"] is None or row["gender"] is None or row["skin_tone"] is None:
        return None
    return row["role"], row["gender"], row["skin_tone"], row["hair"] or ""


def test_the_card_counts_what_is_there(pictures: list[dict[str, Any]], queries: list[dict[str, Any]], card: dict[str, Any]) -> None:
    counts = card["counts"]
    assert counts["pictures"] == len(pictures) == 3655
    assert counts["queries"] == len(queries) >= 3000
    for split in SPLITS:
        assert counts[f"pictures_{split}"] == sum(row["split"] == split for row in pictures)
        assert counts[f"queries_{split}"] == sum(query["split"] == split for query in queries)
    assert 280 <= counts["pictures_test"] <= 340
    assert 100 <= counts["pictures_dev"] <= 150
    assert (card["first_id"], card["last_id"]) == (PREFIX + pictures[0]["key"], PREFIX + pictures[-1]["key"])


def test_the_card_names_licences_and_hashes(card: dict[str, Any]) -> None:
    assert card["sources"]["pictures"]["licence_font"] == "SIL Open Font License 1.1"
    assert card["sources"]["pictures"]["licence_artwork"] == "Apache-2.0"
    assert "Unicode" in card["sources"]["names"]["licence"]
    for name, entry in card["files"].items():
        assert hashlib.sha256((DATA / name).read_bytes()).hexdigest() == entry["sha256"]


def test_the_files_stay_small() -> None:
    assert (DATA / "pictures.parquet").stat().st_size <= 12 * 2**20


def test_pictures_decode_and_keys_are_unique(pictures: list[dict[str, Any]]) -> None:
    assert len({row["key"] for row in pictures}) == len(pictures)
    for row in pictures[::50]:
        picture = Image.open(io.BytesIO(row["image"])).convert("RGBA")
        assert picture.size == (72, 72)
        assert picture.getextrema()[3] == (0, 255) or row["group"] != "Smileys & Emotion"


def test_attributes_of_known_pictures(pictures: list[dict[str, Any]]) -> None:
    by_key = {row["key"]: row for row in pictures}

    def look(key: str) -> tuple[str | None, ...]:
        return tuple(by_key[key][name] for name in ("role", "gender", "skin_tone", "hair"))

    assert look("woman-firefighter-medium-dark-skin-tone") == ("firefighter", "woman", "medium-dark", None)
    assert look("santa-claus-light-skin-tone") == ("mx claus", "man", "light", None)
    assert look("merman") == ("merperson", "man", None, None)
    assert look("man-dark-skin-tone-blond-hair") == ("person", "man", "dark", "blond")
    assert look("person-red-hair") == ("person", "person", None, "red")
    assert look("girl-medium-skin-tone") == ("child", "woman", "medium", None)
    assert look("thumbs-up-dark-skin-tone") == ("thumbs up", None, "dark", None)
    assert look("red-heart") == (None, None, None, None)
    two = by_key["handshake-light-skin-tone-dark-skin-tone"]
    assert two["skin_tone"] is None
    assert two["skin_tones"] == ["light", "dark"]


def test_held_out_combinations_are_unseen_and_their_values_seen(pictures: list[dict[str, Any]]) -> None:
    seen = {split: {combination(row) for row in pictures if row["split"] == split} - {None} for split in SPLITS}
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["dev"]
    assert not seen["dev"] & seen["test"]
    for position in range(4):
        values = {look[position] for look in seen["train"] if look}
        assert {look[position] for look in seen["test"] | seen["dev"] if look} <= values


def test_no_held_out_picture_has_a_twin_in_another_split(pictures: list[dict[str, Any]]) -> None:
    splits: dict[bytes, set[str]] = {}
    for row in pictures:
        splits.setdefault(row["image"], set()).add(row["split"])
    assert all(len(found) == 1 for found in splits.values())


def test_queries_name_pictures_that_exist(pictures: list[dict[str, Any]], queries: list[dict[str, Any]]) -> None:
    ids = {PREFIX + row["key"] for row in pictures}
    assert len({query["query_id"] for query in queries}) == len(queries)
    for query in queries:
        assert {query["image"], *query["relevant"]} <= ids
        assert query["image"] not in query["relevant"]
        assert query["text"]


def test_queries_keep_to_their_splits(pictures: list[dict[str, Any]], queries: list[dict[str, Any]]) -> None:
    split_of = {PREFIX + row["key"]: row["split"] for row in pictures}
    allowed = {"train": {"train"}, "dev": {"train", "dev"}, "test": set(SPLITS)}
    for query in queries:
        assert {split_of[item_id] for item_id in query["relevant"]} == {query["split"]}
        assert split_of[query["image"]] in allowed[query["split"]]


def test_relevant_holds_all_twins_of_the_target(pictures: list[dict[str, Any]], queries: list[dict[str, Any]]) -> None:
    image_of = {PREFIX + row["key"]: row["image"] for row in pictures}
    sizes = Counter(image_of.values())
    assert any(len(query["relevant"]) > 1 for query in queries)
    for query in queries:
        assert len({image_of[item_id] for item_id in query["relevant"]}) == 1
        assert len(query["relevant"]) == sizes[image_of[query["relevant"][0]]]


def test_a_query_changes_what_it_says(pictures: list[dict[str, Any]], queries: list[dict[str, Any]]) -> None:
    rows = {PREFIX + row["key"]: row for row in pictures}
    for query in queries:
        reference, target = rows[query["image"]], rows[query["relevant"][0]]
        changed = {name for name in ("role", "gender", "skin_tone", "hair") if reference[name] != target[name]}
        assert changed == set(query["change"].split("+"))
        if "skin_tone" in changed:
            assert target["skin_tone"] in query["text"]
    assert {query["change"] for query in queries} == {"+".join(change) for change in CHANGES}


def picture(**attributes: Any) -> Emoji:
    given: dict[str, Any] = {"key": "k", "name": "pilot", "plain_name": "pilot", "codepoints": (), "group": "", "subgroup": ""}
    return Emoji(**(given | {"role": "pilot", "gender": "person", "skin_tone": "dark"} | attributes))


def test_each_change_has_at_least_four_wordings() -> None:
    chance = random.Random(0)
    target = picture(role="person", hair="red", name="person: red hair", plain_name="person: red hair")
    for change in CHANGES:
        wanted = target if "hair" in change else picture()
        assert len({wording(change, wanted, chance) for _ in range(200)}) >= 4


def test_wording_says_only_what_changes() -> None:
    chance = random.Random(1)
    texts = {wording(("role",), picture(), chance) for _ in range(100)}
    assert all("pilot" in text and "dark" not in text for text in texts)
    assert wording(("gender",), picture(role="child", gender="woman"), random.Random(2)).endswith("a girl")


def test_only_small_changes_are_asked_for() -> None:
    assert differences(picture(), picture(gender="man", skin_tone="light")) == ("gender", "skin_tone")
    assert askable(picture(), picture(gender="man", skin_tone="light"))
    assert not askable(picture(), picture())
    assert not askable(picture(), picture(role="cook", gender="man", skin_tone="light"))
    assert not askable(picture(), picture(skin_tone=None))


def test_a_broken_line_of_names_is_refused_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "emoji-test.txt"
    path.write_text("# group: Smileys\n1F600 ; fully-qualified\n", encoding="utf-8")
    with pytest.raises(FormatError, match=r"emoji-test\.txt:2"):
        read_names(path)


def test_a_missing_source_names_its_package(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fonts-noto-color-emoji"):
        builder.build(tmp_path, font_path=tmp_path / "none.ttf")


@pytest.mark.slow
@pytest.mark.skipif(not (builder.FONT.is_file() and builder.NAMES.is_file()), reason="the Debian packages of font and names are absent")
def test_building_again_gives_the_same_bytes(tmp_path: Path) -> None:
    versions = {package: builder.package_version(package) for package in ("fonts-noto-color-emoji", "unicode-data")}
    builder.build(tmp_path / "one")
    builder.build(tmp_path / "two")
    for name in ("pictures.parquet", "queries.jsonl", "card.toml"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    card = tomllib.loads((DATA / "card.toml").read_text(encoding="utf-8"))
    if versions["unicode-data"] == card["sources"]["names"]["version"]:  # the queries hang on no picture library
        assert (tmp_path / "one" / "queries.jsonl").read_bytes() == (DATA / "queries.jsonl").read_bytes()
