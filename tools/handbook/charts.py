"""Charts of the shipped documents, drawn by matplotlib from the numbers in the source.

A chart goes onto its page as a picture: its axis labels and values are not in the text layer, so a question about them
needs eyes or OCR. That is on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from PIL import Image

from mmrerank.errors import UnknownName
from tools.handbook.theme import Theme

DOTS_PER_INCH = 170
Options = Mapping[str, Any]

RC = {
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#7A8488",
    "axes.labelcolor": "#333B3E",
    "axes.grid": True,
    "grid.color": "#DDE2E4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.color": "#333B3E",
    "ytick.color": "#333B3E",
    "legend.frameon": False,
    "legend.fontsize": 7.6,
    "path.simplify": False,
}


def _offsets(count: int, width: float) -> list[float]:
    return [(k - (count - 1) / 2) * width for k in range(count)]


def _bars(axes: Any, options: Options, colours: Sequence[str]) -> None:
    series = options["series"]
    width = 0.78 / len(series)
    places = np.arange(len(options["x"]))
    for one, offset, colour in zip(series, _offsets(len(series), width), colours, strict=False):
        bars = axes.bar(places + offset, one["y"], width * 0.94, label=one.get("name"), color=one.get("colour", colour))
        if options.get("values"):
            axes.bar_label(bars, fmt=options["values"], fontsize=6.6, padding=1.5, color="#333B3E")
    axes.set_xticks(places, options["x"])
    axes.grid(False, axis="x")


def _stacked(axes: Any, options: Options, colours: Sequence[str]) -> None:
    places = np.arange(len(options["x"]))
    floor = np.zeros(len(options["x"]))
    for one, colour in zip(options["series"], colours, strict=False):
        axes.bar(places, one["y"], 0.66, bottom=floor, label=one["name"], color=colour)
        floor = floor + np.asarray(one["y"], dtype=float)
    axes.set_xticks(places, options["x"])
    axes.grid(False, axis="x")


def _sideways(axes: Any, options: Options, colours: Sequence[str]) -> None:
    names = list(options["x"])
    bars = axes.barh(np.arange(len(names)), options["series"][0]["y"], 0.66, color=colours[0])
    axes.bar_label(bars, fmt=options.get("values", "%g"), fontsize=7, padding=2, color="#333B3E")
    axes.set_yticks(np.arange(len(names)), names)
    axes.invert_yaxis()
    axes.grid(False, axis="y")


def _lines(axes: Any, options: Options, colours: Sequence[str]) -> None:
    marks = ("o", "s", "^", "D", "v", "P")
    for one, colour, mark in zip(options["series"], colours, marks, strict=False):
        x = one.get("x", options.get("x"))
        axes.plot(x, one["y"], color=colour, marker=mark, markersize=3.6, linewidth=1.6, label=one.get("name"))
        for place, value, note in zip(x, one["y"], one.get("notes", []), strict=False):
            axes.annotate(str(note), (place, value), textcoords="offset points", xytext=(0, 5), ha="center", fontsize=6.8, color=colour)
    for level in options.get("levels", []):
        axes.axhline(level["y"], color="#A23B4A", linewidth=1.0, linestyle="--")
        place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "xytext": (0, 2.5), "ha": "right"}
        axes.annotate(level["name"], (0.995, level["y"]), **place, fontsize=6.8, color="#A23B4A")


def _donut(axes: Any, options: Options, colours: Sequence[str]) -> None:
    values = options["series"][0]["y"]
    total = sum(values)
    wedges, _ = axes.pie(values, colors=list(colours), startangle=90, counterclock=False, wedgeprops={"width": 0.42, "edgecolor": "white"})
    labels = [f"{name}  {100 * value / total:.1f} %" for name, value in zip(options["x"], values, strict=True)]
    axes.legend(wedges, labels, loc="center left", bbox_to_anchor=(1.02, 0.5))
    axes.text(0, 0, options.get("centre", ""), ha="center", va="center", fontsize=9, fontweight="bold")


def _rose(axes: Any, options: Options, colours: Sequence[str]) -> None:
    angles = np.linspace(0, 2 * np.pi, len(options["x"]), endpoint=False)
    floor = np.zeros(len(angles))
    axes.set_theta_zero_location("N")
    axes.set_theta_direction(-1)
    for one, colour in zip(options["series"], colours, strict=False):
        axes.bar(angles, one["y"], width=2 * np.pi / len(angles) * 0.88, bottom=floor, color=one.get("colour", colour), label=one["name"])
        floor = floor + np.asarray(one["y"], dtype=float)
    axes.set_xticks(angles, options["x"])
    axes.yaxis.set_major_formatter("{x:.0f} %")
    axes.set_rlabel_position(options.get("rings_at", 100))
    axes.tick_params(axis="y", labelsize=6.5)
    axes.legend(loc="center left", bbox_to_anchor=(1.12, 0.5))


KINDS: dict[str, Callable[[Any, Options, Sequence[str]], None]] = {
    "bars": _bars,
    "stacked": _stacked,
    "sideways": _sideways,
    "lines": _lines,
    "donut": _donut,
    "rose": _rose,
}


def _finish(axes: Any, options: Options) -> None:
    """Titles, limits and legend, for the kinds that have two axes."""
    axes.set_xlabel(options.get("x_title", ""))
    axes.set_ylabel(options.get("y_title", ""))
    if "y_range" in options:
        axes.set_ylim(*options["y_range"])
    if "x_range" in options:
        axes.set_xlim(*options["x_range"])
    if "x_scale" in options:
        axes.set_xscale(options["x_scale"])
        axes.set_xticks(options["x"], [f"{x:g}" for x in options["x"]], minor=False)
        axes.minorticks_off()
    if options["kind"] in ("bars", "stacked", "lines") and any(one.get("name") for one in options["series"]):
        axes.legend(loc=options.get("legend", "best"), ncols=options.get("legend_columns", 1))


def draw_chart(options: Options, theme: Theme) -> Image.Image:
    """The chart as an RGB picture at 170 dots per inch.

    Args:
        options: the chart's block: kind, size (inches), x, series (name, y), axis titles and ranges.
        theme: where the colours come from.

    Raises:
        UnknownName: there is no such kind of chart.
    """
    kind = options["kind"]
    if kind not in KINDS:
        raise UnknownName.among("chart", kind, KINDS)
    with matplotlib.rc_context(RC):
        figure = Canvas(figsize=tuple(options.get("size", (6.3, 2.6))), dpi=DOTS_PER_INCH, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_subplot(projection="polar" if kind == "rose" else None)
        KINDS[kind](axes, options, theme.palette)
        if kind not in ("donut", "rose"):
            _finish(axes, options)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())  # (height, width, 4) uint8
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, :3]))
