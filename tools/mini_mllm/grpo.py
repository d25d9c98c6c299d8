"""One GRPO run on top of the supervised mini MLLM: order five cards, rewarded as MM-R5 is. trl does the learning.

    python -m tools.mini_mllm.grpo tools/mini_mllm/mini_grpo.toml --model runs/mini-mllm/model \\
        --data datasets/emoji --out runs/mini-grpo

`--out` gets log.jsonl, curves.png, measures.json (before and after, on held-out combinations, by greedy generation) and `model/`.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmrerank.backends import local
from mmrerank.prompting.answers import read_order
from mmrerank.training.rewards import format_reward, rank_reward
from mmrerank.types import Decoding, Message, Part, Prompt
from tools.mini_clip.data import Table, read_table
from tools.mini_mllm.samples import Material, Sample
from tools.mini_mllm.tasks import Settings, pages
from tools.mini_mllm.train import PICTURE_PX
from tools.recipes import check_complete, check_keys, read_toml

logger = logging.getLogger(__name__)
PAGES = 5


@dataclass(frozen=True, kw_only=True)
class Recipe:
    seed: int
    questions: int
    group: int
    updates: int
    learning_rate: float
    kl_weight: float
    clip: float
    temperature: float
    answer_tokens: int
    hard: float
    prompts: int
    measured: int
    cpu: Mapping[str, float]
    gpu: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Question:
    """Five cards and what is asked; the id of the right one, from 1."""

    prompt: Prompt
    right: int


def read_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file.

    Raises:
        FormatError: not TOML, or a key is missing.
        UnknownName: a key that the recipe does not have.
    """
    values, names = read_toml(path), [field.name for field in fields(Recipe)]
    check_keys("recipe key", values, names)
    check_complete("the recipe", values, names, path)
    return Recipe(**values)


def questions(material: Material, count: int, hard: float, seed: str) -> list[Question]:
    """So many questions over five cards each; the same for the same seed."""
    chance, settings = random.Random(seed), Settings(grid=1, count=1, max_pixels=0, hard=hard)
    pool: list[Question] = []
    while len(pool) < count:
        sample = pages(material, chance, settings)
        if len(sample.pictures) == PAGES:
            pool.append(
                Question(prompt=_with_pictures(sample), right=int(sample.answer.rpartition("[")[2].split(",")[0].rstrip("]</answer>")))
            )
    return pool


def _with_pictures(sample: Sample) -> Prompt:
    pictures = iter(sample.pictures)

    def own(part: Part) -> Part:
        return part if isinstance(part, str) else Image.fromarray(next(pictures))

    return tuple(Message(role=message.role, parts=tuple(map(own, message.parts))) for message in sample.prompt)


def measure(folder: Path, questions: Sequence[Question]) -> dict[str, float]:
    """Mean rewards, R@1 and the share of answers that parse without repair, by greedy generation."""
    backend = local.build(local.Options(model=str(folder)))
    texts = [answer.text for answer in backend.generate([one.prompt for one in questions], Decoding(max_tokens=256))]
    orders = [read_order(text, PAGES) for text in texts]
    return {
        "questions": len(questions),
        "rank reward": _mean([rank_reward(text, {one.right}) for text, one in zip(texts, questions, strict=True)]),
        "format reward": _mean([format_reward(text, PAGES) for text in texts]),
        "R@1": _mean([order.positions[0] == one.right - 1 for order, one in zip(orders, questions, strict=True)]),
        "ok": _mean([order.status == "ok" for order in orders]),
    }


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4)


# ------------------------------------------------------------------ trl


def rows(questions: Sequence[Question]) -> Any:
    """A dataset as trl reads it: chat messages with places for pictures, the pictures, and what the rewards need."""
    from datasets import Dataset

    return Dataset.from_list(
        [
            {
                "prompt": [{"role": m.role, "content": [_part(part) for part in m.parts]} for m in one.prompt],
                "images": [part for m in one.prompt for part in m.parts if not isinstance(part, str)],
                "right": one.right,
            }
            for one in questions
        ]
    )


def _part(part: object) -> dict[str, str]:
    return {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "text": ""}


def ranking(completions: Sequence[Any], right: Sequence[int], **_: object) -> list[float]:
    """The ranking reward of each answer, as trl asks for it."""
    return [rank_reward(_text(completion), {mark}) for completion, mark in zip(completions, right, strict=True)]


def form(completions: Sequence[Any], **_: object) -> list[float]:
    """The format reward of each answer."""
    return [format_reward(_text(completion), PAGES) for completion in completions]


