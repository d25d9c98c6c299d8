"""The plots of a report as inline SVG; colours come from the page, so they read on dark and light."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 320, 56, 44, 28
LABEL = 80  # pixels that a dot's number and figure take


def _svg(label: str, body: Sequence[str], height: int = HEIGHT) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">{"".join(body)}</svg>'


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def side_of(gain: Mapping[str, Any]) -> str:
    """better or worse where the whole interval lies on one side of 0, else nothing: such a gain may well be none."""
    if gain["low"] is None or gain["high"] is None:
        return "nothing"
    return "better" if gain["low"] > 0 else "worse" if gain["high"] < 0 else "nothing"


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values from low to high, 1, 2 or 5 times a power of ten apart, at most `most` of them.

    >>> ticks(-0.031, 0.12)
    [0.0, 0.05, 0.1]
    >>> ticks(0, 1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if not low < high:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if (high - low) / (factor * power) <= most - 0.999)
    return [round(n * step, 12) + 0.0 for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _number(value: float, sign: str = "") -> str:
    """A tick's value, with as many digits as it needs."""
    return f"{value:{sign if value else ''}.6g}"


def gain_plot(gains: Mapping[str, Mapping[str, Any]]) -> str:
    """What a system adds by each measure, a line from low to high with the mean as a dot, and the line of no gain.

    Green and red are for gains whose interval lies on one side of 0.
    """
    finite = {name: gain for name, gain in gains.items() if gain["value"] is not None}
    ends = [gain[end] for gain in finite.values() for end in ("low", "high")]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    margin = 0.06 * ((high - low) or 1.0)
    low, high, height = low - margin, high + margin, 44 + 30 * len(finite)
    floor, left, right = height - 28, 190, WIDTH - 24

    def x(value: float) -> float:
        return left + (right - left) * float((value - low) / (high - low))

    body = [f'<line class="axis" x1="{left}" x2="{right}" y1="{floor}" y2="{floor}"/>']
    for value in ticks(low, high):
        kind = "tick" if value else "axis"
        body.append(f'<line class="{kind}" x1="{x(value):.1f}" x2="{x(value):.1f}" y1="8" y2="{floor + 5}"/>')
        body.append(_text(x(value), height - 8, _number(value, "+")))
    for n, (name, gain) in enumerate(finite.items()):
        y, side = 24 + 30 * n, side_of(gain)
        body.append(_text(left - 14, y + 5, name, "end"))
        body.append(f'<line class="{side}" x1="{x(gain["low"]):.1f}" x2="{x(gain["high"]):.1f}" y1="{y}" y2="{y}"/>')
        body.append(f'<circle class="{side}" cx="{x(gain["value"]):.1f}" cy="{y}" r="5"/>')
    return _svg("gain over the first stage", body, height)


def cost_plot(systems: Sequence[Mapping[str, Any]], measure: str) -> str:
    """Quality of each system over its seconds per query, on a log scale; numbers stand for the systems in their order.

    What has no known cost is left out.
    """
    points = [(s["cost"]["seconds"], s["measures"][measure]["value"]) for s in systems]
    dots = [(n, math.log10(max(seconds, 1e-6)), value) for n, (seconds, value) in enumerate(points) if None not in (seconds, value)]
    if not dots:
        return ""
    low, high = math.floor(min(x for _, x, _ in dots)), math.ceil(max(x for _, x, _ in dots) + 1e-9)
    high = max(high, low + 1)

    def place(seconds: float, value: float) -> tuple[float, float]:
        return LEFT + (WIDTH - LEFT - 20) * (seconds - low) / (high - low), TOP + (HEIGHT - BOTTOM - TOP) * (1 - value)

    body = _axes("seconds per query", measure)
    for value in ticks(0, 1):
        body += _tick_up(place(low, value)[1], _number(value))
    for power in range(low, high + 1):
        body += _tick_across(place(power, 0)[0], f"{10.0**power:g}")
    for n, seconds, value in dots:
        x, y = place(seconds, value)
        leftward = (n % 2 == 0 and x > LEFT + LABEL) or x > WIDTH - LABEL  # neighbours in time write apart, and within the picture
        side, anchor = (-10, "end") if leftward else (10, "start")
        body += [f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="6"/>', _text(x + side, y + 4, f"{n}: {value:.3f}", anchor)]
    return _svg(f"{measure} against seconds per query", body)


def movement_plot(moves: Sequence[tuple[int, int]]) -> str:
    """Rank of the first right item before (across) and after (up), both on log scales; below the line is better."""
    top = max((rank for move in moves for rank in move), default=1)
    counts = {move: moves.count(move) for move in set(moves)}
    width, height = WIDTH - LEFT - 20, HEIGHT - BOTTOM - TOP

    def at(rank: int, span: float) -> float:
        return span * math.log(rank) / max(math.log(top), 1e-9)

    body = _axes("rank before", "rank after")
    for rank in _ranks(top):
        body += [*_tick_across(LEFT + at(rank, width), str(rank)), *_tick_up(HEIGHT - BOTTOM - at(rank, height), str(rank))]
    body.append(f'<line class="axis" x1="{LEFT}" y1="{HEIGHT - BOTTOM}" x2="{LEFT + width}" y2="{HEIGHT - BOTTOM - height}"/>')
    for (before, after), count in sorted(counts.items()):
        side = "better" if after < before else "worse" if after > before else "mark"
        x, y = LEFT + at(before, width), HEIGHT - BOTTOM - at(after, height)
        body.append(f'<circle class="{side}" opacity=".6" cx="{x:.1f}" cy="{y:.1f}" r="{min(3 + count**0.5, 16):.1f}"/>')
    return _svg("rank of the first right item before and after", body)


def _ranks(top: int) -> list[int]:
    """1, 2, 5, 10, 20 and so on up to the last rank; without every second and third where that would be many.

    >>> _ranks(30), _ranks(10_000)
    ([1, 2, 5, 10, 20], [1, 10, 100, 1000, 10000])
    """
    powers = range(len(str(top)))
    factors = (1, 2, 5) if top < 1000 else (1,)
    return [factor * 10**power for power in powers for factor in factors if factor * 10**power <= top]


def _tick_across(x: float, label: str) -> list[str]:
    floor = HEIGHT - BOTTOM
    return [f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{floor}" y2="{floor + 5}"/>', _text(x, floor + 19, label)]


def _tick_up(y: float, label: str) -> list[str]:
    return [
        f'<line class="tick" x1="{LEFT}" x2="{WIDTH - 20}" y1="{y:.1f}" y2="{y:.1f}"/>',
        f'<line class="axis" x1="{LEFT - 5}" x2="{LEFT}" y1="{y:.1f}" y2="{y:.1f}"/>',
        _text(LEFT - 9, y + 4, label, "end"),
    ]


def _axes(across: str, up: str) -> list[str]:
    floor = HEIGHT - BOTTOM
    return [
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - 20}" y1="{floor}" y2="{floor}"/>',
        f'<line class="axis" x1="{LEFT}" x2="{LEFT}" y1="{TOP}" y2="{floor}"/>',
        _text(WIDTH / 2, HEIGHT - 6, across),
        _text(8, 14, up, "start"),
    ]
