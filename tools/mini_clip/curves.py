"""The curves of a training run as a picture."""

from __future__ import annotations

from pathlib import Path

from tools.training import entries_of


def draw_curves(log: Path, out: Path) -> None:
    """Losses and dev recalls over the steps of `log.jsonl`, as a PNG. A step logged twice, after a resume, counts once."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    entries = {entry["step"]: entry for entry in entries_of(log)}
    steps = list(entries)
    measured = [step for step in steps if "dev" in entries[step]]
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for name in ("names", "composed"):
        points = [step for step in steps if name in entries[step]]
        left.plot(points, [entries[step][name] for step in points], label=f"{name} loss")
    left.set(xlabel="step", ylabel="cross entropy, log scale", yscale="log", title="train split")
    for task, cutoff in (("names", "R@1"), ("names", "R@10"), ("composed", "R@1"), ("composed", "R@10")):
        right.plot(measured, [entries[step]["dev"][task][cutoff] for step in measured], marker="o", label=f"{task} {cutoff}")
    right.set(xlabel="step", ylabel="share of queries", ylim=(0, 1.02), title="dev split, all pictures searched")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(out, dpi=90, metadata={"Software": None})