def _text(completion: Any) -> str:
    content = completion[0]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def train(recipe: Recipe, model: Path, table: Table, out: Path, minutes: float, *, steps: int = -1) -> None:
    """Learns for so many minutes, or steps where those are given; `out` gets log.jsonl and `model/`."""
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from trl import GRPOTrainer

    processor = AutoProcessor.from_pretrained(model, local_files_only=True)
    processor.tokenizer.padding_side = "left"
    pool = questions(Material(table, ("train",), "train"), recipe.prompts if steps < 0 else 4 * steps, recipe.hard, f"{recipe.seed} grpo")
    trainer = GRPOTrainer(
        model=AutoModelForImageTextToText.from_pretrained(model, local_files_only=True),
        reward_funcs=[ranking, form],
        args=_settings(recipe, out, steps),
        train_dataset=rows(pool),
        processing_class=processor,
        callbacks=[_clock(minutes)],
    )
    trainer.train()
    with (out / "log.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(entry) + "\n" for entry in trainer.state.log_history)
    trainer.save_model(str(out / "model"))
    processor.save_pretrained(out / "model")


def _settings(recipe: Recipe, out: Path, steps: int) -> Any:
    import torch
    from trl import GRPOConfig

    return GRPOConfig(
        output_dir=str(out / "trainer"),
        per_device_train_batch_size=recipe.questions * recipe.group,
        num_generations=recipe.group,
        num_iterations=recipe.updates,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="constant",
        beta=recipe.kl_weight,
        epsilon=recipe.clip,
        temperature=recipe.temperature,
        max_completion_length=recipe.answer_tokens,
        loss_type="grpo",
        scale_rewards="group",
        max_steps=steps if steps > 0 else 100_000,
        activation_checkpointing=False,
        use_cpu=not torch.cuda.is_available(),
        bf16=torch.cuda.is_available(),
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=recipe.seed,
    )


def _clock(minutes: float) -> Any:
    from transformers import TrainerCallback

    class Clock(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.start = time.monotonic()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = time.monotonic() - self.start > 60 * minutes

    return Clock()


def draw_curves(log: Path, out: Path) -> None:
    """Rewards, divergence and answer lengths over the steps, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    entries = [entry for entry in map(json.loads, log.read_text(encoding="utf-8").splitlines()) if "reward" in entry]
    figure = Figure(figsize=(10, 3), layout="constrained")
    FigureCanvasAgg(figure)
    panels = (("reward", ("rewards/ranking/mean", "rewards/form/mean")), ("KL", ("kl",)), ("tokens", ("completions/mean_length",)))
    for axes, (label, keys) in zip(figure.subplots(1, 3), panels, strict=True):
        for key in keys:
            values = np.array([entry[key] for entry in entries if key in entry], dtype=float)
            window = min(10, len(values))
            axes.plot(np.convolve(values, np.ones(window) / max(1, window), "valid"), label=key)
        axes.set(xlabel="step", title=f"{label}, mean of ten steps")
        axes.legend(fontsize="small")
        axes.grid(alpha=0.3)
    figure.savefig(out, dpi=90, metadata={"Software": None})


def main(arguments: Sequence[str] | None = None) -> None:
    import torch

    parser = argparse.ArgumentParser(description="Train the mini MLLM with the rewards of MM-R5.")
    parser.add_argument("recipe", type=Path, help="a recipe such as tools/mini_mllm/mini_grpo.toml")
    parser.add_argument("--model", type=Path, required=True, help="the supervised model's folder")
    parser.add_argument("--data", type=Path, required=True, help="datasets/emoji")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the run")
    parser.add_argument("--minutes", type=float, help="the recipe's when it is not given")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logger.setLevel(logging.INFO)
    options.out.mkdir(parents=True, exist_ok=True)
    recipe, table = read_recipe(options.recipe), read_table(options.data, PICTURE_PX)
    budget = recipe.gpu if torch.cuda.is_available() else recipe.cpu
    dev_questions = questions(Material(table, ("train", "dev"), "dev"), recipe.measured, recipe.hard, "dev grpo")
    before = measure(options.model, dev_questions)
    logger.info("before %s", json.dumps(before))
    train(recipe, options.model, table, options.out, options.minutes or budget["minutes"])
    draw_curves(options.out / "log.jsonl", options.out / "curves.png")
    measures = {"before": before, "after": measure(options.out / "model", dev_questions)}
    (options.out / "measures.json").write_text(json.dumps(measures, indent=1) + "\n", encoding="utf-8")
    logger.info("after %s", json.dumps(measures["after"]))


if __name__ == "__main__":
    main()
