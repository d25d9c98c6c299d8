"""Reinforcement after SFT against more SFT at equal cost, and noise in training: MM-R5 over cards of emoji, the embedded MLLM.

What dominates: answers of some 90 tokens, one after the other, for reinforcement; forward and backward passes for SFT. Either arm begins
with the weights that the stage `sft` of a run of the recipe `mm_r5` left. One is what its stage `grpo` made of them; the other goes on with
SFT for as many CPU seconds as that stage took by its log, from half the recipe's rate down to nothing. Measured on the questions about
cards of the test split, whose combinations no training has seen: which of the first five cards of BM25 over their words, by greedy answers.

    python -m tools.mini_mllm.card_data --data datasets/emoji --out data/cards
    mmrerank train mm_r5 --data data/cards --out runs/mm-r5
    python -m tests.bench.bench_rl_after_sft --data data/cards --run runs/mm-r5 --out runs/rl-after-sft
    python -m tests.bench.bench_rl_after_sft --data data/cards --run runs/mm-r5 --noise runs/noise --out runs/rl-after-sft

The last reads the run of `ragllava_noise`, whose data come in the same order, and measures with noise over the test's pictures too, the
same for every model: forward diffusion at the step of training, drawn by a seed. Baselines: the first stage and the shipped weights;
ceiling: R@5 of the first stage. Nothing is chosen on what is measured. `--out` gets measures.json after every system; what stands there
already is not measured again. The last line is JSON: paired differences with 95 % intervals over questions.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmrerank.parts import make
from mmrerank.prompting.answers import read_order
from mmrerank.text_files import json_lines
from mmrerank.training.collate import Collator, request_of
from mmrerank.training.data import Group, read_groups
from mmrerank.training.losses import named_loss
from mmrerank.training.network import Student
from mmrerank.training.noise import diffused
from mmrerank.training.recipe import Model, Recipe, read_recipe
from mmrerank.training.rewards import format_reward, rank_reward
from mmrerank.training.supervised import Schedule, load_weights
from mmrerank.types import Decoding
from tests.bench.bench_sft_or_contrastive import interval

SFT, GRPO = "1-sft", "2-grpo"
PAIRS = (
    ("sft", "shipped"),
    ("sft, then grpo", "sft"),
    ("sft, then more sft", "sft"),
    ("sft, then grpo", "sft, then more sft"),
    ("sft, then grpo", "first stage"),
    ("noise", "sft"),
    ("sft, noisy", "sft"),
    ("noise, noisy", "noise"),
    ("noise, noisy", "sft, noisy"),
)


def answers_of(student: Student, groups: Sequence[Group], depth: int, tokens: int = 200) -> dict[str, list[float]]:
    """Of each question, what the greedy answer about its first candidates is worth."""
    student.eval()
    heads = [group.candidates[:depth] for group in groups]
    prompts = [request_of("mm_r5", group.query, head, student.backend).prompts[0] for group, head in zip(groups, heads, strict=True)]
    texts = [answer.text for answer in student.backend.generate(prompts, Decoding(max_tokens=tokens))]
    orders = [read_order(text, len(head)) for text, head in zip(texts, heads, strict=True)]
    right = [{n for n, one in enumerate(head) if group.grade(one) > 0} for group, head in zip(groups, heads, strict=True)]
    return {
        "R@1": [float(order.positions[0] in places) for order, places in zip(orders, right, strict=True)],
        "ranking reward": [
            rank_reward(text, {n + 1 for n in places}) if places else 0.0 for text, places in zip(texts, right, strict=True)
        ],
        "format reward": [format_reward(text, len(head)) for text, head in zip(texts, heads, strict=True)],
        "ok": [float(order.status == "ok") for order in orders],
    }


@contextmanager
def noisy_pictures(backend: Any) -> Iterator[None]:
    """While this is open, noise lies over every picture that the network is shown, the same in each."""
    visual = backend.network.base_model.visual

    def lay(_: Any, args: tuple[Any, ...], options: Mapping[str, Any]) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return (diffused(args[0]), *args[1:]), options

    handle = visual.register_forward_pre_hook(lay, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def seconds_of(run: Path, stage: str) -> float:
    """CPU seconds of a stage by the log of its run: from record to record, the first step as the mean of the others."""
    ends = [row["cpu_s"] for _, row in json_lines(run / "log.jsonl") if row["stage"] == stage]
    steps = [later - earlier for earlier, later in pairwise(ends) if later > earlier]  # a process that goes on begins at 0
    return sum(steps) * len(ends) / len(steps)


def more_sft(student: Student, recipe: Recipe, groups: Sequence[Group], seconds: float) -> dict[str, float]:
    """Goes on with the first stage for so many CPU seconds, at a rate that falls from half of the stage's to nothing."""
    stage = recipe.stages[0]
    samples = Schedule(groups, recipe.data.draw, 100_000, seed=recipe.seed, name=f"more {stage.name}")
    collate, loss = Collator(stage.reranker, student.backend, answer=stage.answer), named_loss(stage.loss, stage.options)
    optimizer = torch.optim.AdamW(student.trained.values(), lr=stage.learning_rate / 2, weight_decay=stage.weight_decay)
    student.train()
    start, step = time.process_time(), 0
    while (spent := time.process_time() - start) < seconds:
        optimizer.param_groups[0]["lr"] = stage.learning_rate / 2 * (1 - spent / seconds)
        rows = collate([samples[stage.groups * step + n] for n in range(stage.groups)])
        with torch.autocast("cpu", torch.bfloat16, enabled=stage.precision == "bf16"):
            value = loss(**student(rows, loss.tensors))
        value.backward()
        torch.nn.utils.clip_grad_norm_(student.trained.values(), stage.gradient_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
    return {"steps": step, "cpu_s": round(time.process_time() - start, 1)}


class Systems:
    """The models that are compared, one after the other in one network."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.recipe = read_recipe("mm_r5")
        self.options = options
        heldout = self.recipe.heldout[0]
        self.depth = heldout.depth
        cache = options.out / "cache"
        self.held = [group for group in read_groups(heldout.source, options.data, cache).groups if len(group.candidates) > 1]
        self.train = lambda: read_groups(self.recipe.data, options.data, cache).groups
        self.student = Student(make("mini(device=cpu)", station="backends"), Model(), seed=0)

    def prepare(self, name: str) -> dict[str, Any]:
        """Puts the weights of a system in place; returns what it cost."""
        run: Path = self.options.run
        if name == "sft, then more sft":
            load_weights(self.student, run / "stages" / SFT / "done")
            return more_sft(self.student, self.recipe, self.train(), seconds_of(run, "grpo"))
        if name == "sft, then grpo":
            load_weights(self.student, run / "stages" / GRPO / "done")
            return {"cpu_s": round(seconds_of(run, "grpo"), 1)}
        if name != "shipped":
            load_weights(self.student, (self.options.noise if name == "noise" else run) / "stages" / SFT / "done")
        return {}

    def first(self) -> dict[str, list[float]]:
        """What the first stage is worth, and its reach."""
        grades = [[float(group.grade(one) > 0) for one in group.candidates[: self.depth]] for group in self.held]
        return {"R@1": [row[0] for row in grades], f"R@{self.depth}": [max(row) for row in grades]}


def main() -> None:
    parser = argparse.ArgumentParser(description="Reinforcement after SFT against more SFT, and noise in training.")
    parser.add_argument("--data", type=Path, required=True, help="folder of tools.mini_mllm.card_data")
    parser.add_argument("--run", type=Path, required=True, help="of the recipe mm_r5")
    parser.add_argument("--noise", type=Path, help="run of the recipe ragllava_noise")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "measures.json"
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    systems = Systems(options)
    known["first stage"] = systems.first()

    def measure(name: str, noisy: bool, facts: Mapping[str, Any]) -> None:
        with noisy_pictures(systems.student.backend) if noisy else nullcontext():
            known[f"{name}, noisy" if noisy else name] = {**facts, **answers_of(systems.student, systems.held, systems.depth)}
        path.write_text(json.dumps(known) + "\n", encoding="utf-8")

    for name in ("shipped", "sft", "sft, then grpo", "sft, then more sft", *(["noise"] if options.noise else [])):
        looks = [noisy for noisy in (False, True) if not noisy or (options.noise and name in ("sft", "noise"))]
        left = [noisy for noisy in looks if (f"{name}, noisy" if noisy else name) not in known]
        facts = systems.prepare(name) if left else {}
        for noisy in left:
            measure(name, noisy, facts)
    for name, row in known.items():
        print(name, json.dumps({key: interval(value) if isinstance(value, list) else value for key, value in row.items()}), flush=True)
    pairs = [(one, other) for one, other in PAIRS if one in known and other in known]
    gains = {f"{one} over {other}": interval(np.subtract(known[one]["R@1"], known[other]["R@1"])) for one, other in pairs}
    print(json.dumps({"questions": len(systems.held), "torch": torch.__version__, "R@1": gains}))


if __name__ == "__main__":
    main()
