"""The plots of a report as inline SVG; colours come from the page, so they read on dark and light."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT, LEFT, BOTTOM = 640, 300, 56, 40
LABEL = 80  # pixels that a dot's number and figure take


def _svg(label: str, body: Sequence[str], height: int = HEIGHT) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">{"".join(body)}</svg>'


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def gain_plot(gains: Mapping[str, Mapping[str, Any]]) -> str:
    """What a system adds by each measure, a line from low to high with the mean as a dot, and the line of no gain."""
    finite = {name: gain for name, gain in gains.items() if gain["value"] is not None}
    reach = max((abs(gain[end]) for gain in finite.values() for end in ("low", "high")), default=0.0) or 1.0
    height = 40 + 34 * len(finite)

    def x(value: float) -> float:
        return 380 + 190 * value / reach

    body = [f'<line class="axis" x1="{x(0)}" x2="{x(0)}" y1="8" y2="{height - 24}"/>', _text(x(0), height - 6, "0")]
    body += [_text(x(-reach), height - 6, f"{-reach:.3f}"), _text(x(reach), height - 6, f"+{reach:.3f}")]
    for n, (name, gain) in enumerate(finite.items()):
        y, side = 24 + 34 * n, "better" if gain["value"] > 0 else "worse" if gain["value"] < 0 else "mark"
        body.append(_text(150, y + 5, name, "end"))
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
        return LEFT + (WIDTH - LEFT - 20) * (seconds - low) / (high - low), (HEIGHT - BOTTOM) * (1 - 0.92 * value)

    body = _axes("seconds per query", measure)
    body += [_text(place(power, 0)[0], HEIGHT - BOTTOM + 16, f"{10.0**power:g}") for power in range(low, high + 1)]
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

    def at(rank: int, span: float) -> float:
        return span * math.log(rank) / max(math.log(top), 1e-9)

    width, height = WIDTH - LEFT - 20, HEIGHT - BOTTOM - 30
    body = _axes("rank before", "rank after")
    body.append(f'<line class="axis" x1="{LEFT}" y1="{HEIGHT - BOTTOM}" x2="{LEFT + width}" y2="{HEIGHT - BOTTOM - height}"/>')
    for (before, after), count in sorted(counts.items()):
        side = "better" if after < before else "worse" if after > before else "mark"
        x, y = LEFT + at(before, width), HEIGHT - BOTTOM - at(after, height)
        body.append(f'<circle class="{side}" opacity=".6" cx="{x:.1f}" cy="{y:.1f}" r="{min(3 + count**0.5, 16):.1f}"/>')
    body += [_text(LEFT, HEIGHT - BOTTOM + 16, "1"), _text(LEFT + width, HEIGHT - BOTTOM + 16, str(top))]
    return _svg("rank of the first right item before and after", body)


def _axes(across: str, up: str) -> list[str]:
    floor = HEIGHT - BOTTOM
    return [
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - 20}" y1="{floor}" y2="{floor}"/>',
        f'<line class="axis" x1="{LEFT}" x2="{LEFT}" y1="8" y2="{floor}"/>',
        _text(WIDTH / 2, HEIGHT - 6, across),
        _text(8, 14, up, "start"),
    ]
