"""The curves of a training run of the mini MLLM as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tools.training import entries_of


def draw_curves(log: Path, out: Path) -> None:
    """Loss of each task and held-out measures over the minutes of `log.jsonl`, as a PNG. Of a step logged twice the last counts."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    entries = entries_of(log)
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _lines(left, [(entry["minutes"], entry["losses"]) for entry in entries])
    left.set(xlabel="minutes", ylabel="cross entropy of an answer's tokens", yscale="log", title="train split")
    measured = [entry for entry in entries if "dev" in entry]
    _lines(right, [(e["minutes"], dict(_share(task, measures) for task, measures in e["dev"].items())) for e in measured], marker="o")
    right.set(xlabel="minutes", ylabel="answers right, word for word where not said", ylim=(0, 1.02), title="held-out combinations")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize="small")
    figure.savefig(out, dpi=90, metadata={"Software": None})


def _share(task: str, measures: dict[str, float]) -> tuple[str, float]:
    """What is drawn of a task: of those that rank, the share of own answers with the right one first."""
    return (f"{task}, first is right", measures["first"]) if "first" in measures else (task, measures["answers"])


def _lines(axes: Any, points: list[tuple[float, dict[str, float]]], **style: Any) -> None:
    for task in dict.fromkeys(task for _, values in points for task in values):
        own = [(minutes, values[task]) for minutes, values in points if task in values]
        axes.plot(*zip(*own, strict=True), label=task, **style)
