"""Trains the mini MLLM on the train split of `datasets/emoji`, with the prompts that the rerankers send.

    python -m tools.mini_mllm.train tools/mini_mllm/mini_mllm.toml --data datasets/emoji --out runs/mini-mllm
    python -m tools.mini_mllm.train tools/mini_mllm/mini_mllm.toml --data datasets/emoji --out runs/mini-mllm --resume

The budget is in minutes, on a CPU or a GPU, and learning rate and phases follow the clock. `--out` holds log, curves, checkpoint and,
in `model/`, the folder that transformers loads. A run that was stopped goes on with --resume; the recipe's phases may have changed.
`--start FOLDER --spent MINUTES` begins with the weights of such a folder, as if so many minutes were over.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import math
import os
import random
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmrerank.errors import InputError
from tools.mini_clip.data import Table, composed_pairs, read_table
from tools.mini_mllm.batches import Encoder
from tools.mini_mllm.curves import draw_curves
from tools.mini_mllm.forward import Batch, answer_logits, loss_of
from tools.mini_mllm.model import (
    export,
    new_config,
    new_model,
    new_processor,
    new_tokenizer,
    prompt_pieces,
    with_pieces,
)
from tools.mini_mllm.probes import RANKING_TASKS, own_rankings, probe
from tools.mini_mllm.recipe import Budget, Phase, Recipe, read_recipe
from tools.mini_mllm.samples import Material
from tools.mini_mllm.tasks import QUESTIONS, TASKS, Settings
from tools.mini_mllm.vocabulary import GRAMMAR
from tools.training import CHECKPOINT, LOG, append_entry, load_checkpoint, save_checkpoint, weight_groups

logger = logging.getLogger(__name__)
PICTURE_PX = 72
LONGEST_STEP_S = 180.0  # probes and checkpoint included; what goes beyond is a process that was paused, and no training


class Trainer:
    """Model, optimizer and clock of one run; `work` holds its log, checkpoint and exported model."""

    def __init__(
        self,
        recipe: Recipe,
        data: Path,
        work: Path,
        *,
        table: Table | None = None,
        device: str | None = None,
        minutes: float | None = None,
        start: Path | None = None,
        spent: float = 0.0,
    ) -> None:
        import torch

        self.recipe, self.work = recipe, work
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.budget: Budget = recipe.budget(self.device)
        self.minutes = self.budget.minutes if minutes is None else minutes
        table = read_table(data, PICTURE_PX) if table is None else table
        self.train = Material(table, ("train",), "train")
        self.dev = Material(table, ("train", "dev"), "dev")
        work.mkdir(parents=True, exist_ok=True)
        if start is not None and not (work / "tokenizer.json").is_file():
            shutil.copy(start / "tokenizer.json", work)
        self.tokenizer = self._tokenizer()
        self.encoder = Encoder(self.tokenizer, recipe.model.token_px)
        self.processor = new_processor(self.tokenizer, recipe.model)
        self.model: Any = new_model(new_config(self.tokenizer, recipe.model), recipe.seed).to(self.device)
        groups = weight_groups(self.model, recipe.optimizer.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), eps=1e-6, fused=True)
        self.threads, self.ending = self.budget.threads, False
        self.step, self.spent = 0, 60 * spent  # seconds, those of earlier legs included
        if (work / CHECKPOINT).is_file():
            self.resume()
        elif start is not None:
            self.model.load_state_dict(weights_of(start))

    @property
    def progress(self) -> float:
        return min(1.0, self.spent / (60 * self.minutes))

    def advance(self) -> dict[str, float]:
        """One step: a batch of every task of the phase, one update; returns the loss of each task."""
        import torch

        phase = self.recipe.phase(self.progress)
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.step, self.progress, self.recipe)
        losses: dict[str, float] = {}
        for task, count in phase.samples.items():
            loss = self._loss(self.batch(task, round(count * self.budget.samples), phase))
            (loss * (count / sum(phase.samples.values()))).backward()
            losses[task] = float(loss.detach())
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.optimizer.gradient_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return losses

    def batch(self, task: str, count: int, phase: Phase) -> Batch:
        """The samples of one task in this step; the same for the same seed and step."""
        chance = random.Random(f"{self.recipe.seed} {task} {self.step}")
        settings = self._settings(chance.choice(phase.grids), phase, chance)
        return self.encoder.batch([TASKS[task](self.train, chance, settings) for _ in range(count)], self.device, echo=True)

    def _loss(self, batch: Batch) -> Any:
        import torch

        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.budget.bfloat16):
            logits = answer_logits(self.model, batch)
        return loss_of(logits, batch)

    def _settings(self, side: int, phase: Phase, chance: random.Random) -> Settings:
        most = self.recipe.model.max_pixels
        count = side**2 if chance.random() < 0.8 else chance.randint((side - 1) ** 2 + 1, side**2)
        pixels = min(most, (side * phase.cell_px) ** 2) if phase.cell_px else most
        return Settings(
            grid=side, count=max(2, count), max_pixels=pixels, hard=phase.hard, with_slips=phase.with_slips, cell_px=phase.cell_px
        )

    def probes(self) -> dict[str, dict[str, float]]:
        """Measures of every task of the phase on combinations that were held out."""
        measures: dict[str, dict[str, float]] = {}
        phase = self.recipe.phase(self.progress)
        for task in phase.samples:
            for side in sorted(set(phase.grids)) if task in GRID_TASKS else [phase.grids[-1]]:
                name = f"{task} {side}x{side}" if task in GRID_TASKS else task
                chance = random.Random(f"dev {name}")
                settings = dataclasses.replace(self._settings(side, phase, chance), with_slips=0.0)
                samples = [TASKS[task](self.dev, chance, settings) for _ in range(self.recipe.log.probe_samples)]
                measures[name] = probe(self.model, self.encoder, samples, self.device)
                if task in RANKING_TASKS:
                    measures[name] |= own_rankings(self.model, self.encoder, task, samples, self.device, bfloat16=self.budget.bfloat16)
        return measures

    def save(self) -> None:
        """Checkpoint, exported folder and curves; a run that is killed here keeps the old checkpoint."""
        state = {
            "step": self.step,
            "spent": self.spent,
            "sizes": dataclasses.asdict(self.recipe.model),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        save_checkpoint(self.work, state)
        export(self.work / "model", self.model, self.processor)
        if (self.work / LOG).is_file():
            draw_curves(self.work / LOG, self.work / "curves.png")

    def resume(self) -> None:
        state = load_checkpoint(self.work, self.device)
        if state["sizes"] != dataclasses.asdict(self.recipe.model):
            raise InputError(f"the checkpoint in {self.work} is of a model of other sizes", hint="Give another --out, or remove it.")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.spent = int(state["step"]), float(state["spent"])
        logger.info("resumed at step %d after %.1f minutes", self.step, self.spent / 60)

    def run(self) -> None:
        """Until the minutes are spent or the process is told to end, with log, probes and checkpoints."""
        import torch

        signal.signal(signal.SIGTERM, self._end)
        log = self.recipe.log
        if self.threads:
            torch.set_num_threads(self.threads)
        sums: dict[str, list[float]] = {}
        probed = saved = logged = self.spent
        now = time.monotonic()
        while True:
            if self.threads == 0:
                torch.set_num_threads(free_cores())
            for task, loss in self.advance().items():
                sums.setdefault(task, []).append(loss)
            before, now = now, time.monotonic()
            self.spent += min(now - before, LONGEST_STEP_S)
            last = self.ending or self.progress >= 1
            if self.step % log.every and not last:
                continue
            entry: dict[str, Any] = {"step": self.step, "minutes": round(self.spent / 60, 2)}
            entry["rate"] = rate(self.step, self.progress, self.recipe)
            entry["seconds_per_step"] = round((self.spent - logged) / max(1, len(next(iter(sums.values())))), 3)
            entry["losses"] = {task: round(math.fsum(values) / len(values), 4) for task, values in sums.items()}
            if self.progress >= 1 or self.spent - probed >= 60 * log.probe_minutes:
                entry["dev"] = self.probes()
                probed = self.spent
            append_entry(self.work, entry, logger)
            sums, logged = {}, self.spent
            if last or self.spent - saved >= 60 * log.save_minutes:
                self.save()
                saved = self.spent
            if last:
                return

    def _end(self, *_: object) -> None:
        self.ending = True  # after the step at hand

    def _tokenizer(self) -> Any:
        """The run's tokenizer: new, or the one its weights know, with a token for each prompt piece that came since."""
        from tokenizers import Tokenizer

        pieces = [*GRAMMAR, *QUESTIONS, *prompt_pieces()]
        path = self.work / "tokenizer.json"
        if path.is_file():
            tokenizer = with_pieces(Tokenizer.from_file(str(path)), pieces, self.recipe.model)
        else:
            tokenizer = new_tokenizer(wordings(self.train, self.recipe.seed), pieces, self.recipe.model)
        tokenizer.backend_tokenizer.save(str(path))
        return tokenizer


