"""What the mini MLLM is shown and asked: repeatable, from the train split only, with the prompts that ship."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmrerank.measures.own import score_auc
from mmrerank.prompting.answers import named_marks, read_marks, read_order
from mmrerank.prompting.grids import Layout
from mmrerank.prompting.grids import draw_grid as draw_large
from mmrerank.prompting.reasoning import passages
from tools.mini_clip.data import Table, read_table
from tools.mini_mllm.batches import patches_of
from tools.mini_mllm.cards import draw_card
from tools.mini_mllm.grid import draw_grid
from tools.mini_mllm.model import prompt_pieces
from tools.mini_mllm.samples import Material, Sample, distance, shifted
from tools.mini_mllm.tasks import TASKS, Settings

DATA = Path(__file__).parents[3] / "datasets" / "emoji"
SETTINGS = Settings(grid=3, count=8, max_pixels=216**2)
WITH_SLIPS = Settings(grid=3, count=9, max_pixels=216**2, cell_px=72, with_slips=1.0)


@pytest.fixture(scope="module")
def table() -> Table:
    return read_table(DATA, 72)


@pytest.fixture(scope="module")
def train(table: Table) -> Material:
    return Material(table, ("train",), "train")


def prompt_text(sample: Sample) -> str:
    return "".join(part for message in sample.prompt for part in message.parts if isinstance(part, str))


def samples_of(material: Material, task: str, count: int, seed: int = 0) -> list[Sample]:
    chance = random.Random(seed)
    return [TASKS[task](material, chance, SETTINGS) for _ in range(count)]


@pytest.mark.parametrize("task", TASKS)
def test_samples_repeat_with_their_seed(train: Material, task: str) -> None:
    for one, other in zip(samples_of(train, task, 4), samples_of(train, task, 4), strict=True):
        assert (prompt_text(one), one.answer, one.echo) == (prompt_text(other), other.answer, other.echo)
        assert all(np.array_equal(a, b) for a, b in zip(one.pictures, other.pictures, strict=True))
    assert [s.answer + prompt_text(s) for s in samples_of(train, task, 4)] != [
        s.answer + prompt_text(s) for s in samples_of(train, task, 4, seed=1)
    ]


@pytest.mark.parametrize("task", TASKS)
def test_a_sample_has_the_pictures_its_prompt_shows(train: Material, task: str) -> None:
    for sample in samples_of(train, task, 8):
        places = [part for message in sample.prompt for part in message.parts if not isinstance(part, str)]
        assert len(places) == len(sample.pictures)
        assert all(picture.shape[0] % 36 == picture.shape[1] % 36 == 0 for picture in sample.pictures)


def test_training_shows_and_names_no_held_out_combination(table: Table, train: Material) -> None:
    combinations = {emoji.combination for emoji, split in zip(table.emojis, table.splits, strict=True) if split != "train"}
    assert None not in combinations
    assert len(combinations) == 438
    assert not combinations & {emoji.combination for emoji in train.emojis}
    names = {emoji.name for emoji, split in zip(table.emojis, table.splits, strict=True) if split != "train"}
    for task in TASKS:
        for sample in samples_of(train, task, 30):
            lines = (sample.answer + "\n" + prompt_text(sample)).replace("</think>", "\n").replace(", off by", "\n").splitlines()
            assert not names & {line.split(": ", 1)[-1] for line in lines} | names & set(lines)


def test_measuring_asks_for_held_out_pictures_beside_known_ones(table: Table) -> None:
    dev = Material(table, ("train", "dev"), "dev")
    targets = {dev.emojis[row].name for row in dev.targets}
    assert len(targets) == 120
    assert {sample.answer for sample in samples_of(dev, "name", 20)} <= targets
    assert {sample.answer for sample in samples_of(dev, "target", 20)} <= targets


@pytest.mark.parametrize(
    ("task", "file"),
    [
        ("matches", "ragllava"),
        ("changed", "ragllava"),
        ("target", "square_fusion"),
        ("rank", "square"),
        ("pages", "mm_r5"),
        ("question", "answer"),
    ],
)
def test_prompts_are_those_that_ship(train: Material, task: str, file: str) -> None:
    sentences = [piece for piece in prompt_pieces(file) if len(piece) > 40]
    assert sentences
    for sample in samples_of(train, task, 5):
        assert any(sentence in prompt_text(sample) for sentence in sentences), prompt_text(sample)


def test_yes_and_no_are_right_and_come_as_often(train: Material) -> None:
    answers = [sample.answer for sample in samples_of(train, "changed", 200)]
    assert set(answers) == {"Yes", "No"}
    assert 70 < answers.count("Yes") < 130
    for sample in samples_of(train, "matches", 60):
        assert sample.echo in prompt_text(sample)
        assert not sample.echo or sample.answer == "Yes"


def test_rankings_can_be_read_and_put_the_wanted_cell_first(train: Material) -> None:
    for sample in samples_of(train, "rank", 10):
        marks = read_marks(sample.answer, 8).marks
        assert marks is not None
        assert sorted(marks) == list(range(1, 9))
        named = named_marks(sample.answer, 8)
        assert set(named) == set(marks)
        assert named[marks[0]].endswith("off by 0")
        off = [int(named[mark].rsplit(" ", 1)[1]) for mark in marks if "off by" in named[mark]]
        assert off == sorted(off)


def test_page_orders_can_be_read_with_a_passage_for_each(train: Material) -> None:
    for sample in samples_of(train, "pages", 10):
        order = read_order(sample.answer, len(sample.pictures))
        assert order.status == "ok"
        reasons = passages(sample.answer, len(sample.pictures))
        assert set(reasons) == set(order.positions)
        assert "off by 0" in reasons[order.positions[0]]


def test_alike_pictures_come_first_by_the_attributes_that_differ(train: Material) -> None:
    row = next(n for n, emoji in enumerate(train.emojis) if emoji.role == "pilot" and emoji.combination)
    alike = train.alike(row, 20, random.Random(0))
    off = [distance(train.emojis[row], train.emojis[other]) for other in alike]
    assert off == sorted(off)
    assert off[0] == 1
    assert row not in alike


def test_a_moved_picture_keeps_its_size_and_white_ground() -> None:
    picture = np.full((8, 8, 3), 255, dtype=np.uint8)
    picture[3:5, 3:5] = 0
    chance = random.Random(0)
    assert all((shifted(picture, chance) == 0).sum() == 12 for _ in range(20))


def test_what_follows_wrong_names_goes_by_the_words_and_they_are_not_learnt(train: Material) -> None:
    rows = {emoji.name: row for row, emoji in enumerate(train.emojis)}
    chance = random.Random(0)
    for task in ("rank", "pages"):
        samples = [TASKS[task](train, chance, WITH_SLIPS) for _ in range(12)]
        assert all(sample.answer[start:stop] in rows for sample in samples for start, stop in sample.wrong)
        assert sum(len(sample.wrong) for sample in samples) > 12
        for sample in samples:
            target = re.search(r"wanted: (.*)", sample.answer)
            lines = re.findall(r"(\d+): (.*), off by (\d)", sample.answer)
            assert target is not None
            for _, name, off in lines:
                apart = distance(train.emojis[rows[target[1]]], train.emojis[rows[name]])
                assert int(off) == (0 if name == target[1] else max(1, apart)), sample.answer
            order = [int(mark) for mark in re.findall(r"\d+", sample.answer.rpartition("[")[2])]
            assert order == sorted(range(1, len(lines) + 1), key=lambda mark: lines[mark - 1][2])


def test_cells_are_listed_in_any_order_by_their_marks(train: Material) -> None:
    orders = [[line.split(":")[0] for line in sample.answer.splitlines()] for sample in samples_of(train, "list", 20)]
    assert all(sorted(order) == list("12345678") for order in orders)
    assert 3 < orders.count(list("12345678")) < 17


def test_cells_side_by_side_are_the_pictures_themselves(table: Table) -> None:
    pictures = table.pixels[:54:6]
    ours = draw_grid(list(pictures), WITH_SLIPS.layout, WITH_SLIPS.max_pixels)
    theirs = draw_large([Image.fromarray(picture) for picture in pictures], cell_px=72, gutter_px=0)
    assert ours.shape == (216, 216, 3)
    assert np.abs(ours.astype(int) - np.asarray(theirs)).max() <= 1
    assert np.array_equal(ours[90:144, 72:144], pictures[4][18:])


@pytest.mark.parametrize(("side", "count", "max_pixels"), [(2, 3, 144**2), (3, 9, 288**2), (4, 16, 288**2)])
def test_a_small_grid_is_the_large_one_shrunk(table: Table, side: int, count: int, max_pixels: int) -> None:
    from transformers import Qwen2VLImageProcessor

    pictures = table.pixels[: count * 7 : 7]
    ours = patches_of(draw_grid(list(pictures), Layout(side=side), max_pixels)[None], 36)[0]
    size = {"shortest_edge": 36**2, "longest_edge": max_pixels}
    half = [0.5] * 3
    processor = Qwen2VLImageProcessor(patch_size=18, temporal_patch_size=1, merge_size=2, size=size, image_mean=half, image_std=half)
    theirs = processor(draw_large([Image.fromarray(picture) for picture in pictures], side=side), return_tensors="np")["pixel_values"]
    difference = np.abs(ours - theirs) * 127.5  # of 255 levels
    assert difference.mean() < 0.5
    assert np.quantile(difference, 0.99) < 6


def test_a_card_shows_picture_number_and_words(table: Table) -> None:
    card = draw_card(table.pixels[0], "grinning face", 7)
    assert card.shape == (108, 180, 3)
    assert not np.array_equal(card, draw_card(table.pixels[0], "grinning face", 8))
    assert not np.array_equal(card, draw_card(table.pixels[0], "another face", 7))


def test_the_area_counts_ties_by_half() -> None:
    assert score_auc(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False])) == 0.875
