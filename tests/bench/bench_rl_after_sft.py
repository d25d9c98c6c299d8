"""Reinforcement after SFT against more SFT, at equal cost: MM-R5 on the embedded MLLM.

What dominates: answers of some 80 tokens, one after the other, for reinforcement; forward and backward passes for SFT. From the shipped
weights, SFT teaches the form of MM-R5 with what each picture shows as the thought; from there one arm goes on with SFT, the other with
GRPO under the ranking and the format reward, each for the same CPU seconds. Asked is by name for one of five pictures, those that the
first stage `composed` puts in front, shuffled. Measured on names of the test split, whose combinations no training has seen: R@1, both
rewards and the share of answers that parse without repair, by greedy generation.

    python -m tests.bench.bench_rl_after_sft --data . --out runs/rl-after-sft

Baseline: the shipped weights, and chance (.2). Nothing is chosen on what is measured. `--out` gets measures.json.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from mmrerank.parts import make
from mmrerank.prompting.answers import read_order
from mmrerank.training.collate import Collator, Sample, request_of
from mmrerank.training.data import Group, read_groups
from mmrerank.training.network import Student
from mmrerank.training.recipe import Band, Draw, Model, Source, Stage
from mmrerank.training.reinforce import Reinforcement
from mmrerank.training.rewards import format_reward, rank_reward
from mmrerank.training.supervised import Schedule, train_stage
from mmrerank.types import Decoding
from tests.bench.bench_sft_or_contrastive import interval

RERANKER, PAGES = "mm_r5", 5
DRAW = Draw(positives=1, negatives=(Band(last=9, count=PAGES - 1),), fresh=True)


def groups_of(root: Path, split: str, count: int, cache: Path) -> tuple[Group, ...]:
    combination = f"split = '{split}' AND skin_tone IS NOT NULL AND role IS NOT NULL"
    options = {"card": "datasets/emoji/card.toml", "filter": combination, "retriever": "composed", "depth": 9, "queries": count}
    return read_groups(Source(layout="captions", options=options), root, cache).groups


def answers_of(student: Student, backend: Any, samples: Sequence[Sample]) -> dict[str, list[float]]:
    """Of each sample, what its greedy answer is worth."""
    student.eval()
    prompts = [request_of(RERANKER, one.query, one.candidates, backend).prompts[0] for one in samples]
    texts = [answer.text for answer in backend.generate(prompts, Decoding(max_tokens=160))]
    orders = [read_order(text, PAGES) for text in texts]
    right = [one.grades.index(max(one.grades)) for one in samples]
    return {
        "R@1": [float(order.positions[0] == place) for order, place in zip(orders, right, strict=True)],
        "ranking reward": [rank_reward(text, {place + 1}) for text, place in zip(texts, right, strict=True)],
        "format reward": [format_reward(text, PAGES) for text in texts],
        "ok": [float(order.status == "ok") for order in orders],
    }


def for_seconds(seconds: float, step: Callable[[int], object]) -> tuple[int, float]:
    """Steps until so many CPU seconds are spent; how many they were, and the seconds."""
    start, count = time.process_time(), 0
    while time.process_time() - start < seconds:
        step(count)
        count += 1
    return count, round(time.process_time() - start, 1)


def more_sft(student: Student, backend: Any, samples: Sequence[Sample], rate: float, seconds: float) -> tuple[int, float]:
    """Goes on as the first stage ended: a constant rate, four queries a step."""
    from mmrerank.training.losses import named_loss

    collate, loss = Collator(RERANKER, backend, answer="described_ids"), named_loss("language")
    optimizer = torch.optim.AdamW(student.trained.values(), lr=rate)

    def step(n: int) -> None:
        loss(**student(collate([samples[(4 * n + k) % len(samples)] for k in range(4)]))).backward()
        torch.nn.utils.clip_grad_norm_(student.trained.values(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return for_seconds(seconds, step)


def main() -> None:
    parser = argparse.ArgumentParser(description="Reinforcement after SFT against more SFT.")
    parser.add_argument("--data", type=Path, default=Path(), help="the root of the repository")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=60, help="of SFT before both, four queries each")
    parser.add_argument("--seconds", type=float, default=120.0, help="CPU seconds of each arm behind that")
    parser.add_argument("--train", type=int, default=400)
    parser.add_argument("--held", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    train, held = (
        groups_of(options.data, split, count, options.out / "cache") for split, count in (("train", options.train), ("test", options.held))
    )
    samples, tests = Schedule(train, DRAW, 4000, seed=0, name="train"), list(Schedule(held, DRAW, len(held), seed=0, name="held"))
    backend = make("mini(device=cpu)", station="backends")
    student = Student(backend, Model(), seed=0)
    measures: dict[str, Any] = {"chance": 1 / PAGES}

    def measure(name: str, **facts: Any) -> None:
        rows = answers_of(student, backend, tests)
        measures[name] = {**facts, **{key: interval(values) for key, values in rows.items()}, "hits": rows["R@1"]}
        (options.out / "measures.json").write_text(json.dumps(measures, indent=1) + "\n", encoding="utf-8")
        print(name, json.dumps({key: value for key, value in measures[name].items() if key != "hits"}), flush=True)

    measure("shipped")
    stage = Stage(name="sft", reranker=RERANKER, loss="language", answer="described_ids", steps=options.steps, groups=4, learning_rate=3e-4)
    start = time.process_time()
    train_stage(stage, student, samples, options.out / "sft", seed=0)
    measure("sft", steps=options.steps, cpu_s=round(time.process_time() - start, 1))
    begun = copy.deepcopy(student.network.state_dict())
    later = [samples[n] for n in range(4 * options.steps, len(samples))]
    reinforced = Stage(
        name="grpo", reranker=RERANKER, method="reinforce", rewards=("rank", "format"), steps=1000, groups=2, learning_rate=5e-5,
        schedule="constant_with_warmup", warmup=0.0, options={"answers": 4, "updates": 2, "max_tokens": 128},
    )  # fmt: skip
    work = Reinforcement(reinforced, student, options.out / "grpo", seed=0)
    log: list[dict[str, float]] = []
    steps, seconds = for_seconds(options.seconds, lambda n: log.append(work.advance(later[2 * n : 2 * n + 2])))
    measure("sft, then grpo", steps=steps, cpu_s=seconds, log=[{key: round(value, 4) for key, value in row.items()} for row in log])
    student.network.load_state_dict(begun)
    steps, seconds = more_sft(student, backend, later, 5e-5, options.seconds)
    measure("sft, then more sft", steps=steps, cpu_s=seconds)
    gap = [a - b for a, b in zip(measures["sft, then grpo"]["hits"], measures["sft, then more sft"]["hits"], strict=True)]
    print(json.dumps({"R@1, grpo over more sft": interval(gap), "queries": len(tests), "torch": torch.__version__}))


if __name__ == "__main__":
    main()
