"""The cards that a recipe is trained over: made once, read by `mm_r5` as they lie, asked for in other words than theirs."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from mmrerank.errors import InputError
from mmrerank.training.data import read_groups
from mmrerank.training.recipe import read_recipe
from tools.mini_mllm.card_data import build

DATA = Path(__file__).parents[3] / "datasets" / "emoji"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The judges and firefighters among the emoji."""
    folder = tmp_path_factory.mktemp("emoji")
    table = pq.read_table(DATA / "pictures.parquet")
    pq.write_table(table.filter(pc.is_in(table["role"], pc.cast(["judge", "firefighter"], "string"))), folder / "pictures.parquet")
    return folder


def test_the_recipes_read_cards_and_questions(data: Path, tmp_path: Path) -> None:
    counts = build(data, tmp_path)
    assert counts["cards"] == 36
    assert counts["train"] + counts["dev"] + counts["test"] == 36
    assert min(counts.values()) > 0
    for name in ("mm_r5", "ragllava_noise"):
        recipe = read_recipe(name)
        train, heldout = (read_groups(one, tmp_path, tmp_path / "cache").groups for one in (recipe.data, recipe.heldout[0].source))
        assert (len(train), len(heldout)) == (counts["train"], counts["test"])
        targets = [one.item for group in heldout for one in group.candidates if group.grade(one)]
        assert len(targets) == len(heldout)
        assert all(
            item.text not in group.query.text for item, group in zip(targets, heldout, strict=True) if item.text and group.query.text
        )
        assert targets[0].image is not None
        assert targets[0].image.open().size == (180, 108)


def test_a_folder_that_holds_cards_is_left_alone(data: Path, tmp_path: Path) -> None:
    build(data, tmp_path)
    (tmp_path / "train.csv").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError):
        build(data, tmp_path)
    assert (tmp_path / "train.csv").read_text(encoding="utf-8") == "mine"
