"""The recipe of the mini CLIP: its options, its batches, its resume, and what the shipped weights reach."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mmrerank.errors import FormatError, InputError, UnknownName
from mmrerank.mini import CLIP
from tools.mini_clip import train as clip
from tools.mini_clip.data import Table, augmented, batch_rows, caption, composed_pairs, epoch_order, on_white, read_table
from tools.mini_clip.evaluate import ranks, recalls
from tools.mini_clip.losses import contrastive, rate
from tools.mini_clip.recipe import Budget, Recipe, read_recipe

ROOT = Path(__file__).parents[3]
DATA = ROOT / "datasets" / "emoji"
RECIPE = ROOT / "tools" / "mini_clip" / "mini_clip.toml"
ROLES = ("firefighter", "pilot", "judge")


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """The shipped recipe, cut down to steps that take a moment."""
    full = read_recipe(RECIPE)
    budget = Budget(steps=2, batch=12, bfloat16=False, threads=1)
    model = replace(full.model, side_px=32, text_width=32, text_layers=1, text_heads=2, vocabulary=300, embed_dim=32)
    return replace(full, model=model, cpu=budget, log=replace(full.log, every=1), optimizer=replace(full.optimizer, warmup_steps=0))


@pytest.fixture(scope="module")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures of three roles with the queries among them."""
    folder = tmp_path_factory.mktemp("emoji")
    table = pq.read_table(DATA / "pictures.parquet")
    rows = [row for row in table.to_pylist() if row["role"] in ROLES]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), folder / "pictures.parquet")
    ids = {"pictures.parquet::" + row["key"] for row in rows}
    lines = (DATA / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if {(query := json.loads(line))["image"], *query["relevant"]} <= ids]
    (folder / "queries.jsonl").write_text("\n".join(kept) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def table(small_data: Path) -> Table:
    return read_table(small_data, 32)


def weights(trainer: clip.Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.average.state.items()}


def test_an_unknown_key_of_the_recipe_is_refused_with_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.read_text(encoding="utf-8").replace("learning_rate =", "learning_rat ="), encoding="utf-8")
    with pytest.raises(UnknownName, match="Did you mean 'learning_rate'"):
        read_recipe(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("weight_decay = 0.05", "", "lacks weight_decay"),
        ("weight_decay = 0.05", 'weight_decay = "much"', "should be float"),
        ("seed = 7", "", "lacks seed"),
    ],
)
def test_a_missing_or_wrong_value_of_the_recipe_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(FormatError, match=message):
        read_recipe(path)


def test_the_rate_warms_up_and_falls_to_zero() -> None:
    full = read_recipe(RECIPE)
    rates = [rate(step, 1000, full) for step in range(1001)]
    peak = full.optimizer.warmup_steps
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert max(rates) == full.optimizer.learning_rate
    assert rates[1000] == pytest.approx(0.0)


def test_an_epoch_holds_every_row_once_and_puts_alike_rows_together(table: Table) -> None:
    for epoch in (0, 1):
        order = epoch_order(table.emojis, epoch, neighbours=6, seed=1)
        assert sorted(order) == list(range(len(table.emojis)))
    assert epoch_order(table.emojis, 0, neighbours=6, seed=1) != epoch_order(table.emojis, 2, neighbours=6, seed=1)
    by_role = epoch_order(table.emojis, 0, neighbours=6, seed=1)  # 18 pictures a role: runs of six never cross roles
    assert all(len({table.emojis[row].role for row in by_role[start : start + 6]}) == 1 for start in range(0, len(by_role), 6))


def test_batches_of_one_epoch_do_not_overlap(table: Table) -> None:
    rows = [batch_rows(table.emojis, step, batch=16, neighbours=4, seed=1) for step in range(3)]
    assert len(np.unique(np.concatenate(rows))) == 48


def test_composed_pairs_say_what_leads_from_one_to_the_other(table: Table) -> None:
    pairs, texts = composed_pairs(table.emojis, 30, random.Random(0))
    assert len(pairs) == len(texts) == 30
    for (reference, target), text in zip(pairs, texts, strict=True):
        before, after = table.emojis[reference], table.emojis[target]
        if before.skin_tone != after.skin_tone:
            assert str(after.skin_tone) in text
        if before.role != after.role:
            assert str(after.role).split()[0] in text


def test_every_caption_keeps_the_attributes(table: Table) -> None:
    chance = random.Random(0)
    for emoji in table.emojis:
        for _ in range(8):
            words = caption(emoji, chance, 0.3)
            assert str(emoji.role) in words
            assert emoji.skin_tone is None or emoji.skin_tone in words
            assert emoji.gender == "person" or str(emoji.gender) in words


def test_transparent_parts_become_white() -> None:
    png = pq.read_table(DATA / "pictures.parquet", columns=["image"])["image"][0].as_py()
    assert on_white(png).getpixel((0, 0)) == (255, 255, 255)


def test_augmentation_keeps_white_ground_white_and_repeats_with_its_seed() -> None:
    white = torch.ones(3, 3, 16, 16)
    once = augmented(white, torch.Generator().manual_seed(3))
    assert torch.equal(once, augmented(white, torch.Generator().manual_seed(3)))
    assert torch.all(once > 0.9)


def test_twins_are_no_negatives() -> None:
    logits = torch.tensor([[5.0, 5.0, 0.0], [5.0, 5.0, 0.0], [0.0, 0.0, 5.0]])
    apart = contrastive(logits, torch.tensor([0, 1, 2]))
    together = contrastive(logits, torch.tensor([0, 0, 2]))
    assert float(together) < 0.05 < float(apart)