GRID_TASKS = frozenset({"list", "rank"})


def rate(step: int, progress: float, recipe: Recipe) -> float:
    """The learning rate: linear warm-up over steps, then evenly down over the budget to a share of the peak."""
    options = recipe.optimizer
    warm = min(1.0, (step + 1) / (options.warmup_steps + 1))
    return options.learning_rate * warm * (1 - (1 - options.last_rate) * progress)


def weights_of(folder: Path) -> dict[str, Any]:
    """The weights in an exported folder, as they are trained: in float32."""
    import torch
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    return dict(model.state_dict())


def free_cores() -> int:
    """Cores on which nothing else runs at this moment, at least one. Two threads of which one waits are slower than one."""
    load = Path("/proc/loadavg")
    running = int(load.read_text(encoding="ascii").split()[3].split("/")[0]) if load.is_file() else 1
    return max(1, (os.cpu_count() or 1) - max(0, running - 1))


def wordings(material: Material, seed: int) -> list[str]:
    """What the tokenizer learns from: names of the train split, words for changes, the prompts, numbers, Yes and No."""
    chance = random.Random(f"{seed} wordings")
    names = [emoji.name for emoji in material.emojis]
    texts = [f" {name}" for name in names] + names
    texts += [f" {wording}" for wording in composed_pairs(material.emojis, 3000, chance)[1]]
    texts += prompt_pieces()
    numbers = [str(n) for n in range(1, 26)]
    return texts + [", ".join(numbers), "Yes", "No"] * 1000  # so often that each becomes one token, however few there are


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train the mini MLLM.")
    parser.add_argument("recipe", type=Path, help="a recipe such as tools/mini_mllm/mini_mllm.toml")
    parser.add_argument("--data", type=Path, required=True, help="datasets/emoji")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the run")
    parser.add_argument("--minutes", type=float, help="the budget, over all legs; the recipe's when it is not given")
    parser.add_argument("--start", type=Path, help="a folder with weights to begin with, such as mmrerank/mini/mllm")
    parser.add_argument("--spent", type=float, default=0.0, help="minutes of the budget that those weights stand for")
    parser.add_argument("--resume", action="store_true", help="go on with the run found in --out")
    parser.add_argument("--threads", type=int, help="the recipe's when it is not given; 0: as many as others leave free")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logger.setLevel(logging.INFO)
    if (options.out / CHECKPOINT).is_file() and not options.resume:
        parser.error(f"{options.out} holds a run; go on with --resume, or give another --out")
    begin = {"minutes": options.minutes, "start": options.start, "spent": options.spent}
    trainer = Trainer(read_recipe(options.recipe), options.data, options.out, **begin)
    trainer.threads = trainer.budget.threads if options.threads is None else options.threads
    trainer.run()


if __name__ == "__main__":
    main()
