"""What a training leaves for people: a log to read and one for programs, curves as a picture, and the card."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrerank.errors import MissingExtra
from mmrerank.text_files import json_lines, write_text
from mmrerank.training.measured import table
from mmrerank.training.recipe import Recipe

LOG, RECORDS, CURVES, CARD = "log.txt", "log.jsonl", "curves.png", "card.json"


class Journal:
    """The log of one training, which goes on where an earlier process left it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._start, self._cpu_start = folder, time.monotonic(), time.process_time()

    def note(self, text: str) -> None:
        """A line for people."""
        with (self._folder / LOG).open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")

    def record(self, stage: str, values: Mapping[str, Any]) -> None:
        """What was logged at a step of a stage; what a killed process logged beyond its checkpoint is overridden by what comes later."""
        done, steps = values["step"], values["steps"]
        seconds = time.monotonic() - self._start
        line = {"stage": stage, **values, "seconds": round(seconds, 1), "cpu_s": round(time.process_time() - self._cpu_start, 1)}
        with (self._folder / RECORDS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        figures = "  ".join(f"{key} {value:.4g}" for key, value in values.items() if key not in ("step", "steps"))
        self.note(f"{stage}  step {done} of {steps}  {figures}")

    @property
    def records(self) -> list[dict[str, Any]]:
        """What was logged, a record a step of a stage."""
        path = self._folder / RECORDS
        rows = [row for _, row in json_lines(path)] if path.is_file() else []
        return list({(row["stage"], row["step"]): row for row in rows}.values())

    def draw(self) -> None:
        """The losses or rewards as a picture; nothing where nothing was logged.

        Raises:
            MissingExtra: matplotlib is not installed.
        """
        if rows := self.records:
            draw_curves(rows, self._folder / CURVES)


def draw_curves(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """The picture of what was logged, a panel a stage: each record, and the mean of a tenth of the stage around it."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise MissingExtra.of("matplotlib", "train", "drawing curves") from error
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    figure = Figure(figsize=(5 * len(stages), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    for n, stage in enumerate(stages, 1):
        own = sorted((row for row in rows if row["stage"] == stage), key=lambda row: row["step"])
        axes = figure.add_subplot(1, len(stages), n)
        measure = "loss" if "loss" in own[0] else "reward"
        steps, values = [row["step"] for row in own], [row[measure] for row in own]
        axes.plot(steps, values, linewidth=0.8, alpha=0.45)
        axes.plot(steps, _smoothed(values, max(1, len(values) // 20)), linewidth=1.6, color="C0")
        axes.set(title=stage, xlabel="step", ylabel=measure)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))  # steps are counted
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def _smoothed(values: Sequence[float], reach: int) -> list[float]:
    """The mean of each value and so many on either side, where there are as many.

    >>> _smoothed([0.0, 3.0, 6.0, 0.0], 1)
    [1.5, 3.0, 3.0, 3.0]
    """
    windows = [values[max(n - reach, 0) : n + reach + 1] for n in range(len(values))]
    return [sum(window) / len(window) for window in windows]


def write_card(recipe: Recipe, card: Mapping[str, Any], folder: Path) -> None:
    """`card.json` for programs and `CARD.md` for people."""
    lines = [f"# {recipe.title or recipe.name}", "", recipe.source, ""] if recipe.source else [f"# {recipe.title or recipe.name}", ""]
    lines.append(f"Base: `{card['base']}` (weights {card['weights']}).")
    lines.append(f"Trained: {card['trained_weights']:,} weights, {card['queries']} queries with right and wrong candidates.")
    for stage in card["stages"]:
        lines += ["", f"- {stage['name']}: `{stage['reranker']}`, {stage['what']}, {stage['steps']} steps of {stage['groups']} queries"]
    lines += ["", f"Use it: `{card['use']}`"]
    for result in card["heldout"]:
        head = f"{result['queries']} queries, first stage {result['first_stage']}, depth {result['depth']}, `{result['reranker']}`"
        lines += ["", f"## {result['name']}", "", f"{head}. 95 % intervals over queries.", ""]
        lines += [line for measure in result["measured_by"] for line in (table(result, measure), "")]
    write_text(folder / "CARD.md", "\n".join(lines).rstrip() + "\n")
    write_text(folder / CARD, json.dumps(card, indent=1, ensure_ascii=False, default=str) + "\n")
