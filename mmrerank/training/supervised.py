"""Supervised training by transformers' Trainer: a loss by name over what the student makes of each batch.

The order of the data is written down before the first step: step n sees the same groups whatever happened before it, so that a run that
was killed goes on with the data that it would have seen. Checkpoints hold the trained weights alone, optimiser, schedule and the state of
chance. Several GPUs, mixed precision and accumulation are the Trainer's, by `accelerate launch -m mmrerank.cli train ...`.
"""

from __future__ import annotations

import random
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from mmrerank.errors import DamagedData, InputError, MMRerankError
from mmrerank.text_files import read_json
from mmrerank.training.collate import Sample
from mmrerank.training.data import Group, drawn
from mmrerank.training.losses import Loss, named_loss
from mmrerank.training.network import Student
from mmrerank.training.recipe import Draw, Stage
from mmrerank.training.trainee import Collated, StagedTrainee, Trainee

WEIGHTS = "trained.safetensors"
Tell = Callable[[dict[str, Any]], None]


class Schedule(Sequence[Sample]):
    """The samples of a stage in the order in which they are seen; each is drawn when it is asked for, and always the same."""

    def __init__(self, groups: Sequence[Group], draw: Draw, count: int, *, seed: int, name: str) -> None:
        """Raises InputError where no group has right and wrong candidates."""
        self._groups = [group for group in groups if group.is_mixed or group.is_text]
        if not self._groups:
            raise InputError(f"none of {len(groups)} queries has right and wrong candidates")
        self._draw, self._count, self._key = draw, count, f"{seed}/{name}"
        self._orders: dict[int, list[int]] = {}  # the epoch that was met last -> places of its groups

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, position: Any) -> Any:
        if not 0 <= position < self._count:
            raise IndexError(position)
        epoch, place = divmod(position, len(self._groups))
        if epoch not in self._orders:  # of many thousand groups it takes as long as a step
            self._orders = {epoch: random.Random(f"{self._key}/{epoch}").sample(range(len(self._groups)), len(self._groups))}
        group = self._groups[self._orders[epoch][place]]
        key = f"{self._key}/{group.query.query_id}" + (f"/{epoch}" if self._draw.fresh else "")
        return sample_of(group, drawn(group, self._draw, random.Random(key)))


def sample_of(group: Group, candidates: Sequence[Any]) -> Sample:
    """A group with these of its candidates, in their order."""
    teacher = tuple(group.teacher[one.item.item_id] for one in candidates) if group.teacher else ()
    return Sample(query=group.query, candidates=tuple(candidates), grades=tuple(map(group.grade, candidates)), teacher=teacher)


class _Trainer(Trainer):  # type: ignore[misc]  # transformers is not followed
    """Transformers' Trainer over a student: the loss is the recipe's, and of the weights those that are trained are saved."""

    def __init__(self, *args: Any, loss: Loss, **options: Any) -> None:
        super().__init__(*args, **options)
        self._own_loss = loss
        self.model_accepts_loss_kwargs = False

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        """The loss of one batch."""
        return self._own_loss(**model(inputs["batch"], wanted=self._own_loss.tensors))

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if self.args.should_save:
            save_weights(self.accelerator.unwrap_model(self.model), Path(output_dir or str(self.args.output_dir)))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_weights(self.model, Path(resume_from_checkpoint))


def save_weights(student: Trainee, folder: Path) -> None:
    """Writes the trained weights."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: weight.detach().contiguous().cpu() for name, weight in student.trained.items()}, folder / WEIGHTS)


def load_weights(student: Trainee, folder: Path) -> None:
    """Puts the trained weights of a folder into the student.

    Raises:
        DamagedData: they are of other weights.
    """
    saved, own = load_file(folder / WEIGHTS), student.trained
    if set(saved) != set(own):
        raise DamagedData(f"{folder / WEIGHTS} holds other weights than are trained", hint="Begin anew in another folder.")
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(saved[name])


class _Telling(TrainerCallback):  # type: ignore[misc]
    """Passes on what the Trainer logs, and each step."""

    def __init__(self, tell: Tell, advance: Callable[[int, int], None]) -> None:
        self._tell, self._advance = tell, advance

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._advance(state.global_step, state.max_steps)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        if logs and "loss" in logs:
            known = {key: logs[key] for key in ("loss", "grad_norm", "learning_rate") if key in logs}
            self._tell({"step": state.global_step, "steps": state.max_steps, **known})


def train_stage(
    stage: Stage,
    student: Trainee,
    samples: Sequence[Sample],
    folder: Path,
    *,
    seed: int,
    tell: Tell = lambda _: None,
    advance: Callable[[int, int], None] = lambda done, steps: None,
) -> None:
    """Trains the student in place; goes on from the last checkpoint in the folder where there is one.

    Args:
        samples: as many as the stage sees.
        tell: gets what is logged, a record every few steps.
        advance: gets steps done and expected.

    Raises:
        InputError: no group can be learnt from, or the stage asks for what the student cannot do.
        UnknownName: there is no such loss, or option of it.
    """
    _check_memory(stage, student)
    checkpoint = last_checkpoint(folder)
    if isinstance(student, StagedTrainee):
        student.begin(stage, samples, resumes=checkpoint is not None)
    trainer = _Trainer(
        model=student,
        args=_arguments(stage, folder, seed, student),
        train_dataset=samples,
        data_collator=partial(_collated, student.collator(stage)),
        callbacks=[_Telling(tell, advance)],
        loss=named_loss(stage.loss, stage.options),
    )
    trainer.remove_callback(PrinterCallback)  # what is logged goes to the journal
    with _quiet():
        trainer.train(resume_from_checkpoint=checkpoint)
    if isinstance(student, StagedTrainee):
        student.finish(stage, samples)


def _check_memory(stage: Stage, student: Trainee) -> None:
    """Has a language model compute activations again where the stage says so."""
    if not stage.checkpointing:
        return
    if not isinstance(student, Student):
        raise InputError("networks of their own keep their activations", hint="Leave checkpointing out.")
    student.gradient_checkpointing_enable()


def last_checkpoint(folder: Path) -> str | None:
    """The last checkpoint that was written to its end; one that a kill cut short is removed, since it would be taken for the last."""
    whole: dict[int, Path] = {}
    for path in folder.glob("checkpoint-*"):
        try:
            whole[int(read_json(path / "trainer_state.json")["global_step"])] = path
            load_file(path / WEIGHTS)
        except (MMRerankError, OSError, KeyError, SafetensorError):
            shutil.rmtree(path)
            whole = {step: one for step, one in whole.items() if one != path}
    return str(whole[max(whole)]) if whole else None


def _collated(collate: Collated, samples: Sequence[Sample]) -> dict[str, Any]:
    return {"batch": collate(samples)}


def _arguments(stage: Stage, folder: Path, seed: int, student: Trainee) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=stage.steps,
        per_device_train_batch_size=stage.groups,
        gradient_accumulation_steps=stage.accumulate,
        learning_rate=stage.learning_rate,
        lr_scheduler_type=stage.schedule,
        warmup_steps=round(stage.warmup * stage.steps),
        weight_decay=stage.weight_decay,
        max_grad_norm=stage.gradient_norm,
        bf16=stage.precision == "bf16",
        fp16=stage.precision == "fp16",
        save_steps=stage.save_every,
        save_total_limit=stage.keep,
        logging_steps=max(1, min(10, stage.steps // 10)),
        train_sampling_strategy="sequential",
        seed=seed,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        use_cpu=next(student.network.parameters()).device.type == "cpu",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what libraries warn of among themselves."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        yield
