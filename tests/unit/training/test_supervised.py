"""Training repeats itself: the same seed gives the same weights, and so does a run that was stopped on its way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_models import saved
from trained import group, model

from mmrerank.errors import InputError, UnknownName
from mmrerank.training.collate import Collator
from mmrerank.training.network import Student
from mmrerank.training.recipe import Band, Draw, Lora, Model, Stage
from mmrerank.training.supervised import Schedule, last_checkpoint, train_stage

STAGE = Stage(name="s", reranker="query_likelihood", loss="query_likelihood", steps=4, groups=2, save_every=1, learning_rate=1e-2)
DRAW = Draw(negatives=(Band(last=100, count=2),), fresh=True)
Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("supervised"), "llama")


class Killed(Exception):
    """As a power cut: nothing is written any more."""


def trained(llama: Path, folder: Path, *, seed: int = 0, stop_at: int | None = None, dropout: float = 0.2) -> tuple[Weights, list[str]]:
    """The weights after the stage, and the queries that were seen; stopped behind a step where one is named."""
    seen: list[str] = []

    class Seeing(Collator):
        def __call__(self, samples: object) -> object:  # type: ignore[override]
            seen.extend(f"{one.query.query_id} {[c.item.item_id for c in one.candidates]}" for one in samples)  # type: ignore[attr-defined]
            return super().__call__(samples)  # type: ignore[arg-type]

    class Watched(Student):
        def collator(self, stage: Stage) -> Collator:
            return Seeing(stage.reranker, self.backend)

    def advance(done: int, steps: int) -> None:
        if done == stop_at:
            raise Killed

    student = Watched(model(llama), Model(lora=Lora(dropout=dropout)), seed=seed)
    samples = Schedule([group(n) for n in range(5)], DRAW, STAGE.steps * STAGE.groups, seed=seed, name="s")
    train_stage(STAGE, student, samples, folder, seed=seed, advance=advance)
    return {name: weight.detach().clone() for name, weight in student.trained.items()}, seen


def test_equal_seeds_give_equal_weights_and_others_do_not(llama: Path, tmp_path: Path) -> None:
    first, seen = trained(llama, tmp_path / "a")
    again, seen_again = trained(llama, tmp_path / "b")
    other, _ = trained(llama, tmp_path / "c", seed=1)
    assert seen == seen_again
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert any(weight.abs().max() > 0 for name, weight in first.items() if "lora_B" in name)


def test_a_stopped_training_ends_with_the_weights_of_an_unbroken_one(llama: Path, tmp_path: Path) -> None:
    whole, seen = trained(llama, tmp_path / "whole")
    with pytest.raises(Killed):
        trained(llama, tmp_path / "broken", stop_at=3)  # its last checkpoint is of step 2
    rest, seen_later = trained(llama, tmp_path / "broken")
    assert seen[-len(seen_later) :] == seen_later
    assert len(seen_later) < len(seen)
    assert all(torch.equal(whole[name], rest[name]) for name in whole)


@pytest.mark.parametrize("lost", ["trained.safetensors", "trainer_state.json"])
def test_a_checkpoint_that_a_kill_cut_short_is_not_gone_on_from(lost: str, llama: Path, tmp_path: Path) -> None:
    whole, _ = trained(llama, tmp_path / "whole")
    with pytest.raises(Killed):
        trained(llama, tmp_path / "broken", stop_at=3)
    last = last_checkpoint(tmp_path / "broken")
    assert last is not None
    (Path(last) / lost).write_bytes(b"{")
    rest, _ = trained(llama, tmp_path / "broken")
    assert all(torch.equal(whole[name], rest[name]) for name in whole)


def test_the_order_of_the_data_is_known_beforehand() -> None:
    groups = [group(n) for n in range(5)]
    one, same = (Schedule(groups, DRAW, 20, seed=0, name="s") for _ in range(2))
    assert [sample.query.query_id for sample in one] == [same[n].query.query_id for n in range(20)]
    passes = [[one[5 * k + n] for n in range(5)] for k in range(4)]
    assert all(len({sample.query.query_id for sample in each}) == 5 for each in passes)
    assert any(a.candidates != b.candidates for a, b in zip(*(sorted(p, key=lambda s: s.query.query_id) for p in passes[:2]), strict=True))


def test_wrong_candidates_stay_the_same_unless_fresh_ones_are_asked_for() -> None:
    kept = Schedule([group()], replace(DRAW, fresh=False), 3, seed=0, name="s")
    assert kept[0] == kept[1] == kept[2]


def test_a_query_without_right_and_wrong_candidates_teaches_nothing() -> None:
    with pytest.raises(InputError, match="none of 1 queries"):
        Schedule([replace(group(), grades={})], DRAW, 2, seed=0, name="s")


def test_a_wrong_loss_is_told(llama: Path, tmp_path: Path) -> None:
    backend = model(llama)
    stage = replace(STAGE, loss="infonse")
    with pytest.raises(UnknownName, match="Did you mean 'infonce'"):
        train_stage(stage, Student(backend, Model(lora=Lora()), seed=0), [], tmp_path, seed=0)


@pytest.mark.parametrize(
    "changes", [{"accumulate": 2}, {"checkpointing": True}, {"precision": "bf16"}], ids=["accumulate", "checkpointing", "bf16"]
)
def test_ways_to_save_memory_train_too(changes: dict[str, object], llama: Path, tmp_path: Path) -> None:
    backend, stage = model(llama), replace(STAGE, steps=1, **changes)  # type: ignore[arg-type]
    student = Student(backend, Model(lora=Lora()), seed=0)
    before = {name: weight.detach().clone() for name, weight in student.trained.items()}
    samples = Schedule([group(n) for n in range(5)], DRAW, 4, seed=0, name="s")
    train_stage(replace(stage, warmup=0.0), student, samples, tmp_path, seed=0)
    assert any(not torch.equal(weight, before[name]) for name, weight in student.trained.items())
