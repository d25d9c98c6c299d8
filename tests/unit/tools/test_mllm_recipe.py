"""The recipe of the mini MLLM: its options, its steps, its resume and the folder it writes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmrerank.errors import FormatError, InputError, UnknownName
from tools.mini_clip.data import Table, read_table
from tools.mini_mllm import train as mllm
from tools.mini_mllm.curves import draw_curves
from tools.mini_mllm.model import new_config, new_model
from tools.mini_mllm.recipe import Budget, Phase, Recipe, read_recipe

ROOT = Path(__file__).parents[3]
DATA = ROOT / "datasets" / "emoji"
RECIPE = ROOT / "tools" / "mini_mllm" / "mini_mllm.toml"
ROLES = ("firefighter", "pilot", "judge", "singer")


@pytest.fixture(scope="module")
def table() -> Table:
    """The pictures of four roles, of all splits."""
    full = read_table(DATA, mllm.PICTURE_PX)
    return full.part([row for row, emoji in enumerate(full.emojis) if emoji.role in ROLES])  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """The shipped recipe, cut down to steps that take a moment, with every task in one phase."""
    full = read_recipe(RECIPE)
    model = replace(full.model, vocabulary=640, bpe_tokens=420, text_width=32, text_layers=1, text_heads=2, text_key_heads=1, text_inner=48)
    model = replace(model, vision_width=32, vision_layers=1, vision_heads=2, vision_inner=48)
    phase = Phase(share=1.0, samples=dict.fromkeys(mllm.TASKS, 2), grids=(2,), hard=0.5, with_slips=0.5, cell_px=72)
    budget = Budget(minutes=1.0, samples=1.0, bfloat16=False, threads=1)
    log = replace(full.log, every=1, probe_minutes=0.0, probe_samples=4)
    return replace(full, model=model, cpu=budget, log=log, phases=(phase,), optimizer=replace(full.optimizer, warmup_steps=0))


def trainer(recipe: Recipe, table: Table, work: Path) -> mllm.Trainer:
    return mllm.Trainer(recipe, DATA, work, table=table, device="cpu")


def weights(run: mllm.Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.model.state_dict().items()}


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("learning_rate =", "learning_rat =", UnknownName, "Did you mean 'learning_rate'"),
        ("matches =", "match =", UnknownName, "Did you mean 'matches'"),
        ("weight_decay = 0.05", "", FormatError, "lacks weight_decay"),
        ("hard = 0.0\n", "", FormatError, "lacks hard"),
        ("share = 0.2\n", "share = 0.5\n", FormatError, "do not add up"),
        ("with_slips = 0.6\n", "", FormatError, "lacks with_slips"),
        ("seed = 11", "", FormatError, "lacks seed"),
    ],
)
def test_a_recipe_that_is_not_one_is_refused(tmp_path: Path, old: str, new: str, error: type[Exception], message: str) -> None:
    path = tmp_path / "recipe.toml"
    text = RECIPE.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(error, match=message):
        read_recipe(path)


def test_phases_follow_the_share_of_the_budget() -> None:
    full = read_recipe(RECIPE)
    assert full.phase(0.0) is full.phases[0]
    assert full.phase(0.2) is full.phases[1]
    assert full.phase(1.0) is full.phases[-1]


def test_the_rate_warms_up_and_falls_to_its_last_share() -> None:
    full = read_recipe(RECIPE)
    late = full.optimizer.warmup_steps
    assert mllm.rate(0, 0.0, full) < mllm.rate(late // 2, 0.0, full) < full.optimizer.learning_rate
    assert mllm.rate(late, 0.0, full) == pytest.approx(full.optimizer.learning_rate)
    assert mllm.rate(late, 1.0, full) == pytest.approx(full.optimizer.learning_rate * full.optimizer.last_rate)


def test_the_shipped_sizes_stay_small(recipe: Recipe, table: Table, tmp_path: Path) -> None:
    tokenizer = trainer(recipe, table, tmp_path).tokenizer
    full = read_recipe(RECIPE)
    count = sum(weight.numel() for weight in new_model(new_config(tokenizer, full.model), 0).parameters())
    assert count <= 12_000_000
    assert 2 * count <= 26 * 2**20  # bytes as bfloat16


def test_a_resumed_run_ends_where_a_straight_one_does(recipe: Recipe, table: Table, tmp_path: Path) -> None:
    straight = trainer(recipe, table, tmp_path / "straight")
    begin = weights(straight)
    losses = [straight.advance(), straight.advance()]
    assert set(losses[0]) == set(mllm.TASKS)
    halves = trainer(recipe, table, tmp_path / "halves")
    assert halves.advance() == losses[0]
    halves.save()
    resumed = trainer(recipe, table, tmp_path / "halves")
    assert resumed.step == 1
    assert resumed.advance() == losses[1]
    for name, value in weights(straight).items():
        assert torch.equal(value, weights(resumed)[name]), name
    assert not torch.equal(begin["lm_head.weight"], weights(straight)["lm_head.weight"])


def test_a_run_may_begin_with_the_weights_of_a_folder(recipe: Recipe, table: Table, tmp_path: Path) -> None:
    first = trainer(recipe, table, tmp_path / "first")
    first.save()
    later = mllm.Trainer(recipe, DATA, tmp_path / "later", table=table, device="cpu", start=tmp_path / "first" / "model", spent=0.75)
    for name, value in weights(first).items():
        assert torch.equal(value.bfloat16().float(), weights(later)[name]), name
    assert later.tokenizer.get_vocab() == first.tokenizer.get_vocab()
    assert (later.step, later.progress) == (0, 0.75)


def test_a_checkpoint_of_other_sizes_is_refused(recipe: Recipe, table: Table, tmp_path: Path) -> None:
    trainer(recipe, table, tmp_path).save()
    with pytest.raises(InputError, match="other sizes"):
        trainer(replace(recipe, model=replace(recipe.model, text_inner=64)), table, tmp_path)


def test_a_run_ends_with_its_minutes_and_leaves_log_curves_and_model(recipe: Recipe, table: Table, tmp_path: Path) -> None:
    run = mllm.Trainer(recipe, DATA, tmp_path, table=table, device="cpu", minutes=0.001)
    run.run()
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert set(entries[-1]["losses"]) == set(mllm.TASKS)
    assert 0 <= entries[-1]["dev"]["matches"]["auc"] <= 1
    assert set(entries[-1]["dev"]["rank 2x2"]) == {"tokens", "answers", "decisions", "first", "whole"}
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    needed = {"config.json", "generation_config.json", "model.safetensors", "processor_config.json", "tokenizer.json"}
    assert needed | {"tokenizer_config.json", "chat_template.jinja"} == {path.name for path in (tmp_path / "model").iterdir()}


def test_curves_of_a_log_without_measures_are_drawn(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 1, "minutes": 0.1, "losses": {"name": 2.0}}\n', encoding="utf-8")
    draw_curves(tmp_path / "log.jsonl", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").is_file()


def test_a_finished_run_is_not_begun_anew_by_mistake(recipe: Recipe, table: Table, tmp_path: Path) -> None:
    trainer(recipe, table, tmp_path).save()
    with pytest.raises(SystemExit):
        mllm.main([str(RECIPE), "--data", str(DATA), "--out", str(tmp_path)])