def test_ranks_count_ties_for_the_lower_row() -> None:
    scores = np.array([[0.5, 0.9, 0.5], [0.1, 0.1, 0.1]], dtype=np.float32)
    assert ranks(scores, np.array([2, 0])).tolist() == [3, 1]


def test_a_twin_counts_as_the_target_unless_strict() -> None:
    measures = recalls(np.array([[0.9, 0.8, 0.1]], dtype=np.float32), np.array([1]), np.array([0, 0, 2]))
    assert (measures["R@1"], measures["strict_R@1"], measures["strict_R@5"]) == (1.0, 0.0, 1.0)


def test_a_resumed_run_ends_where_a_straight_one_does(recipe: Recipe, table: Table, small_data: Path, tmp_path: Path) -> None:
    straight = clip.Trainer(recipe, small_data, tmp_path / "straight", table=table, device="cpu")
    begin = weights(straight)
    losses = [straight.advance(), straight.advance()]
    halves = clip.Trainer(recipe, small_data, tmp_path / "halves", table=table, device="cpu")
    assert halves.advance() == losses[0]
    halves.save()
    resumed = clip.Trainer(recipe, small_data, tmp_path / "halves", table=table, device="cpu")
    assert resumed.step == 1
    assert resumed.advance() == losses[1]
    for name, value in weights(straight).items():
        assert torch.equal(value, weights(resumed)[name]), name
    assert not torch.equal(begin["visual.head.proj.weight"], weights(straight)["visual.head.proj.weight"])


def test_a_checkpoint_of_another_recipe_is_refused(recipe: Recipe, table: Table, small_data: Path, tmp_path: Path) -> None:
    clip.Trainer(recipe, small_data, tmp_path, table=table, device="cpu").save()
    with pytest.raises(InputError, match="another recipe"):
        clip.Trainer(replace(recipe, seed=8), small_data, tmp_path, table=table, device="cpu")


def test_a_run_ends_in_a_folder_that_open_clip_loads(recipe: Recipe, small_data: Path, tmp_path: Path) -> None:
    trainer = clip.Trainer(recipe, small_data, tmp_path / "work", device="cpu")
    trainer.run()
    clip.finish(trainer, tmp_path / "out")
    entries = [json.loads(line) for line in (tmp_path / "work" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [entry["step"] for entry in entries] == [1, 2]
    measures = clip.evaluate(tmp_path / "out", small_data, "dev")
    # fp16 weights, and the preprocessing of open_clip instead of ours: nearly the same measures
    assert measures["names"]["R@10"] == pytest.approx(entries[-1]["dev"]["names"]["R@10"], abs=0.2)
    assert (tmp_path / "work" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert not list((tmp_path / "out").glob("*.png"))  # what ships has no pictures in it
    last_line = clip.report(measures, tmp_path / "out", "dev").splitlines()[-1]
    assert json.loads(last_line)["measures"] == measures


@pytest.fixture(scope="module")
def shipped() -> tuple[Any, Any, Any]:
    import open_clip

    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{CLIP}")
    return model.eval(), preprocess, open_clip.get_tokenizer(f"local-dir:{CLIP}")


def test_the_shipped_folder_is_small_and_has_its_card() -> None:
    assert sum(path.stat().st_size for path in CLIP.iterdir()) <= 16 * 2**20
    needed = {"CARD.md", "open_clip_config.json", "open_clip_model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert {path.name for path in CLIP.iterdir()} == needed


def test_the_shipped_tokenizer_takes_any_text(shipped: tuple[Any, Any, Any]) -> None:
    tokenizer = shipped[2]
    upper, lower = tokenizer(["Woman Firefighter: DARK skin tone", "woman firefighter dark skin tone"])
    assert torch.equal(upper, lower)
    ids = [int(i) for i in lower if i]
    assert tokenizer.tokenizer.decode(ids, skip_special_tokens=True).strip() == "woman firefighter dark skin tone"
    strange = tokenizer(["", "zebra-striped qwertz 漢字 \N{FIRE}", "very " * 100])
    assert strange.shape == (3, lower.shape[0])
    end = int(strange.max())
    assert (strange == end).sum(dim=1).tolist() == [1, 1, 1]  # every text ends once, also one that was cut


def test_the_shipped_tokenizer_tells_all_names_apart(shipped: tuple[Any, Any, Any]) -> None:
    names = pq.read_table(DATA / "pictures.parquet", columns=["text"])["text"].to_pylist()
    assert len({tuple(row.tolist()) for row in shipped[2](names)}) == len(names)


def test_the_shipped_weights_reach_what_their_card_says(shipped: tuple[Any, Any, Any]) -> None:
    """A quarter of the test names among the test pictures and every fourth of the others: a floor, below the card's numbers."""
    model, preprocess, tokenizer = shipped
    records = pq.read_table(DATA / "pictures.parquet").to_pylist()
    records = [row for n, row in enumerate(records) if row["split"] == "test" or n % 4 == 0]
    targets = [n for n, row in enumerate(records) if row["split"] == "test"][::4]
    with torch.inference_mode():
        pictures = torch.stack([preprocess(on_white(row["image"])) for row in records])
        seen = model.encode_image(pictures, normalize=True)
        read = model.encode_text(tokenizer([records[n]["text"] for n in targets]), normalize=True)
    measures = ranks((read @ seen.T).numpy(), np.array(targets))
    assert (measures <= 1).mean() >= 0.85
    assert (measures <= 10).mean() >= 0.99
