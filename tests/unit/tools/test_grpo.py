"""GRPO over five cards: what is asked, and that a run of two steps moves the weights and logs both rewards."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from mmrerank.backends.mini import FOLDER
from mmrerank.errors import FormatError, UnknownName
from tools.mini_clip.data import Table, read_table
from tools.mini_mllm.grpo import PAGES, draw_curves, measure, questions, read_recipe, train
from tools.mini_mllm.samples import Material

ROOT = Path(__file__).parents[3]
RECIPE = ROOT / "tools" / "mini_mllm" / "mini_grpo.toml"


@pytest.fixture(scope="module")
def table() -> Table:
    return read_table(ROOT / "datasets" / "emoji", 72)


def test_the_same_seed_asks_the_same_over_five_cards(table: Table) -> None:
    material = Material(table, ("train", "dev"), "dev")
    first, again = (questions(material, 3, 0.9, "s") for _ in range(2))
    assert [one.right for one in first] == [one.right for one in again]
    for one in first:
        assert sum(not isinstance(part, str) for message in one.prompt for part in message.parts) == PAGES
        assert 1 <= one.right <= PAGES


def test_a_recipe_with_an_unknown_key_or_without_one_is_refused(tmp_path: Path) -> None:
    text = RECIPE.read_text(encoding="utf-8")
    path = tmp_path / "recipe.toml"
    path.write_text(text.replace("seed =", "sead ="), encoding="utf-8")
    with pytest.raises(UnknownName, match="sead"):
        read_recipe(path)
    path.write_text(text.replace("seed = 5\n", ""), encoding="utf-8")
    with pytest.raises(FormatError, match="lacks seed"):
        read_recipe(path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of trl and transformers about one another
def test_two_steps_move_the_weights_and_log_both_rewards(table: Table, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    recipe = replace(read_recipe(RECIPE), questions=1, group=2, answer_tokens=100, learning_rate=1e-3)
    train(recipe, FOLDER, table, tmp_path, 1.0, steps=2)
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert any("rewards/ranking/mean" in entry and "rewards/form/mean" in entry for entry in entries)
    before, after = load_file(FOLDER / "model.safetensors"), load_file(tmp_path / "model" / "model.safetensors")
    assert before.keys() == after.keys()
    assert any(not before[name].float().equal(after[name].float()) for name in before)
    draw_curves(tmp_path / "log.jsonl", tmp_path / "curves.png")
    measures = measure(tmp_path / "model", questions(Material(table, ("dev",), "dev"), 2, 0.0, "m"))
    assert 0 <= measures["rank reward"] <= 1
