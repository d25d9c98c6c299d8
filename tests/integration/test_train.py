"""`mmrerank train`: from a recipe to a card, after a kill too, and what it says of a wrong one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tiny_models import saved
from trained import written

from mmrerank.backends import open_backend
from mmrerank.cli import main
from mmrerank.parts import make
from mmrerank.types import Candidate, Item, Query

RECIPE = """
name = "small"
title = "A small one"
source = "a test"
[model]
frozen_layers = 1
[model.lora]
dropout = 0.1
[data]
layout = "lists"
files = ["train.jsonl"]
first_stage = "bm25"
[data.draw]
negatives = [{{ last = 10, count = 3 }}]
fresh = true
[[stages]]
name = "contrast"
reranker = "query_likelihood"
loss = "query_likelihood"
steps = {steps}
learning_rate = 1e-2
save_every = 1
[[heldout]]
name = "questions"
layout = "lists"
files = ["heldout.jsonl"]
first_stage = "bm25"
measures = ["AP", "R@1"]
"""
STEPS = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("train")
    written(place, "heldout.jsonl")
    (written(place) / "recipe.toml").write_text(RECIPE.format(steps=STEPS), encoding="utf-8")
    saved(place, "llama")
    return place


def command(folder: Path, out: str) -> list[str]:
    return ["train", str(folder / "recipe.toml"), "--out", str(folder / out), "--backend", f"local/{folder / 'llama'}", "--json"]


@pytest.fixture(scope="module")
def whole(folder: Path) -> dict[str, object]:
    """The card of a training that nothing stopped."""
    done = subprocess.run([sys.executable, "-m", "mmrerank.cli", *command(folder, "whole")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    card: dict[str, object] = json.loads(done.stdout)
    return card


def test_a_card_tells_what_was_trained_and_what_it_brought(whole: dict[str, object], folder: Path) -> None:
    assert whole["queries"] == 5
    (result,) = whole["heldout"]  # type: ignore[misc]
    names = [row["name"] for row in result["systems"]]
    assert names[:4] == ["order of the file", result["first_stage"], "untrained", "trained"]
    assert {"value", "low", "high"} <= set(result["systems"][3]["over_untrained"]["AP"])
    text = (folder / "whole" / "CARD.md").read_text(encoding="utf-8")
    assert "| trained |" in text
    assert "95 % intervals" in text
    assert whole["made_by"]["recipe"] == "small"  # type: ignore[index]
    assert f"step {STEPS} of {STEPS}" in (folder / "whole" / "log.txt").read_text(encoding="utf-8")
    assert (folder / "whole" / "curves.png").stat().st_size > 1000


def test_what_was_trained_serves(whole: dict[str, object], folder: Path) -> None:
    orders = []
    for model in (folder / "llama", folder / "whole" / "adapter"):
        part = make("query_likelihood", station="rerankers", backend=open_backend(f"local/{model}", cache=None))
        ranking = part.rerank(
            Query(text="what makes honey"), [Candidate(item=Item(item_id=t, text=t)) for t in ("bees", "the first user", "no")]
        )
        orders.append([(one.item.item_id, one.raw_score) for one in ranking.candidates])
    assert sorted(name for name, _ in orders[0]) == sorted(name for name, _ in orders[1])
    assert orders[0] != orders[1]


def test_a_killed_training_ends_as_an_unbroken_one(whole: dict[str, object], folder: Path) -> None:
    out = folder / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "mmrerank.cli", *command(folder, "killed")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not (out / "stages" / "1-contrast" / "checkpoint-2").is_dir():
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was done before it could be killed"
    assert not (out / "adapter").exists()
    assert main(command(folder, "killed")) == 0
    adapters = [load_file(folder / name / "adapter" / "adapter_model.safetensors") for name in ("whole", "killed")]
    assert set(adapters[0]) == set(adapters[1])
    assert all(bool((adapters[0][name] == adapters[1][name]).all()) for name in adapters[0])
    orders = [(folder / name / "heldout" / "questions-trained.jsonl").read_text(encoding="utf-8") for name in ("whole", "killed")]
    assert orders[0] == orders[1]


def test_a_done_training_reads_no_data_again(whole: dict[str, object], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = folder / "whole" / "adapter" / "adapter_model.safetensors"
    before, data = weights.stat().st_mtime_ns, folder / "train.jsonl"
    data.rename(folder / "aside.jsonl")
    assert main(command(folder, "whole")) == 0
    (folder / "aside.jsonl").rename(data)
    assert json.loads(capsys.readouterr().out)["heldout"] == whole["heldout"]
    assert weights.stat().st_mtime_ns == before


def test_another_recipe_does_not_go_on_in_its_folder(whole: dict[str, object], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = folder / "other.toml"
    other.write_text(RECIPE.format(steps=3), encoding="utf-8")
    arguments = command(folder, "whole")
    arguments[1] = str(other)
    assert main(arguments) == 1
    assert "another recipe" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_a_wrong_name_is_told_with_the_real_ones(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "query_likelyhood", "--out", str(folder / "x"), "--json"]) == 2
    assert "query_likelihood" in json.loads(capsys.readouterr().out)["error"]["hint"]
