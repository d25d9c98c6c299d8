"""SFT or contrastive learning, at equal cost: the weights and directions of Lychee-rerank-mm on the embedded MLLM.

What dominates: forward and backward passes of training, about 1.1 CPU seconds for 20 pairs of pictures; every arm has the same steps over
the same queries in the same order, from the shipped weights. Asked is whether the second picture is the first one changed as the words
say, `ragllava(modality=image)`, about what the first stage `composed` puts in front. Measured is R@1 over the first stage's first nine on
composed queries of the test split, whose combinations no training has seen, by yes - no and by yes alone.

    python -m tests.bench.bench_sft_or_contrastive --data . --out runs/sft-or-contrastive

Baselines: the first stage's order and the untrained model; ceiling: R@9 of the first stage. Nothing is chosen on what is measured.
`--out` gets measures.json after every arm, and gains.png; a run that was stopped goes on with the arms that are left.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmrerank.parts import make
from mmrerank.training.collate import Collator, Sample
from mmrerank.training.data import Group, read_groups
from mmrerank.training.network import Student
from mmrerank.training.recipe import Band, Draw, Model, Source, Stage
from mmrerank.training.supervised import Schedule, train_stage

RERANKER, DEPTH = "ragllava(modality=image)", 9
READINGS = ("yes - no", "yes")


def switches(weight: str, direction: str) -> dict[str, str]:
    """The four switches of `unified`."""
    return {f"{name}_{side}": value for name, value in (("weight", weight), ("direction", direction)) for side in ("positive", "negative")}


ARMS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "W sft, D sft": ("unified", switches("sft", "sft")),
    "W cl, D cl": ("unified", switches("cl", "cl")),
    "W cl, D sft": ("unified", switches("cl", "sft")),
    "W sft, D cl": ("unified", switches("sft", "cl")),
    "W constant, D sft": ("unified", switches("constant", "sft")),
    "W constant with mask, D sft": ("unified", {**switches("constant", "sft"), "tau": 0.1}),
    "yes_no, balanced": ("yes_no", {"balanced": True}),
    "ranknet": ("ranknet", {}),
}


def groups_of(root: Path, split: str, count: int, cache: Path) -> tuple[Group, ...]:
    options = {"card": "datasets/emoji/card.toml", "split": split, "retriever": "composed", "depth": DEPTH, "queries": count}
    return read_groups(Source(layout="card", options=options), root, cache).groups


def new_student() -> Student:
    return Student(make("mini(device=cpu)", station="backends"), Model(), seed=0)


def trained(loss: str, options: Mapping[str, Any], train: Sequence[Group], steps: int, rate: float, work: Path) -> Student:
    """The network after so many steps of four queries."""
    student = new_student()
    stage = Stage(name="arm", reranker=RERANKER, loss=loss, options=options, steps=steps, groups=4, learning_rate=rate, save_every=10_000)
    draw = Draw(positives=1, negatives=(Band(last=DEPTH, count=4),), fresh=True)
    samples = Schedule(train, draw, 4 * steps, seed=0, name="arm")  # the same for every arm
    train_stage(stage, student, samples, work, seed=0)
    return student


@torch.no_grad()
def hits(student: Student, held: Sequence[Group]) -> dict[str, list[float]]:
    """Of each query, whether the first by each reading is right; equal scores in the incoming order."""
    student.eval()
    collate, rows = Collator(RERANKER, student.backend), {name: [] for name in READINGS}
    for group in held:
        grades = tuple(map(group.grade, group.candidates))
        tensors = student(collate([Sample(query=group.query, candidates=group.candidates, grades=grades)]))
        yes, no = tensors["logits"][0].unbind(-1)
        for name, scores in zip(READINGS, (yes - no, yes), strict=True):
            rows[name].append(float(grades[int(scores.argmax())] > 0))
    return rows


def interval(values: Sequence[float]) -> list[float]:
    """The mean and its 95 % interval, by bootstrap over queries."""
    own = np.asarray(values)
    draws = own[np.random.default_rng(0).integers(0, len(own), (4000, len(own)))].mean(1)
    return [round(float(x), 4) for x in (own.mean(), *np.quantile(draws, [0.025, 0.975]))]


def row_of(rows: Mapping[str, Sequence[float]], first: Sequence[float], seconds: float) -> dict[str, Any]:
    """What stands in measures.json for an arm."""
    measures = {name: {"R@1": interval(own), "over the first stage": interval(np.subtract(own, first))} for name, own in rows.items()}
    return {"hits": dict(rows), "cpu_s": round(seconds, 1), **measures}


def arms(
    train: Sequence[Group], held: Sequence[Group], steps: int, rate: float, out: Path, names: Sequence[str]
) -> Iterator[tuple[str, Any]]:
    """Name and row of each arm, the untrained model first."""
    first = [float(group.grade(group.candidates[0]) > 0) for group in held]
    reach = [float(any(map(group.grade, group.candidates))) for group in held]
    yield "first stage", {"R@1": interval(first), f"R@{DEPTH}": interval(reach), "hits": first}
    yield "untrained", row_of(hits(new_student(), held), first, 0.0)
    for n, name in enumerate(names):
        start = time.process_time()
        student = trained(*ARMS[name], train, steps, rate, out / "arms" / str(n))
        seconds = time.process_time() - start
        yield name, row_of(hits(student, held), first, seconds)


def draw(measures: Mapping[str, Any], path: Path) -> None:
    """Every arm's gain over the first stage, with its interval."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [(name, row) for name, row in measures.items() if READINGS[0] in row]
    figure = Figure(figsize=(8, 0.5 * len(rows) + 1.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for shift, reading in zip((-0.12, 0.12), READINGS, strict=True):
        values = np.array([row[reading]["over the first stage"] for _, row in rows])
        places = np.arange(len(rows)) + shift
        axes.errorbar(
            values[:, 0], places, xerr=[values[:, 0] - values[:, 1], values[:, 2] - values[:, 0]], fmt="o", label=reading, capsize=3
        )
    axes.axvline(0, color="grey", linewidth=1)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.invert_yaxis()
    axes.set(xlabel="R@1 over the first stage, 95 % interval over queries")
    axes.legend(title="scored by", fontsize="small")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description="SFT or contrastive learning on the embedded MLLM.")
    parser.add_argument("--data", type=Path, default=Path(), help="the root of the repository")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--train", type=int, default=400, help="queries to train on, evenly over the split")
    parser.add_argument("--held", type=int, default=150, help="queries of the test split")
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "measures.json"
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    cache = options.out / "cache"
    train, held = (groups_of(options.data, split, count, cache) for split, count in (("train", options.train), ("test", options.held)))
    left = [name for name in options.arms if name not in known]
    for name, row in arms(train, held, options.steps, options.rate, options.out, left):
        known[name] = row
        path.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        print(name, json.dumps({key: value for key, value in row.items() if key != "hits"}), flush=True)
    draw(known, options.out / "gains.png")
    print(json.dumps({"steps": options.steps, "queries": len(held), "torch": torch.__version__, "arms": list(known)}))


if __name__ == "__main__":
    main()
