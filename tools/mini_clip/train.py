"""Trains the mini CLIP on the train split of `datasets/emoji`, and measures it.

    python -m tools.mini_clip.train tools/mini_clip/mini_clip.toml --data datasets/emoji --out mmrerank/mini/clip
    python -m tools.mini_clip.train --evaluate mmrerank/mini/clip --data datasets/emoji --split test

A GPU is used when there is one. A run that was stopped goes on from its last checkpoint in --work as if it had not been.
Cost: see `mmrerank/mini/clip/CARD.md`.
"""

from __future__ import annotations

import argparse
import copy
import logging
import random
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmrerank.errors import InputError
from tools.mini_clip.curves import draw_curves
from tools.mini_clip.data import Table, batch_rows, caption, composed_pairs, read_table
from tools.mini_clip.evaluate import Measures, evaluate, measure, read_queries, report
from tools.mini_clip.losses import LARGEST_SCALE, Average, loss_of, rate
from tools.mini_clip.model import new_model, write_config, write_tokenizer, write_weights
from tools.mini_clip.recipe import Recipe, read_recipe
from tools.training import CHECKPOINT, LOG, append_entry, load_checkpoint, save_checkpoint, weight_groups

logger = logging.getLogger(__name__)


class Trainer:
    """Model, optimizer and average of one run; `work` holds its log and checkpoint."""

    def __init__(self, recipe: Recipe, data: Path, work: Path, *, table: Table | None = None, device: str | None = None) -> None:
        import open_clip
        import torch

        self.recipe, self.work = recipe, work
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.budget = recipe.budget(self.device)
        self.data = data
        self.table = table if table is not None else read_table(data, recipe.model.side_px)
        self.train_table = self.table.part(self.table.rows("train"))
        resumes = (work / CHECKPOINT).is_file()
        if not resumes:  # a run that goes on keeps the tokenizer its weights know
            work.mkdir(parents=True, exist_ok=True)
            write_tokenizer(work, wordings(self.train_table, recipe.seed), recipe.model)
            write_config(work, recipe.model)
        self.tokenizer = open_clip.get_tokenizer(f"local-dir:{work}")
        self.model: Any = new_model(work, recipe.seed).to(self.device).to(memory_format=torch.channels_last)
        groups = weight_groups(self.model, recipe.optimizer.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-6, fused=True)
        self.average = Average(self.model, recipe.optimizer.average_decay)
        self.step = 0
        if resumes:
            self.resume()

    def advance(self) -> dict[str, float]:
        """One step; returns the losses."""
        import torch

        options, budget = self.recipe.batches, self.budget
        rows = batch_rows(self.train_table.emojis, self.step, batch=budget.batch, neighbours=options.neighbours, seed=self.recipe.seed)
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.step, budget.steps, self.recipe)
        losses = loss_of(self.model, self.tokenizer, self.train_table.part(rows), self.step, self.recipe, self.device)
        self.optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.optimizer.gradient_norm)
        self.optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(max=LARGEST_SCALE)
        self.step += 1
        self.average.update(self.model, self.step)
        return {name: float(value.detach()) for name, value in losses.items()}

    def save(self) -> None:
        state = {
            "step": self.step,
            "recipe": self.recipe.as_dict(),
            "model": self.model.state_dict(),
            "average": self.average.state,
            "optimizer": self.optimizer.state_dict(),
        }
        save_checkpoint(self.work, state)

    def resume(self) -> None:
        state = load_checkpoint(self.work, self.device)
        if state["recipe"] != self.recipe.as_dict():
            raise InputError(f"the checkpoint in {self.work} was made by another recipe", hint="Give another --work, or remove it.")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.state = state["average"]
        self.step = int(state["step"])
        logger.info("resumed at step %d", self.step)

    def measures(self, split: str) -> Measures:
        """What the averaged weights reach on a split."""
        averaged = copy.deepcopy(self.model)
        averaged.load_state_dict(self.average.state)
        return measure(averaged, self.tokenizer, self.table, read_queries(self.data, split), split)

    def run(self) -> None:
        """From the current step to the last of the budget, with log, measures on dev and checkpoints."""
        import torch

        torch.set_num_threads(self.budget.threads)
        log, started, first = self.recipe.log, time.monotonic(), self.step
        while self.step < self.budget.steps:
            entry: dict[str, Any] = {"step": self.step + 1} | self.advance()
            last = self.step == self.budget.steps
            if self.step % log.evaluate_every == 0 or last:
                entry["dev"] = self.measures("dev")
            if self.step % log.every == 0 or last:
                entry["rate"] = rate(self.step - 1, self.budget.steps, self.recipe)
                entry["seconds_per_step"] = (time.monotonic() - started) / (self.step - first)
                entry["scale"] = float(self.model.logit_scale.detach().exp())
                append_entry(self.work, entry, logger)
            if self.step % log.checkpoint_every == 0 or last:
                self.save()


def wordings(table: Table, seed: int) -> list[str]:
    """What the tokenizer learns from: the names of the train split, their other wordings, and words for changes."""
    chance = random.Random(f"{seed} wordings")
    texts = [emoji.name for emoji in table.emojis for _ in range(3)]
    texts += [caption(emoji, chance, 0.0) for emoji in table.emojis]
    return texts + composed_pairs(table.emojis, 3000, chance)[1]


def finish(trainer: Trainer, out: Path) -> None:
    """Writes the folder that ships: tokenizer, configuration, averaged weights in fp16. The curves stay beside the log."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "open_clip_config.json"):
        shutil.copyfile(trainer.work / name, out / name)
    write_weights(out, trainer.average.state)
    draw_curves(trainer.work / LOG, trainer.work / "curves.png")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train the mini CLIP, or measure a finished one.")
    parser.add_argument("recipe", type=Path, nargs="?", help="a recipe such as tools/mini_clip/mini_clip.toml")
    parser.add_argument("--data", type=Path, required=True, help="datasets/emoji")
    parser.add_argument("--out", type=Path, help="the folder of the finished model")
    parser.add_argument("--work", type=Path, default=Path("runs/mini-clip"), help="log, curves and checkpoint; a run found there goes on")
    parser.add_argument("--evaluate", type=Path, metavar="FOLDER", help="measure this folder instead of training")
    parser.add_argument("--split", choices=["train", "dev", "test"], default="test", help="what to measure on")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logger.setLevel(logging.INFO)
    if options.evaluate is not None:
        sys.stdout.write(report(evaluate(options.evaluate, options.data, options.split), options.evaluate, options.split))
        return
    if options.recipe is None or options.out is None:
        parser.error("training needs a recipe and --out; measuring needs --evaluate")
    trainer = Trainer(read_recipe(options.recipe), options.data, options.work)
    trainer.run()
    finish(trainer, options.out)


if __name__ == "__main__":
    main()
